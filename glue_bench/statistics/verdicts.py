"""Whether a published number was reproduced. Knows no records, no tables.

The published runs were scored on the same dev rows as ours, so only training noise counts: the number is asked to lie
in the interval that our seeds predict for runs like theirs. Nothing is known of the noise of theirs: no p-value.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from glue_bench.statistics.intervals import LEVEL, variance_of_median

FEWEST_SEEDS = 3  # below, a standard deviation says next to nothing
MOST_SEEDS = 1000  # that are ever asked for
_ROUNDING = 1e-9  # a mean of equal scores times 100 differs from them by less

REPRODUCED, BELOW, ABOVE, INCONCLUSIVE = "reproduced", "below", "above", "inconclusive"
NOT_COMPARABLE, NOT_RUN, FAILED = "not comparable", "not run", "failed"
VERDICTS = (REPRODUCED, BELOW, ABOVE, INCONCLUSIVE, NOT_COMPARABLE, NOT_RUN, FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the comparison with one published number is worth."""

    kind: str  # one of VERDICTS
    reason: str  # in words; empty where the kind says it all
    low: float | None = None  # of the interval for a run like theirs, in the units of the scores
    high: float | None = None
    seeds_needed: int | None = None  # seeds that would decide, if mean and spread stay as they are


def judge_published(
    scores: Sequence[float], published: float, *, rounding: float, runs: int = 1, level: float = LEVEL
) -> Verdict:
    """Compare our seeds' scores with one published number.

    *below* and *above* say where ours are. *inconclusive*: the number lies inside only because so few seeds leave the
    interval wide; with many more of the same mean and spread it would lie outside.

    Args:
        scores: one per seed, in the units of `published`.
        published: a single run's score, or the median of `runs`.
        rounding: half a unit of its last digit.
        runs: odd; how many runs the published number is the median of.
        level: probability that the interval holds a run like theirs, if theirs is one of ours.
    """
    count = len(scores)
    if count < FEWEST_SEEDS:
        return Verdict(
            kind=INCONCLUSIVE,
            reason=f"{count} {'seed' if count == 1 else 'seeds'}; at least {FEWEST_SEEDS} are needed",
            seeds_needed=FEWEST_SEEDS,
        )
    mean, spread = float(np.mean(scores)), float(np.std(scores, ddof=1))
    if np.ptp(scores) < _ROUNDING:
        return Verdict(kind=INCONCLUSIVE, reason="all seeds score the same: no training noise was seen")
    theirs = variance_of_median(runs)
    reach = _reach(count, spread, theirs, level)
    distance = abs(published - mean) - rounding
    low, high = mean - reach, mean + reach
    if distance > reach:
        return Verdict(kind=BELOW if mean < published else ABOVE, reason="", low=low, high=high)
    if distance <= float(special.ndtri((1 + level) / 2)) * spread * math.sqrt(theirs):
        return Verdict(kind=REPRODUCED, reason="", low=low, high=high)
    needed = next(
        (more for more in range(count + 1, MOST_SEEDS + 1) if distance > _reach(more, spread, theirs, level)), None
    )
    told = f"about {needed} seeds would decide" if needed else f"more than {MOST_SEEDS} seeds would be needed"
    return Verdict(kind=INCONCLUSIVE, reason=told, low=low, high=high, seeds_needed=needed)


def _reach(count: int, spread: float, theirs: float, level: float) -> float:
    """Half the width of the interval that `count` seeds predict for a value of variance `theirs` times theirs."""
    return float(special.stdtrit(count - 1, (1 + level) / 2)) * spread * math.sqrt(1 / count + theirs)
