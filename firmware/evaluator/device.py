"""The step loop: who is asked in which order.

One call of `step` scans the buttons, lets the link send and receive, moves the session and the lamps on, and does at most one
slow piece of housekeeping when nobody is at the counter. A press goes button → session → journal → lamps, in that order:
thanks are shown only for a record that is durable.
"""

from . import FIRMWARE_VERSION, wire
from .buttons import Buttons
from .clock import Clock
from .feedback import SOUND_CALL, SOUND_TEXTS, SOUND_WELCOME, Feedback
from .hardware import Board
from .identity import Identity
from .journal import Journal, JournalFault
from .link import Handler, Link
from .session import NOBODY, Session
from .signer import Signer

LEVELS = (
    wire.LEVEL_VERY_SATISFIED,
    wire.LEVEL_SATISFIED,
    wire.LEVEL_BASICALLY_SATISFIED,
    wire.LEVEL_DISSATISFIED,
    wire.LEVEL_VERY_DISSATISFIED,
)
CHANGE_MS = 3_000
REST_MS = 10_000
MUTE_RESET_MIN = 10
TIMEOUT_LEAST_MS = 1_000
TIMEOUT_MOST_MS = 3_600_000
_MOST_CUT_SHORT = 4  # writes in a row that power cuts may have ended; more of them are damage
_MOST_UNNAMED = 8


