"""Predictions to scores, as an evaluate.Metric over scikit-learn and SciPy. Knows no torch, no files, no network.

Where a score is undefined the rule is the one that gives no credit:

- Matthews correlation with constant predictions or constant labels: 0.
- F1 of class 1 with no such prediction and no such label: 0.
- Pearson and Spearman correlation with constant predictions or constant labels: 0.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import numpy as np
from numpy.typing import NDArray
from scipy.stats import NearConstantInputWarning, pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

Vector = NDArray[np.int64] | NDArray[np.float64]


class GlueMetric(evaluate.Metric):  # type: ignore[misc]
    """GLUE's scores, in natural units: 0 to 1, correlations -1 to 1.

    `evaluate.load("glue")` would download a script and run it; this class needs no download.
    """

    def __init__(self, metrics: Sequence[str]) -> None:
        """Take the names of the metrics, from `glue_bench.config.schema.METRICS`."""
        self.names = tuple(metrics)
        # Kept in memory: evaluate would otherwise write every prediction to a file under HF_HOME.
        super().__init__(config_name="+".join(metrics), keep_in_memory=True)

    def _info(self) -> evaluate.MetricInfo:
        value = datasets.Value("float64")
        return evaluate.MetricInfo(
            description="GLUE's metrics.",
            citation="Wang et al., GLUE (arXiv:1804.07461), section 4 and appendix",
            inputs_description="predictions and references: (n,) class codes, or (n,) scores for regression",
            features=datasets.Features({"predictions": value, "references": value}),
        )

    def _compute(self, *, predictions: Any, references: Any) -> dict[str, float]:
        y = np.asarray(references, dtype=np.float64)
        p = np.asarray(predictions, dtype=np.float64)
        return {name: _SCORES[name](y, p) for name in self.names}


def score_predictions(metrics: Sequence[str], predictions: Vector, references: Vector) -> dict[str, float]:
    """The scores of one split, in float64.

    Args:
        predictions: (n,) class codes, or (n,) scores for regression.
        references: (n,) labels of the same kind.

    Raises:
        ValueError: for lengths that differ, no rows, NaN, or hidden (-1) class labels.
    """
    if len(predictions) != len(references) or len(references) == 0:
        raise ValueError(f"{len(predictions)} predictions for {len(references)} labels")
    if not (np.isfinite(predictions).all() and np.isfinite(references).all()):
        raise ValueError("predictions and labels must be finite")
    if "pearson" not in metrics and "spearman" not in metrics and (np.asarray(references) < 0).any():
        raise ValueError("label -1: hidden test labels cannot be scored")
    computed = GlueMetric(metrics).compute(predictions=predictions, references=references)
    return {name: float(computed[name]) for name in metrics}


def predict_classes(logits: NDArray[np.float32]) -> NDArray[np.int64]:
    """(n, k) logits to (n,) class codes; the lowest code wins a tie."""
    return np.asarray(logits.argmax(axis=1), dtype=np.int64)


def predict_scores(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n, 1) outputs of a regression head to (n,) scores, not clipped."""
    return logits[:, 0].astype(np.float64)


def _accuracy(y: NDArray[np.float64], p: NDArray[np.float64]) -> float:
    return float(accuracy_score(y, p))


def _f1(y: NDArray[np.float64], p: NDArray[np.float64]) -> float:
    return float(f1_score(y, p, pos_label=1.0, zero_division=0.0))


def _matthews(y: NDArray[np.float64], p: NDArray[np.float64]) -> float:
    return 0.0 if _constant(y) or _constant(p) else float(matthews_corrcoef(y, p))


def _pearson(y: NDArray[np.float64], p: NDArray[np.float64]) -> float:
    if _constant(y) or _constant(p):
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NearConstantInputWarning)  # a poor score, not a problem
        return float(pearsonr(y, p).statistic)


def _spearman(y: NDArray[np.float64], p: NDArray[np.float64]) -> float:
    return 0.0 if _constant(y) or _constant(p) else float(spearmanr(y, p).statistic)


def _constant(values: NDArray[np.float64]) -> bool:
    return bool((values == values[0]).all())


_SCORES = {
    "accuracy": _accuracy,
    "f1": _f1,
    "matthews_correlation": _matthews,
    "pearson": _pearson,
    "spearman": _spearman,
}
