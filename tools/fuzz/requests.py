"""Remote requests, as an agent's gate meets them: any bytes, as they are and as the words of a request that is signed."""

from __future__ import annotations

from collections.abc import Mapping

from host_agent.instant import Instant
from host_agent.remote.gate import Act, Gate
from protocol.payloads import Payload, RemoteAnswer
from protocol.remote import Asked, Refusal, answer_is_genuine, make_request
from protocol.signing import derive_remote_key
from tools.bench.paper import HALL_KEY, PaperDevice
from tools.fuzz.target import Check, Target, must, vectors

_SESSION = "7d0c1f6a52e94b3b8f3e9a6c11d2e047"
_MOST_ANSWER_BYTES = 60_000
_MINUTE_S = 60.0


def gate() -> Check:
    """What nobody signed is not answered; what is signed is answered with a known word, and done only where that is `ok`."""
    window = PaperDevice("PJ-0001", "07").window
    key = derive_remote_key(HALL_KEY, window)
    done: list[Asked] = []
    words = {"ok", *(one.value for one in Refusal)}
    made = Gate(key, window, [one.value for one in Asked], {one: _noting(done, one) for one in Asked})
    turns = [0]

    def check(data: bytes) -> None:
        turns[0] += 1
        now = Instant(_MINUTE_S * turns[0], 0)
        done.clear()
        must(made.received(data, _SESSION, now) is None and not done, "bytes that nobody signed are answered or acted on")
        kind, _, arguments = data.decode("utf-8", "replace").partition("\n")
        try:
            request = make_request(key, window, _SESSION, f"{turns[0]:032x}", kind, arguments).to_json()
        except ValueError:
            return  # no words of a request
        answer = made.received(request, _SESSION, now)
        must(answer is not None, "a signed request gets no answer")
        assert answer is not None  # noqa: S101  # as just said
        must(len(answer) < _MOST_ANSWER_BYTES, "an answer beyond what brokers take")
        said = RemoteAnswer.from_json(answer)
        must(answer_is_genuine(key, window, said), "an answer that its own key does not sign")
        must(said.word in words, f"an answer with the word {said.word}")
        must((said.word == "ok") == (len(done) == 1), f"{said.word}, and done: {done}")

    return check


def _noting(done: list[Asked], asked: Asked) -> Act:
    def act(_arguments: Payload, _now: Instant) -> Mapping[str, object]:
        done.append(asked)
        return {}

    return act


def _seeds() -> list[bytes]:
    words = [b"status\n{}", b"restart_link\n{}", b'log\n{"lines":5}', b"shell\n{}"]
    words.append(b'records\n{"device":"PJ-0001","first_seq":3,"last_seq":9}')
    return words + [vector["payload"].encode() for vector in vectors()["remote_requests"]]


TARGETS = (Target("requests", "an agent's gate for remote requests", gate, _seeds),)
