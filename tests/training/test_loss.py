"""Label smoothing and class weights, beside computations by hand, in one micro-batch or several."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from glue_bench.training.optimizer import Loss
from tests.support.fitting import train_on
from tests.support.training import CPU, encoded_of, settings

LOGITS = torch.tensor([[0.0, 1.0, -1.0], [2.0, 0.5, 0.0], [0.0, 0.0, 3.0], [1.0, 1.0, 1.0]])
CODES = np.array([1, 0, 0, 2])


def mean_loss(**changes: object) -> float:
    loss = Loss(CODES, outputs=3, settings=settings(**changes), device=CPU.device)
    return float(loss(LOGITS, torch.from_numpy(CODES), present=torch.ones(4))) / loss.weight(CODES)


def by_hand(weights: list[float], smoothing: float) -> float:
    """Compute torch's definition: each class's share of the target counts with the class's weight."""
    total = 0.0
    for row, code in zip(LOGITS.tolist(), CODES, strict=True):
        norm = math.log(sum(math.exp(logit) for logit in row))
        target = [smoothing / 3 + (1 - smoothing) * (place == code) for place in range(3)]
        total += sum(t * w * (norm - logit) for t, w, logit in zip(target, weights, row, strict=True))
    return total / sum(weights[int(code)] for code in CODES)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(
    ("asked", "weights"),
    [
        (None, [1.0, 1.0, 1.0]),
        ([0.5, 2.0, 3.0], [0.5, 2.0, 3.0]),
        ("balanced", [4 / (3 * 2), 4 / (3 * 1), 4 / (3 * 1)]),  # rows / (classes * rows of the class)
    ],
)
def test_smoothing_and_class_weights_are_as_by_hand(asked: object, weights: list[float], smoothing: float) -> None:
    found = mean_loss(class_weights=asked, label_smoothing=smoothing)
    assert found == pytest.approx(by_hand(weights, smoothing), rel=1e-6)
    targets = torch.from_numpy(CODES)
    theirs = functional.cross_entropy(LOGITS, targets, weight=torch.tensor(weights), label_smoothing=smoothing)
    assert found == pytest.approx(float(theirs), rel=1e-6)


def test_a_class_without_training_rows_gets_no_weight() -> None:
    loss = Loss(np.array([0, 0, 2]), outputs=3, settings=settings(class_weights="balanced"), device=CPU.device)
    assert loss.weights is not None
    assert loss.weights.tolist() == pytest.approx([3 / (3 * 2), 0.0, 1.0])


def test_a_weighted_batch_in_micro_batches_is_the_whole_batch(quiet_roberta: Path) -> None:
    labels = (np.arange(19) % 5 == 0).astype(np.int64)
    weighted = {"class_weights": "balanced", "label_smoothing": 0.1}
    encoded = encoded_of([5 + row for row in range(19)], seed=4, pad_id=1)
    (_, whole, _), (_, parts, _), (_, plain, _) = (
        train_on(quiet_roberta, encoded, settings(**changes), labels=labels)
        for changes in (weighted, {**weighted, "accumulation": 3}, {})
    )
    np.testing.assert_allclose([x.loss for x in whole], [x.loss for x in parts], atol=1e-5)
    assert abs(whole[0].loss - plain[0].loss) > 1e-3
