"""The device's end of the line: frames in, answers and records out.

Silent until a valid hello, and again when the host has not been heard for 15 s. Records go out in the order of their
numbers, at most `window` of them ahead of the ack; when the ack does not come, everything from the first unacknowledged
record is sent again, each time after a longer wait. One frame is sent at a time and nothing more is read until it is gone,
so memory is bounded; a line that takes nothing for a second loses the frame, never the record.
"""

import struct
from binascii import crc32

from . import ticks, wire
from .fast import stuff_into, unstuff
from .hardware import Board
from .journal import Journal

HOST_SILENT_MS = 15_000
STALLED_MS = 1_000
RETRY_FIRST_MS = 300
RETRY_MOST_MS = 5_000
_HEAD_BYTES = 3
_READ_BYTES = 64
_MOST_WINDOW = 32
_FROM_DEVICE = 0x40  # message types from here on are those that a device sends


class Handler:
    """What the link asks of the device that it belongs to."""

    def request(self, now: int, message: int, correlation: int, payload: memoryview) -> int:
        """Carry out a request of the host; return 0 for done, an error number, or -1 when it is answered already."""
        raise NotImplementedError

    def hello_answer(self, buffer: memoryview, version: int, session: int) -> int:
        """Write the answer to a hello; return its length."""
        raise NotImplementedError

    def acknowledged(self, next_seq: int) -> None:
        """Hear that the host has every record before `next_seq` durably."""
        raise NotImplementedError

    def unreadable(self, first_seq: int, count: int) -> None:
        """Record, once per boot, that these records can no longer be read."""
        raise NotImplementedError


