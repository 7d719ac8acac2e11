"""Runs inside the MicroPython VM: the generated device codec against the golden vectors.

Arguments: the root of the repository, then the path of the vectors. Prints one line per difference and, last, the number
of checks made. Written for both interpreters, so without `typing`. The names of functions follow from those of messages.
"""

import json
import sys

sys.path.insert(0, sys.argv[1])
from firmware.evaluator import wire

done = 0


def check(name: str, got: object, wanted: object) -> None:
    """Count one comparison; print it when it fails."""
    global done
    done += 1
    if got != wanted:
        sys.stdout.write(f"DIFFERENT {name}: {got!r} instead of {wanted!r}\n")


def snake(name: str) -> str:
    """Return HelloAnswer as hello_answer."""
    return "".join(("_" if at and letter.isupper() else "") + letter.lower() for at, letter in enumerate(name))


def unpack(name: str, payload: bytes | memoryview) -> list[object]:
    """Return what the device reads, as hex or numbers."""
    function = getattr(wire, "unpack_" + snake(name), None)
    if function is None:
        wire.check_empty(payload)
        return []
    return [value.hex() if isinstance(value, bytes) else value for value in function(payload)]


def pack(name: str, fields: list[object]) -> bytes:
    """Return what the device writes, into the middle of a buffer."""
    buffer = bytearray(300)
    end = getattr(wire, "pack_" + snake(name))(buffer, 5, *fields)
    return bytes(buffer[5:end])


def as_device(value: object, is_text: bool) -> object:
    """Return a JSON value as the device holds it."""
    if isinstance(value, str):
        return value.encode() if is_text else bytes.fromhex(value)
    return value


with open(sys.argv[2]) as file:
    vectors = json.load(file)

order = vectors["field_order"]
names = {}
for vector in vectors["messages"]:
    name = vector["message"]
    names[vector["type"]] = name
    payload = bytes.fromhex(vector["payload"])
    fields = [as_device(vector["fields"][field], is_text) for field, is_text in order[name]]
    check(name + " type", getattr(wire, snake(name).upper()), vector["type"])
    if vector["type"] < 0x40:
        wanted = [value.hex() if isinstance(value, bytes) else value for value in fields]
        check(vector["name"], unpack(name, payload), wanted)
        check(vector["name"] + " in a view", unpack(name, memoryview(b"x" + payload)[1:]), wanted)
    elif fields:
        check(vector["name"], pack(name, fields), payload)

for vector in vectors["extended_messages"]:
    if vector["type"] < 0x40:
        name = names[vector["type"]]
        wanted = [vector["fields"][field] for field, _ in order[name]]
        check(name + " extended", unpack(name, bytes.fromhex(vector["payload"])), wanted)

for vector in vectors["bad_messages"]:
    if vector["reason"] != "type" and vector["type"] < 0x40:
        try:
            unpack(names[vector["type"]], bytes.fromhex(vector["payload"]))
            code = 0
        except wire.WireError as error:
            code = error.code
        check(vector["name"], code, {"length": wire.ERROR_LENGTH, "value": wire.ERROR_VALUE}[vector["reason"]])

for vector in vectors["records"] + vectors["single_records"]:
    fields = [as_device(vector["fields"][field], is_text) for field, is_text in order["Record"] if field not in ("mac", "crc")]
    check(vector["name"], pack("Record", fields), bytes.fromhex(vector["record"])[: wire.SIGNED_BYTES])

check("schema hash", f"{wire.SCHEMA_HASH:08x}", vectors["schema_hash"])
check("limits", [wire.MAX_PAYLOAD_BYTES, wire.MAX_BODY_BYTES, wire.MAX_ENCODED_BYTES], vectors["limits"])
sys.stdout.write(f"CHECKED {done}\n")
