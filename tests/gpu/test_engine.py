"""The engine on a GPU, beside transformers' padded arithmetic and beside the CPU."""

import gc
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from glue_bench.data.encoding import Encoded
from glue_bench.models.classifier import load_classifier
from glue_bench.models.placement import Placement, choose_placement
from glue_bench.training.checkpoint import SnapshotStore
from glue_bench.training.stopping import Stopped
from glue_bench.training.trainer import predict
from tests.support.fitting import train_on
from tests.support.training import CPU, OWNER, encoded_of, settings

pytestmark = pytest.mark.gpu
PRECISIONS = ("float32", "bfloat16")
FAMILIES = {"tiny_roberta": 512, "tiny_bert": 128}  # each with its longest row


def lively(folder: Path, target: Path, **dropout: float) -> Path:
    """Copy an encoder, with dropout only where it is given, and with weights that are as large as trained ones."""
    target.mkdir()
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    none = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"), 0.0)
    (target / "config.json").write_text(json.dumps({**config, "initializer_range": 0.2, **none, **dropout}))
    weights = load_file(folder / "model.safetensors")
    larger = {name: 10 * value if value.ndim > 1 else value for name, value in weights.items()}
    save_file(larger, target / "model.safetensors", metadata={"format": "pt"})
    return target


def logits_and_gradient(
    folder: Path, encoded: Encoded, *, engine: str, placement: Placement, training: bool = False, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return float64 (n, 3) logits, and all gradients as one vector, from the forward pass of an update."""
    model = load_classifier(folder, outputs=3, head_seed=1, engine=engine).to(placement.device).train(training)
    torch.manual_seed(seed)
    with placement.algorithms():
        with placement.autocast():
            logits = model(model.place(encoded, placement.device).gather(np.arange(len(encoded)))).float()
        logits.square().sum().backward()
    gradients = [p.grad.flatten() for _, p in sorted(model.named_parameters()) if p.grad is not None]
    return logits.detach().double().cpu(), torch.cat(gradients).double().cpu()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_and_gradients_are_those_of_the_padded_engine(
    family: str, precision: str, device: str, request: pytest.FixtureRequest
) -> None:
    folder, rng = request.getfixturevalue(family), np.random.default_rng(5)
    placement, errors = choose_placement(device, precision), []
    for case in range(12):
        count = int(rng.integers(1, 40))
        lengths = np.minimum(1 + rng.geometric(1 / rng.integers(2, 60), count), FAMILIES[family])
        lengths[:1] = FAMILIES[family] if case % 4 == 0 else lengths[:1]
        pad_id = {"tiny_roberta": 1, "tiny_bert": 0}[family]
        encoded = encoded_of(lengths.tolist(), seed=case, pad_id=pad_id)
        exact = logits_and_gradient(folder, encoded, engine="padded", placement=CPU)
        ours, theirs = (
            logits_and_gradient(folder, encoded, engine=engine, placement=placement) for engine in ("flat", "padded")
        )
        for truth, flat, padded in zip(exact, ours, theirs, strict=True):
            errors.append([float((found - truth).norm() / truth.norm()) for found in (flat, padded)])
    flat_errors, padded_errors = np.array(errors).T
    limit = 1e-5 if precision == "float32" else 3e-2
    assert flat_errors.max() < limit
    assert (flat_errors < 3 * padded_errors + limit / 10).all()  # no less exact than transformers on the same device


@pytest.mark.parametrize("place", ["hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"])
def test_dropout_has_the_rate_that_transformers_gives_it(
    place: str, device: str, tiny_roberta: Path, tmp_path: Path
) -> None:
    """Of 4,096 copies of a row, each with its own mask, the logits scatter as much as with transformers' dropout."""
    folder = lively(tiny_roberta, tmp_path / "lively", **{place: 0.1})
    row = encoded_of([9], seed=1, pad_id=1)
    count = 4096
    copies = Encoded(
        tokens=np.tile(row.tokens, count),
        types=np.tile(row.types, count),
        offsets=9 * np.arange(count + 1),
        truncated=0,
    )
    for precision in PRECISIONS:
        deviation = []
        for engine, placement in (("flat", choose_placement(device, precision)), ("padded", CPU)):
            logits, _ = logits_and_gradient(folder, copies, engine=engine, placement=placement, training=True)
            deviation.append(logits.std(dim=0))
        torch.testing.assert_close(deviation[0], deviation[1], rtol=0.08, atol=0)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_dropout_masks_are_those_of_the_seed(precision: str, device: str, tiny_roberta: Path) -> None:
    encoded, placement = encoded_of([5, 9, 30, 2], seed=2, pad_id=1), choose_placement(device, precision)
    first, again, other = (
        logits_and_gradient(tiny_roberta, encoded, engine="flat", placement=placement, training=True, seed=seed)[0]
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert (first != other).all()


LENGTHS = [3 + (7 * row) % 23 for row in range(45)]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_deterministic_fit_gives_the_same_bits_twice_and_after_an_interruption(
    precision: str, device: str, tiny_roberta: Path, tmp_path: Path
) -> None:
    encoded = encoded_of(LENGTHS, seed=3, pad_id=1)
    changed = settings(snapshot_minutes=0.0)
    train_on(tiny_roberta, encoded, changed, placement=choose_placement(device, precision))  # an ordinary one
    placement = choose_placement(device, precision, deterministic=True)
    expected, history, whole = train_on(tiny_roberta, encoded, changed, placement=placement)
    store = SnapshotStore(tmp_path / "snapshots", belongs_to=OWNER)
    stop = 7 + placement.asynchronous  # the report of update 7 comes after update 8
    with pytest.raises(Stopped, match=f"after update {stop} of 12, snapshot kept"):
        train_on(tiny_roberta, encoded, changed, placement=placement, snapshots=store, stop_after=7)
    for kept in (None, store):
        model, lines, result = train_on(tiny_roberta, encoded, changed, placement=placement, snapshots=kept)
        assert [(x.step, x.loss, x.gradient_norm) for x in lines] == [
            (x.step, x.loss, x.gradient_norm) for x in history
        ]
        assert result.resumed_at == ([stop] if kept else [])
        assert result.tokens == whole.tokens
        for (name, ours), theirs in zip(model.named_parameters(), expected.parameters(), strict=True):
            assert torch.equal(ours, theirs), name


@pytest.mark.parametrize("kernels", ["auto", "torch"])
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", 2e-2)])
def test_training_and_evaluation_give_the_logits_of_the_cpu(
    precision: str, tolerance: float, kernels: str, device: str, tiny_roberta: Path, tmp_path: Path
) -> None:
    folder, encoded = lively(tiny_roberta, tmp_path / "lively"), encoded_of(LENGTHS, seed=4, pad_id=1)
    found = []
    for placement in (choose_placement(device, precision), CPU):
        model, history, _ = train_on(folder, encoded, settings(kernels=kernels), placement=placement)
        found.append((predict(model, encoded, batch_size=16, placement=placement), [line.loss for line in history]))
    (logits, losses), (expected, expected_losses) = found
    assert np.ptp(expected, axis=0).min() > 0.5
    np.testing.assert_allclose(losses, expected_losses, atol=tolerance * 10, rtol=0)
    np.testing.assert_allclose(logits, expected, atol=tolerance * 10, rtol=0)


def test_where_memory_is_too_small_a_batch_is_split_and_the_fit_is_the_same(
    device: str, tiny_roberta: Path, tmp_path: Path
) -> None:
    if device == "cpu":
        pytest.skip("a GPU's memory is capped")
    folder, placement = lively(tiny_roberta, tmp_path / "lively"), choose_placement(device, "float32")
    encoded = encoded_of([512] * 64, seed=6, pad_id=1)
    changed = settings(epochs=1, updates=3, batch_size=64)

    def attempt() -> tuple[list[float], int, NDArray[np.float32]]:
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        model, history, result = train_on(folder, encoded, changed, placement=placement)
        logits = predict(model, encoded, batch_size=64, placement=placement)
        return [line.loss for line in history], result.accumulation, logits

    losses, parts, logits = attempt()
    peak, total = torch.cuda.max_memory_reserved(), torch.cuda.get_device_properties(placement.device).total_memory
    assert parts == 1
    try:
        torch.cuda.set_per_process_memory_fraction(0.6 * peak / total)
        capped_losses, capped_parts, capped_logits = attempt()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert capped_parts > 1
    np.testing.assert_allclose(capped_losses, losses, atol=1e-4, rtol=0)
    np.testing.assert_allclose(capped_logits, logits, atol=1e-3, rtol=0)
