"""Trainings that stop and later continue as if they had not."""

import dataclasses
import json
import logging
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from glue_bench.config.compose import compose_run
from glue_bench.config.schema import TrainerConfig
from glue_bench.data.encoding import TextEncoder
from glue_bench.errors import DivergedError
from glue_bench.files import file_sha256
from glue_bench.models.classifier import Classifier, load_classifier, load_trainable
from glue_bench.models.placement import Placement
from glue_bench.training.checkpoint import SnapshotStore
from glue_bench.training.course import StepReport
from glue_bench.training.stopping import Stopped
from glue_bench.training.trainer import FitResult, fit, predict
from tests.support.fitting import fit_until
from tests.support.training import CPU, ONEDNN, OWNER, ROWS, STREAMS, settings


def train(
    folder: Path,
    changed: TrainerConfig,
    store: SnapshotStore | None = None,
    *,
    stop_after: int | None = None,
    placement: Placement = CPU,
    head: str = "default",
    freeze: str = "none",
) -> tuple[Classifier, list[StepReport], FitResult]:
    """Train, with a real SIGUSR1 after an update."""
    config = dataclasses.replace(compose_run(["task=rte"]), trainer=changed, head=head, freeze=freeze)  # type: ignore[arg-type]
    model = load_trainable(folder, config, outputs=2, head_seed=STREAMS.head)
    encoded = TextEncoder(folder, max_length=64).encode(ROWS)
    model.cut_vocabulary(encoded.tokens)
    more: dict[str, Any] = {"snapshots": store, "placement": placement}
    return model, *fit_until(model, encoded, ROWS.labels, changed, stop_after=stop_after, **more)


WAYS = {
    "schedule": "cosine",
    "floor": 0.1,
    "warmup_updates": 4,
    "layer_decay": 0.8,
    "decay_biases": True,
    "label_smoothing": 0.1,
    "class_weights": "balanced",
}


def losses(history: list[StepReport]) -> list[tuple[int, float, float]]:
    return [(line.step, line.loss, line.gradient_norm) for line in history]


@pytest.mark.parametrize(
    ("family", "engine", "stops", "ways", "more"),
    [
        ("tiny_roberta", "flat", list(range(1, 10)), {}, {}),  # an epoch of 5: its end and middle, lines begun or not
        ("tiny_roberta", "padded", [3], {}, {}),
        ("tiny_bert", "flat", [5, 8], {}, {}),
        ("tiny_roberta", "flat", [1, 7], WAYS, {"head": "max", "freeze": "embeddings"}),
        ("tiny_bert", "padded", [5], WAYS, {"head": "mean", "freeze": "encoder"}),
        ("tiny_bert", "flat", [6], {}, {"placement": ONEDNN}),
    ],
)
def test_a_training_interrupted_after_any_update_ends_bit_for_bit_as_if_it_had_not(
    family: str,
    engine: str,
    stops: list[int],
    ways: dict[str, object],
    more: dict[str, Any],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    placement = more.get("placement", CPU)
    folder: Path = request.getfixturevalue(family)
    changed = settings(engine=engine, accumulation=3, log_every=2, snapshot_minutes=0.0, **ways)
    expected, whole_history, whole = train(folder, changed, **more)
    encoded = TextEncoder(folder, max_length=64).encode(ROWS)
    wanted = predict(expected, encoded, batch_size=16, placement=placement)
    for stop in stops:
        store = SnapshotStore(tmp_path / f"{stop}", belongs_to=OWNER)
        with pytest.raises(Stopped, match=f"SIGUSR1 after update {stop} of 10, snapshot kept"):
            train(folder, changed, store, stop_after=stop, **more)
        model, history, result = train(folder, changed, store, **more)
        assert result.resumed_at == [stop]
        assert (result.steps, result.tokens) == (10, whole.tokens)
        assert losses(history) == losses(whole_history)
        for (name, ours), theirs in zip(model.named_parameters(), expected.parameters(), strict=True):
            assert torch.equal(ours, theirs), (stop, name)
        np.testing.assert_array_equal(predict(model, encoded, batch_size=16, placement=placement), wanted)


def test_a_training_interrupted_twice_ends_the_same(tiny_roberta: Path, tmp_path: Path) -> None:
    changed = settings(log_every=3, snapshot_minutes=0.0)
    expected, _, _ = train(tiny_roberta, changed)
    store = SnapshotStore(tmp_path / "twice", belongs_to=OWNER)
    for stop in (2, 7):
        with pytest.raises(Stopped):
            train(tiny_roberta, changed, store, stop_after=stop)
    model, _, result = train(tiny_roberta, changed, store)
    assert result.resumed_at == [2, 7]
    assert result.seconds > result.earlier > 0
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), expected.parameters(), strict=True))


