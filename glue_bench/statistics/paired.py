"""Two encoders on the same rows with the same seeds: is one better? Knows no records, no tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from glue_bench.statistics.intervals import LEVEL, Interval, interval_of_difference
from glue_bench.statistics.resampling import (
    CELLS_AT_ONCE,
    DRAWS,
    Floats,
    SplitPredictions,
    resample_scores,
    score_counts,
)

POWER = 0.8  # with which the smallest detectable difference would be found


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedSplit:
    """What 2 x S runs predicted on the same n rows of one split; line s of both has the same seed."""

    labels: Floats  # (n,)
    first: Floats  # (S, n)
    second: Floats  # (S, n)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The first encoder's score minus the second's, in natural units."""

    difference: Interval  # of the medians over seeds
    p_rows: float  # two-sided: swapping the two encoders' predictions of random rows
    p_value: float  # the larger of p_rows and of the chance at which the interval touches 0
    detectable: (
        float  # smallest true difference that the test would show, on such rows and seeds, with probability POWER
    )


def compare_pairs(
    splits: Mapping[str, PairedSplit],
    parts: Sequence[tuple[str, str]],
    *,
    stream: np.random.Generator,
    draws: int = DRAWS,
) -> Comparison:
    """Compare two encoders on one task.

    The test exchanges the encoders' predictions, of all seeds together, on rows chosen by chance: where the encoders
    are equally good, nothing would change but noise. Rows count as units, so the seeds' disagreement about rows is in
    it; what moves a whole training up or down is not, and comes in by the interval. Ties count half (mid-p).

    Args:
        splits: split to the predictions of both.
        parts: (split, metric) of the scores whose mean is compared.
    """
    every = {name: np.vstack([split.first, split.second]) for name, split in splits.items()}
    drawn = _headline(
        parts,
        {
            name: resample_scores(
                SplitPredictions(labels=split.labels, predictions=every[name]),
                _metrics(parts, name),
                stream=stream,
                draws=draws,
            )
            for name, split in splits.items()
        },
    )
    scores = _headline(
        parts,
        {
            name: score_counts(_metrics(parts, name), split.labels, every[name], np.ones((1, len(split.labels))))
            for name, split in splits.items()
        },
    )[:, 0]
    seeds = len(scores) // 2
    difference = interval_of_difference((scores[:seeds], drawn[:seeds]), (scores[seeds:], drawn[seeds:]))
    p_rows = _permutation_p(splits, parts, scores, stream=stream, draws=draws)
    return Comparison(
        difference=difference,
        p_rows=p_rows,
        p_value=max(p_rows, difference.p_value()),
        detectable=difference.reach((1 - LEVEL) / 2) + difference.reach(1 - POWER),
    )


def adjust_holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (Scand. J. Statist. 6, 1979): the chance of any false alarm among them is bounded."""
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def _permutation_p(
    splits: Mapping[str, PairedSplit],
    parts: Sequence[tuple[str, str]],
    scores: Floats,
    *,
    stream: np.random.Generator,
    draws: int,
) -> float:
    seeds = len(scores) // 2
    observed = abs(float(scores[:seeds].mean() - scores[seeds:].mean()))
    swapped = {
        name: _score_swapped(split, _metrics(parts, name), stream=stream, draws=draws) for name, split in splits.items()
    }
    of_runs = _headline(parts, swapped)  # (2S, draws)
    statistic = np.abs(of_runs[:seeds].mean(axis=0) - of_runs[seeds:].mean(axis=0))
    rounding = 1e-12
    beyond = float((statistic > observed + rounding).sum())
    ties = float((np.abs(statistic - observed) <= rounding).sum())
    return min(1.0, (beyond + (ties + 1) / 2) / (draws + 1))


def _score_swapped(
    split: PairedSplit, metrics: Sequence[str], *, stream: np.random.Generator, draws: int
) -> dict[str, Floats]:
    """Scores of 2 x S runs after the two encoders changed places on about half of the rows: metric to (2S, draws)."""
    table = np.vstack([split.labels, split.first, split.second])
    patterns, counts = np.unique(table, axis=1, return_counts=True)  # (1 + 2S, P), (P,)
    seeds = len(split.first)
    labels, first, second = patterns[0], patterns[1 : 1 + seeds], patterns[1 + seeds :]
    as_it_was, changed = np.vstack([first, second]), np.vstack([second, first])
    every = np.hstack([as_it_was, changed])  # (2S, 2P)
    found: dict[str, list[Floats]] = {name: [] for name in metrics}
    block = max(1, CELLS_AT_ONCE // every.shape[1])
    for start in range(0, draws, block):
        moved = stream.binomial(counts, 0.5, size=(min(block, draws - start), len(counts))).astype(np.float64)
        weights = np.hstack([counts - moved, moved])  # (b, 2P)
        for name, values in score_counts(metrics, np.tile(labels, 2), every, weights).items():
            found[name].append(values)
    return {name: np.concatenate(values, axis=1) for name, values in found.items()}


def _headline(parts: Sequence[tuple[str, str]], scores: Mapping[str, Mapping[str, Floats]]) -> Floats:
    """The mean of the scores, element by element."""
    return np.asarray(np.mean([scores[split][metric] for split, metric in parts], axis=0), dtype=np.float64)


def _metrics(parts: Sequence[tuple[str, str]], split: str) -> list[str]:
    return [metric for name, metric in parts if name == split]
