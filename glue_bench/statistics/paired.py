"""Compare two encoders that were evaluated on the same rows with the same seeds. Knows no records, no tables."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from glue_bench.statistics import intervals
from glue_bench.statistics.intervals import Floats, SplitPredictions

SIGNIFICANCE = 0.05  # of adjusted p-values
POWER = 0.8  # probability of finding the smallest detectable difference
_ROUNDING = 1e-12  # rounding error of a difference of scores


@dataclass(frozen=True, slots=True)
class PairedScores:
    """The first encoder's score minus the second's, in natural units."""

    difference: intervals.Interval  # of the medians over seeds
    p_rows: float  # two-sided, from swapping the two encoders' predictions of random rows

    @property
    def p_value(self) -> float:
        """The larger of `p_rows` and the difference's own p-value."""
        return max(self.p_rows, self.difference.p_value())

    @property
    def detectable(self) -> float:
        """The smallest true difference that such rows and seeds would show with probability POWER."""
        return self.difference.reach((1 - intervals.LEVEL) / 2) + self.difference.reach(1 - POWER)


def compare_pairs(
    splits: Mapping[str, SplitPredictions],
    parts: Sequence[tuple[str, str]],
    *,
    stream: np.random.Generator,
    draws: int = intervals.DRAWS,
) -> PairedScores:
    """Compare two encoders on one task.

    The test swaps the encoders' predictions, of all seeds together, on random rows: between equally good encoders, this
    changes only noise. Rows are the units, so the test includes the seeds' disagreement about rows, but not what moves
    a whole training up or down: that is in the interval. Ties count half (mid-p).

    Args:
        splits: split to the predictions of 2 x S runs: the first encoder's, then the second's with the same seeds.
        parts: (split, metric) of the scores whose mean is compared.
    """
    metrics = {name: [metric for split, metric in parts if split == name] for name in splits}

    def score(way: Callable[..., Mapping[str, Floats]]) -> Floats:
        """Score every split in one way, and average the score parts: (2S, ...)."""
        scores = {name: way(split, metrics[name]) for name, split in splits.items()}
        return np.asarray(np.mean([scores[split][metric] for split, metric in parts], axis=0), dtype=np.float64)

    drawn = score(functools.partial(intervals.resample_scores, stream=stream, draws=draws))
    scores = score(lambda split, names: intervals.score_counts(names, split))[:, 0]
    seeds = len(scores) // 2
    difference = intervals.interval_of_difference((scores[:seeds], drawn[:seeds]), (scores[seeds:], drawn[seeds:]))
    swapped = score(functools.partial(_score_swapped, stream=stream, draws=draws))  # (2S, draws)
    observed = abs(float(scores[:seeds].mean() - scores[seeds:].mean()))
    excess = np.abs(swapped[:seeds].mean(axis=0) - swapped[seeds:].mean(axis=0)) - observed  # (draws,)
    beyond, ties = float((excess > _ROUNDING).sum()), float((np.abs(excess) <= _ROUNDING).sum())
    return PairedScores(difference, min(1.0, (beyond + (ties + 1) / 2) / (draws + 1)))


def adjust_holm(p_values: Sequence[float]) -> list[float]:
    """Adjust by Holm's step-down method (Scand. J. Statist. 6, 1979), which bounds the chance of any false alarm."""
    adjusted, order = np.array(p_values, dtype=np.float64), np.argsort(p_values, kind="stable")
    adjusted[order] = np.maximum.accumulate(np.arange(len(order), 0, -1) * adjusted[order])
    return [float(p) for p in adjusted.clip(max=1)]


def _score_swapped(
    both: SplitPredictions, metrics: Sequence[str], *, stream: np.random.Generator, draws: int
) -> dict[str, Floats]:
    """Score 2 x S runs after the encoders swapped places on about half of the rows: metric to (2S, draws)."""
    patterns, counts = intervals.find_patterns(both, metrics)
    first, second = np.split(patterns.predictions, 2)
    once = counts == 1
    every = SplitPredictions(
        labels=np.tile(patterns.labels, 2),  # (2P,)
        predictions=np.block([[first, second], [second, first]]),  # (2S, 2P)
    )

    def draw(own: np.random.Generator, size: int) -> Floats:
        moved = np.empty((size, len(counts)))
        moved[:, once] = own.integers(0, 2, (size, int(once.sum())), dtype=np.uint8)  # a binomial of one
        moved[:, ~once] = own.binomial(counts[~once], 0.5, size=(size, int((~once).sum())))
        return np.hstack([counts - moved, moved])  # (b, 2P)

    return intervals.score_draws(metrics, every, draw=draw, stream=stream, draws=draws)
