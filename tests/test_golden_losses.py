"""Trainings still give the losses, weights and logits that were recorded: to the bit on the recording machine."""

import math
from pathlib import Path

import pytest

from tests.support.golden_losses import CASES, RECORDED, fingerprint, measure

SAME_MACHINE = RECORDED["machine"] == fingerprint()
LISTS = ("losses", "gradient_norms", "learning_rates")


@pytest.mark.parametrize("name", list(CASES))
def test_a_seeded_training_gives_the_recorded_losses_weights_and_logits(name: str, tmp_path: Path) -> None:
    expected, found = RECORDED["cases"][name], measure(CASES[name], tmp_path / "results")
    assert (found["tokens"], found["engine"]) == (expected["tokens"], expected["engine"])
    if SAME_MACHINE:
        assert found == expected
        return
    tolerances = dict(zip(LISTS, (1e-4, 1e-3, 1e-12), strict=True))
    for key, tolerance in tolerances.items():
        pairs = zip(map(float.fromhex, found[key]), map(float.fromhex, expected[key]), strict=True)
        assert all(math.isclose(ours, theirs, rel_tol=tolerance) for ours, theirs in pairs), key


def test_every_recorded_training_is_tried() -> None:
    assert list(RECORDED["cases"]) == list(CASES)


def test_the_recorded_trainings_differ_from_each_other() -> None:
    weights = {case["weights_sha256"] for case in RECORDED["cases"].values()}
    assert len(weights) == len(CASES)
