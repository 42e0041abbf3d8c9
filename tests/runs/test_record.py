"""What a run leaves behind: whole or absent, and readable again."""

import dataclasses
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from glue_bench.cli import main
from glue_bench.config.compose import compose_task
from glue_bench.runs import record as record_module
from glue_bench.runs.finished import find_finished
from glue_bench.runs.record import Record, task_of
from glue_bench.runs.store import RunStore
from tests.support.making import make_record
from tests.support.permissions import forbidden

RTE = compose_task("rte")


def test_a_record_is_the_same_after_disk(tmp_path: Path) -> None:
    store, record = RunStore(tmp_path), make_record(seed=2, scores={"validation": {"accuracy": 2 / 3}})
    path = store.save(record)
    assert path == tmp_path / "runs" / "tiny" / "rte" / "seed2-000" / "record.json"
    loaded = store.load("tiny", "rte", "seed2-000")
    assert loaded is not None
    assert dataclasses.asdict(loaded) == dataclasses.asdict(record)
    assert [item.run_id for item in store.load_all()] == ["seed2-000"]


def test_a_record_has_the_contracts_keys(tmp_path: Path) -> None:
    content = json.loads(RunStore(tmp_path).save(make_record()).read_text())
    contract = (
        "schema_version run_id status task encoder data comparable not_comparable_because seed recipe init selection "
        "scores steps epochs tokens seconds device precision versions git config error"
    )
    assert set(contract.split()) <= set(content)


DAMAGES: list[dict[str, object]] = [
    {"encoder": {}},
    {"encoder": "tiny"},
    {"data": {"source": "hub"}},
    {"scores": {}},
    {"scores": {"validation": {"accuracy": None}}},
    {"scores": {"validation": {"accuracy": float("nan")}}},
    {"config": {}},
    {"schema_version": "1"},
    {"schema_version": 99},
    {"status": "lost"},
    {"seed": "one"},
    {"init": None},
    {"selected": [1]},
    {"precision": 5},
    {"selection": 5},
    {"steps": "10"},
    {"seconds": {"train": "x"}},
    {"versions": 5},
    {"not_comparable_because": "a"},
    {"comparable": 1},
    {"resumed_at": [1.5]},
    {"predictions_sha256": {"validation": 1}},
    {"model_sha256": []},
    {"scores": {"validation": {"accuracy": 1e308}}},
    {"encoder": {"name": "tiny", "hub_id": 5}},
    {"run_id": "seed12-000"},
    {"run_id": "000"},
    {"encoder": {"name": "../../victim"}},
    {"task": "."},
    {"run_id": "."},
    {"run_id": "seed1-001"},
    {"seed": 2**70},
]
# Of its configuration, by the path of the key.
CONFIG_DAMAGES: list[tuple[str, object]] = [
    ("task.title", 5),
    ("task.metrics", ["accuracy", "accuracy"]),
    ("trainer", {}),
    ("trainer.max_length", -1),
    ("trainer.betas", [[0.9], 0.999]),
    ("data", {"source": "local", "path": None}),
    ("encoder", {}),
    ("recipe_changes", "epochs"),
    ("cell", 5),
    ("cell", {"learning_rate": "x"}),
    ("cell", {"learning_rate": None}),
    ("cell", {"epochs": 1.5}),
    ("cell", {"dropout": 2.0}),
    ("grid", {"epochs": 3}),
    ("grid", {"epochs": [3, "x"]}),
    ("grid", {"dropout": [None, [0.1]]}),
    ("results_dir", 5),
    ("results_dir", "a\0b"),
    ("seed", 2),
]