class Device(Handler):
    """One rating device; `board` is the hardware, `identity` what the technician provisioned, `now` the ticks at start."""

    def __init__(self, board: Board, identity: Identity, now: int) -> None:
        self._board = board
        self._identity = identity
        self.clock = Clock(now)
        self._signer = Signer(identity.key, identity.device)
        self.journal = Journal(board.flash, identity, self._signer)
        self._buttons = Buttons(board.keys(), now)
        self._feedback = Feedback(board, now)
        settings = identity.settings
        self._session = Session(settings.get("change_ms", CHANGE_MS), settings.get("rest_ms", REST_MS))
        self._release_on_ack = bool(settings.get("release_on_ack", False))
        self._mute_reset_s = 60 * settings.get("mute_reset_min", MUTE_RESET_MIN)
        self._mute_since_s = self._looked_s = 0
        self._staff = b""
        self._paused = False
        self._conditions = 0
        self._reported: list[tuple[int, int]] = []
        self._unnamed: list[tuple[int, int]] = []  # unreadable stretches that a full journal has had no room to name
        self.link = Link(board, self.journal, self)
        self.journal.recover()

    def step(self, now: int) -> None:
        """Do everything that is due at `now`; call every few milliseconds. Allocates nothing while nothing happens."""
        self.clock.tick(now)
        self._session.step(now)
        key = self._buttons.scan(self._board.keys(), now)
        if key >= 0:
            self._press(now, LEVELS[key])
        if self._session.is_overdue(now):
            self._expire(now)
        self.link.step(now)
        self._feedback.step(now)
        if self._session.state == wire.STATE_IDLE:
            self.journal.idle()
            self._reset_if_mute()

    def _reset_if_mute(self) -> None:
        """Start again when a host has been there and silent for long: after a PC's sleep a USB port can stay mute until a reset.

        Only while nobody is being served. What is recorded is in flash, and the agent tells staff and pause again. A port that
        stays mute is reset no more often than that, and a reset alone writes no record.
        """
        now_s = self.clock.uptime_s()
        if now_s == self._looked_s:
            return
        self._looked_s = now_s
        if self.link.talking or not self._mute_reset_s or not self._board.host_present():
            self._mute_since_s = now_s
        elif now_s - self._mute_since_s >= self._mute_reset_s:
            self._mute_since_s = now_s
            self._board.reset()

    # --- the citizen -----------------------------------------------------------------------------------------

    def _press(self, now: int, level: int) -> None:
        session = self._session
        kind, flags, refers_to = session.judge(level)
        if not kind:
            return
        value = session.open_ms(now) if kind == wire.KIND_RATING else 0
        seq = self._record(kind, level, flags, 0, refers_to, value, session.evaluation, session.digest)
        if not seq:
            self._feedback.refuse(now)
            return
        if kind == wire.KIND_RATING:
            session.rated(now, level, seq)
        else:
            session.extra()
        self._feedback.thank(now)

    def _expire(self, now: int) -> None:
        session = self._session
        open_ms = session.open_ms(now)
        recorded = self._record(wire.KIND_EXPIRED, 0, 0, 0, 0, open_ms, session.evaluation, session.digest)
        # without room it is tried again; against failing flash that would only wear the rest of it out
        if recorded or self._conditions & wire.CONDITION_JOURNAL_FAULT:
            session.close()
            self._feedback.uninvite()

    def _record(
        self,
        kind: int,
        level: int = 0,
        flags: int = 0,
        detail: int = 0,
        refers_to: int = 0,
        value: int = 0,
        evaluation: bytes = NOBODY,
        digest: bytes = NOBODY,
    ) -> int:
        """Make one record durable; return its number, or 0 after noting why it could not be."""
        if self._paused and level:
            flags |= wire.FLAG_WHILE_PAUSED
        if not self.link.talking:
            flags |= wire.FLAG_NO_HOST
        journal = self.journal
        try:
            seq = journal.append(kind, self.clock, level, flags, detail, refers_to, value, evaluation, digest, self._staff)
        except JournalFault as fault:
            self._condition(wire.CONDITION_JOURNAL_FAULT, True)
            self.link.alarm(wire.ERROR_JOURNAL_FAULT, fault.args[0])
            return 0
        if not seq and not self._conditions & wire.CONDITION_JOURNAL_FULL:
            self.link.alarm(wire.ERROR_JOURNAL_FULL, 0)
        if kind != wire.KIND_LOST:  # that one may be written where nothing else may
            self._condition(wire.CONDITION_JOURNAL_FULL, not seq)
        self._condition(wire.CONDITION_JOURNAL_FAULT, False)
        return seq

    # --- the host --------------------------------------------------------------------------------------------

    def request(self, now: int, message: int, correlation: int, payload: memoryview) -> int:
        """Carry out a request of the host; return 0 for done, an error number, or -1 when it is answered already."""
        if message == wire.TIME:
            self.clock.set_time(*wire.unpack_time(payload))
            return self._status(now, correlation)
        if message == wire.STATUS_REQUEST:
            wire.check_empty(payload)
            return self._status(now, correlation)
        if message == wire.OPEN:
            return self._open(now, *wire.unpack_open(payload))
        if message == wire.CANCEL:
            return self._cancel(*wire.unpack_cancel(payload))
        if message == wire.RECEIPT:
            return self._receipt(payload)
        if message == wire.SIGN_IN:
            (staff,) = wire.unpack_sign_in(payload)
            return self._sign_in(staff)
        if message == wire.PAUSE:
            (reason,) = wire.unpack_pause(payload)
            return self._pause(True, wire.KIND_PAUSED, reason)
        if message == wire.SIGN_OUT:
            wire.check_empty(payload)
            return self._sign_out()
        if message == wire.SAY:
            return self._say(*wire.unpack_say(payload))
        if message == wire.RESUME:
            wire.check_empty(payload)
            return self._pause(False, wire.KIND_RESUMED, 0)
        return wire.ERROR_UNKNOWN_TYPE

    def unreadable(self, first_seq: int, count: int) -> None:
        """Record, once per boot, that these records can no longer be read, unless the collector has them anyway."""
        if first_seq + count <= self.journal.receipt_seq:
            return
        if (first_seq, count) in self._reported:
            return
        reason = wire.LOST_CUT_SHORT
        for seq in range(first_seq, first_seq + min(count, _MOST_CUT_SHORT)):
            if count > _MOST_CUT_SHORT or not self.journal.was_cut_short(seq):
                reason = wire.LOST_DAMAGED
        if self._record(wire.KIND_LOST, detail=reason, refers_to=first_seq, value=count):
            self._reported.append((first_seq, count))
        elif len(self._unnamed) < _MOST_UNNAMED:
            self._unnamed.append((first_seq, count))

    def hello_answer(self, buffer: memoryview, version: int, session: int) -> int:
        """Write the answer to a hello; return its length."""
        journal = self.journal
        return wire.pack_hello_answer(
            buffer,
            0,
            version,
            wire.OLDEST_PROTOCOL_VERSION,
            wire.PROTOCOL_VERSION,
            wire.SCHEMA_HASH,
            session,
            self._identity.device,
            FIRMWARE_VERSION.encode(),
            journal.boot,
            self.clock.uptime_ms(),
            journal.oldest_seq,
            journal.next_seq,
            journal.receipt_seq,
            journal.capacity(),
            wire.CAPABILITY_RELEASE_ON_ACK if self._release_on_ack else 0,
        )

    def acknowledged(self, next_seq: int) -> None:
        """Hear that the host has records before `next_seq` durably; that releases them only where provisioned so."""
        if self._release_on_ack:
            self.journal.release(next_seq)
            self._has_room_again()

    def _open(self, now: int, evaluation: bytes, digest: bytes, timeout_ms: int, language: int) -> int:
        session = self._session
        if evaluation == NOBODY or not TIMEOUT_LEAST_MS <= timeout_ms <= TIMEOUT_MOST_MS:
            return wire.ERROR_VALUE
        if session.knows(evaluation):
            return 0
        opened = session.state == wire.STATE_OPENED
        if not self.journal.has_room(2 if opened else 1):
            self._condition(wire.CONDITION_JOURNAL_FULL, True)
            return wire.ERROR_JOURNAL_FULL  # better said now than to the citizen's finger
        if opened and not self._cancelled(wire.CANCEL_SUPERSEDED):
            return self._refusal()
        session.open(now, evaluation, digest, timeout_ms)
        self._feedback.invite(now, language)
        return 0

    def _say(self, prompt: int, number: int, language: int) -> int:
        if prompt == wire.PROMPT_TEXT:
            if not 1 <= number <= self._board.texts:
                return wire.ERROR_VALUE
            sound = SOUND_TEXTS + number - 1
        elif number:
            return wire.ERROR_VALUE
        else:
            sound = SOUND_WELCOME if prompt == wire.PROMPT_WELCOME else SOUND_CALL
        self._feedback.say(sound, language)
        return 0

    def _cancel(self, evaluation: bytes, reason: int) -> int:
        session = self._session
        if not session.knows(evaluation) or evaluation == NOBODY:
            return wire.ERROR_EVALUATION
        if session.state != wire.STATE_OPENED or session.evaluation != evaluation:
            return 0  # rated or ended already: a rating that was given stays
        if not self._cancelled(reason):
            return self._refusal()
        self._feedback.uninvite()
        return 0

    def _cancelled(self, reason: int) -> bool:
        session = self._session
        if not self._record(wire.KIND_CANCELLED, detail=reason, evaluation=session.evaluation, digest=session.digest):
            return False
        session.close()
        return True

    def _receipt(self, payload: memoryview) -> int:
        next_seq, record_mac, _issued_ms, mac = wire.unpack_receipt(payload)
        genuine = self._signer.receipt_is_genuine(payload[: len(payload) - 16], mac)
        taken = genuine and self.journal.receipt(next_seq, record_mac)
        self._condition(wire.CONDITION_RECEIPT_REFUSED, not taken)
        if taken:
            self._has_room_again()
        return 0 if taken else wire.ERROR_RECEIPT

    def _sign_in(self, staff: bytes) -> int:
        if not staff:
            return wire.ERROR_VALUE
        if staff == self._staff:
            return 0
        before, self._staff = self._staff, staff
        if not self._record(wire.KIND_SIGN_IN):
            self._staff = before
            return self._refusal()
        return 0

    def _sign_out(self) -> int:
        if self._staff:
            if not self._record(wire.KIND_SIGN_OUT):
                return self._refusal()
            self._staff = b""
        return 0

    def _pause(self, paused: bool, kind: int, reason: int) -> int:
        if self._paused != paused:
            if not self._record(kind, detail=reason):
                return self._refusal()
            self._paused = paused
            self._condition(wire.CONDITION_PAUSED, paused)
        return 0

    def _has_room_again(self) -> None:
        unnamed, self._unnamed = self._unnamed, []
        for first_seq, count in unnamed:  # the host has passed them and will not come by again
            self.unreadable(first_seq, count)
        if self._conditions & wire.CONDITION_JOURNAL_FULL and self.journal.has_room(1):
            self._condition(wire.CONDITION_JOURNAL_FULL, False)

    def _refusal(self) -> int:
        if self._conditions & wire.CONDITION_JOURNAL_FULL:
            return wire.ERROR_JOURNAL_FULL
        return wire.ERROR_JOURNAL_FAULT

    def _condition(self, condition: int, present: bool) -> None:
        if present:
            self._conditions |= condition
        else:
            self._conditions &= ~condition
        trouble = wire.CONDITION_JOURNAL_FULL | wire.CONDITION_JOURNAL_FAULT
        self._feedback.rest(self._paused, bool(self._conditions & trouble))

    def _status(self, now: int, correlation: int) -> int:
        utc_ms, uncertainty_ms, _quality = self.clock.utc()
        journal = self.journal
        stuck = self._buttons.stuck
        self._condition(wire.CONDITION_KEY_STUCK, bool(stuck))
        end = wire.pack_status(
            self.link.payload(),
            0,
            self.clock.uptime_ms(),
            utc_ms,
            uncertainty_ms,
            journal.oldest_seq,
            journal.next_seq,
            self.link.ack_seq,
            journal.receipt_seq,
            journal.free(),
            self._session.state,
            self._conditions,
            self._session.evaluation,
            self._staff,
            stuck,
            self.link.bad_frames,
            self.link.resent,
        )
        self.link.write(now, wire.STATUS, correlation, end)
        return -1
