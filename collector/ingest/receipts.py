"""How far a device's journal is whole, and the signed word that says so.

A receipt for `next_seq` = n says: of the journal that n - 1 belongs to, every record before n that exists is durably stored
here. Each rule below keeps that true:

- The covered stretch is contiguous: it ends before the first record whose link is a gap or broken. Records that the device
  has declared lost close a gap, and the stretch always ends at a stored record, whose MAC the receipt names.
- It begins at the journal's first record. When the collection meets a journal in its middle, earlier records may still be on
  the way, so nothing is signed at first. Only when they have not come for `adopt_after_ms` and the device's agent repeats its
  records (it does, for want of a receipt) does the stretch begin at the first stored record, for good; the missing start
  stays named as a gap.
- Journals do not vouch for each other. A new journal means that the device holds nothing of the old one, but an agent may: the
  old journal keeps its own position, is receipted on its own, and its unknown end stays named.

A receipt never goes back: `next_seq` of a journal only grows. Called by ingest/intake and ingest/core; pure over the store.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from collector.ingest.links import Link, journal_span
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
    connection: sa.Connection, window: Window, device: str, journal: int, now_ms: int, adopt_after_ms: int
) -> Position | None:
    """Bring the position of a journal up to what is stored, save and return it; None when nothing of it is stored."""
    floor, ceiling = journal_span(journal)
    known = standing.position(connection, device, journal)
    position = known or Position(
        device=device,
        journal=journal,
        first_seq=0,
        first_met_ms=now_ms,
        adopted_seq=None,
        next_seq=0,
        mac=ZERO_MAC,
        area=window.area,
        hall=window.hall,
        window=window.window,
        heard_ms=now_ms,
    )
    position.area, position.hall, position.window = window.area, window.hall, window.window
    position.heard_ms = now_ms
    begin = position.next_seq - 1
    if not position.next_seq:
        first = records.first_in(connection, device, floor, ceiling)
        if first is None:
            return None
        begin = _begin(position, first, now_ms, adopt_after_ms)
    if begin:
        last = records.whole_until(connection, device, begin, ceiling)
        if last is not None and last.seq >= position.next_seq:
            position.next_seq, position.mac = last.seq + 1, last.mac
    standing.save_position(connection, position, new=known is None)
    return position


def _begin(position: Position, first: tuple[int, Link], now_ms: int, adopt_after_ms: int) -> int:
    """Return the stored record with which the stretch begins, 0 when that cannot be said yet."""
    first_seq, link = first
    if first_seq != position.first_seq:
        position.first_seq, position.first_met_ms = first_seq, now_ms
    if link.is_whole:
        return first_seq
    if link is Link.GAP_BEFORE and now_ms - position.first_met_ms >= adopt_after_ms:
        position.adopted_seq = first_seq
        return first_seq
    return 0


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
