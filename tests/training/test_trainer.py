"""The training loop: parity with an independent loop, determinism, accumulation, divergence, evaluation."""

import dataclasses
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from glue_bench.config.schema import TrainerConfig
from glue_bench.data.encoding import TextEncoder
from glue_bench.errors import DivergedError, UsageError
from glue_bench.models.classifier import Classifier, load_classifier, save_classifier
from glue_bench.models.placement import choose_placement
from glue_bench.training.course import SeedStreams, StepReport
from glue_bench.training.optimizer import TorchAdamW
from glue_bench.training.trainer import FitResult, fit, length_sorted_batches, predict
from glue_bench.training.updates import shuffled_batches
from tests.support.training import CPU, STREAMS, rows_of, settings


def train(folder: Path, kind: str, changed: TrainerConfig) -> tuple[Classifier, list[StepReport], FitResult]:
    outputs = {"binary": 2, "three-way": 3, "regression": 1}[kind]
    rows, history = rows_of(kind), list[StepReport]()
    model = load_classifier(folder, outputs=outputs, head_seed=STREAMS.head, engine=changed.engine)
    encoded = TextEncoder(folder, max_length=64).encode(rows)
    model.cut_vocabulary(encoded.tokens)
    common = {"settings": changed, "streams": STREAMS, "placement": CPU}
    result = fit(model, encoded, labels=rows.labels, history=history, **common)  # type: ignore[arg-type]
    return model, history, result


def independent_losses(folder: Path, kind: str, made: Path, steps: int, changed: TrainerConfig) -> list[float]:
    """Repeat the training in plain PyTorch and transformers: own tokenising, padding, AdamW and schedule."""
    model = AutoModelForSequenceClassification.from_pretrained(made)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.train()
    tokenizer, rows = AutoTokenizer.from_pretrained(folder), rows_of(kind)
    labels = torch.tensor(rows.labels)
    first = [torch.zeros_like(p) for p in model.parameters()]
    second = [torch.zeros_like(p) for p in model.parameters()]
    total = math.ceil(len(labels) / changed.batch_size) * changed.epochs
    rising = math.ceil(total * changed.warmup)
    losses: list[float] = []
    for epoch in range(changed.epochs):
        order = np.random.default_rng([STREAMS.order, epoch]).permutation(len(labels))
        for start in range(0, len(order), changed.batch_size):
            if len(losses) == steps:
                return losses
            picked = order[start : start + changed.batch_size]
            pairs = [[column[row] for row in picked] for column in rows.texts]
            inputs = tokenizer(*pairs, padding=True, truncation=True, max_length=64, return_tensors="pt")
            logits = model(**inputs).logits
            if kind == "regression":
                loss = ((logits[:, 0] - labels[picked].float()) ** 2).mean()
            else:
                loss = -torch.log_softmax(logits, dim=-1)[torch.arange(len(picked)), labels[picked]].mean()
            model.zero_grad()
            loss.backward()
            losses.append(loss.item())
            step = len(losses)
            rate = changed.learning_rate * (step / rising if step <= rising else (total - step + 1) / (total - rising))
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
            norm = torch.sqrt(sum((g**2).sum() for g in gradients))  # type: ignore[arg-type]
            with torch.no_grad():
                for p, g, m, v in zip(model.parameters(), gradients, first, second, strict=True):
                    g = g * min(1.0, changed.clip_norm / (norm.item() + 1e-6))
                    m.mul_(changed.betas[0]).add_(g, alpha=1 - changed.betas[0])
                    v.mul_(changed.betas[1]).addcmul_(g, g, value=1 - changed.betas[1])
                    if p.ndim > 1:
                        p.mul_(1 - rate * changed.weight_decay)
                    unbiased = m / (1 - changed.betas[0] ** step)
                    p.sub_(rate * unbiased / ((v / (1 - changed.betas[1] ** step)).sqrt() + changed.epsilon))
    return losses