class Link:
    """Talks to the host over `board`; what the host asks for is done by `handler`."""

    def __init__(self, board: Board, journal: Journal, handler: Handler) -> None:
        self._board = board
        self._journal = journal
        self._handler = handler
        self._received = bytearray(wire.MAX_ENCODED_BYTES)
        self._received_len = 0
        self._skipping = False
        self._chunk = bytearray(_READ_BYTES)
        self._chunk_at = self._chunk_len = 0
        self._body = bytearray(wire.MAX_BODY_BYTES)
        self._out = bytearray(wire.MAX_ENCODED_BYTES + 2)
        self._out_view = memoryview(self._out)
        self._out_at = self._out_len = 0
        self._out_since = 0
        self.talking = False
        self._started = False
        self._heard = 0
        self._window = 1
        self._ack_seq = self._send_seq = 0
        self._top_seq = 0  # first record not yet sent in this conversation
        self._sent_most = 0  # the same since boot
        self._wait_since = 0
        self._retry_ms = RETRY_FIRST_MS
        self._timed_seq = 0  # the record whose round trip is being measured, 0 for none
        self._timed_at = 0
        self._trip_ms = 0
        self._alarm = (0, 0, 0)
        self.bad_frames = 0
        self.resent = 0

    @property
    def ack_seq(self) -> int:
        """First record that the host has not acknowledged in this conversation."""
        return self._ack_seq

    def step(self, now: int) -> None:
        """Send what waits, take what has arrived, send the next record. Allocates nothing while the line is quiet."""
        if self.talking and ticks.diff(now, self._heard) > HOST_SILENT_MS:
            self.talking = self._started = False
        if not self._flush(now):
            return
        if self._chunk_at >= self._chunk_len:
            self._chunk_at = 0
            self._chunk_len = self._board.receive(self._chunk)
        while self._chunk_at < self._chunk_len:
            byte = self._chunk[self._chunk_at]
            self._chunk_at += 1
            if byte:
                self._take(byte)
            elif self._received_len or self._skipping:
                self._end_of_frame(now)
                if not self._flush(now):
                    return
        if self.talking:
            if self._alarm[0]:
                code, about, detail = self._alarm
                self._alarm = (0, 0, 0)
                self._error(now, 0, code, about, detail)
            elif self._started:
                self._records(now)

    def alarm(self, code: int, detail: int) -> None:
        """Have the host told that something went wrong without being asked for; the last one wins."""
        self._alarm = (code, 0, detail)

    def write(self, now: int, message: int, correlation: int, payload_bytes: int) -> None:
        """Send the message whose payload stands in `payload()`; only while nothing else is being sent."""
        body = self._body
        struct.pack_into("<BH", body, 0, message, correlation)
        end = _HEAD_BYTES + payload_bytes
        struct.pack_into("<I", body, end, crc32(memoryview(body)[:end]))
        end = stuff_into(body, end + 4, self._out, 1)
        self._out[0] = self._out[end] = 0
        self._out_at, self._out_len, self._out_since = 0, end + 1, now
        self._flush(now)

    def payload(self) -> memoryview:
        """Return where the payload of the next message goes."""
        return memoryview(self._body)[_HEAD_BYTES:]

    # --- receiving -------------------------------------------------------------------------------------------

    def _take(self, byte: int) -> None:
        if self._skipping:
            return
        if self._received_len >= wire.MAX_ENCODED_BYTES:
            self._skipping = True
            return
        self._received[self._received_len] = byte
        self._received_len += 1

    def _end_of_frame(self, now: int) -> None:
        length = -1 if self._skipping else unstuff(self._received, self._received_len)
        self._received_len = 0
        self._skipping = False
        end = length - 4
        if end < _HEAD_BYTES or crc32(memoryview(self._received)[:end]) != struct.unpack_from("<I", self._received, end)[0]:
            self.bad_frames += 1
            return
        message, correlation = struct.unpack_from("<BH", self._received, 0)
        payload = memoryview(self._received)[_HEAD_BYTES:end]
        try:
            self._dispatch(now, message, correlation, payload)
        except wire.WireError as error:
            if self.talking or message == wire.HELLO:
                self._error(now, correlation, error.code, message, 0)

    def _dispatch(self, now: int, message: int, correlation: int, payload: memoryview) -> None:
        if message >= _FROM_DEVICE:
            return  # our own words: a terminal that echoes. To answer would never end
        if message == wire.HELLO:
            self._hello(now, correlation, payload)
            return
        if not self.talking:
            # anything else from a host that forgot to say hello: this is the one answer it gets without
            self._error(now, correlation, wire.ERROR_NO_HELLO, message, 0)
            return
        self._heard = now
        if message == wire.START:
            (next_seq,) = wire.unpack_start(payload)
            self._start(now, next_seq)
            code = 0
        elif message == wire.ACK:
            (next_seq,) = wire.unpack_ack(payload)
            self._acknowledged(now, next_seq)
            return
        else:
            code = self._handler.request(now, message, correlation, payload)
        if code == 0:
            self.write(now, wire.DONE, correlation, 0)
        elif code > 0:
            detail = self._journal.fault_sector if code == wire.ERROR_JOURNAL_FAULT else 0
            self._error(now, correlation, code, message, detail)

    def _hello(self, now: int, correlation: int, payload: memoryview) -> None:
        version_min, version_max, _hash, session, window = wire.unpack_hello(payload)
        self.talking = self._started = False  # whatever was before is over, also when this one is refused
        version = min(version_max, wire.PROTOCOL_VERSION)
        if version < max(version_min, wire.OLDEST_PROTOCOL_VERSION):
            detail = wire.OLDEST_PROTOCOL_VERSION << 8 | wire.PROTOCOL_VERSION
            self._error(now, correlation, wire.ERROR_VERSION, wire.HELLO, detail)
            return
        self.talking = True
        self._heard = now
        self._trip_ms = self._top_seq = 0
        self._window = min(max(window, 1), _MOST_WINDOW)
        end = self._handler.hello_answer(self.payload(), version, session)
        self.write(now, wire.HELLO_ANSWER, correlation, end)

    def _error(self, now: int, correlation: int, code: int, about: int, detail: int) -> None:
        self.write(now, wire.ERROR, correlation, wire.pack_error(self.payload(), 0, code, about, detail))

    # --- sending ---------------------------------------------------------------------------------------------

    def _flush(self, now: int) -> bool:
        """Give the line what it takes; tell whether nothing is left to send."""
        if self._out_at >= self._out_len:
            return True
        taken = self._board.send(self._out_view[self._out_at : self._out_len])
        if taken > 0:
            self._out_at += taken
            self._out_since = now
        elif ticks.diff(now, self._out_since) > STALLED_MS:
            self._out_at = self._out_len
        return self._out_at >= self._out_len

    def _start(self, now: int, next_seq: int) -> None:
        journal = self._journal
        self._ack_seq = self._send_seq = min(max(next_seq, journal.oldest_seq), journal.next_seq)
        # a start that was repeated for want of an answer comes after records that the host has had: its ack is for those
        self._top_seq = max(self._top_seq, self._send_seq)
        self._started = True
        self._retry_ms = RETRY_FIRST_MS
        self._timed_seq = 0
        self._wait_since = now

    def _acknowledged(self, now: int, next_seq: int) -> None:
        if not self._started or not self._ack_seq < next_seq <= self._top_seq:
            return
        if self._timed_seq and next_seq > self._timed_seq:
            trip_ms = ticks.diff(now, self._timed_at)
            self._trip_ms = trip_ms if not self._trip_ms else (7 * self._trip_ms + trip_ms) // 8
            self._timed_seq = 0
        self._ack_seq = next_seq
        self._send_seq = max(self._send_seq, next_seq)  # it may be for a sending before the last going back
        self._wait_since = now
        self._handler.acknowledged(next_seq)
        self._retry_ms = min(max(RETRY_FIRST_MS, 4 * self._trip_ms), RETRY_MOST_MS)

    def _records(self, now: int) -> None:
        journal = self._journal
        if self._ack_seq < journal.oldest_seq:
            # a receipt has freed what this host never acknowledged; it would wait for ever unless it asks again
            self.talking = self._started = False
            return
        if self._ack_seq < self._send_seq and ticks.diff(now, self._wait_since) > self._retry_ms:
            self._send_seq = self._ack_seq
            self._wait_since = now
            self._retry_ms = min(2 * self._retry_ms, RETRY_MOST_MS)
            self._timed_seq = 0  # an ack can no longer be told from one for the first sending
        seq = self._send_seq
        if seq >= journal.next_seq or seq - self._ack_seq >= self._window:
            return
        if self._ack_seq == seq:
            self._wait_since = now
        if journal.read(seq, self.payload()[: wire.RECORD_BYTES]):
            if seq < self._sent_most:
                self.resent += 1
            elif not self._timed_seq:
                self._timed_seq, self._timed_at = seq, now
            self._sent(seq + 1)
            self.write(now, wire.RECORD_MESSAGE, 0, wire.RECORD_BYTES)
        else:
            self._skip(now, seq)

    def _skip(self, now: int, seq: int) -> None:
        """Tell the host which numbers it will not get, and have that recorded."""
        count = self._journal.unreadable_from(seq, self.payload()[: wire.RECORD_BYTES])
        self._handler.unreadable(seq, count)
        self._sent(seq + count)
        self.write(now, wire.UNREADABLE, 0, wire.pack_unreadable(self.payload(), 0, seq, count))

    def _sent(self, next_seq: int) -> None:
        self._send_seq = next_seq
        self._top_seq = max(self._top_seq, next_seq)
        self._sent_most = max(self._sent_most, next_seq)
