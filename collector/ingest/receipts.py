"""How far a device's journal is whole, and the signed word that says so.

A receipt for `next_seq` = n says: of the journal that n - 1 belongs to, every record before n that exists is durably stored
here. Each rule below keeps that true:

- The covered stretch is contiguous: it ends before the first record whose link is a gap or broken. Records that the device
  has declared lost close a gap, and the stretch always ends at a stored record, whose MAC the receipt names.
- It begins at the journal's first record. When the collection meets a journal in its middle, earlier records may still be on
  the way, however long that takes (a broker can lose them twice), so nothing is signed. Only the device's own signed word ends
  the waiting: a boot record says which records a receipt covered then. What an earlier collection has receipted is not waited for;
  a hole in it stays named as a gap.
- Journals do not vouch for each other. A new journal means that the device holds nothing of the old one, but an agent may: the
  old journal keeps its own position, is receipted on its own, and its unknown end stays named.

A receipt never goes back: `next_seq` of a journal only grows. Called by ingest/intake and ingest/core; pure over the store.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from collector.ingest.links import journal_span
from collector.store import records, standing
from collector.store.standing import Position
from protocol.payloads import ReceiptPayload
from protocol.signing import ZERO_MAC, sign_receipt
from protocol.topics import Window


@dataclass(frozen=True, slots=True, order=True)
class ReceiptDue:
    """What is to be signed for one journal, and the window whose agent waits for it."""

    window: Window
    device: str
    next_seq: int
    mac: bytes


def advance(
    connection: sa.Connection, window: Window, device: str, journal: int, vouched_seq: int, now_ms: int
) -> Position | None:
    """Bring the position of a journal up to what is stored, save and return it; None when nothing of it is stored.

    `vouched_seq` is what the newest boot record at hand says: the device had a receipt for everything before it; or 0.
    """
    floor, ceiling = journal_span(journal)
    known = standing.position(connection, device, journal)
    position = known or Position(
        device=device,
        journal=journal,
        vouched_seq=0,
        next_seq=0,
        mac=ZERO_MAC,
        area=window.area,
        hall=window.hall,
        window=window.window,
        heard_ms=now_ms,
    )
    position.area, position.hall, position.window = window.area, window.hall, window.window
    position.heard_ms = now_ms
    position.vouched_seq = max(position.vouched_seq, vouched_seq)
    begin = _begin(connection, position, floor, ceiling)
    if begin is None:
        return None
    if begin:
        last = records.whole_until(connection, device, begin, ceiling)
        if last is not None and last.seq >= position.next_seq:
            position.next_seq, position.mac = last.seq + 1, last.mac
    standing.save_position(connection, position, new=known is None)
    return position


def _begin(connection: sa.Connection, position: Position, floor: int, ceiling: int) -> int | None:
    """Return the stored record from which the whole stretch goes on, 0 when there is none yet, None without any record."""
    begin = position.next_seq - 1 if position.next_seq else 0
    if not begin:
        first = records.first_in(connection, position.device, floor, ceiling)
        if first is None:
            return None
        first_seq, link = first
        begin = first_seq if link.is_whole else 0
    if begin < position.vouched_seq - 1:
        # the last that is held of what was receipted, or the first that was not: nothing before it is waited for
        held = records.before(connection, position.device, min(position.vouched_seq, ceiling) + 1, floor)
        begin = max(begin, held.seq) if held else begin
    return begin


def sign(key: bytes, due: ReceiptDue, issued_ms: int) -> ReceiptPayload:
    """Return the receipt as it goes to the window's agent."""
    receipt = sign_receipt(key, due.device, due.next_seq, due.mac, issued_ms)
    return ReceiptPayload(
        device=due.device,
        next_seq=due.next_seq,
        record_mac=due.mac.hex(),
        issued_ms=issued_ms,
        mac=receipt.mac.hex(),
    )
