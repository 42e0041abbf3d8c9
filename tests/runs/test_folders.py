"""`glue-bench runs`: what a results folder holds, and its removal, never through a link, never under a worker."""

import csv
import io
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from glue_bench.runs.lease import Lease, take_lease
from glue_bench.runs.store import RunStore
from tests.support.making import ROBERTA, make_record
from tests.support.results_of_v1 import call


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    """Two settings of tiny on RTE, a failed run of roberta, a damaged record and a folder without one."""
    store = RunStore(tmp_path / "results")
    for setting, rate in (("b", "1e-5"), ("a", "1e-4")):
        for seed in (1, 2):
            store.save(make_record(seed=seed, setting=setting, words=(f"trainer.learning_rate={rate}",)))
    store.save(make_record(task="mrpc", encoder=ROBERTA, status="failed", seed=3))
    damaged = store.folder("tiny", "cola", "seed7-abc")
    (damaged / "model").mkdir(parents=True)
    (damaged / "record.json").write_text("{")
    (damaged / "model" / "model.safetensors").write_bytes(bytes(5000))
    store.folder("tiny", "cola", "seed8-abc").mkdir()
    return store


def runs(store: RunStore, *words: str) -> tuple[int, str, str]:
    return call("runs", *words, f"results_dir={store.root.parent}")


def listed(store: RunStore, *words: str) -> list[dict[str, Any]]:
    return list(json.loads(runs(store, "--format", "json", *words)[1]))


def test_every_run_is_listed_with_its_setting_state_size_and_folder(store: RunStore) -> None:
    found = [(run["task"], run["setting"], run["seed"], run["state"]) for run in listed(store)]
    assert found == [
        ("mrpc", "", 3, "failed"),
        ("cola", "", 7, "damaged"),
        ("cola", "", 8, "unfinished"),
        *(("rte", f"learning_rate={rate}", seed, "finished") for rate in ("1e-5", "1e-4") for seed in (1, 2)),
    ]
    (damaged,) = listed(store, "status=damaged")
    assert (damaged["bytes"], Path(damaged["folder"]).name) == (5001, "seed7-abc")
    rows = list(csv.DictReader(io.StringIO(runs(store, "--format", "csv")[1])))
    assert [row["run_id"] for row in rows] == [run["run_id"] for run in listed(store)]
    assert [run["score"] for run in listed(store)] == [None, None, None, 50.0, 50.0, 50.0, 50.0]
    code, out, _ = runs(store)
    assert (code, "5 kB" in out, " seed7-abc " in out, out.count(" 50.0 ")) == (0, True, True, 4)


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (["task=rte"], 4),
        (["trainer.learning_rate=1e-4"], 2),
        (["seed=1", "encoder=tiny"], 2),
        (["encoders=[roberta]"], 1),
        (["status!=finished", "status!=failed"], 2),
        (["run_id=seed8-abc"], 1),
        (["data!=sample"], 5),  # of damaged and unfinished ones it is not known
    ],
)
def test_the_list_has_the_filters_of_the_report(words: list[str], count: int, store: RunStore) -> None:
    assert len(listed(store, *words)) == count


def test_runs_are_removed_with_their_files_and_empty_folders(store: RunStore) -> None:
    code, out, errors = runs(store, "rm", "status=[failed,damaged]", "--yes")
    assert (code, "removed 2 runs" in errors, "seed7-abc" in out) == (0, True, True)
    assert {path.name for path in store.root.iterdir()} == {"tiny"}
    assert {path.name for path in (store.root / "tiny" / "cola").iterdir()} == {"seed8-abc"}
    assert runs(store, "rm", "encoder=tiny", "--yes")[0] == 0
    assert [*store.root.iterdir()] == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rm"], "name the runs to remove"),
        (["rm", "task=rte"], "4 runs, "),  # nobody to ask
        (["rm", "task=qqp", "--yes"], "task=qqp: no run in"),
        (["rm", "learning_rate=1", "--yes"], "did you mean trainer.learning_rate=1?"),
        (["--yes"], "only for `runs rm`"),
    ],
)
def test_nothing_is_removed_by_a_command_that_is_not_clear(words: list[str], message: str, store: RunStore) -> None:
    code, _, errors = runs(store, *words)
    assert (code, message in errors, len(listed(store))) == (2, True, 7), errors


