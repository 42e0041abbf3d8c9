"""Our kernels for a GPU, run by Triton's interpreter on the CPU, beside the flat engine and torch's optimiser."""

import dataclasses
import gc
import math
import os
import weakref
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from transformers import BertConfig, PretrainedConfig, RobertaConfig

from glue_bench.config.compose import compose_run
from glue_bench.data.encoding import Encoded
from glue_bench.models.classifier import Classifier, load_classifier
from glue_bench.models.kernels import FlatBatch
from glue_bench.models.placement import Layout

if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("a GPU runs the kernels: tests/gpu", allow_module_level=True)
pytest.importorskip("triton", minversion="3.7")  # earlier interpreters fail with NumPy 2.4

from glue_bench.models import fused, triton_adamw, triton_kernels
from glue_bench.models.triton_adamw import FlatAdamW

LENGTHS = [3, 9, 1, 17]
SIZES: dict[str, Any] = {
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
def few_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter runs one program after the other."""
    monkeypatch.setattr(triton_kernels, "PROGRAMS", 2)
    monkeypatch.setattr(triton_adamw, "_PARTS", 4)
    monkeypatch.setattr(fused, "_TILE", 16)


def make(config: PretrainedConfig, *, dropout: float = 0.0) -> Classifier:
    config = type(config).from_dict(config.to_dict())
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = dropout
    model = load_classifier(config, outputs=3, head_seed=1, engine="flat")
    generator = torch.Generator().manual_seed(2)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model.train()


def rows() -> Encoded:
    rng, offsets = np.random.default_rng(0), np.concatenate([[0], np.cumsum(LENGTHS)])
    types, tokens = (rng.integers(low, high, offsets[-1]) for low, high in ((0, 2), (2, 60)))
    return Encoded(tokens=tokens.astype(np.int32), types=types.astype(np.uint8), offsets=offsets, truncated=0)


def static(model: Classifier, *, seed: int = 3, layout: Layout = LAYOUT) -> FlatBatch:
    placed = model.place(rows(), torch.device("cpu"))
    extras = {"seed": np.array([seed], np.uint64).view(np.int32)}
    return placed.unpack(placed.pack(np.arange(len(LENGTHS)), layout=layout, extras=extras))


def gradients_of_torch(model: Classifier, weights: torch.Tensor) -> dict[str, torch.Tensor]:
    logits = model(model.place(rows(), torch.device("cpu")).gather(np.arange(len(LENGTHS))))
    (logits * weights).sum().backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("config", [ROBERTA, BERT], ids=["roberta", "bert"])
@pytest.mark.parametrize("key", ["", "attention_kernel", "embedding_kernel"])
def test_logits_and_gradients_are_those_of_torch(config: PretrainedConfig, key: str) -> None:
    model, weights = make(config), torch.randn(4, 3, generator=torch.Generator().manual_seed(4))
    changed: dict[str, Any] = {key: "torch"} if key else {}
    settings = dataclasses.replace(SETTINGS, **changed)
    expected = model(model.place(rows(), torch.device("cpu")).gather(np.arange(4))).detach()
    gradients = gradients_of_torch(model, weights)

    classifier, batch = fused.FusedClassifier(model, settings, dtype=torch.float32), static(model)
    classifier.words.zero_()
    for times in (1, 2):  # a second micro-batch adds to the first
        logits = classifier(batch)[:4]
        torch.testing.assert_close(logits.detach(), expected, rtol=0, atol=1e-6)
        (logits * weights).sum().backward()  # type: ignore[no-untyped-call]
        for name, gradient in gradients.items():
            torch.testing.assert_close(classifier.weights.grads[name], times * gradient, rtol=1e-5, atol=2e-6, msg=name)


def test_masks_depend_on_the_seed_alone_and_gradients_are_those_of_the_masked_function() -> None:
    model = make(ROBERTA, dropout=0.3)
    classifier = fused.FusedClassifier(model, SETTINGS, dtype=torch.float32)
    weights = torch.randn(5, 3, generator=torch.Generator().manual_seed(4))

    def loss(seed: int) -> torch.Tensor:
        torch.manual_seed(0)  # the head's dropout
        classifier.weights.overwrite = True
        return (classifier(static(model, seed=seed)) * weights).sum()

    found = loss(3)
    found.backward()  # type: ignore[no-untyped-call]
    flat = classifier.weights
    gradient = flat.gradient.clone()
    assert torch.equal(found, loss(3))
    assert not torch.equal(found, loss(4))

    direction = torch.randn(flat.master.shape, generator=torch.Generator().manual_seed(5))
    slope, step, start = float(gradient @ direction), 1e-4, flat.master.clone()
    ends = []
    for sign in (-1, 1):
        flat.master.copy_(start + sign * step * direction)
        ends.append(float(loss(3).detach()))
    assert slope == pytest.approx((ends[1] - ends[0]) / (2 * step), rel=2e-2)


def test_what_a_pass_holds_is_freed_with_its_logits_also_if_no_backward_pass_follows() -> None:
    """After a lack of memory the next attempt needs what this one held; cycles would wait for the collector."""
    classifier, held = fused.FusedClassifier(make(ROBERTA), SETTINGS, dtype=torch.float32), list[weakref.ref[Any]]()
    add_norm = fused._Pass._add_norm

    def remember(*given: Any, **more: Any) -> triton_kernels.Normed:
        held.append(weakref.ref((made := add_norm(*given, **more)).z))
        return made

    gc.disable()
    try:
        with mock.patch.object(fused._Pass, "_add_norm", remember):
            logits = classifier(static(classifier.model))
        assert [each() is None for each in held] == [False] * 4
        del logits
        assert [each() is None for each in held] == [True] * 4
    finally:
        gc.enable()


def test_the_share_of_dropped_elements_is_the_probability() -> None:
    ones, zeros, made = torch.ones(40, 32), torch.zeros(40, 32), [torch.empty(40, 32) for _ in range(4)]
    inputs, dropout = (ones, zeros, ones[0], zeros[0]), (torch.tensor([7]), 1, 0.25)
    triton_kernels.launch(triton_kernels.add_norm, (40,), *inputs, *made, *dropout, 1e-5, 32, BLOCK=32)
    kept = triton_kernels.Normed(*made).z
    assert sorted(set(kept.flatten().tolist())) == pytest.approx([0.0, 1 / 0.75])
    assert float((kept == 0).float().mean()) == pytest.approx(0.25, abs=0.05)


def optimiser(model: Classifier, **changes: Any) -> tuple[fused.FusedClassifier, FlatAdamW]:
    settings = dataclasses.replace(SETTINGS, **changes)
    classifier = fused.FusedClassifier(model, settings, dtype=torch.bfloat16)
    return classifier, FlatAdamW(classifier, settings, updates=600)


@pytest.mark.parametrize("limit", [0.0, 0.5, 1e6])
def test_adamw_is_torchs_in_float64(limit: float) -> None:
    """Some words occur in every update, some in few, some never: their updates are made when they are needed."""
    classifier, ours = optimiser(make(ROBERTA), clip_norm=limit, weight_decay=0.1)
    flat, table = classifier.weights, "whole.roberta.embeddings.word_embeddings.weight"
    exact = {name: torch.nn.Parameter(value.double().clone()) for name, value in flat.by_name(flat.master).items()}
    matrices, vectors = ([p for p in exact.values() if (p.ndim > 1) == wanted] for wanted in (True, False))
    theirs = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        lr=1e-3,
        betas=(SETTINGS.betas[0], SETTINGS.betas[1]),
        eps=SETTINGS.epsilon,
    )
    generator, batch = torch.Generator().manual_seed(6), static(make(ROBERTA))
    for update in range(1, 7):
        words = torch.randint(20 if update < 3 else 8, batch.input_ids.shape, generator=generator, dtype=torch.int32)
        sort_by_word(batch, words)
        ours.zero(micro_batches=2 if update == 4 else 1)
        if classifier.before:
            classifier.before(batch)
        for name, parameter in exact.items():
            gradient = torch.randn(parameter.shape, generator=generator).bfloat16()
            if name == table:
                gradient[~torch.isin(torch.arange(60), words)] = 0
            flat.grads[name].copy_(gradient)
            parameter.grad = gradient.double()
        norm = torch.nn.utils.get_total_norm([p.grad for p in exact.values() if p.grad is not None])
        if limit:
            torch.nn.utils.clip_grads_with_norm_(list(exact.values()), limit, norm)
        theirs.step()
        scalars = [1e-3, *(1 - beta**update for beta in SETTINGS.betas)]
        assert float(ours.apply(torch.tensor(scalars))) == pytest.approx(float(norm), rel=1e-5)
    behind = (flat.exact[table].double() - exact[table].detach()).abs().max()
    assert behind > 1e-5
    ours.settle()
    for name, value in flat.by_name(flat.master).items():
        torch.testing.assert_close(value.double(), exact[name].detach(), rtol=0, atol=1e-6, msg=name)
        if name != table:  # the interpreter cuts bits off where a GPU rounds
            torch.testing.assert_close(flat.joined(name, parts=1).float(), value, rtol=2**-7, atol=0, msg=name)


def sort_by_word(batch: FlatBatch, words: torch.Tensor) -> None:
    order = torch.argsort(words, stable=True).int()
    _, counts = torch.unique_consecutive(words[order.long()], return_counts=True)
    segments = torch.full((len(words) + 1,), len(words), dtype=torch.int32)
    segments[: len(counts)] = torch.cumsum(counts, 0) - counts
    batch.input_ids, batch.word_order, batch.word_segments = words, order, segments


def test_a_row_that_misses_many_updates_ends_where_each_of_them_would_have_led() -> None:
    classifier, ours = optimiser(make(ROBERTA), weight_decay=0.1)
    weights, made = classifier.weights.master, 500
    table, *moments = (part[: 60 * 32].view(60, 32) for part in (weights, ours.first, ours.second))
    row, exact, first, second = 7, torch.linspace(-1, 1, 32).double(), 0.01, 0.02
    table[row] = exact.float()
    for moment, value in zip(moments, (first, second), strict=True):
        moment[row] = value
    for update in range(1, made + 1):
        rate = 1e-3 / update
        scalars = [rate, *(1 - beta**update for beta in SETTINGS.betas)]
        logarithm = float(ours.history[update - 1, 3]) + math.log1p(-rate * 0.1)
        ours.history[update] = torch.tensor([*scalars, logarithm])
        first, second = first * SETTINGS.betas[0], second * SETTINGS.betas[1]
        exact = exact * (1 - rate * 0.1) - rate / scalars[1] * first / ((second / scalars[2]) ** 0.5 + SETTINGS.epsilon)
    before = table[row].clone()
    ours.made.fill_(made)
    ours.last.fill_(made)[row] = 0
    ours.settle()
    torch.testing.assert_close(table[row].double(), exact, rtol=0, atol=1e-6)
    assert (table[row] - before).abs().min() > 1e-5
    assert (ours.last == made).all()
    assert float(moments[1][row, 0]) == pytest.approx(second, rel=1e-4)


def test_a_state_is_restored_under_the_names_of_torchs_optimiser() -> None:
    model = make(ROBERTA)
    classifier, first = optimiser(model)
    second = FlatAdamW(classifier, SETTINGS, updates=600)
    first.zero(micro_batches=2)
    classifier.weights.gradient.fill_(0.5)
    first.apply(torch.tensor([1e-3, 0.1, 0.02]))
    state = first.state()
    names = {f"{key}.{name}" for key in ("step", "exp_avg", "exp_avg_sq") for name, _ in model.named_parameters()}
    assert set(state) == names
    second.restore(state)
    assert all(torch.equal(value, second.state()[name]) for name, value in state.items())
