"""Owns the random choices of one split, and which entries of a table a split may use. Knows no words, no task."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, TypeVar

Entry = TypeVar("Entry")

# One entry in this many is kept out of the training rows, so that validation also asks for unseen words.
HELD_OUT_EVERY: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Chooser:
    """A seeded source of choices for one split."""

    rng: Random
    split: str

    def allow(self, table: Sequence[Entry]) -> Sequence[Entry]:
        """The entries that the split may use: all of them, or in "train" all but every sixth."""
        if self.split != "train":
            return table
        return [entry for position, entry in enumerate(table) if position % HELD_OUT_EVERY != HELD_OUT_EVERY - 1]

    def pick(self, table: Sequence[Entry]) -> Entry:
        """One entry that the split may use."""
        return self.rng.choice(self.allow(table))

    def pick_two(self, table: Sequence[Entry]) -> tuple[Entry, Entry]:
        """Two different entries that the split may use."""
        first, second = self.rng.sample(self.allow(table), 2)
        return first, second

    def pick_weighted(self, table: Sequence[tuple[Entry, int]]) -> Entry:
        """One first half of the (entry, weight) pairs, as often as its weight says, in every split."""
        return self.rng.choice([entry for entry, weight in table for _ in range(weight)])

    def chance(self, rate: float) -> bool:
        """True at this rate, between 0 and 1."""
        return self.rng.random() < rate