def test_snapshots_are_written_as_often_as_asked(tiny_roberta: Path, tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path / "often", belongs_to=OWNER)
    train(tiny_roberta, settings(snapshot_minutes=1e-9), store)
    assert sorted(path.name for path in (tmp_path / "often").iterdir()) == ["step-0000000009", "step-0000000010"]
    seldom = SnapshotStore(tmp_path / "seldom", belongs_to=OWNER)
    train(tiny_roberta, settings(snapshot_minutes=10), seldom)
    assert not (tmp_path / "seldom").exists()


class SmallMemory(Classifier):
    """Refuses batches of more rows than it says it has room for."""

    room = 2  # rows

    def forward(self, batch: object) -> torch.Tensor:
        logits = super().forward(batch)
        if len(logits) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return logits


def test_a_training_that_needed_more_micro_batches_continues_with_them(tiny_roberta: Path, tmp_path: Path) -> None:
    expected, _, _ = train(tiny_roberta, settings(accumulation=4))
    store = SnapshotStore(tmp_path / "parts", belongs_to=OWNER)
    with pytest.raises(Stopped):
        train(tiny_roberta, settings(accumulation=4), store, stop_after=3)
    model, _, result = train(tiny_roberta, settings(), store)
    assert result.accumulation == 4
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), expected.parameters(), strict=True))


def test_a_whole_training_in_a_snapshot_is_not_trained_again(tiny_roberta: Path, tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path / "whole", belongs_to=OWNER)
    expected, _, _ = train(tiny_roberta, settings(snapshot_minutes=1e-9), store)
    model, history, result = train(tiny_roberta, settings(snapshot_minutes=0.0), store)
    assert result.resumed_at == [10] == [result.steps]
    assert history[-1].step == 10
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), expected.parameters(), strict=True))


@pytest.fixture(scope="module")
def kept(tiny_roberta: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the snapshots of a training that was stopped after its third update of ten."""
    folder = tmp_path_factory.mktemp("kept")
    with pytest.raises(Stopped):
        train(tiny_roberta, EACH, SnapshotStore(folder, belongs_to=OWNER), stop_after=3)
    return folder


EACH = settings(log_every=1, snapshot_minutes=0.0)
COUNTS: dict[str, dict[str, Any]] = {
    "loss_steps is -1; must be 0 to 3": {"loss_steps": -1},
    "loss_steps is 4; must be 0 to 3": {"loss_steps": 4},
    "parts is 0; must be 1 to 8": {"parts": 0},
    "parts is 1000000000000; must be 1 to 8": {"parts": 10**12},
    "tokens is -5": {"tokens": -5},
    "tokens is 99999999999999999999; must be 3 to": {"tokens": 10**20 - 1},
    "seconds is -0.5": {"seconds": -0.5},
    "seconds is 1.7e+308": {"seconds": 1.7e308},
    "resumed_at is 9; must be 1 to 3": {"resumed_at": [9]},
    "history is 10; must be 1 to 3": {"line": {"step": 10}},
    "history is 1; must be 2 to 3": {"line": {}, "again": True},
    "history's epoch is -5; must be 1": {"line": {"epoch": -5}},
    "history's steps is 99; must be 10": {"line": {"steps": 99}},
    "history's loss is -1.0": {"line": {"loss": -1.0}},
    "number of scores is 1; must be 0": {"selection": {"epoch": 1, "step": 3, "scores": [0.5]}},
}
TENSORS: dict[str, Callable[[dict[str, Tensor]], object]] = {
    "optimizer.exp_avg": lambda found: found.update(single(found, "optimizer.exp_avg")),
    "optimizer.exp_avg_sq": lambda found: found.update(
        {name: -value - 1 for name, value in found.items() if ".exp_avg_sq." in name}
    ),
    "optimizer.step": lambda found: found.update(
        {name: value * 2 for name, value in found.items() if ".step." in name}
    ),
    "optimizer.step.whole": lambda found: found.update(filled(found, "optimizer.step", math.nan)),
    "optimizer.": lambda found: [found.pop(name) for name in [*found] if name.startswith("optimizer.")],
    "optimizer.step.": lambda found: [found.pop(name) for name in [*found] if ".step." in name],
    "optimizer.exp_avg.whole.classifier": lambda found: found.pop("optimizer.exp_avg.whole.classifier.dense.bias"),
    "optimizer.other": lambda found: found.update({"optimizer.other.whole.classifier.dense.bias": torch.zeros(1)}),
    "model.": lambda found: found.update(filled(found, "model.", math.nan)),
    "model.whole": lambda found: found.update(filled(found, "model.", math.inf)),
    "loss_sum": lambda found: found.update(filled(found, "loss_sum", math.nan)),
    "loss": lambda found: found.pop("loss_sum"),
}


def single(found: dict[str, Tensor], kind: str) -> dict[str, Tensor]:
    return {name: value.flatten()[:1].clone() for name, value in found.items() if name.startswith(kind)}


def filled(found: dict[str, Tensor], kind: str, value: float) -> dict[str, Tensor]:
    return {name: torch.full_like(like, value) for name, like in found.items() if name.startswith(kind)}


def rewrite(folder: Path, name: str) -> None:
    """Make the manifest agree with a file."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sha256"][name] = file_sha256(folder / name)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def assert_starts_anew(tiny_roberta: Path, snapshots: Path, *, message: str, logged: pytest.LogCaptureFixture) -> None:
    with logged.at_level(logging.WARNING, "glue_bench"):
        _, history, result = train(tiny_roberta, EACH, SnapshotStore(snapshots, belongs_to=OWNER))
    assert f"is not used: {message}" in logged.text
    assert result.resumed_at == []
    assert [line.step for line in history] == list(range(1, 11))


