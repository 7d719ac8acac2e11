"""Handing the collector's latest receipt to the device, until it has taken it (pure).

One receipt is on the line at a time, and only the latest counts. It is offered after hello, when it comes, and again with each
status that shows it is not taken; a device that refuses it is not asked again before the next receipt or hello. What
reaches beyond the device's records is about another life of the same label and stays here.
"""

from __future__ import annotations

from collections.abc import Callable

from host_agent.link.events import Answered
from protocol.messages import Receipt

Ask = Callable[[Receipt], int]
"""Sends a receipt and returns the number that the answer will bear."""


class Handover:
    """Belongs to one agent; `met` begins anew with each hello."""

    def __init__(self) -> None:
        self._receipt: Receipt | None = None
        self._asked: int | None = None
        self._handed: Receipt | None = None
        self.refused = 0

    def met(self, receipt: Receipt | None) -> None:
        """Begin with a device, and the latest receipt known for it."""
        self._receipt = receipt
        self._asked = None

    def lost(self) -> None:
        """Note that what was asked will not be answered."""
        self._asked = None

    def came(self, receipt: Receipt) -> bool:
        """Take a receipt for this device; tell whether it is news."""
        if self._receipt is not None and receipt.next_seq <= self._receipt.next_seq:
            return False
        self._receipt = receipt
        return True

    def offer(self, receipt_seq: int, next_seq: int, ask: Ask) -> None:
        """Ask the device to take the receipt, if it has taken them up to `receipt_seq` only and holds records to `next_seq`."""
        receipt = self._receipt
        if receipt is not None and self._asked is None and receipt_seq < receipt.next_seq <= next_seq:
            self._asked = ask(receipt)
            self._handed = receipt

    def answered(self, answer: Answered, next_seq: int, ask: Ask) -> Receipt | None:
        """Take an answer; return the receipt that it is about, None when it is about something else."""
        if answer.correlation != self._asked or self._handed is None:
            return None
        self._asked, handed = None, self._handed
        if answer.error is not None:
            self.refused += 1
            self._receipt = None
        elif not answer.gave_up:
            self.offer(handed.next_seq, next_seq, ask)  # a later one has come meanwhile
        return handed
