"""Runs that learned nothing, found from their predictions. Knows no scores on disk, no tables."""

from collections.abc import Sequence

import numpy as np

from glue_bench.statistics.resampling import Floats

# Predicted scores whose spread is a smaller share of the labels' are one constant and rounding.
CONSTANT_SPREAD = 1e-3


def describe_degenerate(
    labels: Floats, predictions: Floats, logits: Floats, *, names: Sequence[str], judged_by_accuracy: bool
) -> str | None:
    """Why a run's predictions are degenerate, in words; None if they are not.

    Args:
        labels: (n,) class codes, or scores.
        predictions: (n,) of the same kind.
        logits: (n, outputs).
        names: of the classes, in the order of the codes; empty for scores.
        judged_by_accuracy: accuracy is a metric of the task; else a correlation is.
    """
    if not np.isfinite(logits).all():
        return "logits that are no numbers"
    if not names:
        if np.ptp(predictions) <= CONSTANT_SPREAD * max(float(np.ptp(labels)), 1e-12):
            return f"constant predictions ({float(predictions.mean()):.2f})"
        below = float(np.corrcoef(labels, predictions)[0, 1]) <= 0 if np.ptp(labels) > 0 else False
        return "below chance: predictions and labels are not correlated" if below else None
    accuracy, chance = float((labels == predictions).mean()), 1 / len(names)
    majority = float(np.unique(labels, return_counts=True)[1].max()) / len(labels)
    if majority == 1 and accuracy == 1:
        return None  # one label only, and it was predicted
    if (predictions == predictions[0]).all():
        return f"constant predictions ({names[int(predictions[0])]})"
    if judged_by_accuracy:
        if accuracy < chance:
            return f"below chance: accuracy {100 * accuracy:.1f}, chance {100 * chance:.1f}"
        if accuracy <= majority < 1:
            return f"no better than always the most frequent label ({100 * majority:.1f})"
        return None
    agreement = float(np.corrcoef(labels, predictions)[0, 1]) if len(names) == 2 and majority < 1 else 1.0
    return "below chance: predictions and labels are not correlated" if agreement <= 0 else None