@pytest.mark.parametrize("damage", DAMAGES, ids=str)
def test_a_record_with_a_damaged_part_is_named_and_ignored(
    damage: dict[str, object], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = RunStore(tmp_path)
    path = store.save(make_record())
    path.write_text(json.dumps({**json.loads(path.read_text()), **damage}))
    assert list(store.load_all()) == []
    assert str(path) in caplog.text


@pytest.mark.parametrize(("key", "value"), CONFIG_DAMAGES, ids=str)
def test_a_record_with_an_impossible_configuration_is_named_and_ignored(
    key: str, value: object, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = RunStore(tmp_path)
    path = store.save(make_record())
    content = json.loads(path.read_text())
    *outer, last = key.split(".")
    holder = content["config"]
    for part in outer:
        holder = holder[part]
    holder[last] = value
    path.write_text(json.dumps(content))
    assert list(store.load_all()) == []
    assert [message.count("\n") for message in caplog.messages] == [0]
    assert (str(path) in caplog.text, key.partition(".")[0] in caplog.text) == (True, True)


@pytest.mark.parametrize("name", ["hub_id", "revision", "weights_sha256", "dataset", "fingerprint"])
def test_a_record_without_what_every_version_wrote_is_damaged(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, part = RunStore(tmp_path), "data" if name in ("dataset", "fingerprint") else "encoder"
    content = dataclasses.asdict(make_record())
    del content[part][name]
    store.save(Record(**content))
    assert list(store.load_all()) == []
    assert f"{part}.{name} is missing" in caplog.text
    if name in ("weights_sha256", "fingerprint"):  # which a run that failed before it read its inputs does not know
        store.save(Record(**{**content, "status": "failed"}))
        assert len(list(store.load_all())) == 1


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("rows", [None, 0, -1])
def test_a_finished_record_knows_the_rows_of_every_split(
    split: str, rows: int | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, record = RunStore(tmp_path), make_record()
    known = {**record.data["rows"], split: rows}
    data = {**record.data, "rows": {name: number for name, number in known.items() if number is not None}}
    store.save(dataclasses.replace(record, data=data))
    assert list(store.load_all()) == []
    assert f"data.rows.{split}={'null' if rows is None else rows}: must be 1 or more" in caplog.text


@pytest.mark.parametrize("name", ["a\u202eb", "a\nb", "x" * 256])
def test_a_name_that_no_folder_may_have_is_said_to_be_one(name: str, tmp_path: Path) -> None:
    path = RunStore(tmp_path).save(make_record())
    path.write_text(json.dumps({**json.loads(path.read_text()), "run_id": f"seed1-{name}"}))
    with pytest.raises(ValueError, match=r"^its encoder, task or run_id is 'seed1-.*; must be the name of a folder$"):
        record_module.parse_record(path, place=("tiny", "rte", f"seed1-{name}"))


@pytest.mark.parametrize("status", ["finished", "failed"])
def test_a_copy_under_an_id_of_its_own_counts_as_little_as_what_it_is_a_copy_of(
    status: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = RunStore(tmp_path)
    runs = [make_record(seed=seed, status=status) for seed in (1, 2)]
    for run in (*runs, make_record(seed=1, setting="001"), dataclasses.replace(runs[0], run_id="seed1-00b")):
        store.save(run)
    assert [run.run_id for run in store.load_all()] == ["seed1-001", "seed2-000"]
    assert store.left_out == {"run with the setting and seed of another": 2}
    assert ["seed1-000, seed1-00b" in line for line in caplog.messages] == [True]


@pytest.mark.parametrize("name", ["seed1-000 copy", "seed2-000", "best run"])
def test_a_copied_or_renamed_run_folder_is_ignored_and_counted(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = RunStore(tmp_path)
    folder = store.save(make_record(seed=1)).parent
    shutil.copytree(folder, folder.with_name(name))
    assert [record.run_id for record in store.load_all()] == ["seed1-000"]
    assert (store.left_out.total(), len(caplog.messages)) == (1, 1)
    assert store.load("tiny", "rte", name) is None
    moved = tmp_path / "elsewhere"
    shutil.move(folder, moved)
    assert find_finished(store, run_id=str(moved)).record.run_id == "seed1-000"  # of a folder that the user names


def test_a_report_that_leaves_runs_out_says_so_and_ends_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = RunStore(tmp_path / "results")
    store.save(make_record(seed=1))
    pipe = store.save(make_record(seed=2))
    pipe.unlink()
    os.mkfifo(pipe)
    store.save(make_record(seed=3)).write_text("[" * 100_000)
    assert main(["report", "--format", "json"]) == 1
    printed = capsys.readouterr()
    content = json.loads(printed.out)
    assert content["sections"][0]["rows"][0]["seeds"] == [1]
    assert "Left out: 2 runs with a damaged record." in content["footnotes"]
    assert sum("damaged record, ignored" in line for line in printed.err.splitlines()) == 2


@pytest.mark.parametrize(
    ("place", "mode"), [("tiny/rte/seed1-000", 0), ("tiny/rte/seed1-000", 0o444), ("tiny/rte", 0), ("tiny", 0), ("", 0)]
)
def test_a_folder_that_cannot_be_read_is_named_once_and_counted(
    place: str, mode: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, others = RunStore(tmp_path / "results"), place.endswith("000")
    for seed in (1, 2):
        store.save(make_record(seed=seed))
    with forbidden(store.root / place, mode):
        for words, expected in ((["report"], "Left out: 1 folder that cannot be read."), (["runs"], "seed2-000")):
            assert main(words) == 1, words
            printed = capsys.readouterr()
            named = Path("results/runs", place)
            lines = [line for line in printed.err.splitlines() if "no interval" not in line]
            assert lines == [f"glue-bench: warning: {named}: cannot be read, ignored (Permission denied)"]
            assert (expected in " ".join(printed.out.split())) is (others or words == ["report"])
        assert main(["runs", "rm", "seed=2", "--yes"]) == 1
    assert [record.seed for record in store.load_all()] == ([1] if others else [1, 2])


@pytest.mark.parametrize("name", ["step-3.bak", "step-x", "step-²", "step--1", "stepping"])
def test_what_is_not_a_snapshot_is_neither_counted_nor_deleted(name: str, tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    for each in (name, "step-0000000007"):
        (store.folder("tiny", "rte", "seed1-000") / "snapshots" / each).mkdir(parents=True)
    assert store.snapshot_steps("tiny", "rte", "seed1-000") == [7]


def test_git_is_asked_without_the_environments_repository_and_runs_nothing_of_the_checkouts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, proof = tmp_path / "checkout", tmp_path / "proof"

    def git(*words: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        return subprocess.run(
            ["git", "-C", root, *who, *words], check=True, capture_output=True, text=True
        ).stdout.strip()

    (root / "glue_bench" / "runs").mkdir(parents=True)
    (root / "file.txt").write_text("one")
    (root / ".gitattributes").write_text("*.txt filter=odd\n")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    for key in ("filter.odd.clean", "filter.odd.process", "core.fsmonitor"):
        git("config", key, f"touch {proof}; cat")
    (root / "file.txt").write_text("one")  # another time: git looks at the content
    monkeypatch.setattr(record_module, "__file__", str(root / "glue_bench" / "runs" / "record.py"))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "no_repository"))
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", f"touch {proof}")
    commit = record_module.checkout_commit()
    assert not proof.exists()
    monkeypatch.delenv("GIT_DIR")
    assert commit == git("rev-parse", "HEAD")
    (root / "file.txt").write_text("two")
    assert record_module.checkout_commit() == f"{commit}-dirty"


def test_a_later_versions_key_in_the_tasks_facts_is_no_damage(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    path = store.save(make_record())
    content = json.loads(path.read_text())
    content["config"]["task"]["difficulty"] = "hard"
    path.write_text(json.dumps(content))
    assert [task_of(record).name for record in store.load_all()] == ["rte"]


def test_the_reason_of_a_failure_is_one_line_even_if_none_was_kept() -> None:
    assert make_record(status="failed", error=None).outcome == "failed"
    assert make_record(status="failed", error="a\nb").outcome == "a"


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"schema_version": 1}', '{"schema_version": 99, "status": "finished"}']
)
def test_a_damaged_record_is_named_once_and_ignored(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = RunStore(tmp_path)
    good, bad = store.save(make_record(seed=1)), store.save(make_record(seed=2))
    bad.write_text(damage)
    assert [record.seed for record in store.load_all()] == [1]
    assert [str(bad) in line for line in caplog.messages] == [True]
    assert good.exists()


def test_a_key_from_a_later_version_is_no_damage(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    path = store.save(make_record())
    path.write_text(json.dumps({**json.loads(path.read_text()), "colour": "blue"}))
    assert len(list(store.load_all())) == 1


def test_a_record_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_record().seed = 2  # type: ignore[misc]


def test_records_know_every_status_of_the_contract() -> None:
    assert all(isinstance(make_record(status=status), Record) for status in ("finished", "failed", "diverged"))


def test_the_documentation_explains_every_field_of_a_record() -> None:
    text = (Path(__file__).parents[2] / "docs" / "records.md").read_text(encoding="utf-8")
    table = text.partition("## record.json")[2].partition("\n## ")[0]
    named = [name for line in table.splitlines() if line.startswith("| `") for name in _fields(line.split(" | ")[0])]
    assert sorted(named) == sorted(item.name for item in dataclasses.fields(Record))


def _fields(cell: str) -> list[str]:
    return cell.strip("| ").replace("`", "").split(", ")
