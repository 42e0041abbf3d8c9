"""How the learning rate rises and falls over the updates of a training."""

import math

from glue_bench.config.schema import TrainerConfig


def rising_updates(settings: TrainerConfig, *, total: int) -> int:
    """Return in how many of all updates the learning rate rises, in equal parts."""
    return math.ceil(total * settings.warmup) if settings.warmup_updates is None else settings.warmup_updates


def rate_share(settings: TrainerConfig, step: int, *, total: int) -> float:
    """Return the share of the highest learning rate that update `step` (0 to total - 1) uses.

    As transformers' schedules of the same names, but that their first update has a rate of 0 and so changes nothing:
    here it has what their second has. The floor, which the last update's rate is above, is that of torch's LinearLR,
    and of transformers' cosine_with_min_lr.
    """
    if step < (rising := rising_updates(settings, total=total)):
        return (step + 1) / rising
    left = (total - step) / (total - rising)
    shares = {"linear": left, "cosine": (1 - math.cos(math.pi * left)) / 2, "constant": 1.0}
    return settings.floor + (1 - settings.floor) * shares[settings.schedule]
