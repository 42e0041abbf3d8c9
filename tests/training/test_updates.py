"""A whole update on batches of fixed shapes, and graphs of it: replaying is stood in for by making the update again."""

import itertools
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.nn import functional

from glue_bench.config.schema import TrainerConfig
from glue_bench.data.encoding import Encoded
from glue_bench.errors import DivergedError
from glue_bench.models.classifier import Classifier, load_classifier
from glue_bench.models.placement import Placement
from glue_bench.training.checkpoint import SnapshotStore
from glue_bench.training.course import StepReport, dropout_seed
from glue_bench.training.optimizer import Graphs, TorchAdamW
from glue_bench.training.stopping import Stopped
from glue_bench.training.trainer import FitResult, predict
from glue_bench.training.updates import Updates
from tests.support.fitting import fit_until
from tests.support.training import CPU, FIXED, OWNER, STREAMS, encoded_of, settings

LENGTHS = [30, 3, 9, 22, 17, 64, 5, 41, 12, 12, 8, 28, 33, 19, 6, 50, 11, 25, 7]
LABELS = np.arange(len(LENGTHS)) % 2


class Again:
    """Captures an update by keeping what makes it."""

    def __init__(self, *, fails_at: int = 0) -> None:
        """Fail at capture number `fails_at`, from 1."""
        self.captured = self.replayed = self.freed = 0
        self._fails_at = fails_at

    def capture(self, run: Callable[[], None]) -> Callable[[], None]:
        self.captured += 1
        if self.captured == self._fails_at:
            raise RuntimeError("operation not permitted when stream is capturing\nCompile with TORCH_USE_CUDA_DSA")

        def replay() -> None:
            self.replayed += 1
            run()

        return replay

    def free(self) -> None:
        self.freed += 1


def split() -> Encoded:
    return encoded_of(LENGTHS, seed=4, pad_id=1)


def train(
    folder: Path,
    changed: TrainerConfig,
    *,
    capture: Again | None = None,
    labels: NDArray[np.float64] | NDArray[np.int64] = LABELS,
    placement: Placement = FIXED,
    store: SnapshotStore | None = None,
    stop_after: int | None = None,
    kind: type[Classifier] = Classifier,
    history: list[StepReport] | None = None,
) -> tuple[Classifier, list[StepReport], FitResult]:
    outputs = 1 if labels.dtype.kind == "f" else 2
    model = load_classifier(folder, outputs=outputs, head_seed=STREAMS.head)
    model.__class__ = kind
    more: dict[str, Any] = {"history": history, "snapshots": store, "placement": placement}
    with pytest.MonkeyPatch.context() as patch:
        if capture:
            patch.setattr("glue_bench.training.updates.may_capture", lambda *_, **__: True)
            patch.setattr(Graphs, "_capture", lambda _, run: capture.capture(run))
            patch.setattr(Graphs, "_free", lambda _: capture.free())
        return model, *fit_until(model, split(), labels, changed, stop_after=stop_after, **more)


def same_weights(ours: Classifier, theirs: Classifier) -> bool:
    return all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


