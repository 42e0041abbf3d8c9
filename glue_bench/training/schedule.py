"""How the learning rate rises and falls over the updates of a training."""

import math
from dataclasses import dataclass
from typing import Self

from glue_bench.config.schema import TrainerConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The learning rates of all updates, as shares of the highest.

    As transformers' schedules of the same names, but that their first update has a rate of 0 and so changes nothing:
    here it has what their second has. The floor is that of torch's LinearLR, and of transformers' cosine_with_min_lr.
    """

    total: int  # updates
    warmup: int  # of them, in which the rate rises in equal parts
    shape: str = "linear"  # then it falls: linear, cosine, or not at all: constant
    floor: float = 0.0  # that it falls to; the last update's rate is above it

    @classmethod
    def of(cls, settings: TrainerConfig, *, total: int) -> Self:
        """Return the schedule that a configuration asks for."""
        rising = settings.warmup_updates
        rising = math.ceil(total * settings.warmup) if rising is None else rising
        return cls(total=total, warmup=rising, shape=settings.schedule, floor=settings.floor)

    def share(self, step: int) -> float:
        """Return the share of the highest learning rate that update `step` (0 to total - 1) uses."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        left = (self.total - step) / (self.total - self.warmup)
        shares = {"linear": left, "cosine": (1 - math.cos(math.pi * left)) / 2, "constant": 1.0}
        return self.floor + (1 - self.floor) * shares[self.shape]
