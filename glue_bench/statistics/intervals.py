"""From S seeds' scores, and the same on drawn rows, to an interval for what training and rows vary. Knows no metrics.

The multi-bootstrap (Sellam et al., arXiv:2106.16163) draws seeds and rows together. With the three to five seeds that
are usual, drawing S of S seeds is too narrow, and counts the seeds' disagreement about single rows twice. So the two
sources are told apart, as in a two-way analysis of variance: rows are drawn, the same for all seeds, and give
quantiles; seeds give a variance and Student's t with S - 1 degrees of freedom. The two are joined by their squares
(Zou and Donner, doi:10.1002/sim.3095). `tests/statistics/test_coverage.py`
shows that the intervals cover what they should.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from glue_bench.statistics.resampling import Floats

LEVEL = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A value and where it would lie for other seeds and other rows of the same kind."""

    value: float
    low: float
    high: float
    level: float
    rows_error: float  # standard error that drawing other rows gives
    training_error: float  # that training again adds; 0 with one seed, where nothing is known of it
    seeds: int

    @property
    def standard_error(self) -> float:
        """Rows and training together."""
        return math.hypot(self.rows_error, self.training_error)

    def reach(self, tail: float) -> float:
        """Half the width of the symmetric interval that leaves `tail` out on either side."""
        training = (
            float(special.stdtrit(self.seeds - 1, 1 - tail)) * self.training_error if self.training_error else 0.0
        )
        return math.hypot(float(special.ndtri(1 - tail)) * self.rows_error, training)

    def p_value(self) -> float:
        """Two-sided: the chance at which the symmetric interval would just touch 0."""
        low, high = 0.0, 0.5  # of a tail; `reach` falls with it
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (low, middle) if self.reach(middle) < abs(self.value) else (middle, high)
        return min(1.0, 2 * high)


def interval_of_mean(scores: Floats, resampled: Floats, *, level: float = LEVEL) -> Interval:
    """The interval for the expected score over seeds and rows, around the mean over seeds.

    Args:
        scores: (S,) on the rows themselves.
        resampled: (S, draws) on drawn rows, the same rows in every line.
        level: probability that the interval covers it.
    """
    deviations = resampled.mean(axis=0) - resampled.mean()
    noise = training_variance(scores, resampled) / len(scores)
    return _join(float(scores.mean()), deviations, noise, seeds=len(scores), level=level)


def interval_of_difference(
    first: tuple[Floats, Floats], second: tuple[Floats, Floats], *, level: float = LEVEL
) -> Interval:
    """The interval of a difference of medians over seeds, paired by seed and by row.

    Args:
        first: (S,) scores and (S, draws) scores on drawn rows.
        second: the same of what is subtracted: seed by seed, on the same drawn rows.
        level: probability that the interval covers the expected difference.
    """
    (a, a_drawn), (b, b_drawn) = first, second
    medians = np.median(a_drawn, axis=0) - np.median(b_drawn, axis=0)
    noise = training_variance(a - b, a_drawn - b_drawn) * variance_of_median(len(a))
    value = float(np.median(a) - np.median(b))
    return _join(value, medians - medians.mean(), noise, seeds=len(a), level=level)


def training_variance(scores: Floats, resampled: Floats) -> float:
    """Variance of a single seed's score that is not its disagreement with other seeds about single rows.

    Args:
        scores: (S,) on the rows themselves.
        resampled: (S, draws) on drawn rows, the same rows in every line.
    """
    count = len(scores)
    if count == 1:
        return 0.0
    of_mean = float(resampled.mean(axis=0).var())  # rows, and disagreement / S
    of_one = float(resampled.var(axis=1).mean())  # rows, and disagreement
    disagreement = max(0.0, (of_one - of_mean) * count / (count - 1))
    return max(0.0, float(scores.var(ddof=1)) - disagreement)


@functools.cache
def variance_of_median(count: int) -> float:
    """Of the median of `count` independent standard normal values; of an even number, the mean of the middle two."""
    outside = (count - 1) // 2  # values on either side of the middle one or two
    z = np.linspace(-9, 9, 1001)
    lower = np.exp(-(z**2) / 2) * special.ndtr(z) ** outside
    if count % 2:
        density = lower * special.ndtr(-z) ** outside
        return float(density @ z**2 / density.sum())
    upper = np.exp(-(z**2) / 2) * special.ndtr(-z) ** outside
    joint = np.outer(lower, upper)
    joint = np.triu(joint) - np.diag(np.diag(joint)) / 2  # the lower is not above the upper
    return float((joint * ((z[:, None] + z) / 2) ** 2).sum() / joint.sum())


def _join(value: float, deviations: Floats, noise: float, *, seeds: int, level: float) -> Interval:
    """Quantiles of what rows do, and `noise`, the variance that seeds add, as one interval."""
    outside = (1 - level) / 2
    below, above = np.quantile(deviations, [outside, 1 - outside])
    training = float(special.stdtrit(seeds - 1, 1 - outside)) * math.sqrt(noise) if noise > 0 else 0.0
    return Interval(
        value=value,
        low=value - math.hypot(below, training),
        high=value + math.hypot(above, training),
        level=level,
        rows_error=float(deviations.std()),
        training_error=math.sqrt(noise),
        seeds=seeds,
    )
