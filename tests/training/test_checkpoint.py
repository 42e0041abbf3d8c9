"""Snapshots on disk: whole or absent, and named in one line where they cannot be used."""

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from glue_bench.errors import DiskError
from glue_bench.models.classifier import load_classifier
from glue_bench.training.checkpoint import Snapshot, SnapshotStore, products_of_newest
from tests.support.training import OWNER


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


@pytest.mark.parametrize(("made_with", "usable_with"), [(None, "torch"), ("torch", "torch"), ("onednn", "onednn")])
def test_a_snapshot_is_used_with_the_same_products_which_were_torchs_before_they_were_named(
    made_with: str | None, usable_with: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    named = {} if made_with is None else {"products": made_with}
    SnapshotStore(tmp_path, belongs_to={**OWNER, **named}).save(snapshot(5))
    for products in ("torch", "onednn"):
        found = SnapshotStore(tmp_path, belongs_to={**OWNER, "products": products}).newest()
        assert (found is not None) == (products == usable_with)
    assert products_of_newest(tmp_path) == usable_with
    other = {"torch": "onednn", "onednn": "torch"}[usable_with]
    assert f"it was made with products {usable_with}, not {other}" in caplog.text


@pytest.mark.parametrize("manifest", [None, "", "5", "{}", '{"belongs_to": 5}', "[" * 100_000])
def test_a_folder_without_a_readable_snapshot_names_no_products(manifest: str | None, tmp_path: Path) -> None:
    if manifest is not None:
        (tmp_path / "step-0000000005").mkdir()
        (tmp_path / "step-0000000005" / "manifest.json").write_text(manifest)
    assert products_of_newest(tmp_path) == products_of_newest(tmp_path / "nowhere") == ""


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
