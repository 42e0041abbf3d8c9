"""The independent sources of chance in a run. Knows no torch."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """The three independent sources of chance in a run, each a 32-bit seed."""

    head: int  # the new head's weights
    order: int  # of the training rows
    dropout: int

    @classmethod
    def from_seed(cls, seed: int) -> "Streams":
        """Derive the three from a run's seed."""
        head, order, dropout = (int(state) for state in np.random.SeedSequence(seed).generate_state(3))
        return cls(head=head, order=order, dropout=dropout)
