"""The course of a training: its seed streams, learning rates, and the lines of its history. Knows no torch."""

import math
from dataclasses import dataclass

import numpy as np

from glue_bench.config.schema import TrainerConfig

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
    return int(np.random.SeedSequence([stream, step, rank]).generate_state(1, np.uint64)[0])


def rate_share(settings: TrainerConfig, step: int, *, total: int) -> float:
    """Return the share of the highest learning rate that update `step` (0 to total - 1) uses.

    As transformers' schedules of the same names, but that their first update has a rate of 0 and so changes nothing:
    here it has what their second has. The floor, which the last update's rate is above, is that of torch's LinearLR,
    and of transformers' cosine_with_min_lr.
    """
    rising = math.ceil(total * settings.warmup) if settings.warmup_updates is None else settings.warmup_updates
    if step < rising:  # in equal parts
        return (step + 1) / rising
    left = (total - step) / (total - rising)
    shares = {"linear": left, "cosine": (1 - math.cos(math.pi * left)) / 2, "constant": 1.0}
    return settings.floor + (1 - settings.floor) * shares[settings.schedule]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """What is known of an update, and of those since the line before."""

    step: int  # updates done, 1 to steps
    steps: int  # updates in total
    epoch: int  # 1 to epochs
    loss: float  # mean over the updates since the last line
    learning_rate: float
    gradient_norm: float  # before clipping, of this update
    tokens_per_second: float  # real tokens, since the start
    dev: float | None = None  # the task's score on the dev set after this update, if `eval_every` asks for it