@pytest.mark.parametrize("engine", ["flat", "padded"])
@pytest.mark.parametrize("family", ["tiny_roberta", "tiny_bert"])
@pytest.mark.parametrize("kind", ["binary", "three-way", "regression"])
def test_the_first_fifty_losses_equal_those_of_an_independent_loop(
    engine: str, family: str, kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder: Path = request.getfixturevalue(family)
    monkeypatch.setattr(torch.nn.Dropout, "forward", lambda _, hidden: hidden)
    # Attention's own dropout is a number passed to a function, so it is turned off in the configuration.
    quiet = tmp_path / "quiet"
    quiet.mkdir()
    for file in folder.iterdir():
        text = file.read_bytes()
        if file.name == "config.json":
            text = text.replace(b'_dropout_prob": 0.1', b'_dropout_prob": 0.0')
        (quiet / file.name).write_bytes(text)
    changed = settings(epochs=4, weight_decay=0.5, engine=engine)
    start = load_classifier(quiet, outputs={"binary": 2, "three-way": 3, "regression": 1}[kind], head_seed=STREAMS.head)
    names = {"binary": ["a", "b"], "three-way": ["a", "b", "c"], "regression": []}[kind]
    save_classifier(start, tmp_path / "made", pretrained=quiet, labels=names)
    expected = independent_losses(quiet, kind, tmp_path / "made", 50, changed)
    _, history, _ = train(quiet, kind, changed)
    ours = [line.loss for line in history[:50]]
    assert len(expected) == 50
    np.testing.assert_allclose(ours, expected, atol=1e-5, rtol=0)
    assert np.ptp(expected) > 0.01


def test_the_same_seed_gives_the_same_weights_bit_for_bit(tiny_roberta: Path) -> None:
    torch.manual_seed(1)
    first, history, _ = train(tiny_roberta, "binary", settings())
    torch.manual_seed(2)
    again, same, _ = train(tiny_roberta, "binary", settings())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert [line.loss for line in history] == [line.loss for line in same]


def test_training_leaves_the_callers_random_state_alone(tiny_roberta: Path) -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    train(tiny_roberta, "binary", settings(epochs=1))
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_accumulation_does_not_change_an_update(kind: str, tiny_roberta: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.nn.functional.dropout", lambda hidden, *_, **__: hidden)
    monkeypatch.setattr("glue_bench.models.kernels.Noise.mask", lambda _, states, __: torch.ones_like(states))
    _, whole, _ = train(tiny_roberta, kind, settings())
    _, parts, _ = train(tiny_roberta, kind, settings(accumulation=3))  # 8 rows as 3 + 3 + 2, and 4 as 2 + 1 + 1
    np.testing.assert_allclose([x.loss for x in whole], [x.loss for x in parts], atol=1e-5)
    np.testing.assert_allclose([x.gradient_norm for x in whole], [x.gradient_norm for x in parts], rtol=1e-3)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_history(tiny_roberta: Path) -> None:
    history = list[StepReport]()
    rows = rows_of("regression")
    labels = np.where(np.arange(len(rows)) == 60, np.inf, rows.labels)
    model = load_classifier(tiny_roberta, outputs=1, head_seed=1)
    encoded = TextEncoder(tiny_roberta, max_length=64).encode(rows)
    with pytest.raises(DivergedError, match=r"diverged at update \d+ of 26: loss inf"):
        fit(
            model,
            encoded,
            labels=labels,
            settings=settings(),
            streams=STREAMS,
            placement=CPU,
            history=history,
        )
    assert len(history) < 13


def test_logits_that_are_not_finite_are_not_a_prediction(tiny_roberta: Path) -> None:
    model = load_classifier(tiny_roberta, outputs=2, head_seed=1)
    with torch.no_grad():
        next(model.parameters()).fill_(math.nan)
    encoded = TextEncoder(tiny_roberta, max_length=64).encode(rows_of("binary"))
    with pytest.raises(DivergedError, match="NaN or infinite logits"):
        predict(model, encoded, batch_size=16, placement=CPU)


def test_the_history_counts_updates_epochs_rates_and_real_tokens(tiny_roberta: Path) -> None:
    _, history, result = train(tiny_roberta, "binary", settings(log_every=10))
    assert [line.step for line in history] == [10, 20, 26]
    assert [line.epoch for line in history] == [1, 2, 2]
    assert all(line.steps == 26 for line in history)
    assert history[-1].learning_rate == pytest.approx(1e-3 * 1 / 24)
    lengths = TextEncoder(tiny_roberta, max_length=64).encode(rows_of("binary")).lengths()
    assert result.tokens == 2 * lengths.sum()


def test_updates_in_place_of_epochs_cut_the_last_one_short_and_the_schedule_ends_with_them(tiny_roberta: Path) -> None:
    _, history, result = train(tiny_roberta, "binary", settings(updates=15, epochs=99, log_every=5))
    assert [(line.step, line.steps, line.epoch) for line in history] == [(5, 15, 1), (10, 15, 1), (15, 15, 2)]
    assert history[-1].learning_rate == pytest.approx(1e-3 * 1 / 14)
    assert (result.steps, result.epochs) == (15, 2)
    lengths = TextEncoder(tiny_roberta, max_length=64).encode(rows_of("binary")).lengths()
    second = np.random.default_rng([STREAMS.order, 1]).permutation(100)[:16]
    assert result.tokens == lengths.sum() + lengths[second].sum()


def test_biases_and_layer_norms_do_not_decay(tiny_roberta: Path) -> None:
    model = load_classifier(tiny_roberta, outputs=2, head_seed=1)
    optimizer = TorchAdamW(model, settings(weight_decay=0.1)).torch
    decaying, plain = ({id(p) for p in group["params"]} for group in optimizer.param_groups)
    for name, parameter in model.named_parameters():
        free = name.endswith("bias") or "LayerNorm" in name
        assert id(parameter) in (plain if free else decaying), name
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]


def test_prediction_gives_every_row_its_own_logits_whatever_the_batch_size(tiny_roberta: Path) -> None:
    model, _, _ = train(tiny_roberta, "three-way", settings(epochs=1))
    encoded = TextEncoder(tiny_roberta, max_length=64).encode(rows_of("three-way"))
    one_by_one = predict(model, encoded, batch_size=1, placement=CPU)
    together = predict(model, encoded, batch_size=33, placement=CPU)
    assert one_by_one.shape == (100, 3)
    np.testing.assert_allclose(one_by_one, together, atol=1e-5)
    assert len(np.unique(one_by_one.round(6), axis=0)) > 20


class Casts(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what is cast to bfloat16, by shape."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts = Counter[tuple[int, ...]]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._to_copy.default and (kwargs or {}).get("dtype") is torch.bfloat16:
            self.counts[tuple(args[0].shape)] += 1
        return func(*args, **(kwargs or {}))


def test_a_prediction_in_bfloat16_casts_each_weight_once_whatever_the_number_of_batches(tiny_roberta: Path) -> None:
    model = load_classifier(tiny_roberta, outputs=3, head_seed=1)
    encoded = TextEncoder(tiny_roberta, max_length=64).encode(rows_of("three-way", 12))
    found = []
    for batch_size in (12, 2):
        casts = Casts()
        with casts:
            predict(model, encoded, batch_size=batch_size, placement=choose_placement("cpu", "bfloat16"))
        found.append(casts.counts[tuple(model.get_parameter("whole.classifier.out_proj.weight").shape)])
    assert found == [1, 1]


def test_batches_to_predict_hold_as_many_tokens_as_asked_with_padding() -> None:
    lengths = np.array([9, 30, 8, 8, 10, 7, 100])
    batches = [lengths[batch].tolist() for batch in length_sorted_batches(lengths, batch_size=2, tokens=40)]
    assert batches == [[100], [30], [10, 9, 8, 8], [7]]


def test_batches_hold_every_row_once_in_an_order_given_by_the_seed() -> None:
    batches = list(shuffled_batches(103, batch_size=8, seed=1, epoch=0))
    assert sorted(np.concatenate(batches)) == list(range(103))
    assert [len(batch) for batch in batches] == [8] * 12 + [7]
    other = list(shuffled_batches(103, batch_size=8, seed=1, epoch=1))
    assert not np.array_equal(batches[0], other[0])
    lengths = np.array([5, 9, 5, 7])
    assert np.concatenate(list(length_sorted_batches(lengths, batch_size=3))).tolist() == [1, 3, 0, 2]


def test_the_three_seed_streams_are_different_and_stable() -> None:
    assert dataclasses.asdict(SeedStreams.from_seed(1)) == {
        "head": 1835504127,
        "order": 1731038949,
        "dropout": 1320224556,
    }
    assert len({*dataclasses.astuple(SeedStreams.from_seed(1)), *dataclasses.astuple(SeedStreams.from_seed(2))}) == 6


def test_a_missing_device_is_refused() -> None:
    with pytest.raises(UsageError, match=r"trainer\.device=cuda:99: this machine has \d+ cuda devices"):
        choose_placement("cuda:99", "auto")
    assert choose_placement("cpu", "auto").precision == "float32"
