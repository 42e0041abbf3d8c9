"""Official rows are recognised by their content where a task's fingerprints are known, else by their number."""

import csv
import json
import os
from pathlib import Path

import pytest

from glue_bench.cli import main
from glue_bench.config.compose import compose_run, compose_task
from glue_bench.config.task import TaskConfig
from glue_bench.data.rows import TaskData, check_rows, load_task_data
from glue_bench.data.sources import resolve_source
from glue_bench.data.tables import read_table
from glue_bench.runs.record import Record
from glue_bench.runs.store import RunStore
from tests.support.tiny import pair_columns, write_parquet

NAMES = ["same", "other"]
# Split.fingerprint of the rows that `official` writes.
FINGERPRINTS = {"train": "f8c08970a1f3cd71", "validation": "97a007fdc623886c"}
Columns = dict[str, list[object]]


@pytest.fixture
def official() -> dict[str, Columns]:
    """Make the official rows of the task `own`, with content that is difficult in some file formats."""
    rows = {"train": pair_columns(24, seed=1), "validation": pair_columns(16, seed=2)}
    rows["validation"]["sentence1"][:3] = [
        'a "quoted" word, with a comma',
        "Señora Ångström\u2019s caf\u00e9 ",
        "it 's",
    ]
    return rows


@pytest.fixture
def own_conf(tmp_path: Path) -> Path:
    """Make a configuration folder with the task `own`, which knows its official rows."""
    facts: dict[str, object] = {"name": "own", "title": "Own", "kind": "classification", "metrics": ["accuracy"]}
    facts |= {"texts": ["sentence1", "sentence2"], "labels": NAMES, "fingerprints": FINGERPRINTS}
    folder = tmp_path / "my_conf"
    (folder / "task").mkdir(parents=True)
    (folder / "task" / "own.yaml").write_text(json.dumps({**facts, "rows": {"train": 24, "validation": 16}}))
    return folder


def write_rows(folder: Path, rows: dict[str, Columns], *, kind: str = "parquet", line_end: str = "\n") -> Path:
    for split, columns in rows.items():
        path = folder / "own" / f"{split}.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        lines = zip(*columns.values(), strict=True)
        if kind == "parquet":
            write_parquet(path, columns)
        elif kind == "csv":
            with path.open("w", newline="", encoding="utf-8") as stream:
                csv.writer(stream, lineterminator=line_end).writerows([list(columns), *lines])
        elif kind == "tsv":
            text = "".join("\t".join(map(str, line)) + line_end for line in (list(columns), *lines))
            path.write_bytes(text.encode())
        else:
            rows_of_split = (json.dumps(dict(zip(columns, line, strict=True))) + line_end for line in lines)
            path.write_bytes("".join(rows_of_split).encode())
    return folder


def load(folder: Path, conf: Path, *words: str) -> tuple[TaskConfig, TaskData]:
    config = compose_run(["task=own", "data=local", f"data.path={folder}", *words], config_dir=conf)
    data = load_task_data(resolve_source(config.data, config.task), config.data, task=config.task)
    return config.task, data


def reasons(task: TaskConfig, data: TaskData) -> list[str]:
    return task.not_comparable_because(source=data.source, rows=data.rows, fingerprints=data.fingerprints)


@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("kind", ["parquet", "csv", "tsv", "jsonl"])
def test_the_same_rows_are_official_in_every_file_format(
    official: dict[str, Columns], own_conf: Path, tmp_path: Path, kind: str, line_end: str
) -> None:
    task, data = load(write_rows(tmp_path / "rows", official, kind=kind, line_end=line_end), own_conf)
    assert data.fingerprints == FINGERPRINTS
    assert reasons(task, data) == []
    assert task.checked(source="local", fingerprints=data.fingerprints) == dict.fromkeys(FINGERPRINTS, "content")


