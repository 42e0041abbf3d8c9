"""The learning rate over a training, beside torch's and transformers' own schedulers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import LinearLR, LRScheduler
from transformers import (
    get_constant_schedule_with_warmup,
    get_cosine_schedule_with_warmup,
    get_cosine_with_min_lr_schedule_with_warmup,
    get_linear_schedule_with_warmup,
)

from glue_bench.training.course import rate_share
from tests.support.fitting import train_on
from tests.support.training import encoded_of, settings

TOTAL = 50
Make = Callable[[torch.optim.Optimizer], LRScheduler]


def rates_of(make: Make, *, count: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=1.0)
    scheduler, rates = make(optimizer), list[float]()
    for _ in range(count):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def usual(make: Any, warmup: int, **more: float) -> Make:
    if make is get_constant_schedule_with_warmup:
        return lambda optimizer: make(optimizer, num_warmup_steps=warmup)
    return lambda optimizer: make(optimizer, num_warmup_steps=warmup, num_training_steps=TOTAL, **more)


@pytest.mark.parametrize(
    ("changes", "rising", "make"),
    [
        ({"warmup": 0.06}, 3, usual(get_linear_schedule_with_warmup, 3)),
        ({"warmup": 0.0}, 0, usual(get_linear_schedule_with_warmup, 0)),
        ({"warmup_updates": 7}, 7, usual(get_linear_schedule_with_warmup, 7)),
        ({"warmup_updates": 0}, 0, usual(get_linear_schedule_with_warmup, 0)),
        ({"warmup_updates": 60}, 60, usual(get_linear_schedule_with_warmup, 60)),  # never at its highest
        ({"schedule": "cosine", "warmup": 0.1}, 5, usual(get_cosine_schedule_with_warmup, 5)),
        (
            {"schedule": "cosine", "floor": 0.1, "warmup_updates": 5},
            5,
            usual(get_cosine_with_min_lr_schedule_with_warmup, 5, min_lr_rate=0.1),
        ),
        ({"schedule": "constant", "warmup": 0.2}, 10, usual(get_constant_schedule_with_warmup, 10)),
        (
            {"floor": 0.25, "warmup": 0.0},
            0,
            lambda optimizer: LinearLR(optimizer, start_factor=1.0, end_factor=0.25, total_iters=TOTAL),
        ),
    ],
)
def test_a_schedule_is_that_of_torch_or_transformers_without_an_update_that_changes_nothing(
    changes: dict[str, object], rising: int, make: Make
) -> None:
    changed = settings(**changes)
    theirs = rates_of(make, count=TOTAL + 1)
    expected = [theirs[step + (step < rising)] for step in range(TOTAL)]  # our first update has what their second has
    assert [rate_share(changed, step, total=TOTAL) for step in range(TOTAL)] == pytest.approx(expected, abs=1e-12)
    assert min(expected) > 0


def test_a_training_uses_its_schedule(tiny_roberta: Path) -> None:
    changed = settings(schedule="cosine", floor=0.2, warmup_updates=2)
    encoded = encoded_of([5] * 19, seed=4, pad_id=1)
    _, history, _ = train_on(tiny_roberta, encoded, changed)
    shares = [rate_share(changed, step, total=6) for step in range(6)]
    assert [line.learning_rate for line in history] == pytest.approx([1e-3 * share for share in shares])
