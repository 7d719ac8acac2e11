# modules of the board and of MicroPython, which the checks of CPython do not know
# mypy: ignore-errors
"""Stands in for the board's `rp2` in the VM: flash that a littlefs already uses."""

from ram_flash import RamFlash

the_flash = RamFlash(b"\xff" * (128 * 4096))


def Flash() -> RamFlash:  # noqa: N802  # the name is the board's
    """Return the one chip."""
    return the_flash
