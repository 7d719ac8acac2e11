"""What is done when somebody asks from afar: each a bounded step in the agent's thread, none on the way of a rating.

Never a level, a case or who is signed in. Records go again by the ordinary way, so that the collection checks and stores them as
it does all others. Called by the gate, which has checked who asks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from host_agent.instant import Instant
from host_agent.link.attachment import Attachment
from host_agent.remote.gate import Act, RefusedError
from host_agent.report import TOLD, StatusReport
from host_agent.store.outbox import Outbox
from protocol.payloads import Payload
from protocol.remote import MOST_LINES, MOST_RECORDS, Asked, LogArguments, RecordsArguments, Refusal

MOST_LOG_BYTES = 40_000
"""Of the lines as they stand in the message, JSON in JSON: brokers commonly take 64 KiB."""


@dataclass(frozen=True, slots=True)
class Acts:
    """The parts that the acts need; all are used in the agent's thread."""

    report: Callable[[Instant], StatusReport]
    log_lines: Callable[[int], Sequence[str]]
    outbox: Outbox
    attachment: Attachment
    is_asking: Callable[[], bool]
    """Whether a citizen is being asked just now."""
    device_holds: Callable[[str], range]
    """The numbers of the records that a device at this window holds; empty for one that is not here."""
    read_from: Callable[[str, int, Instant], None]
    """Has that device send its records from a number on."""
    look_again: Callable[[], None]
    """Has the publisher look at what was put back to be sent."""

    def by_kind(self) -> dict[Asked, Act]:
        """Return what is done for each kind."""
        return {
            Asked.STATUS: self._status,
            Asked.LOG: self._log,
            Asked.RECORDS: self._records,
            Asked.RESTART_LINK: self._restart_link,
        }

    def _status(self, _arguments: Payload, now: Instant) -> Mapping[str, object]:
        return {name: value for name, value in asdict(self.report(now)).items() if name in TOLD}

    def _log(self, arguments: Payload, _now: Instant) -> Mapping[str, object]:
        assert isinstance(arguments, LogArguments)  # noqa: S101  # the gate has parsed them so
        if arguments.lines > MOST_LINES:
            raise RefusedError(Refusal.TOO_LARGE, f"一次至多 {MOST_LINES} 行 so many lines at most")
        kept: list[str] = []
        room = MOST_LOG_BYTES
        for line in reversed(self.log_lines(arguments.lines)):
            room -= len(_quoted(_quoted(line)).encode("utf-8"))
            if room < 0:
                break
            kept.append(line)
        return {"lines": kept[::-1]}

    def _records(self, arguments: Payload, now: Instant) -> Mapping[str, object]:
        assert isinstance(arguments, RecordsArguments)  # noqa: S101  # as above
        device, wanted = arguments.device, range(arguments.first_seq, arguments.last_seq + 1)
        if not wanted:
            raise RefusedError(Refusal.BAD_ARGUMENTS, "first_seq 大于 last_seq is after last_seq")
        if len(wanted) > MOST_RECORDS:
            raise RefusedError(Refusal.TOO_LARGE, f"一次至多 {MOST_RECORDS} 条 so many records at most")
        here = self.outbox.send_once_more(device, wanted.start, wanted.stop)
        if here:
            self.look_again()
        held = self.device_holds(device)
        missing = [seq for seq in wanted if seq not in here]
        in_device = [seq for seq in missing if seq in held]
        if in_device:
            self.read_from(device, in_device[0], now)
        return {
            "sent_again": len(here),
            "asked_of_device": len(in_device),
            "nowhere": len(missing) - len(in_device),
        }

    def _restart_link(self, _arguments: Payload, now: Instant) -> Mapping[str, object]:
        if self.is_asking():
            raise RefusedError(Refusal.BUSY, "正在请群众评价，请稍后再试 a citizen is being asked just now: ask again later")
        was = self.attachment.state
        self.attachment.restart(now)
        return {"was": was}


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
