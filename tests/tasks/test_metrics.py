"""Scores against values computed by hand, and the rules for undefined ones."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from glue_bench.tasks.metrics import decide, score_predictions, why_undefined

Y = np.array([1, 1, 1, 0, 0, 0, 0, 1])
P = np.array([1, 1, 0, 0, 0, 1, 0, 0])  # true positives 2, false positives 1, false negatives 2, true negatives 3


def test_accuracy_f1_and_matthews_agree_with_values_computed_by_hand() -> None:
    scores = score_predictions(["accuracy", "f1", "matthews_correlation"], P, labels=Y)
    assert scores["accuracy"] == pytest.approx(5 / 8)
    assert scores["f1"] == pytest.approx(2 * 2 / (2 * 2 + 1 + 2))
    assert scores["matthews_correlation"] == pytest.approx((2 * 3 - 1 * 2) / math.sqrt(3 * 4 * 4 * 5))


def test_other_scores_of_classes_agree_with_values_computed_by_hand() -> None:
    names = ["precision", "recall", "macro_f1", "micro_f1", "macro_precision", "macro_recall", "balanced_accuracy"]
    ones, zeros = 2 * 2 / (2 * 2 + 1 + 2), 2 * 3 / (2 * 3 + 1 + 2)  # F1 of each class
    by_hand = [2 / 3, 2 / 4, (ones + zeros) / 2, 5 / 8, (2 / 3 + 3 / 5) / 2, (2 / 4 + 3 / 4) / 2, (2 / 4 + 3 / 4) / 2]
    assert score_predictions(names, P, labels=Y) == pytest.approx(dict(zip(names, by_hand, strict=True)))


def test_a_class_that_is_only_predicted_counts_for_macro_scores_but_not_for_balanced_accuracy() -> None:
    y, p = np.array([0, 0, 1, 1]), np.array([0, 2, 1, 1])
    found = score_predictions(["macro_recall", "balanced_accuracy", "macro_f1"], p, labels=y)
    assert found == pytest.approx({"macro_recall": 1.5 / 3, "balanced_accuracy": 1.5 / 2, "macro_f1": (2 / 3 + 1) / 3})


def test_correlations_agree_with_values_computed_by_hand() -> None:
    y, p = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 2.0, 10.0])
    # covariance sum 13.0, sums of squares 5 and 50 -> 13 / sqrt(250); ranks 1 3 2 4: 1 - 6 * 2 / (4 * 15)
    scores = score_predictions(["pearson", "spearman"], p, labels=y)
    assert scores == pytest.approx({"pearson": 13 / math.sqrt(250), "spearman": 0.8})


def test_matthews_works_for_three_classes() -> None:
    assert score_predictions(["matthews_correlation"], np.array([0, 1, 2, 2]), labels=np.array([0, 1, 2, 2])) == {
        "matthews_correlation": 1.0
    }


def test_constant_predictions_earn_no_correlation() -> None:
    ones = np.ones(8, dtype=np.int64)
    assert score_predictions(["matthews_correlation"], ones, labels=Y) == {"matthews_correlation": 0.0}
    constant = np.full(4, 2.5)
    scores = score_predictions(["pearson", "spearman"], constant, labels=np.array([1.0, 2.0, 3.0, 4.0]))
    assert scores == {"pearson": 0.0, "spearman": 0.0}


def test_labels_of_one_class_are_scored_by_the_stated_rules() -> None:
    zeros = np.zeros(4, dtype=np.int64)
    assert score_predictions(["accuracy", "f1", "matthews_correlation"], zeros, labels=zeros) == {
        "accuracy": 1.0,
        "f1": 0.0,
        "matthews_correlation": 0.0,
    }


@pytest.mark.parametrize(
    ("metrics", "predictions", "labels", "reasons"),
    [
        (
            "matthews_correlation f1",
            [0, 0, 0],
            [0, 0, 0],
            ["all 3 labels are 0", "no label and no prediction is of class 1"],
        ),
        ("accuracy matthews_correlation", [1, 1], [0, 1], ["all 2 predictions are 1"]),
        ("pearson spearman", [0.25, 0.5], [2.5, 2.5], ["all 2 labels are 2.5"] * 2),
        ("f1", [0, 2], [2, 0], ["no label and no prediction is of class 1"]),
        ("f1 accuracy", [0, 0], [1, 0], []),
        ("accuracy", [1, 1], [1, 1], []),
    ],
)
def test_an_undefined_score_is_0_and_has_a_reason(
    metrics: str, predictions: list[float], labels: list[float], reasons: list[str]
) -> None:
    names, values, truth = metrics.split(), np.array(predictions), np.array(labels)
    found = why_undefined(names, values, labels=truth)
    assert [found[name] for name in names if name in found] == reasons
    assert all(score_predictions(names, values, labels=truth)[name] == 0.0 for name in found)


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        (np.array([1, 0]), np.array([1]), "2 predictions for 1 labels"),
        (np.array([], dtype=np.int64), np.array([], dtype=np.int64), "0 predictions"),
        (np.array([1, 0]), np.array([1, -1]), "hidden test labels"),
        (np.array([1.0, math.nan]), np.array([1.0, 0.0]), "finite"),
    ],
)
def test_what_cannot_be_scored_is_refused(predictions: np.ndarray, references: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        score_predictions(["accuracy"], predictions, labels=references)


def test_scores_are_computed_in_double_precision() -> None:
    y = np.arange(6, dtype=np.float64)
    p = 1e8 + y * 1e-3  # float32 would see a constant
    assert score_predictions(["pearson"], p, labels=y)["pearson"] == pytest.approx(1.0, abs=1e-6)


def test_nearly_constant_predictions_are_scored_without_a_warning() -> None:
    p = 2.5 + np.array([1.0, -1.0, 1.0, -1.0]) * 1e-15
    scores = score_predictions(["pearson", "spearman"], p, labels=np.array([1.0, 2.0, 3.0, 4.0]))
    assert all(-1 <= score <= 1 for score in scores.values())


def test_logits_become_classes_and_scores() -> None:
    assert decide(np.array([[0.1, 0.2], [3.0, -1.0]], dtype=np.float32), regression=False).tolist() == [1, 0]
    assert decide(np.array([[5.5], [-0.25]], dtype=np.float32), regression=True).tolist() == [5.5, -0.25]


def test_scoring_needs_no_folder_of_the_hub(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    code = """
import numpy as np
from glue_bench.tasks.metrics import score_predictions
y = np.array([0, 1, 1])
assert score_predictions(["accuracy"], y, labels=y) == {"accuracy": 1.0}
"""
    environment = os.environ | dict.fromkeys(("HF_HOME", "HF_METRICS_CACHE", "HOME"), str(tmp_path / "file"))
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