@pytest.mark.parametrize("message", COUNTS)
def test_counts_that_no_training_can_reach_are_named_and_the_training_starts_anew(
    message: str, tiny_roberta: Path, kept: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder,) = shutil.copytree(kept, tmp_path / "kept").glob("step-*")
    facts, changes = json.loads((folder / "facts.json").read_text()), dict(COUNTS[message])
    if "line" in changes:
        line = {**facts["history"][0], **changes.pop("line")}
        changes["history"] = [line] * (2 if changes.pop("again", False) else 1)
    (folder / "facts.json").write_text(json.dumps({**facts, **changes}))
    rewrite(folder, "facts.json")
    assert_starts_anew(tiny_roberta, folder.parent, message=f"its {message}", logged=caplog)


def test_a_snapshot_under_another_name_is_not_used(
    tiny_roberta: Path, kept: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder,) = shutil.copytree(kept, tmp_path / "kept").glob("step-*")
    folder.rename(folder.with_name("step-0000000002"))
    assert_starts_anew(tiny_roberta, folder.parent, message="it was made after update 3", logged=caplog)


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_that_no_training_can_reach_are_named_and_the_training_starts_anew(
    name: str, tiny_roberta: Path, kept: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder,) = shutil.copytree(kept, tmp_path / "kept").glob("step-*")
    tensors = load_file(folder / "tensors.safetensors")
    TENSORS[name](tensors)
    save_file(tensors, folder / "tensors.safetensors")
    rewrite(folder, "tensors.safetensors")
    assert_starts_anew(tiny_roberta, folder.parent, message=f"its tensor {name}", logged=caplog)


def test_divergence_is_found_before_a_snapshot_is_written(tiny_roberta: Path, tmp_path: Path) -> None:
    labels = np.full(len(ROWS), np.inf)
    model = load_classifier(tiny_roberta, outputs=1, head_seed=1)
    store = SnapshotStore(tmp_path / "diverged", belongs_to=OWNER)
    with pytest.raises(DivergedError):
        fit(
            model,
            TextEncoder(tiny_roberta, max_length=64).encode(ROWS),
            labels=labels,
            settings=settings(snapshot_minutes=1e-9, log_every=1000),
            streams=STREAMS,
            placement=CPU,
            history=[],
            snapshots=store,
        )
    assert store.newest() is None


def test_out_of_memory_halves_the_micro_batches_and_keeps_the_update(
    tiny_roberta: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, history, _ = train(tiny_roberta, settings(accumulation=4))
    made = load_classifier(tiny_roberta, outputs=2, head_seed=STREAMS.head)
    made.__class__ = SmallMemory
    encoded = TextEncoder(tiny_roberta, max_length=64).encode(ROWS)
    made.cut_vocabulary(encoded.tokens)
    lines = list[StepReport]()

    def fit_made() -> FitResult:
        common = {"settings": settings(), "streams": STREAMS, "placement": CPU}
        return fit(made, encoded, labels=ROWS.labels, history=lines, **common)  # type: ignore[arg-type]

    result = fit_made()
    assert result.accumulation == 4
    assert losses(lines) == losses(history)
    assert all(torch.equal(a, b) for a, b in zip(made.parameters(), expected.parameters(), strict=True))
    assert caplog.messages[-1] == "out of memory at update 0: using 4 micro-batches from now on"
    np.testing.assert_allclose(
        predict(made, encoded, batch_size=16, placement=CPU),
        predict(expected, encoded, batch_size=16, placement=CPU),
        atol=1e-6,
    )
    monkeypatch.setattr(SmallMemory, "room", 0)
    with pytest.raises(torch.OutOfMemoryError):
        predict(made, encoded, batch_size=16, placement=CPU)
    with pytest.raises(torch.OutOfMemoryError):
        fit_made()
