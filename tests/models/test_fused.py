"""Our kernels for a GPU, run by Triton's interpreter on the CPU, beside the flat engine and torch's optimiser."""

import dataclasses
import os
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from transformers import BertConfig, PretrainedConfig, RobertaConfig

from glue_bench.config.compose import compose_run
from glue_bench.data.encoding import Encoded
from glue_bench.models.classifier import FlatClassifier, make_classifier
from glue_bench.models.packing import Layout

if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("a GPU runs the kernels: tests/gpu", allow_module_level=True)
pytest.importorskip("triton")

from glue_bench.models import fused, triton_attention, triton_kernels
from glue_bench.training.adamw import FlatAdamW

LENGTHS = [3, 9, 1, 17]
SIZES = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
}
ROBERTA = RobertaConfig(type_vocab_size=1, pad_token_id=1, **SIZES)
BERT = BertConfig(type_vocab_size=2, pad_token_id=0, **SIZES)
SETTINGS = compose_run(["task=rte"]).trainer
LAYOUT = Layout(bucket=32, rows=5, segments=True)  # one row more than there are


@pytest.fixture(autouse=True)
def few_programs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The interpreter runs one program after the other."""
    monkeypatch.setattr(triton_kernels, "PROGRAMS", 2)
    monkeypatch.setattr(fused, "PROGRAMS", 2)
    monkeypatch.setattr(triton_attention, "_TILE", 16)
    return


def make(config: PretrainedConfig, *, dropout: float = 0.0) -> FlatClassifier:
    config = type(config).from_dict(config.to_dict())
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = dropout
    model = make_classifier(config, outputs=3, seed=1, engine="flat")
    assert isinstance(model, FlatClassifier)
    generator = torch.Generator().manual_seed(2)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model.train()


def rows() -> Encoded:
    rng, offsets = np.random.default_rng(0), np.concatenate([[0], np.cumsum(LENGTHS)])
    types, tokens = (rng.integers(low, high, offsets[-1]) for low, high in ((0, 2), (2, 60)))
    return Encoded(tokens=tokens.astype(np.int32), types=types.astype(np.uint8), offsets=offsets, truncated=0)


def static(model: FlatClassifier, *, seed: int = 3, layout: Layout = LAYOUT) -> fused.FlatBatch:
    placed = model.encoder.place(rows(), torch.device("cpu"))
    extras = {"seed": np.array([seed], np.uint64).view(np.int32)}
    return placed.unpack(placed.pack(np.arange(len(LENGTHS)), layout=layout, extras=extras))


def gradients_of_torch(model: FlatClassifier, weights: torch.Tensor) -> dict[str, torch.Tensor]:
    logits = model(model.place(rows(), torch.device("cpu")).gather(np.arange(len(LENGTHS))))
    (logits * weights).sum().backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("config", [ROBERTA, BERT], ids=["roberta", "bert"])
@pytest.mark.parametrize("key", ["", "attention_kernel", "embedding_kernel"])
def test_logits_and_gradients_are_those_of_torch(config: PretrainedConfig, key: str) -> None:
    model, weights = make(config), torch.randn(4, 3, generator=torch.Generator().manual_seed(4))
    settings = dataclasses.replace(SETTINGS, **({key: "torch"} if key else {}))
    expected = model(model.place(rows(), torch.device("cpu")).gather(np.arange(4))).detach()
    gradients = gradients_of_torch(model, weights)

    classifier, batch = fused.FusedClassifier(model, settings, dtype=torch.float32), static(model)
    for times in (1, 2):  # a second micro-batch adds to the first
        logits = classifier(batch)[:4]
        torch.testing.assert_close(logits.detach(), expected, rtol=0, atol=1e-6)
        (logits * weights).sum().backward()
        for name, gradient in gradients.items():
            torch.testing.assert_close(classifier.weights.grad(name), times * gradient, rtol=1e-5, atol=2e-6, msg=name)


def test_masks_depend_on_the_seed_alone_and_gradients_are_those_of_the_masked_function() -> None:
    model = make(ROBERTA, dropout=0.3)
    classifier = fused.FusedClassifier(model, SETTINGS, dtype=torch.float32)
    weights = torch.randn(5, 3, generator=torch.Generator().manual_seed(4))

    def loss(seed: int) -> torch.Tensor:
        torch.manual_seed(0)  # the head's dropout
        classifier.weights.overwrite = True
        return (classifier(static(model, seed=seed)) * weights).sum()

    assert torch.equal(loss(3), loss(3))
    assert not torch.equal(loss(3), loss(4))

    loss(3).backward()
    flat = classifier.weights
    direction = torch.randn(flat.master.shape, generator=torch.Generator().manual_seed(5))
    slope, step, start = float(flat.gradient @ direction), 1e-4, flat.master.clone()
    ends = []
    for sign in (-1, 1):
        flat.master.copy_(start + sign * step * direction)
        ends.append(float(loss(3).detach()))
    assert slope == pytest.approx((ends[1] - ends[0]) / (2 * step), rel=2e-2)


def test_the_share_of_dropped_elements_is_the_probability() -> None:
    ones, zeros = torch.ones(40, 32), torch.zeros(40, 32)
    norm = torch.ones(32), torch.zeros(32)
    dropout = triton_kernels.Dropout(seed=torch.tensor([7]), site=1, p=0.25)
    kept = triton_kernels.add_norm(ones, zeros, norm=norm, epsilon=1e-5, dropout=dropout).z
    torch.testing.assert_close(kept.unique(), torch.tensor([0.0, 1 / 0.75]))
    assert float((kept == 0).float().mean()) == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize("limit", [0.0, 0.5, 1e6])
def test_adamw_is_torchs_in_float64(limit: float) -> None:
    model = make(ROBERTA)
    settings = dataclasses.replace(SETTINGS, clip_norm=limit, weight_decay=0.1)
    flat = fused.FlatWeights(model, dtype=torch.bfloat16)
    ours = FlatAdamW(flat, settings)
    exact = {name: torch.nn.Parameter(value.double().clone()) for name, value in flat.by_name(flat.master).items()}
    matrices, vectors = ([p for p in exact.values() if (p.ndim > 1) == wanted] for wanted in (True, False))
    theirs = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        lr=1e-3,
        betas=(settings.betas[0], settings.betas[1]),
        eps=settings.epsilon,
    )
    generator = torch.Generator().manual_seed(6)
    for update in range(1, 5):
        flat.gradient.zero_()
        for name, parameter in exact.items():
            flat.grad(name).copy_(torch.randn(parameter.shape, generator=generator))
            parameter.grad = flat.grad(name).double()
        norm = torch.nn.utils.get_total_norm([p.grad for p in exact.values() if p.grad is not None])
        if limit:
            torch.nn.utils.clip_grads_with_norm_(list(exact.values()), limit, norm)
        theirs.step()
        scalars = [1e-3, *(1 - beta**update for beta in settings.betas)]
        assert float(ours.apply(torch.tensor(scalars))) == pytest.approx(float(norm), rel=1e-5)
    for name, value in flat.by_name(flat.master).items():
        torch.testing.assert_close(value.double(), exact[name].detach(), rtol=0, atol=1e-6, msg=name)
        # The interpreter cuts bits off where a GPU rounds.
        torch.testing.assert_close(flat[name].float(), value, rtol=2**-7, atol=0, msg=name)


def test_a_state_is_restored_under_the_names_of_torchs_optimiser() -> None:
    model = make(ROBERTA)
    flat = fused.FlatWeights(model, dtype=torch.bfloat16)
    first, second = FlatAdamW(flat, SETTINGS), FlatAdamW(flat, SETTINGS)
    flat.gradient.fill_(0.5)
    first.apply(torch.tensor([1e-3, 0.1, 0.02]))
    state = first.state()
    names = {f"{key}.{name}" for key in ("step", "exp_avg", "exp_avg_sq") for name, _ in model.named_parameters()}
    assert set(state) == names
    second.restore(state)
    assert all(torch.equal(value, second.state()[name]) for name, value in state.items())
