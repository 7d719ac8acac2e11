"""Remote requests to a window's agent, and its answers: what exactly is signed, and what is asked for.

The signature covers the version, the window, the agent's MQTT session, the id and every word of it, laid out by construct, so
that no two requests and no request and answer have the same bytes. Arguments and bodies are JSON as text and are signed as that
text: nobody has to write the same JSON twice. Pure; called by the agent (verify, answer) and by whoever asks (sign, read).
"""

from __future__ import annotations

import hmac
from enum import Enum
from typing import Annotated, Final

from pydantic import Field

from protocol.errors import PayloadError
from protocol.fields import U8, Layout, Raw, TailText, Text, layout, wire
from protocol.payloads import DeviceId, Payload, RemoteAnswer, RemoteRequest, Seq
from protocol.signing import sign_words
from protocol.topics import Window

VERSION: Final = 1
MOST_LINES: Final = 500
"""Lines of a log in one answer; the length of the answer bounds them as well."""
MOST_RECORDS: Final = 1000
"""Records that one request may have sent again."""
MOST_BODY_CHARACTERS: Final = 49_152
_REQUEST: Final = b"hcp request 1\x00"
_ANSWER: Final = b"hcp answer 1\x00"


class Asked(Enum):
    """What can be asked of an agent."""

    STATUS = "status"
    """How the agent is: names, counts and troubles, never a level, a case or who is signed in."""
    LOG = "log"
    """The last lines of its log."""
    RECORDS = "records"
    """Records of a device are sent once more in the ordinary way; the collection stores each once."""
    RESTART_LINK = "restart_link"
    """The agent lets go of the device's port and looks for the device anew; the device keeps what it has."""


class Refusal(Enum):
    """Why a request that was signed well is not carried out."""

    UNKNOWN_KIND = "unknown_kind"
    """This version of the agent does not know what is asked."""
    NOT_ALLOWED = "not_allowed"
    """The configuration of that window does not allow it."""
    BAD_ARGUMENTS = "bad_arguments"
    """The arguments are none of this request."""
    BUSY = "busy"
    """Too many requests in a minute, or a citizen is being asked just now."""
    TOO_LARGE = "too_large"
    """More is asked for than one request may."""
    TOO_OLD = "too_old"
    """The id is below those that are remembered: the asker's clock is behind that of others who ask."""
    UNAVAILABLE = "unavailable"
    """The agent cannot do it now; its text says why."""


class StatusArguments(Payload):
    """None."""


class RestartLinkArguments(Payload):
    """None."""


class LogArguments(Payload):
    """How much of the log."""

    lines: Annotated[int, Field(ge=1, le=0xFFFFFFFF)] = 100


class RecordsArguments(Payload):
    """Which records: `first_seq` to `last_seq`, both included."""

    device: DeviceId
    first_seq: Seq
    last_seq: Seq


ARGUMENTS: Final[dict[Asked, type[Payload]]] = {
    Asked.STATUS: StatusArguments,
    Asked.LOG: LogArguments,
    Asked.RECORDS: RecordsArguments,
    Asked.RESTART_LINK: RestartLinkArguments,
}


@layout
class RequestWords(Layout):
    """What the MAC of a request covers, after "hcp request 1" and a zero."""

    version: int = wire(U8, "1")
    window: str = wire(Text(72), "area/hall/window")
    session: bytes = wire(Raw(16), "session of the agent's State")
    id: bytes = wire(Raw(16), "id of the request")
    kind: str = wire(Text(24), "what is asked")
    arguments: str = wire(TailText(), "the arguments as they stand")


@layout
class AnswerWords(Layout):
    """What the MAC of an answer covers, after "hcp answer 1" and a zero."""

    version: int = wire(U8, "1")
    window: str = wire(Text(72), "area/hall/window")
    session: bytes = wire(Raw(16), "session of the request")
    request: bytes = wire(Raw(16), "id of the request")
    word: str = wire(Text(24), "`ok` or why not")
    body: str = wire(TailText(), "the body as it stands")


def request_bytes(window: Window, said: RemoteRequest) -> bytes:
    """Return what is signed of a request to this window; ValueError for a text that is no UTF-8."""
    return _REQUEST + RequestWords(
        version=said.version,
        window=window.path,
        session=bytes.fromhex(said.session),
        id=bytes.fromhex(said.id),
        kind=said.kind,
        arguments=said.arguments,
    ).pack()  # fmt: skip


def answer_bytes(window: Window, said: RemoteAnswer) -> bytes:
    """Return what is signed of an answer of this window; ValueError for a text that is no UTF-8."""
    return _ANSWER + AnswerWords(
        version=said.version,
        window=window.path,
        session=bytes.fromhex(said.session),
        request=bytes.fromhex(said.request),
        word=said.word,
        body=said.body,
    ).pack()  # fmt: skip


def make_request(key: bytes, window: Window, session: str, request_id: str, kind: str, arguments: str) -> RemoteRequest:
    """Return a signed request."""
    unsigned = RemoteRequest(
        version=VERSION, session=session, id=request_id, kind=kind, arguments=arguments, mac=bytes(16).hex()
    )
    return unsigned.model_copy(update={"mac": sign_words(key, request_bytes(window, unsigned)).hex()})


def make_answer(key: bytes, window: Window, session: str, request_id: str, word: str, body: str) -> RemoteAnswer:
    """Return a signed answer; PayloadError for a body that is too long."""
    if len(body) > MOST_BODY_CHARACTERS:
        raise PayloadError("value", f"RemoteAnswer.body: {len(body)} characters are more than {MOST_BODY_CHARACTERS}")
    unsigned = RemoteAnswer(version=VERSION, session=session, request=request_id, word=word, body=body, mac=bytes(16).hex())
    return unsigned.model_copy(update={"mac": sign_words(key, answer_bytes(window, unsigned)).hex()})


def request_is_genuine(key: bytes, window: Window, said: RemoteRequest) -> bool:
    """True when it was signed for this window with its key."""
    try:
        words = request_bytes(window, said)
    except ValueError:
        return False
    return hmac.compare_digest(sign_words(key, words), bytes.fromhex(said.mac))


def answer_is_genuine(key: bytes, window: Window, said: RemoteAnswer) -> bool:
    """True when it was signed by this window's agent, or by who else holds the key."""
    try:
        words = answer_bytes(window, said)
    except ValueError:
        return False
    return hmac.compare_digest(sign_words(key, words), bytes.fromhex(said.mac))
