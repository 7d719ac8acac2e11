"""What a rating costs the device's flash, as `tools/journal_figures.py` counts it."""

from __future__ import annotations

from tools.bench.table import Effort, Goal, Row
from tools.journal_figures import lived


def flash_rows(effort: Effort) -> list[Row]:
    """Counted on flash in memory: the same every time."""
    counted = lived(effort.of(20_000, 1_000))
    return [
        Row(
            "flash-bytes",
            "device: bytes programmed for each byte of a record",
            counted["bytes_programmed_per_record_byte"],
            "",
            goal=Goal(at_most=1.1),
        ),
        Row(
            "flash-erases", "device: sectors erased for each rating", counted["erases_per_rating"], "", goal=Goal(at_most=0.02)
        ),
    ]
