"""The seed streams of a run: where each kind of its randomness comes from. Knows no torch."""

from dataclasses import dataclass

import numpy as np

_HOLDOUT_STREAM = 1  # any number: the three streams of every run have no key


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedStreams:
    """The three seed streams that every run has, each a 32-bit seed."""

    head: int  # the new head's weights
    order: int  # of the training rows
    dropout: int

    @classmethod
    def from_seed(cls, seed: int) -> "SeedStreams":
        """Derive the three from a run's seed."""
        head, order, dropout = (int(state) for state in np.random.SeedSequence(seed).generate_state(3))
        return cls(head=head, order=order, dropout=dropout)


def holdout_stream(seed: int) -> int:
    """Return a run's seed stream for its holdout, a 32-bit seed independent of `SeedStreams`."""
    return int(np.random.SeedSequence(seed, spawn_key=(_HOLDOUT_STREAM,)).generate_state(1)[0])


def dropout_seed(stream: int, step: int, *, rank: int) -> int:
    """Return the 64-bit dropout seed of update `step` in process `rank`; rank 0 has the seeds of a single process."""
    numbers = [stream, step, *([rank] if rank else [])]
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