@pytest.mark.parametrize(("answer", "left"), [("y\n", 3), ("n\n", 7), ("", 7), ("\n", 7)])
def test_a_terminal_is_asked(answer: str, left: int, store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO(answer)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", terminal)
    code, _, errors = runs(store, "rm", "task=rte")
    assert (code, "Remove 4 runs, " in errors, len(listed(store))) == (0, True, left)


def test_a_run_that_a_worker_has_is_kept(store: RunStore) -> None:
    folder = store.folder("tiny", "rte", "seed1-a")
    lease = take_lease(folder)
    assert isinstance(lease, Lease)
    assert [run["run_id"] for run in listed(store, "status=running")] == ["seed1-a"]
    code, _, errors = runs(store, "rm", "trainer.learning_rate=1e-4", "--yes")
    assert (code, "is running it" in errors, "removed 1 run, kept 1" in errors) == (1, True, True)
    assert (folder / "record.json").exists()
    lease.release(done=True)
    assert runs(store, "rm", "run_id=seed1-a", "--yes")[0] == 0
    assert not folder.exists()


@pytest.mark.parametrize("level", ["run", "task", "encoder", "runs"])
def test_nothing_is_removed_through_a_link(level: str, tmp_path: Path) -> None:
    elsewhere, store = RunStore(tmp_path / "elsewhere"), RunStore(tmp_path / "results")
    elsewhere.save(make_record())
    names = {"run": ("tiny", "rte", "seed1-000"), "task": ("tiny", "rte"), "encoder": ("tiny",), "runs": ()}[level]
    link = store.root.joinpath(*names)
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere.root.joinpath(*names))
    code, _, errors = runs(store, "rm", "task=rte", "--yes")
    assert (code, f"{link} is a link" in errors) == (1, True)
    assert (elsewhere.folder("tiny", "rte", "seed1-000") / "record.json").exists()


def test_links_in_a_run_are_removed_and_what_they_point_to_stays(store: RunStore, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("x")
    folder = store.folder("tiny", "rte", "seed1-a")
    (folder / "model").symlink_to(tmp_path / "precious")
    (folder / "sub").mkdir()
    (folder / "sub" / "link").symlink_to(tmp_path / "precious" / "file")
    os.link(tmp_path / "precious" / "file", folder / "hard")
    assert runs(store, "rm", "run_id=seed1-a", "--yes")[0] == 0
    assert not folder.exists()
    assert (tmp_path / "precious" / "file").read_text() == "x"


@pytest.mark.parametrize(
    ("folder", "file"),
    [("my notes", "thesis.txt"), ("seed9-abc", "thesis.txt"), ("seed9-", "history.jsonl"), ("seed", "record.json")],
)
def test_what_is_not_a_run_is_neither_listed_nor_removed(folder: str, file: str, store: RunStore) -> None:
    path = store.folder("tiny", "cola", folder, file)
    path.parent.mkdir()
    path.write_text("{")
    assert len(listed(store)) == 7
    assert runs(store, "rm", "status=[unfinished,damaged]", "--yes")[0] == 0
    assert [each.name for each in (store.root / "tiny" / "cola").iterdir()] == [folder]
    assert path.read_text() == "{"


def test_what_killed_processes_leave_is_an_unfinished_run(store: RunStore) -> None:
    folder = store.folder("tiny", "cola", "seed8-abc")
    (folder / "claim-3.json").write_text('{"released": true}')
    for name in (".record.json.x1.part", "output.123.log", "error.log", "history.jsonl", "output.log"):
        (folder / name).write_text("")
    for name in ("snapshots", "predictions", "model", "adapter", ".model.a2"):
        (folder / name).mkdir()
    assert [run["run_id"] for run in listed(store, "status=unfinished")] == ["seed8-abc"]


def test_results_folders_are_merged_by_a_copy(store: RunStore, tmp_path: Path) -> None:
    other = RunStore(tmp_path / "other")
    other.save(make_record(task="qqp"))
    os.system(f"cp -rn {other.root} {store.root.parent}/")  # noqa: S605 - as the documentation says
    assert len(listed(store)) == 8
    assert listed(store, "task=qqp")[0]["state"] == "finished"


def test_a_run_that_is_removed_while_all_are_read_is_not_a_damaged_one(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk = store._walk

    def remove_behind(*place: str) -> Iterator[tuple[Path, list[str]]]:
        for folder, names in walk(*place):
            if folder.parent.name == "rte":
                shutil.rmtree(folder, ignore_errors=True)
            yield folder, names

    monkeypatch.setattr(store, "_walk", remove_behind)
    assert [record.task for record in store.load_all()] == ["mrpc"]
    assert store.left_out == {"run with a damaged record": 1}
