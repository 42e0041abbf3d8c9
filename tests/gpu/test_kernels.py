"""Our own kernels on a GPU, beside the CPU's exact arithmetic."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from glue_bench.data.encoding import Encoded
from glue_bench.models.classifier import load_classifier
from glue_bench.models.placement import Layout, Placement, choose_placement
from tests.gpu.conftest import DEVICE
from tests.support.fitting import train_on
from tests.support.training import CPU, encoded_of, settings

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(DEVICE != "cuda" or not torch.cuda.is_available(), reason="no GPU here"),
]
KERNELS = ("attention_kernel", "adamw_kernel", "embedding_kernel")


def ours(
    folder: Path, encoded: Encoded, *, precision: str, training: bool = False, seed: int = 0, **switched: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return float64 (n, 3) logits, and all gradients as one vector, from the forward pass of an update."""
    from glue_bench.models.fused import FusedClassifier

    placement = choose_placement("cuda", precision)
    model = load_classifier(folder, outputs=3, head_seed=1, engine="flat")
    model.to(placement.device).train(training)
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    fused = FusedClassifier(model, settings(**switched), dtype=dtype)
    packer = model.place(encoded, placement.device)
    layout = Layout(bucket=64, rows=len(encoded) + 3, segments=True)
    extras = {"seed": np.array([seed], np.uint64).view(np.int32)}
    torch.manual_seed(seed)
    with placement.algorithms(), placement.autocast():
        packed = packer.pack(np.arange(len(encoded)), layout=layout, extras=extras)
        logits = fused(packer.unpack(packed.to(placement.device)))[: len(encoded)].float()
        logits.square().sum().backward()  # type: ignore[no-untyped-call]
    gradients = [fused.weights.grads[name].flatten() for name, _ in sorted(model.named_parameters())]
    return logits.detach().double().cpu(), torch.cat(gradients).double().cpu()


def exact(folder: Path, encoded: Encoded) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the same by transformers on the CPU."""
    model = load_classifier(folder, outputs=3, head_seed=1, engine="padded").eval()
    logits = model(model.place(encoded, CPU.device).gather(np.arange(len(encoded)))).float()
    logits.square().sum().backward()
    gradients = [p.grad.flatten() for _, p in sorted(model.named_parameters()) if p.grad is not None]
    return logits.detach().double(), torch.cat(gradients).double()


@pytest.mark.parametrize("switched", [None, *KERNELS])
@pytest.mark.parametrize(("precision", "limit"), [("float32", 1e-5), ("bfloat16", 3e-2)])
@pytest.mark.parametrize("family", ["tiny_roberta", "tiny_bert"])
def test_logits_and_gradients_are_those_of_transformers(
    family: str, precision: str, limit: float, switched: str | None, request: pytest.FixtureRequest
) -> None:
    folder, rng = request.getfixturevalue(family), np.random.default_rng(5)
    changed: dict[str, Any] = {switched: "torch"} if switched else {}
    longest, pad_id = {"tiny_roberta": (512, 1), "tiny_bert": (128, 0)}[family]
    for case in range(4):
        lengths = np.minimum(1 + rng.geometric(1 / rng.integers(2, 60), int(rng.integers(1, 40))), longest)
        lengths[:1] = longest if case == 0 else lengths[:1]
        encoded = encoded_of(lengths.tolist(), seed=case, pad_id=pad_id)
        found = ours(folder, encoded, precision=precision, **changed)
        for truth, value in zip(exact(folder, encoded), found, strict=True):
            assert float((value - truth).norm() / truth.norm()) < limit


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_masks_are_those_of_the_seed(precision: str, tiny_roberta: Path) -> None:
    encoded = encoded_of([5, 9, 30, 2], seed=2, pad_id=1)
    first, again, other = (ours(tiny_roberta, encoded, precision=precision, training=True, seed=s) for s in (1, 1, 2))
    assert all(torch.equal(left, right) for left, right in zip(first, again, strict=True))
    assert (first[0] != other[0]).all()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_fit_with_graphs_has_the_bits_of_one_without(precision: str, tiny_roberta: Path) -> None:
    encoded = encoded_of([3 + (7 * row) % 23 for row in range(120)], seed=3, pad_id=1)
    placement, fits = choose_placement("cuda", precision), []
    for changed in (settings(epochs=3), settings(epochs=3, graph="off")):
        fits.append(train_on(tiny_roberta, encoded, changed, placement=placement))
    (model, history, result), (plain, lines, other) = fits
    assert (result.kernels, other.kernels) == ("ours", "ours")
    assert "shape" in result.graph
    assert other.graph == "off"
    assert [line.loss for line in history] == [line.loss for line in lines]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True))


def test_words_that_a_batch_lacks_are_updated_as_if_it_had_them(tiny_roberta: Path) -> None:
    encoded, placement = encoded_of([3 + (5 * row) % 9 for row in range(90)], seed=3, pad_id=1), float32()
    lazily, all_at_once, by_torch = (
        train_on(tiny_roberta, encoded, settings(epochs=3, **switched), placement=placement)
        for switched in ({}, {"adamw_kernel": "torch"}, {"kernels": "torch"})
    )
    assert by_torch[2].kernels == "torch: trainer.kernels=torch"
    for (name, value), other in zip(lazily[0].named_parameters(), all_at_once[0].parameters(), strict=True):
        torch.testing.assert_close(value, other, rtol=0, atol=2e-6, msg=name)


def float32() -> Placement:
    return dataclasses.replace(choose_placement("cuda", "float32"), deterministic=True)
