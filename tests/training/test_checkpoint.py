"""Snapshots, and trainings that stop and later continue as if they had not."""

import dataclasses
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from glue_bench.config.compose import compose_run
from glue_bench.config.schema import TrainerConfig
from glue_bench.data.encoding import TextEncoder
from glue_bench.errors import DiskError, DivergedError
from glue_bench.files import file_sha256
from glue_bench.models.classifier import Classifier, load_classifier
from glue_bench.models.placement import Placement
from glue_bench.models.trainable import load_trainable
from glue_bench.training.checkpoint import Snapshot, SnapshotStore
from glue_bench.training.stopping import Stopped
from glue_bench.training.trainer import FitResult, fit, predict
from glue_bench.training.updates import StepReport
from tests.support.fitting import fit_until
from tests.support.training import CPU, ONEDNN, OWNER, ROWS, STREAMS, settings


def snapshot(step: int) -> Snapshot:
    return Snapshot(step=step, tensors={"weight": torch.full((3, 2), float(step))}, metadata={"note": [step]})


def store_of(folder: Path, *steps: int) -> SnapshotStore:
    store = SnapshotStore(folder / "snapshots", belongs_to=OWNER)
    for step in steps:
        store.save(snapshot(step))
    return store


def names(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "snapshots").iterdir())


def test_the_newest_snapshot_comes_back_whole_and_only_two_are_kept(tmp_path: Path) -> None:
    store = store_of(tmp_path, 1, 9, 20, 100)
    assert names(tmp_path) == ["step-0000000020", "step-0000000100"]
    found = store.newest()
    assert found is not None
    assert (found.step, found.metadata) == (100, {"note": [100]})
    assert torch.equal(found.tensors["weight"], torch.full((3, 2), 100.0))


def test_snapshots_of_later_updates_than_the_new_one_are_deleted(tmp_path: Path) -> None:
    store_of(tmp_path, 1000, 1100)
    other = SnapshotStore(tmp_path / "snapshots", belongs_to={**OWNER, "engine": "padded"})
    other.save(snapshot(10))
    assert names(tmp_path) == ["step-0000000010"]
    found = other.newest()
    assert found is not None
    assert found.step == 10


def flip_a_bit(folder: Path) -> None:
    content = bytearray((folder / "tensors.safetensors").read_bytes())
    content[-3] ^= 1
    (folder / "tensors.safetensors").write_bytes(content)


def write(path: Path, text: str) -> None:
    path.write_text(text)


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


