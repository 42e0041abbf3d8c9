"""bfloat16 copies of float32 weights, as torch's kernels train with them on a GPU; here on a CPU."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from glue_bench.models.classifier import load_classifier
from glue_bench.training.checkpoint import SnapshotStore
from glue_bench.training.optimizer import LoweredAdamW
from glue_bench.training.stopping import Stopped
from tests.support.families import FLAT, QUIET, config_of
from tests.support.fitting import train_on
from tests.support.training import CPU, OWNER, FixedShapes, encoded_of, settings

pytestmark = QUIET
LOWERED = FixedShapes(device=CPU.device, precision="bfloat16")
LENGTHS = [3 + (7 * row) % 23 for row in range(45)]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", list(FLAT))
def test_gradients_of_every_family_are_those_of_float32_but_for_rounding(name: str, training: bool) -> None:
    """In training with the same dropout masks."""
    model = load_classifier(config_of(name), outputs=3, head_seed=1).train(training)
    lowered, encoded = LoweredAdamW(model, settings()), encoded_of([9, 3, 21], seed=1, pad_id=1)
    batch = model.place(encoded, CPU.device).gather(np.arange(3))
    found = []
    for way, weights in ((lowered.logits, lowered.low), (model, dict(model.named_parameters()))):
        torch.manual_seed(5)
        logits = way(batch).float()
        torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2])).backward()  # type: ignore[no-untyped-call]
        gradients = [weights[key].grad for key in sorted(weights)]
        found.append([logits.detach(), torch.cat([g.float().flatten() for g in gradients if g is not None])])
        assert all(
            weight.dtype == gradient.dtype
            for weight, gradient in zip(weights.values(), gradients, strict=True)
            if gradient is not None
        )
    for ours, exact in zip(*found, strict=True):
        assert ours.shape == exact.shape
        assert float((ours - exact).norm() / exact.norm()) < 3e-2


@pytest.mark.parametrize("words", [{}, {"layer_decay": 0.8}, {"clip_norm": 0.0}, {"accumulation": 2}])
def test_a_fit_follows_autocasts_and_keeps_its_weights_in_float32(words: dict[str, Any], quiet_roberta: Path) -> None:
    encoded, changed = encoded_of(LENGTHS, seed=3, pad_id=1), settings(epochs=4, **words)
    model, history, result = train_on(quiet_roberta, encoded, changed, placement=LOWERED)
    assert result.kernels == "torch: the device is cpu"
    expected, lines, _ = train_on(quiet_roberta, encoded, changed, placement=CPU)
    np.testing.assert_allclose([line.loss for line in history], [line.loss for line in lines], atol=2e-2)
    for weight, other in zip(model.parameters(), expected.parameters(), strict=True):
        assert weight.dtype == torch.float32
        torch.testing.assert_close(weight, other, atol=5e-3, rtol=0)


def test_an_interrupted_fit_ends_with_the_bits_of_one_that_was_not(quiet_roberta: Path, tmp_path: Path) -> None:
    encoded, changed = encoded_of(LENGTHS, seed=3, pad_id=1), settings(snapshot_minutes=0.0)
    expected, history, _ = train_on(quiet_roberta, encoded, changed, placement=LOWERED)
    store = SnapshotStore(tmp_path / "snapshots", belongs_to=OWNER)
    with pytest.raises(Stopped):
        train_on(quiet_roberta, encoded, changed, placement=LOWERED, snapshots=store, stop_after=5)
    model, lines, result = train_on(quiet_roberta, encoded, changed, placement=LOWERED, snapshots=store)
    assert result.resumed_at
    assert [line.loss for line in lines] == [line.loss for line in history]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), expected.parameters(), strict=True))


def test_a_family_that_computes_only_under_autocast_is_left_to_it(
    quiet_roberta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = torch.nn.functional.gelu

    def gelu(states: torch.Tensor, *more: Any, **given: Any) -> torch.Tensor:
        if states.dtype == torch.bfloat16 and not torch.is_autocast_enabled("cpu"):
            raise RuntimeError("expected m1 and m2 to have the same dtype\nand more")
        return original(states, *more, **given)

    monkeypatch.setattr("torch.nn.functional.gelu", gelu)
    encoded = encoded_of(LENGTHS, seed=3, pad_id=1)
    _, history, result = train_on(quiet_roberta, encoded, settings(epochs=1), placement=LOWERED)
    why = "the device is cpu; under autocast: expected m1 and m2 to have the same dtype"
    assert result.kernels == f"torch: {why}"
    assert np.isfinite([line.loss for line in history]).all()
