"""Turn predictions into scores, as an evaluate.Metric over scikit-learn and SciPy. Knows no torch, files or network.

f1, precision and recall are those of class 1 of two; macro_ scores are means over the classes that occur among labels
or predictions, balanced_accuracy is the mean recall of those among labels. micro_f1 is accuracy under another name.
An undefined score, such as a correlation with constant labels, is 0, and `why_undefined` says why.
"""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import datasets
import evaluate
import numpy as np
from numpy.typing import NDArray
from scipy.stats import NearConstantInputWarning, pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef, precision_score, recall_score

from glue_bench.config.task import CORRELATIONS, REGRESSION_METRICS

Vector = NDArray[np.int64] | NDArray[np.float64]


class GlueMetric(evaluate.Metric):  # type: ignore[misc]
    """GLUE's scores, 0 to 1 and correlations -1 to 1; unlike `evaluate.load("glue")`, this downloads no script."""

    def __init__(self, metrics: Sequence[str]) -> None:
        """Take names from `glue_bench.config.task.METRICS`."""
        self.names = tuple(metrics)
        # Without keep_in_memory, evaluate writes every prediction to a file under HF_HOME.
        super().__init__(config_name="+".join(metrics), keep_in_memory=True)

    def _build_data_dir(self) -> str:
        return ""  # evaluate would make a folder under HF_HOME, which may not be writable, and nothing goes there

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="GLUE's metrics.",
            citation="Wang et al., GLUE (arXiv:1804.07461), section 4 and appendix",
            inputs_description="predictions and references: (n,) class codes, or (n,) scores for regression",
            features=datasets.Features(dict.fromkeys(("predictions", "references"), datasets.Value("float64"))),
        )

    def _compute(self, *, predictions: Any, references: Any) -> dict[str, float]:
        y = np.asarray(references, dtype=np.float64)
        p = np.asarray(predictions, dtype=np.float64)
        undefined = why_undefined(self.names, p, labels=y)
        with warnings.catch_warnings(action="ignore", category=NearConstantInputWarning):  # a poor score, but defined
            return {name: 0.0 if name in undefined else float(_SCORES[name](y, p)) for name in self.names}


def why_undefined(metrics: Sequence[str], predictions: Vector, *, labels: Vector) -> dict[str, str]:
    """Say why scores are undefined, by metric; the arguments are those of `score_predictions`."""
    both = {"labels": labels, "predictions": predictions}.items()
    constant = [f"all {len(each):,} {name} are {each[0]:g}" for name, each in both if (each == each[0]).all()]
    reasons = {name: constant[0] for name in CORRELATIONS if constant}
    said, true = (predictions == 1).any(), (labels == 1).any()
    reasons |= {} if said else {"precision": "no prediction is of class 1"}
    reasons |= {} if true else {"recall": "no label is of class 1"}
    reasons |= {} if said or true else {"f1": "no label and no prediction is of class 1"}
    return {name: reasons[name] for name in metrics if name in reasons}


def score_predictions(metrics: Sequence[str], predictions: Vector, *, labels: Vector) -> dict[str, float]:
    """Compute a split's scores, in float64, from (n,) class codes or scores and (n,) labels of the same kind.

    A ValueError for different lengths, no rows, NaN, or hidden (-1) class labels.
    """
    if len(predictions) != len(labels) or len(labels) == 0:
        raise ValueError(f"{len(predictions)} predictions for {len(labels)} labels")
    if not (np.isfinite(predictions).all() and np.isfinite(labels).all()):
        raise ValueError("predictions and labels must be finite")
    if not {*metrics} & {*REGRESSION_METRICS} and (np.asarray(labels) < 0).any():
        raise ValueError("label -1: hidden test labels cannot be scored")
    return dict(GlueMetric(metrics).compute(predictions=predictions, references=labels))


def decide(logits: NDArray[np.float32], *, regression: bool) -> Vector:
    """Turn logits (n, k) into class codes (n,), the lowest of equal ones; outputs (n, 1) into scores, not clipped."""
    return logits[:, 0].astype(np.float64) if regression else logits.argmax(axis=1).astype(np.int64)


_SCORES: dict[str, Callable[..., float]] = {
    "accuracy": accuracy_score,
    "balanced_accuracy": lambda y, p: recall_score(y, p, labels=np.unique(y), average="macro", zero_division=0.0),
    "micro_f1": partial(f1_score, average="micro"),
    "matthews_correlation": matthews_corrcoef,
    "pearson": lambda y, p: pearsonr(y, p).statistic,
    "spearman": lambda y, p: spearmanr(y, p).statistic,
}
for _name, _score in {"f1": f1_score, "precision": precision_score, "recall": recall_score}.items():
    _SCORES[_name] = partial(_score, pos_label=1.0, zero_division=0.0)
    _SCORES[f"macro_{_name}"] = partial(_score, average="macro", zero_division=0.0)
