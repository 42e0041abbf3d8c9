"""The independent sources of chance in a run. Knows no torch."""

from dataclasses import dataclass

import numpy as np

_HOLDOUT_STREAM = 1  # any key but none: the three have none


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """The three that every run has, each a 32-bit seed."""

    head: int  # the new head's weights
    order: int  # of the training rows
    dropout: int

    @classmethod
    def from_seed(cls, seed: int) -> "Streams":
        """Derive the three from a run's seed."""
        head, order, dropout = (int(state) for state in np.random.SeedSequence(seed).generate_state(3))
        return cls(head=head, order=order, dropout=dropout)


def holdout_stream(seed: int) -> int:
    """A run's stream for its holdout, a 32-bit seed independent of `Streams`."""
    return int(np.random.SeedSequence(seed, spawn_key=(_HOLDOUT_STREAM,)).generate_state(1)[0])