DAMAGES: dict[str, Callable[[Path], None]] = {
    "a bit of the tensors": flip_a_bit,
    "cut tensors": lambda folder: os.truncate(folder / "tensors.safetensors", 20),
    "no tensors": lambda folder: (folder / "tensors.safetensors").unlink(),
    "other facts": lambda folder: write(folder / "facts.json", '{"step": 7, "note": [7]}'),
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
    "empty manifest": lambda folder: write(folder / "manifest.json", ""),
    "manifest of another shape": lambda folder: write(folder / "manifest.json", "[1]"),
    "a later format": lambda folder: write(folder / "manifest.json", '{"format": 2}'),
    "nothing in it": empty,
}


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_a_damaged_snapshot_is_named_in_one_line_and_the_one_before_is_used(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = store_of(tmp_path, 5, 6)
    DAMAGES[damage](tmp_path / "snapshots" / "step-0000000006")
    with caplog.at_level(logging.WARNING, "glue_bench"):
        found = store.newest()
    assert found is not None
    assert found.step == 5
    (line,) = caplog.messages
    assert "step-0000000006 is not used: " in line
    assert "\n" not in line


def test_a_snapshot_of_another_run_or_engine_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store_of(tmp_path, 5)
    other = SnapshotStore(tmp_path / "snapshots", belongs_to={**OWNER, "engine": "padded"})
    with caplog.at_level(logging.WARNING, "glue_bench"):
        assert other.newest() is None
    assert "it was made with engine flat, not padded" in caplog.text


@pytest.mark.parametrize("family", ["tiny_roberta", "tiny_bert"])
def test_a_snapshot_of_version_1_has_todays_names(family: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """There, BERT's pooler was a linear layer of the head."""
    model = load_classifier(request.getfixturevalue(family), outputs=2, head_seed=1)
    today = [f"{kind}{name}" for kind in ("model.", "optimizer.exp_avg.") for name, _ in model.named_parameters()]
    before = [
        name.replace("whole.bert.pooler.dense.", "head.pooler.")
        .replace("whole.classifier.", "head." if family == "tiny_roberta" else "head.classifier.")
        .replace(f"whole.{model.whole.base_model_prefix}.", "encoder.transformer.")
        for name in today
    ]
    store = SnapshotStore(tmp_path, belongs_to=OWNER)
    store.save(Snapshot(step=1, tensors={name: torch.zeros(1) for name in before}, metadata={}))
    found = store.newest()
    assert found is not None
    assert sorted(found.tensors) == sorted(today)
    assert not {*today} & {*before}


def test_what_a_killed_writer_left_is_deleted_but_not_what_another_writes_now(tmp_path: Path) -> None:
    store = store_of(tmp_path, 5)
    for name in (".step-0000000006.old", ".step-0000000006.new"):
        (tmp_path / "snapshots" / name).mkdir()
    os.utime(tmp_path / "snapshots" / ".step-0000000006.old", (0, 0))
    assert store.newest() is not None
    store.save(snapshot(7))
    store.save(snapshot(8))
    assert names(tmp_path) == [".step-0000000006.new", "step-0000000007", "step-0000000008"]


def test_a_snapshot_that_cannot_be_written_is_a_disk_error_and_leaves_the_others(tmp_path: Path) -> None:
    store = store_of(tmp_path, 5)
    code = (
        "import resource, signal, sys; from pathlib import Path; import torch\n"
        "from glue_bench.training.checkpoint import Snapshot, SnapshotStore\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        f"store = SnapshotStore(Path('snapshots'), belongs_to={OWNER})\n"
        "store.save(Snapshot(step=6, tensors={'weight': torch.zeros(1000)}, metadata={}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert f"{DiskError.__name__}: snapshots/step-0000000006: cannot be written" in done.stderr
    assert [path.name for path in (tmp_path / "snapshots").iterdir()] == ["step-0000000005"]
    found = store.newest()
    assert found is not None
    assert found.step == 5


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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss_steps": -1}, "its loss_steps is -1; must be 0 to 3"),
        ({"loss_steps": 4}, "its loss_steps is 4; must be 0 to 3"),
        ({"parts": 0}, "its parts is 0; must be 1 to inf"),
        ({"tokens": -5}, "its tokens is -5"),
        ({"seconds": -0.5}, "its seconds is -0.5"),
        ({"step": 2}, "it was made after update 2"),
        ({"resumed_at": [9]}, "its resumed_at is 9; must be 0 to 3"),
        ({"history": "later"}, "its history is 10; must be 1 to 3"),
        ({"selection": {"epoch": 1, "step": 3, "scores": [0.5]}}, "its number of scores is 1; must be 1 to 0"),
    ],
)
def test_counts_that_no_training_comes_to_are_named_and_the_training_starts_anew(
    changes: dict[str, Any], message: str, tiny_roberta: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = SnapshotStore(tmp_path, belongs_to=OWNER)
    with pytest.raises(Stopped):
        train(tiny_roberta, settings(log_every=1, snapshot_minutes=0.0), store, stop_after=3)
    (folder,) = tmp_path.glob("step-*")
    facts = json.loads((folder / "facts.json").read_text())
    if changes.get("history") == "later":
        changes = {"history": [{**facts["history"][0], "step": 10}]}
    (folder / "facts.json").write_text(json.dumps({**facts, **changes}))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sha256"]["facts.json"] = file_sha256(folder / "facts.json")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with caplog.at_level(logging.WARNING, "glue_bench"):
        _, history, result = train(tiny_roberta, settings(log_every=1, snapshot_minutes=0.0), store)
    assert f"is not used: {message}" in caplog.text
    assert result.resumed_at == []
    assert [line.step for line in history] == list(range(1, 11))


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
