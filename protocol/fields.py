"""How a typed dataclass and its construct definition are one thing.

A layout is written once, as a frozen dataclass whose fields carry their construct subcon and their sentence for the
protocol page. `layout` builds the construct Struct from it; the host packs and parses with that Struct, and the generator
walks the same Struct to write the device codec, the page and the dissector.
"""

from __future__ import annotations

import dataclasses
from enum import IntEnum, IntFlag
from typing import Any, ClassVar, Self, TypeVar, dataclass_transform

from construct import (  # type: ignore[import-untyped]  # construct ships no type information
    Adapter,
    Bytes,
    Construct,
    ConstructError,
    GreedyBytes,
    Int8ul,
    Int16ul,
    Int32ul,
    Int64ul,
    SizeofError,
    Struct,
)

from protocol.errors import MessageError

U8, U16, U32, U64 = Int8ul, Int16ul, Int32ul, Int64ul
Raw = Bytes
Tail = GreedyBytes


class Code(Adapter):  # type: ignore[misc]  # construct is untyped
    """An integer that must be a member of an IntEnum."""

    def __init__(self, subcon: Construct, members: type[IntEnum]) -> None:
        super().__init__(subcon)
        self.members = members

    def _decode(self, obj: int, context: Any, path: str) -> IntEnum:
        return self.members(obj)

    def _encode(self, obj: int, context: Any, path: str) -> int:
        return int(self.members(obj))


class Flags(Adapter):  # type: ignore[misc]  # construct is untyped
    """An integer of independent bits; bits without a name are kept, so that a newer peer can set them."""

    def __init__(self, subcon: Construct, members: type[IntFlag]) -> None:
        super().__init__(subcon)
        self.members = members

    def _decode(self, obj: int, context: Any, path: str) -> IntFlag:
        return self.members(obj)

    def _encode(self, obj: int, context: Any, path: str) -> int:
        return int(obj)


class Text(Adapter):  # type: ignore[misc]  # construct is untyped
    """UTF-8 text in a fixed number of bytes, padded with zeros on the right."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(Bytes(size_bytes))
        self.size_bytes = size_bytes

    def _decode(self, obj: bytes, context: Any, path: str) -> str:
        text = obj.rstrip(b"\x00")
        if b"\x00" in text:
            raise ValueError("a zero inside a text")
        return text.decode("utf-8")

    def _encode(self, obj: str, context: Any, path: str) -> bytes:
        raw = obj.encode("utf-8")
        if len(raw) > self.size_bytes or b"\x00" in raw:
            raise ValueError(f"text of {len(raw)} bytes does not fit into {self.size_bytes}: {obj!r}")
        return raw.ljust(self.size_bytes, b"\x00")


class TailText(Adapter):  # type: ignore[misc]  # construct is untyped
    """UTF-8 text to the end of the payload; what is not UTF-8 is replaced, since it is only ever shown."""

    def __init__(self) -> None:
        super().__init__(GreedyBytes)

    def _decode(self, obj: bytes, context: Any, path: str) -> str:
        return obj.decode("utf-8", "replace")

    def _encode(self, obj: str, context: Any, path: str) -> bytes:
        return obj.encode("utf-8")


def wire(subcon: Construct, doc: str) -> Any:
    """Declare a dataclass field that goes over the wire as `subcon`; `doc` goes to the protocol page."""
    return dataclasses.field(metadata={"subcon": subcon, "doc": doc})


class Layout:
    """Base of everything with a fixed byte layout; subclasses are made by `layout`."""

    STRUCT: ClassVar[Any]
    NAMES: ClassVar[tuple[str, ...]]
    SIZE_BYTES: ClassVar[int | None]
    """The size of a layout without a tail; None with one."""

    def pack(self) -> bytes:
        """Return the bytes; ValueError names the field that does not fit."""
        try:
            return bytes(self.STRUCT.build({name: getattr(self, name) for name in self.NAMES}))
        except (ConstructError, ValueError) as error:
            raise ValueError(f"{type(self).__name__}: {_one_line(error)}") from error

    @classmethod
    def unpack(cls, data: bytes, *, extensible: bool = False) -> Self:
        """Parse `data`; MessageError("length") or MessageError("value").

        With `extensible`, bytes after the last known field are ignored: a newer peer may have appended fields.
        """
        # the length first: a device looks at it first as well, and both name the same reason for the same bytes
        size = len(data) if cls.SIZE_BYTES is None else cls.SIZE_BYTES
        if len(data) < size or (len(data) > size and not extensible):
            raise MessageError("length", f"{cls.__name__}: {len(data)} bytes where the layout has {size}")
        try:
            parsed = cls.STRUCT.parse(data)
        except ConstructError as error:
            # construct wraps an adapter's ValueError only in part; a short read is a StreamError
            raise MessageError("length", f"{cls.__name__}: {_one_line(error)}") from error
        except ValueError as error:
            raise MessageError("value", f"{cls.__name__}: {_one_line(error)}") from error
        return cls(**{name: parsed[name] for name in cls.NAMES})


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


L = TypeVar("L", bound=Layout)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(wire,))
def layout(cls: type[L]) -> type[L]:
    """Make `cls` a frozen dataclass and give it the construct Struct of its fields."""
    made = dataclasses.dataclass(frozen=True, slots=False, kw_only=True)(cls)
    made.STRUCT = Struct(
        *[field.name / (field.metadata["subcon"] * field.metadata["doc"]) for field in dataclasses.fields(made)]  # type: ignore[arg-type]  # made one line above
    )
    made.NAMES = tuple(field.name for field in dataclasses.fields(made))  # type: ignore[arg-type]  # as above
    try:
        made.SIZE_BYTES = made.STRUCT.sizeof()
    except SizeofError:
        made.SIZE_BYTES = None
    return made
