"""Scores on resampled rows, and the intervals that follow from them for other rows and other trainings.

All seeds, and both encoders of a comparison, are scored on the same rows, drawn with replacement. Rows with the same
labels and predictions are one pattern, and the number of times that a pattern is drawn is multinomial: exactly the
bootstrap of rows, at the cost of the patterns. Undefined scores follow `glue_bench.tasks.metrics`.

The sources of noise are separated as in a two-way analysis of variance, for reasons that docs/report.md gives: drawn
rows give quantiles, seeds a variance and Student's t with S - 1 degrees of freedom, and their squares are added (Zou
and Donner, doi:10.1002/sim.3095). `tests/statistics/test_coverage.py` shows that the intervals cover what they should.

Shapes: S seeds, n rows, P patterns, b draws of a block.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy  # which loads scipy.special, slowly, where it is first used
from numpy.typing import NDArray

from glue_bench.machine import usable_cores

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Floats]  # from a block's seed stream, (b, P) counts

LEVEL = 0.95  # probability that an interval covers the expected score
DRAWS = 2000
_ROWS_FOR_A_PATTERN = 16  # drawing a pattern takes as long as drawing this many rows
_OF_RIGHT_ROWS = {"accuracy", "micro_f1"}  # metrics that depend only on which predictions are right
BLOCK_SIZE = 60_000  # counts in a block of draws x patterns, whose arrays fit a core's cache


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitPredictions:
    """Predictions of S runs on the same n rows of one split."""

    labels: Floats  # (n,) class codes, or scores
    predictions: Floats  # (S, n) of the same kind


@dataclass(frozen=True, slots=True)
class Interval:
    """A score, or a difference of scores, with its range for other seeds and other rows of the same kind."""

    value: float
    low: float
    high: float
    rows_error: float  # standard error from drawing other rows
    training_error: float  # standard error from training again; 0 with one seed, where it is unknown
    seeds: float

    def reach(self, tail: float) -> float:
        """Return half the width of the symmetric interval that leaves out `tail` on either side."""
        training = self.training_error and float(scipy.special.stdtrit(self.seeds - 1, 1 - tail)) * self.training_error
        return math.hypot(float(scipy.special.ndtri(1 - tail)) * self.rows_error, training)

    def p_value(self) -> float:
        """Return the two-sided p-value: the level at which the symmetric interval would just touch 0."""
        low, high = 0.0, 0.5  # of a tail; `reach` falls as the tail grows
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (low, middle) if self.reach(middle) < abs(self.value) else (middle, high)
        return min(1.0, 2 * high)


def interval_of_mean(scores: Floats, resampled: Floats) -> Interval:
    """Compute the interval for the expected score over seeds and rows, around the mean over seeds.

    The (S,) `scores` are on the rows themselves; `resampled` (S, draws) on drawn rows, the same in every line.
    """
    return _join(scores.mean(), resampled.mean(axis=0), seeds=(scores, resampled), share=1 / len(scores))


def interval_of_difference(first: tuple[Floats, Floats], second: tuple[Floats, Floats]) -> Interval:
    """Compute the interval of a difference of medians over seeds, paired by seed and by row.

    It is the first minus the second: (S,) scores, and (S, draws) on drawn rows, with the same seeds and rows in both.
    """
    (a, a_drawn), (b, b_drawn) = first, second
    medians = np.median(a_drawn, axis=0) - np.median(b_drawn, axis=0)
    seeds = (a - b, a_drawn - b_drawn)
    return _join(np.median(a) - np.median(b), medians, seeds=seeds, share=variance_of_median(len(a)))


@functools.cache
def variance_of_median(count: int) -> float:
    """Return the variance of the median of `count` standard normal values (if even, the mean of the middle two)."""
    outside = (count - 1) // 2  # values on either side of the middle
    z = np.linspace(-9, 9, 1001)
    lower = np.exp(-(z**2) / 2) * scipy.special.ndtr(z) ** outside
    if count % 2:
        density = lower * scipy.special.ndtr(-z) ** outside
        return float(density @ z**2 / density.sum())
    upper = np.exp(-(z**2) / 2) * scipy.special.ndtr(-z) ** outside
    joint = np.outer(lower, upper)
    joint = np.triu(joint) - np.diag(np.diag(joint)) / 2  # lower <= upper
    return float((joint * ((z[:, None] + z) / 2) ** 2).sum() / joint.sum())


def resample_scores(
    split: SplitPredictions, metrics: Sequence[str], *, stream: np.random.Generator, draws: int = DRAWS
) -> dict[str, Floats]:
    """Compute some of `glue_bench.config.task.METRICS` on drawn rows: metric to (S, draws)."""
    patterns, counts = find_patterns(split, metrics)
    rows, shares, pattern_of = len(split.labels), counts / counts.sum(), np.repeat(np.arange(len(counts)), counts)

    def draw(own: np.random.Generator, size: int) -> Floats:
        if _ROWS_FOR_A_PATTERN * len(counts) < rows:
            return own.multinomial(rows, shares, size=size).astype(np.float64)
        found = pattern_of[own.integers(0, rows, (size, rows), dtype=np.int32)]
        return np.stack([np.bincount(line, minlength=len(counts)) for line in found]).astype(np.float64)

    return score_draws(metrics, patterns, draw=draw, stream=stream, draws=draws)


def find_patterns(split: SplitPredictions, metrics: Sequence[str]) -> tuple[SplitPredictions, NDArray[np.int64]]:
    """Return the rows that differ in what the metrics read, (P,), and how many there are of each."""
    labels, predictions = split.labels, split.predictions
    if set(metrics) <= _OF_RIGHT_ROWS:
        labels, predictions = np.ones(labels.shape), (predictions == labels).astype(np.float64)
    code = np.zeros(labels.shape, dtype=np.int64)
    for line in (labels, *predictions):  # several times faster than np.unique(axis=1)
        values, place = np.unique(line, return_inverse=True)
        code = np.unique(code * len(values) + place, return_inverse=True)[1]
    _, first, counts = np.unique(code, return_index=True, return_counts=True)
    return SplitPredictions(labels=labels[first], predictions=predictions[:, first]), counts


def score_draws(
    metrics: Sequence[str], split: SplitPredictions, *, draw: Draw, stream: np.random.Generator, draws: int
) -> dict[str, Floats]:
    """Score `draws` lines of counts: metric to (S, draws).

    Blocks are drawn and scored side by side, each from its own seed stream: the numbers are the same on any machine.
    """
    block = max(1, BLOCK_SIZE // len(split.labels))
    sizes = [min(block, draws - at) for at in range(0, draws, block)]
    with ThreadPoolExecutor(min(8, len(usable_cores()))) as pool:
        parts = zip(stream.spawn(len(sizes)), sizes, strict=True)
        found = list(pool.map(lambda part: score_counts(metrics, split, counts=draw(*part)), parts))
    return {name: np.concatenate([scores[name] for scores in found], axis=1) for name in metrics}


def score_counts(
    metrics: Sequence[str], split: SplitPredictions, *, counts: Floats | None = None
) -> Mapping[str, Floats]:
    """Score S runs where row p counts `counts[:, p]` times: metric to (S, b).

    `counts` are (b, P) of 0 or more; each row once, b = 1, if not given.
    """
    every = np.ones((1, len(split.labels))) if counts is None else counts
    return {name: (_correlate if name in _CENTRED else _score_classes)(split, every, name=name) for name in metrics}


def _join(value: float | np.floating[Any], drawn: Floats, *, seeds: tuple[Floats, Floats], share: float) -> Interval:
    """Build one interval from `drawn`, what `value` is on drawn rows, and from the seeds, each with a `share` of it.

    `seeds` are their (S,) scores, and (S, draws) on drawn rows.
    """
    (scores, resampled), count, outside = seeds, len(seeds[0]), (1 - LEVEL) / 2
    training = moved = 0.0  # variance of one seed's score, unknown with one; the part that drawn rows have, too
    if count > 1:
        of_mean = float(resampled.mean(axis=0).var())  # rows, and disagreement / S
        of_one = float(resampled.var(axis=1).mean())  # rows, and disagreement
        disagreement = max(0.0, (of_one - of_mean) * count / (count - 1))
        whole = float(scores.var(ddof=1))
        explained = min(1.0, disagreement / whole) if whole else 1.0
        training, moved = max(0.0, whole - explained * disagreement), (1 - explained) * disagreement
    deviations, error = drawn - drawn.mean(), math.sqrt(share * training)
    if (spread := float(deviations.var())) > 0:
        deviations *= math.sqrt(max(0.0, 1 - share * moved / spread))
    below, above = np.quantile(deviations, [outside, 1 - outside])
    reach = error and float(scipy.special.stdtrit(count - 1, 1 - outside)) * error
    low, high = float(value - math.hypot(below, reach)), float(value + math.hypot(above, reach))
    return Interval(float(value), low, high, rows_error=float(deviations.std()), training_error=error, seeds=count)


def _score_classes(split: SplitPredictions, counts: Floats, *, name: str) -> Floats:
    """Score by how often each of k classes was right, predicted (k, S, b) and true (k, 1, b)."""
    rows, classes = counts.sum(axis=1), np.union1d(split.labels, split.predictions)[:, None, None]
    says, is_it = split.predictions == classes, split.labels == classes
    right, said, true = (np.asarray(each.astype(np.float64) @ counts.T) for each in (says & is_it, says, is_it))
    if name in _OF_RIGHT_ROWS:
        return np.asarray(right.sum(axis=0) / rows)
    if name == "matthews_correlation":  # Gorodkin's, for any number of classes (doi:10.1016/j.compbiolchem.2004.09.006)
        by_chance, said_twice, true_twice = ((a * b).sum(axis=0) for a, b in ((said, true), (said, said), (true, true)))
        scale = np.sqrt(np.clip((rows**2 - said_twice) * (rows**2 - true_twice), 0, None))
        return _share(rows * right.sum(axis=0) - by_chance, scale)
    ratios = {"f1": (2 * right, said + true), "precision": (right, said), "recall": (right, true)}
    occurs = said + true > 0  # the class among labels or predictions, (k, S, b)
    chosen, (part, whole) = {
        "balanced_accuracy": (occurs & (true > 0), ratios["recall"]),
        **{ratio: (occurs & (classes == 1), parts) for ratio, parts in ratios.items()},
        **{f"macro_{ratio}": (occurs, parts) for ratio, parts in ratios.items()},
    }[name]
    return _share(np.where(chosen, _share(part, whole), 0.0).sum(axis=0), chosen.sum(axis=0))


def _share(part: Floats, whole: Floats) -> Floats:
    return np.asarray(np.divide(part, whole, out=np.zeros_like(part), where=whole > 0))


def _correlate(split: SplitPredictions, counts: Floats, *, name: str) -> Floats:
    whole: Any = counts.astype(np.int32) if name == "spearman" else counts  # its running sums are several times faster
    y, *every = (_CENTRED[name](line, whole) for line in (split.labels, *split.predictions))
    counted, found = counts * y, list[Floats]()
    y_squares = np.einsum("bp,bp->b", counted, y)
    for x in every:
        squares = np.einsum("bp,bp->b", counts * x, x) * y_squares
        found.append(_share(np.einsum("bp,bp->b", counted, x), np.sqrt(squares)))
    return np.stack(found)


def _centred_values(values: Floats, counts: Floats) -> Floats:
    """Return (P,) values that count (b, P) times, minus their mean: (b, P), 0 if that is a rounding error."""
    centred = values - values.mean()
    found = centred - (counts @ centred / counts.sum(axis=1))[:, None]
    return np.where(np.abs(found) > 1e-12 * np.abs(centred).max(), found, 0.0)


def _centred_ranks(values: Floats, counts: Floats) -> Floats:
    """Return twice the mean ranks (b, P), centred, of (P,) values that count (b, P) times."""
    group = np.unique(values, return_inverse=True)[1]  # (P,)
    order = np.argsort(group, kind="stable")
    ties = counts.take(order, axis=1)
    if len(order) > group.max() + 1:
        ties = np.add.reduceat(ties, np.flatnonzero(np.diff(group[order], prepend=-1)), axis=1)  # (b, groups)
    ranks = 2 * np.cumsum(ties, axis=1, dtype=np.int32) - ties - ties.sum(axis=1, keepdims=True, dtype=np.int32)
    return np.asarray(ranks.take(group, axis=1), dtype=np.float64)


_CENTRED = {"pearson": _centred_values, "spearman": _centred_ranks}
