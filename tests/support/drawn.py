"""Predictions that are drawn, for tests of statistics."""

from typing import Any

import numpy as np
import pytest

from glue_bench.config.task import METRICS
from glue_bench.statistics.intervals import Floats, SplitPredictions
from glue_bench.tasks.metrics import score_predictions

SCORES = ("pearson", "spearman")


CLASSES = tuple(name for name in METRICS if name not in SCORES)


def approx(value: object, **tolerance: Any) -> Any:
    """Return pytest.approx, typed so that it may be compared with anything."""
    return pytest.approx(value, **tolerance)


def classes(rows: int, seeds: int, *, share: float = 0.8, stream: np.random.Generator) -> SplitPredictions:
    """Draw labels 0 and 1, and predictions of which `share` are right."""
    labels = stream.integers(0, 2, rows).astype(np.float64)
    right = stream.random((seeds, rows)) < share
    return SplitPredictions(labels=labels, predictions=np.where(right, labels, 1 - labels))


def scores(rows: int, seeds: int, *, stream: np.random.Generator) -> SplitPredictions:
    """Draw labels with ties, and predictions with and without ties."""
    labels = np.round(stream.random(rows) * 5, 1)
    predictions = labels + stream.normal(0, 1, (seeds, rows))
    predictions[0] = np.round(predictions[0])
    return SplitPredictions(labels=labels, predictions=predictions)


def plain(metric: str, labels: Floats, predictions: Floats) -> float:
    """Compute the score that a record would hold."""
    if metric in SCORES:
        return score_predictions([metric], predictions, labels=labels)[metric]
    return score_predictions([metric], predictions.astype(np.int64), labels=labels.astype(np.int64))[metric]