@pytest.mark.parametrize("engine", ["flat", "padded"])
@pytest.mark.parametrize("regression", [False, True])
@given(
    lengths=st.lists(st.integers(1, 70), min_size=1, max_size=8),
    spare=st.integers(0, 5),
    parts=st.integers(1, 4),
)
@example(lengths=[32], spare=0, parts=1)
@example(lengths=[3], spare=5, parts=1)
@settings_of_hypothesis(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_update_on_fixed_shapes_has_the_mean_loss_and_its_gradient(
    regression: bool, engine: str, lengths: list[int], spare: int, parts: int, tiny_roberta: Path
) -> None:
    labels = np.linspace(0.0, 5.0, len(lengths)) if regression else np.arange(len(lengths)) % 2
    model = load_classifier(tiny_roberta, outputs=1 if regression else 2, head_seed=1, engine=engine).eval()
    encoded, everything = encoded_of(lengths, seed=5, pad_id=1), np.arange(len(lengths))
    logits = model(model.place(encoded, CPU.device).gather(everything))
    targets = torch.from_numpy(labels)
    if regression:
        expected = functional.mse_loss(logits[:, 0], targets.float())
    else:
        expected = functional.cross_entropy(logits, targets)
    expected.backward()  # type: ignore[no-untyped-call]
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    norm = torch.linalg.vector_norm(torch.cat([gradient.flatten() for gradient in gradients.values()]))
    split_into = min(parts, len(lengths) + spare)
    changed = settings(batch_size=len(lengths) + spare, accumulation=split_into, learning_rate=1e-30)
    lines = list[StepReport]()
    updates = Updates(model, encoded, labels=labels, settings=changed, placement=FIXED)
    updates.on_step = lines.append
    kept = dict[str, torch.Tensor]()
    optimizer = updates.optimizer
    apply = optimizer.apply

    def keep(scalars: torch.Tensor) -> torch.Tensor:
        kept.update({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
        return apply(scalars)

    optimizer.apply = keep  # type: ignore[method-assign]
    updates.update(everything, seed=1)
    updates.report(seconds=1)
    updates.catch_up()
    (line,) = lines
    assert line.loss == pytest.approx(expected.item(), abs=1e-6, rel=1e-6)
    assert line.gradient_norm == pytest.approx(norm.item(), rel=1e-5)
    assert kept.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(kept[name], gradient, atol=1e-6, rtol=1e-5, msg=name)


def test_a_training_on_fixed_shapes_and_its_predictions_equal_those_as_the_rows_are(quiet_roberta: Path) -> None:
    for changed in (settings(epochs=3), settings(epochs=3, accumulation=3)):
        (fixed, ours, _), (plain, theirs, _) = (
            train(quiet_roberta, changed, placement=placement) for placement in (FIXED, CPU)
        )
        assert [line.step for line in ours] == list(range(1, 10))
        np.testing.assert_allclose([x.loss for x in ours], [x.loss for x in theirs], atol=1e-5)
        np.testing.assert_allclose(
            predict(fixed, split(), batch_size=4, placement=FIXED),
            predict(plain, split(), batch_size=4, placement=CPU),
            atol=1e-3,
        )


def keys_of(changed: TrainerConfig) -> Counter[tuple[int, int]]:
    """Count the shapes of a training's batches."""
    model = load_classifier(Path(os.environ["TINY"]), outputs=2, head_seed=1)
    updates = Updates(model, split(), labels=LABELS, settings=changed, placement=FIXED)
    return Counter(updates._pack(batch, seed=1)[0].key for batch in updates.batches(order=STREAMS.order))


MANY = settings(epochs=8, batch_size=4, log_every=3)  # 40 updates; the last of an epoch has 3 rows


def test_each_shape_is_captured_at_its_third_update_and_replayed_from_then_on(
    tiny_roberta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINY", str(tiny_roberta))
    counts, capture = keys_of(MANY), Again()
    often = [count for count in counts.values() if count > 2]
    assert 1 < len(often) < len(counts)
    expected, history, off = train(tiny_roberta, MANY)
    model, lines, result = train(tiny_roberta, MANY, capture=capture)
    assert capture.captured == len(often)
    assert capture.replayed == sum(count - 2 for count in often)
    assert (result.graph, off.graph) == (f"{len(often)} shapes", "off")
    assert same_weights(model, expected)  # dropout included
    assert [(x.step, x.loss, x.gradient_norm) for x in lines] == [(x.step, x.loss, x.gradient_norm) for x in history]


@pytest.mark.parametrize("fails_at", [1, 2])
def test_a_capture_that_fails_is_one_line_and_the_training_continues_without(
    fails_at: int, tiny_roberta: Path, caplog: pytest.LogCaptureFixture
) -> None:
    capture = Again(fails_at=fails_at)
    expected, _, _ = train(tiny_roberta, MANY)
    model, _, result = train(tiny_roberta, MANY, capture=capture)
    assert same_weights(model, expected)
    assert (capture.captured, capture.freed) == (fails_at, 1)
    why = "RuntimeError: operation not permitted when stream is capturing"
    assert result.graph == f"off: {why}"
    assert caplog.messages == [f"graphs of updates are not used from here on, which is slower: {why}"]


def test_a_training_with_graphs_that_is_interrupted_ends_bit_for_bit_as_if_it_had_not(
    tiny_roberta: Path, tmp_path: Path
) -> None:
    expected, history, _ = train(tiny_roberta, MANY, capture=Again())
    for stop in (3, 18, 33):
        store = SnapshotStore(tmp_path / f"{stop}", belongs_to=OWNER)
        with pytest.raises(Stopped, match=r"SIGUSR1 after update \d+ of 40, snapshot kept"):
            train(tiny_roberta, MANY, capture=Again(), store=store, stop_after=stop)
        found = store.newest()
        assert found is not None
        done = found.step
        assert stop < done <= stop + MANY.log_every  # its line is read one line late
        assert [line["step"] for line in found.metadata["history"]] == list(range(3, done + 1, 3))
        model, lines, result = train(tiny_roberta, MANY, capture=Again(), store=store)
        assert result.resumed_at == [done]
        assert same_weights(model, expected)
        assert [(x.step, x.loss) for x in lines] == [(x.step, x.loss) for x in history]


def test_an_error_of_the_device_while_snapshots_are_read_leaves_them(
    tiny_roberta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = SnapshotStore(tmp_path, belongs_to=OWNER)
    with pytest.raises(Stopped):
        train(tiny_roberta, MANY, store=store, stop_after=3)

    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(TorchAdamW, "settle", fail)
    with pytest.raises(torch.OutOfMemoryError):
        train(tiny_roberta, MANY, store=store)
    assert not [line for line in caplog.messages if "is not used" in line]
    assert store.newest() is not None


def test_a_loss_that_is_not_finite_is_found_one_line_late_at_most(
    tiny_roberta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels, history = np.where(np.arange(len(LENGTHS)) == 3, np.inf, 1.0), list[StepReport]()
    order = np.random.default_rng([STREAMS.order, 0]).permutation(len(LENGTHS))
    bad = int(np.flatnonzero(order == 3)[0]) // 4 + 1
    seen = list[int]()
    original = Updates.update

    def count(updates: Updates, batch: NDArray[np.int64], *, seed: int) -> None:
        original(updates, batch, seed=seed)
        seen.append(updates.done)

    line = -(-bad // 3) * 3  # the line of the history with that update
    monkeypatch.setattr(Updates, "update", count)
    with pytest.raises(DivergedError, match=f"diverged at update {line} of 40"):
        train(tiny_roberta, MANY, capture=Again(), labels=labels, history=history)
    assert seen[-1] == line + 3
    assert [x.step for x in history] == list(range(3, line, 3))


class LittleMemory(Classifier):
    """Runs out of memory at the forward passes whose numbers are in `fails`."""

    fails = frozenset[int]()
    passes = itertools.count(1)

    def forward(self, batch: object) -> torch.Tensor:
        if next(self.passes) in self.fails:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(batch)


def test_on_a_shared_device_a_batch_is_tried_once_more_before_it_is_split(
    tiny_roberta: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = list[int]()

    def note(_: Placement, seed: int) -> None:
        seeds.append(seed)
        torch.manual_seed(seed)

    monkeypatch.setattr(Placement, "seed", note)
    expected, _, _ = train(tiny_roberta, MANY)
    wanted = seeds.copy()
    seeds.clear()
    assert wanted == [dropout_seed(STREAMS.dropout, step, rank=0) for step in range(40)]
    monkeypatch.setattr(LittleMemory, "fails", frozenset({2}))
    monkeypatch.setattr(LittleMemory, "passes", itertools.count(1))
    model, _, result = train(tiny_roberta, MANY, kind=LittleMemory, capture=Again())
    assert (result.accumulation, result.graph) == (1, "off: out of memory")
    assert seeds == [*wanted[:2], *wanted[1:]]
    assert same_weights(model, expected)
    assert caplog.messages == ["graphs of updates are not used from here on, which is slower: out of memory"]
    caplog.clear()
    monkeypatch.setattr(LittleMemory, "fails", frozenset({2, 3}))
    monkeypatch.setattr(LittleMemory, "passes", itertools.count(1))
    _, _, result = train(tiny_roberta, MANY, kind=LittleMemory)
    assert result.accumulation == 2
    assert caplog.messages == ["out of memory at update 1: using 2 micro-batches from now on"]