def test_labels_are_compared_by_name_and_row_numbers_do_not_count(
    official: dict[str, Columns], own_conf: Path, tmp_path: Path
) -> None:
    for columns in official.values():
        columns["label"] = [NAMES[int(str(code))] for code in columns["label"]]
        del columns["idx"]
    task, data = load(write_rows(tmp_path / "rows", official), own_conf)
    assert reasons(task, data) == []


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("change", ["label", "text", "order"])
def test_changed_rows_of_the_right_number_are_not_comparable(
    official: dict[str, Columns], own_conf: Path, tmp_path: Path, split: str, change: str
) -> None:
    columns = official[split]
    if change == "label":
        columns["label"][5] = 1 - int(str(columns["label"][5]))
    elif change == "text":
        columns["sentence2"][5] = f"{columns['sentence2'][5]}!"
    else:
        columns["label"].reverse()
    task, data = load(write_rows(tmp_path / "rows", official), own_conf)
    assert reasons(task, data) == [f"{split}'s rows are not the official ones"]


def test_a_subset_is_recognised_by_its_number_of_rows_alone(
    official: dict[str, Columns], own_conf: Path, tmp_path: Path
) -> None:
    task, data = load(write_rows(tmp_path / "rows", official), own_conf, "data.max_train_rows=20")
    assert reasons(task, data) == ["train has 20 rows, official 24"]


def test_a_split_without_a_known_fingerprint_is_checked_by_its_number_of_rows() -> None:
    qnli = compose_task("qnli")
    fingerprints = {"train": "0" * 16, **qnli.fingerprints}
    rows = {"train": 104743, "validation": 5463}
    assert qnli.not_comparable_because(source="hub", rows=rows, fingerprints=fingerprints) == []
    assert qnli.checked(source="hub", fingerprints=fingerprints) == {"train": "rows", "validation": "content"}
    assert qnli.checked(source="hub", fingerprints={}) == {"train": "rows", "validation": "rows"}
    assert qnli.checked(source="sample", fingerprints=fingerprints) == {}


def test_the_record_says_how_rows_were_checked_and_a_sweep_brings_it_up_to_date(
    official: dict[str, Columns],
    own_conf: Path,
    tiny_words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def sweep() -> Record:
        words = ["tasks=[own]", "seeds=[1]", *tiny_words, f"data.path={tmp_path / 'rows'}"]
        assert main(["sweep", "--config-dir", str(own_conf), *words]) == 0
        (record,) = RunStore(tmp_path / "results").load_all()
        return record

    official["train"]["label"][0] = 1 - int(str(official["train"]["label"][0]))
    write_rows(tmp_path / "rows", official)
    path = own_conf / "task" / "own.yaml"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, "fingerprints": {"validation": FINGERPRINTS["validation"]}}))
    record = sweep()
    assert record.comparable
    assert record.data["checked"] == {"train": "rows", "validation": "content"}
    path.write_text(json.dumps(facts))
    later = sweep()
    assert "nothing to train" in capsys.readouterr().err
    assert later.run_id == record.run_id  # what is known of official rows changes no run id
    assert later.not_comparable_because == ["train's rows are not the official ones"]
    assert later.data["checked"] == {"train": "content", "validation": "content"}


@pytest.mark.parametrize("name", ["cola", "mrpc", "sst2", "qnli"])
def test_the_shipped_fingerprints_are_those_of_the_real_rows(name: str) -> None:
    folder = Path(os.environ.get("GLUE_BENCH_REAL_ROWS", "")) / name
    if not folder.is_dir() or "GLUE_BENCH_REAL_ROWS" not in os.environ:
        pytest.skip("GLUE_BENCH_REAL_ROWS names no folder with the official rows, TASK/SPLIT.parquet")
    task: TaskConfig = compose_task(name)
    for split, fingerprint in task.fingerprints.items():
        path = folder / f"{split}.parquet"
        assert check_rows(read_table(path), task).fingerprint == fingerprint
