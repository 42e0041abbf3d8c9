"""Every score of every seed on dev rows drawn again with replacement. Knows no intervals, no files.

All seeds (and both encoders of a comparison) see the same drawn rows. Rows on which labels and all predictions are
alike are one pattern, and the number of times a pattern is drawn is multinomial: exactly the bootstrap of rows, at the
cost of the patterns. The rules for undefined scores are those of `glue_bench.tasks.metrics`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DRAWS = 2000
CELLS_AT_ONCE = 250_000  # of a block of draws x patterns: 2 MB, which a cache holds


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitPredictions:
    """What S runs predicted on the same n rows of one split."""

    labels: Floats  # (n,) class codes, or scores
    predictions: Floats  # (S, n) of the same kind


def resample_scores(
    split: SplitPredictions, metrics: Sequence[str], *, stream: np.random.Generator, draws: int = DRAWS
) -> dict[str, Floats]:
    """Scores on drawn rows: metric to (S, draws).

    Args:
        metrics: names from `glue_bench.config.schema.METRICS`.
    """
    table = np.vstack([split.labels, split.predictions])  # (1 + S, n)
    patterns, counts = np.unique(table, axis=1, return_counts=True)  # (1 + S, P), (P,)
    shares = counts / counts.sum()
    found: dict[str, list[Floats]] = {name: [] for name in metrics}
    for drawn in _draw_counts(len(split.labels), shares, draws, stream):  # (b, P)
        for name, scores in score_counts(metrics, patterns[0], patterns[1:], drawn).items():
            found[name].append(scores)
    return {name: np.concatenate(blocks, axis=1) for name, blocks in found.items()}


def score_counts(metrics: Sequence[str], labels: Floats, predictions: Floats, counts: Floats) -> Mapping[str, Floats]:
    """Scores of S runs where row p counts `counts[:, p]` times: metric to (S, b).

    Args:
        labels: (P,) class codes, or scores.
        predictions: (S, P) of the same kind.
        counts: (b, P) how often each row is there, 0 or more.
    """
    return {name: _SCORES[name](labels, predictions, counts) for name in metrics}


def _draw_counts(rows: int, shares: Floats, draws: int, stream: np.random.Generator) -> Iterator[Floats]:
    """Blocks of (b, P) counts, each row of which sums to `rows`."""
    block = max(1, min(draws, CELLS_AT_ONCE // len(shares)))
    for start in range(0, draws, block):
        size = min(block, draws - start)
        yield stream.multinomial(rows, shares, size=size).astype(np.float64)


def _accuracy(labels: Floats, predictions: Floats, counts: Floats) -> Floats:
    right = (predictions == labels).astype(np.float64)  # (S, P)
    scores: Floats = (right @ counts.T) / counts.sum(axis=1)
    return scores


def _f1(labels: Floats, predictions: Floats, counts: Floats) -> Floats:
    """2 TP / (predicted + true), of class 1."""
    is_one, says_one = (labels == 1).astype(np.float64), (predictions == 1).astype(np.float64)
    both = (says_one * is_one) @ counts.T  # (S, b)
    either = says_one @ counts.T + is_one @ counts.T
    scores: Floats = np.divide(2 * both, either, out=np.zeros_like(both), where=either > 0)
    return scores


def _matthews(labels: Floats, predictions: Floats, counts: Floats) -> Floats:
    """Gorodkin's form for any number of classes (doi:10.1016/j.compbiolchem.2004.09.006)."""
    rows = counts.sum(axis=1)  # (b,)
    right = (predictions == labels).astype(np.float64) @ counts.T  # (S, b)
    agreement, said, true = rows * right, np.zeros_like(right), np.zeros_like(rows)
    for code in np.union1d(labels, predictions):
        predicted = (predictions == code).astype(np.float64) @ counts.T  # (S, b)
        labelled = (labels == code).astype(np.float64) @ counts.T  # (b,)
        agreement -= predicted * labelled
        said += predicted**2
        true += labelled**2
    scale = np.sqrt(np.clip((rows**2 - said) * (rows**2 - true), 0, None))
    scores: Floats = np.divide(agreement, scale, out=np.zeros_like(right), where=scale > 0)
    return scores


def _pearson(labels: Floats, predictions: Floats, counts: Floats) -> Floats:
    rows = counts.sum(axis=1)
    y, y_mean, y_variance = _moments(labels[None], counts)  # (1, P), (1, b), (1, b)
    x, x_mean, x_variance = _moments(predictions, counts)  # (S, P), (S, b), (S, b)
    covariance = (x * y) @ counts.T / rows - x_mean * y_mean
    return _correlate(covariance, x_variance, y_variance)


def _spearman(labels: Floats, predictions: Floats, counts: Floats) -> Floats:
    """Pearson's correlation of mean ranks; a variance of ranks follows from the sizes of the ties alone."""
    rows = counts.sum(axis=1)
    y, y_variance = _centred_ranks(labels, counts)
    y *= counts
    found = np.empty((len(predictions), len(counts)))
    for line, row in enumerate(predictions):
        x, x_variance = _centred_ranks(row, counts)
        found[line] = _correlate(np.einsum("bp,bp->b", x, y) / rows, x_variance, y_variance)
    return found


def _moments(values: Floats, counts: Floats) -> tuple[Floats, Floats, Floats]:
    """(R, P) values less their plain mean, and mean and variance of them (R, b), counted (b, P) times."""
    rows = counts.sum(axis=1)
    centred = values - values.mean(axis=1, keepdims=True)
    mean = centred @ counts.T / rows
    variance = centred**2 @ counts.T / rows - mean**2
    rounding = 1e-12 * np.abs(centred).max(axis=1, keepdims=True) ** 2
    return centred, mean, np.where(variance > rounding, variance, 0.0)


def _centred_ranks(values: Floats, counts: Floats) -> tuple[Floats, Floats]:
    """(b, P) mean ranks less their mean, of (P,) values that count (b, P) times, and their (b,) variance."""
    distinct, group = np.unique(values, return_inverse=True)  # (G,), (P,)
    order = np.argsort(group, kind="stable")
    sizes = counts[:, order]
    if len(distinct) < len(values):
        sizes = np.add.reduceat(sizes, np.flatnonzero(np.diff(group[order], prepend=-1)), axis=1)  # (b, G)
    rows = counts.sum(axis=1)
    ranks = np.cumsum(sizes, axis=1)
    ranks -= sizes / 2
    ranks -= rows[:, None] / 2
    variance = (rows**3 - np.einsum("bg,bg,bg->b", sizes, sizes, sizes)) / (12 * rows)
    return ranks[:, group], variance


def _correlate(covariance: Floats, first: Floats, second: Floats) -> Floats:
    """A covariance over two deviations; 0 where a variance is 0."""
    product = np.broadcast_to(first * second, covariance.shape)
    scale = np.sqrt(np.where(product > 0, product, 1.0))
    return np.where(product > 0, covariance / scale, 0.0)


_SCORES: Mapping[str, Callable[[Floats, Floats, Floats], Floats]] = {
    "accuracy": _accuracy,
    "f1": _f1,
    "matthews_correlation": _matthews,
    "pearson": _pearson,
    "spearman": _spearman,
}
