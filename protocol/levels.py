"""The five levels of a rating, kept by name.

Numbers differ between standards (GB/T 39046-2020 counts the other way round), so a number leaves this enumeration only
on our own wire and at an adapter's edge, never as a bare integer inside.
"""

from __future__ import annotations

from enum import IntEnum


class Level(IntEnum):
    """One of the plan's five levels; the value is the number on our own wire."""

    VERY_SATISFIED = 5
    SATISFIED = 4
    BASICALLY_SATISFIED = 3
    DISSATISFIED = 2
    VERY_DISSATISFIED = 1

    @property
    def word(self) -> str:
        """The level as it stands in JSON, e.g. `very_satisfied`."""
        return self.name.lower()

    @property
    def chinese(self) -> str:
        """The level as citizens read it."""
        return _CHINESE[self]

    @property
    def is_bad(self) -> bool:
        """True for the two levels that the plan counts as 差评."""
        return self <= Level.DISSATISFIED

    @classmethod
    def from_word(cls, word: str) -> Level:
        """Return the level with this JSON word; ValueError for any other text."""
        for level in cls:
            if level.word == word:
                return level
        raise ValueError(f"not a level: {word!r}")


_CHINESE = {
    Level.VERY_SATISFIED: "非常满意",
    Level.SATISFIED: "满意",
    Level.BASICALLY_SATISFIED: "基本满意",
    Level.DISSATISFIED: "不满意",
    Level.VERY_DISSATISFIED: "非常不满意",
}
