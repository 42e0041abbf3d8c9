"""Judge scores: against a published number, another encoder's or earlier ones, and as degenerate. Knows no tables."""

import functools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.random import Generator

from glue_bench.config.task import CORRELATIONS
from glue_bench.statistics import intervals
from glue_bench.statistics.intervals import DRAWS, LEVEL, Floats, SplitPredictions, score_counts, variance_of_median
from glue_bench.text import plural

FEWEST_SEEDS = 3  # with fewer, a standard deviation means little
MOST_SEEDS = 1000  # the most that a verdict suggests
CONSTANT_SPREAD = 1e-3  # predicted scores with a smaller spread, as a share of the labels' spread, count as constant
_ENDLESS = 1e12  # seeds: the limit of many
_ROUNDING = 1e-9  # scores that are closer than this, as shares or times 100, are equal
SIGNIFICANCE = 0.05  # of adjusted p-values
POWER = 0.8  # probability of finding the smallest detectable difference

REPRODUCED, BELOW, ABOVE, INCONCLUSIVE = "reproduced", "below", "above", "inconclusive"
NOT_COMPARABLE, NOT_RUN, FAILED = "not comparable", "not run", "failed"
VERDICTS = (REPRODUCED, BELOW, ABOVE, INCONCLUSIVE, NOT_COMPARABLE, NOT_RUN, FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The result of the comparison with one published number."""

    kind: str  # one of VERDICTS
    reason: str  # in words; empty if the kind needs no reason
    low: float | None = None  # of the interval for a run like the published one, in the scores' units; LEVEL
    high: float | None = None
    seeds_needed: int | None = None  # number of seeds that would decide, if mean and spread stay the same


def judge_published(
    scores: Sequence[float],
    published: float,
    *,
    rounding: float,
    runs: int | None = None,  # one if not stated; odd for a median
    mean: bool = False,
    deviation: float | None = None,
) -> Verdict:
    """Compare our seeds' scores with one published number, in the same units; docs/report.md explains why.

    The number, which is rounded by at most `rounding`, is the median, or the mean, of `runs` runs. It should lie in the
    interval that our seeds predict for runs like those. Their noise is taken to be ours, unless the source states
    the standard deviation of two runs or more: then the interval is that of Welch's two-sided test, and the reason
    gives it for the difference of the means.

    *below* and *above* describe our scores. *inconclusive*: the number lies inside the interval only because few seeds
    make it wide; many more seeds with the same mean and spread would put it outside.
    """
    count = len(scores)
    if count < FEWEST_SEEDS:
        reason = f"{plural(count, 'seed')}; at least {FEWEST_SEEDS} are needed"
        return Verdict(kind=INCONCLUSIVE, reason=reason, seeds_needed=FEWEST_SEEDS)
    ours, spread = float(np.mean(scores)), float(np.std(scores, ddof=1))
    if np.ptp(scores) < _ROUNDING:
        return Verdict(kind=INCONCLUSIVE, reason="all seeds score the same: no training noise was seen")
    runs = runs or 1
    known = deviation if runs > 1 else None
    noise = spread if known is None else known
    theirs = noise**2 * (1 / runs if mean else variance_of_median(runs))

    def reach(seeds: float) -> float:
        """Return half the width of the interval that this many seeds predict for the published number."""
        own = spread**2 / seeds
        freedom = seeds - 1
        if known is not None:  # Welch and Satterthwaite
            freedom = (own + theirs) ** 2 / (own**2 / freedom + theirs**2 / (runs - 1))
        return float(scipy.special.stdtrit(freedom, (1 + LEVEL) / 2)) * math.sqrt(own + theirs)

    distance = abs(published - ours) - rounding
    low, high = ours - reach(count), ours + reach(count)
    welch = f"difference {low - published:+.1f} to {high - published:+.1f}" if known is not None else ""
    if distance > reach(count):
        return Verdict(kind=BELOW if ours < published else ABOVE, reason=welch, low=low, high=high)
    if distance <= reach(_ENDLESS):
        return Verdict(kind=REPRODUCED, reason=welch, low=low, high=high)
    needed = next((more for more in range(count + 1, MOST_SEEDS + 1) if distance > reach(more)), None)
    reason = f"about {needed} seeds would decide" if needed else f"more than {MOST_SEEDS} seeds would be needed"
    reason = "; ".join(filter(None, (welch, reason)))
    return Verdict(kind=INCONCLUSIVE, reason=reason, low=low, high=high, seeds_needed=needed)


def drop_p_value(
    before: Sequence[float], after: Sequence[float], *, errors: tuple[float, float] | None = None
) -> float | None:
    """Test one-sidedly that the expected score fell: two lists of scores, one per seed, on the same rows.

    It is Welch's test, or, where that sees no noise (single runs, or seeds with equal scores), a normal test with the
    means' standard errors from the dev rows; None without them. The means are treated as independent although they
    share the rows, so only a larger drop is detected.
    """
    if min(len(before), len(after)) > 1 and np.ptp(before) + np.ptp(after) > 0:
        from scipy import stats  # slow to import, and only needed by `report --check`

        return float(stats.ttest_ind(after, before, equal_var=False, alternative="less").pvalue)
    if errors is None:
        return None
    change, noise = statistics.mean(after) - statistics.mean(before), math.hypot(*errors)  # of equal scores 0, exactly
    return float(scipy.special.ndtr(change / noise)) if noise else float(change >= 0)


def describe_degenerate(
    labels: Floats, predictions: Floats, *, logits: Floats, names: Sequence[str], metrics: Sequence[str]
) -> str | None:
    """Say why a run's predictions show that it learned nothing; None if they do not.

    (n,) labels and predictions are codes of the classes `names`, or scores if that is empty; logits are (n, outputs).
    The mean of `metrics` is the run's score: always predicting the most frequent label is judged by the same.
    """
    if not np.isfinite(logits).all():
        return "logits that are not numbers"
    codes, counts = np.unique(labels, return_counts=True)
    if names and len(codes) == 1 and (predictions == labels).all():
        return None  # there is only one label, and it was predicted
    if np.ptp(predictions) <= (0 if names else CONSTANT_SPREAD * max(float(np.ptp(labels)), 1e-12)):
        constant = names[int(predictions[0])] if names else f"{predictions.mean():.2f}"
        return f"constant predictions ({constant})"
    accuracy = float((labels == predictions).mean())
    if "accuracy" in metrics and accuracy < 1 / len(names):
        return f"below chance: accuracy {100 * accuracy:.1f}, chance {100 / len(names):.1f}"
    if len(codes) == 1:
        return None
    usual = np.full_like(predictions, codes[counts.argmax()])
    split = SplitPredictions(labels=labels, predictions=np.vstack([predictions, usual]))
    score, baseline = np.mean([values[:, 0] for values in score_counts(metrics, split).values()], axis=0)  # (2,)
    if score > baseline + _ROUNDING:
        return None
    if {*metrics} <= {*CORRELATIONS}:
        return "below chance: predictions and labels are not correlated"
    return f"no better than the most frequent label ({100 * baseline:.1f})"


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
        return self.difference.reach((1 - LEVEL) / 2) + self.difference.reach(1 - POWER)


def compare_pairs(
    splits: Mapping[str, SplitPredictions], parts: Sequence[tuple[str, str]], *, stream: Generator, draws: int = DRAWS
) -> PairedScores:
    """Compare two encoders on one task, by the mean of (split, metric) scores.

    Each split has the predictions of 2 x S runs: the first encoder's, then the second's with the same seeds. The test
    swaps the encoders' predictions, of all seeds together, on random rows: between equally good encoders, this changes
    only noise. Rows are the units, so the test includes the seeds' disagreement about rows, but not what moves a whole
    training up or down: that is in the interval. Ties count half (mid-p).
    """
    metrics = {name: [metric for split, metric in parts if split == name] for name in splits}

    def score(way: Callable[..., Mapping[str, Floats]]) -> Floats:
        """Score every split in one way, and average the score parts: (2S, ...)."""
        scores = {name: way(split, metrics[name]) for name, split in splits.items()}
        return np.asarray(np.mean([scores[split][metric] for split, metric in parts], axis=0), dtype=np.float64)

    def swap(both: SplitPredictions, names: Sequence[str]) -> dict[str, Floats]:
        """Let the encoders swap places on about half of the rows: metric to (2S, draws)."""
        patterns, counts = intervals.find_patterns(both, names)
        first, second = np.split(patterns.predictions, 2)
        labels, swapped = np.tile(patterns.labels, 2), np.block([[first, second], [second, first]])  # (2P,), (2S, 2P)
        once = counts == 1

        def draw(own: Generator, size: int) -> Floats:
            moved = np.empty((size, len(counts)))
            moved[:, once] = own.integers(0, 2, (size, int(once.sum())), dtype=np.uint8)  # a binomial of one
            moved[:, ~once] = own.binomial(counts[~once], 0.5, size=(size, int((~once).sum())))
            return np.hstack([counts - moved, moved])  # (b, 2P)

        every = SplitPredictions(labels=labels, predictions=swapped)
        return intervals.score_draws(names, every, draw=draw, stream=stream, draws=draws)

    drawn = score(functools.partial(intervals.resample_scores, stream=stream, draws=draws))
    scores = score(lambda split, names: score_counts(names, split))[:, 0]
    seeds = len(scores) // 2
    difference = intervals.interval_of_difference((scores[:seeds], drawn[:seeds]), (scores[seeds:], drawn[seeds:]))
    swapped = score(swap)  # (2S, draws)
    observed = abs(float(scores[:seeds].mean() - scores[seeds:].mean()))
    excess = np.abs(swapped[:seeds].mean(axis=0) - swapped[seeds:].mean(axis=0)) - observed  # (draws,)
    beyond, ties = float((excess > _ROUNDING).sum()), float((np.abs(excess) <= _ROUNDING).sum())
    return PairedScores(difference, min(1.0, (beyond + (ties + 1) / 2) / (draws + 1)))


def adjust_holm(p_values: Sequence[float]) -> list[float]:
    """Adjust by Holm's step-down method (Scand. J. Statist. 6, 1979), which bounds the chance of any false alarm."""
    adjusted, order = np.array(p_values, dtype=np.float64), np.argsort(p_values, kind="stable")
    adjusted[order] = np.maximum.accumulate(np.arange(len(order), 0, -1) * adjusted[order])
    return [float(p) for p in adjusted.clip(max=1)]
