"""Rows from files: formats, labels by name, and refusals that name file and row."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from glue_bench.config.compose import compose_run, compose_task
from glue_bench.data.rows import check_rows, load_task_data
from glue_bench.data.sources import resolve_source
from glue_bench.data.tables import read_table
from glue_bench.errors import InputError, UsageError
from tests.support.local_rows import RTE, compose, load, write_rte
from tests.support.tiny import pair_columns, write_parquet


def test_parquet_rows_arrive_in_file_order_with_their_own_idx(folder: Path) -> None:
    train = load(folder).splits["train"]
    assert (train.texts, train.labels.tolist(), train.idx.tolist()) == ((["a", "b"], ["c", "d"]), [0, 1], [10, 11])


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
def test_text_formats_give_the_same_rows_as_parquet(folder: Path, kind: str) -> None:
    expected = load(folder)
    for split in ("train", "validation"):
        (folder / "rte" / f"{split}.parquet").unlink()
        rows = [dict(zip(RTE, values, strict=True)) for values in zip(*RTE.values(), strict=True)]
        if kind == "jsonl":
            text = "".join(json.dumps(row) + "\n" for row in rows)
        else:
            separator = "," if kind == "csv" else "\t"
            text = "".join(separator.join(map(str, line)) + "\n" for line in (RTE, *(row.values() for row in rows)))
        (folder / "rte" / f"{split}.{kind}").write_text(text)
    assert load(folder).fingerprint == expected.fingerprint


def test_csv_is_quoted_and_glues_tsv_is_not(folder: Path) -> None:
    for name in ("train.parquet", "validation.parquet"):
        (folder / "rte" / name).unlink()
    (folder / "rte" / "train.csv").write_text('sentence1,sentence2,label\n"a, ""b""",c,entailment\n')
    (folder / "rte" / "validation.tsv").write_text('sentence1\tsentence2\tlabel\n"a, ""b\tc\tnot_entailment\n')
    splits = load(folder).splits
    assert splits["train"].texts == (['a, "b"'], ["c"])
    assert splits["validation"].texts == (['"a, ""b'], ["c"])
    assert (splits["train"].labels.tolist(), splits["validation"].labels.tolist()) == ([0], [1])


def test_a_cloned_hub_folder_is_read_as_it_is(folder: Path) -> None:
    expected = load(folder).fingerprint
    for split in ("train", "validation"):
        (folder / "rte" / f"{split}.parquet").rename(folder / "rte" / f"{split}-00000-of-00001.parquet")
    assert load(folder).fingerprint == expected


def test_limits_take_the_first_rows_and_enter_the_identity(folder: Path) -> None:
    write_parquet(folder / "rte" / "train.parquet", pair_columns(30, seed=1))
    data = load(folder, "data.max_train_rows=7", "data.max_eval_rows=1")
    assert dict(data.rows) == {"train": 7, "validation": 1}
    whole, limited = (
        resolve_source(c.data, c.task).identity for c in (compose(folder), compose(folder, "data.max_train_rows=7"))
    )
    assert whole != limited


def test_the_fingerprint_follows_texts_and_labels(folder: Path) -> None:
    before = load(folder)
    write_rte(folder, {"label": [1, 0]})
    relabelled = load(folder).fingerprint
    write_rte(folder, {"sentence1": ["ab", ""], "sentence2": ["c", "d"]})
    assert len({before.fingerprint, relabelled, load(folder).fingerprint}) == 3


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": [0, -1]}, "train.parquet row 2: label is -1, a hidden test label; it must be one of 0 (entailment)"),
        ({"label": [0, 2]}, "train.parquet row 2: label is 2; it must be one of 0 (entailment), 1 (not_entailment)"),
        ({"label": [0, None]}, "train.parquet row 2: label is None"),
        ({"label": [math.nan, 1.0]}, "train.parquet row 1: label is nan"),
        ({"label": ["entailment", "maybe"]}, "train.parquet row 2: label is 'maybe'"),
        ({"sentence1": ["a", None]}, "train.parquet row 2: sentence1 is None, not text"),
        ({"sentence2": [1, 2]}, "train.parquet row 1: sentence2 is 1, not text"),
        ({"idx": [0, None]}, "train.parquet row 2: idx is None"),
        ({key: [] for key in RTE}, "train.parquet: no rows"),
    ],
)
def test_a_bad_row_is_named_with_its_file(folder: Path, columns: dict[str, list[object]], message: str) -> None:
    write_rte(folder, columns)
    with pytest.raises(InputError) as caught:
        load(folder)
    assert message in str(caught.value)


def test_a_missing_column_is_named_with_the_existing_ones(folder: Path) -> None:
    pq.write_table(pa.table({"sentence1": ["a"], "label": [0]}), folder / "rte" / "train.parquet")
    with pytest.raises(InputError, match="no column 'sentence2'; it has sentence1, label"):
        load(folder)


@pytest.mark.parametrize("damage", ["truncated", "text", "empty"])
def test_a_damaged_parquet_file_is_named(folder: Path, damage: str) -> None:
    path = folder / "rte" / "train.parquet"
    content = {"truncated": path.read_bytes()[:-20], "text": b"hello", "empty": b""}[damage]
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"train\.parquet: not a readable Parquet file"):
        load(folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.csv", b"sentence1,sentence2,label\na,b\n", "train.csv line 2: 2 fields, not 3"),
        ("train.csv", b"sentence1,label,label\na,0,1\n", "train.csv: duplicate column 'label'"),
        ("train.csv", b'sentence1,sentence2,label\n"a,b,0\n', "train.csv line 2"),
        ("train.csv", b"sentence1,sentence2,label\n\xff,b,0\n", "train.csv: not UTF-8 text"),
        ("train.tsv", b"", "train.tsv: no column 'sentence1'"),
        ("train.jsonl", b'{"sentence1": "a"}\n{"sentence1"\n', "train.jsonl line 2: not JSON"),
        (
            "train.jsonl",
            b'{"sentence1": "a"}\n{"text": "a"}\n',
            "train.jsonl: no column 'sentence2'; it has sentence1, text",
        ),
        ("train.jsonl", b"[1]\n", "train.jsonl line 1: not an object"),
    ],
)
def test_a_damaged_text_file_is_named_with_its_line(folder: Path, name: str, content: bytes, message: str) -> None:
    (folder / "rte" / "train.parquet").unlink()
    (folder / "rte" / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        load(folder)
    assert message in str(caught.value)


@pytest.mark.parametrize("value", [[1], {}, "\ud800"])
def test_an_odd_value_in_json_lines_is_named(value: object, folder: Path) -> None:
    (folder / "rte" / "train.parquet").unlink()
    row: dict[str, object] = {"sentence1": value if isinstance(value, str) else "a", "sentence2": "b"}
    row["label"] = 0 if isinstance(value, str) else value
    (folder / "rte" / "train.jsonl").write_text(json.dumps(row))
    with pytest.raises(InputError, match=r"train\.jsonl row 1: (label is|sentence1 is .*not valid Unicode)"):
        load(folder)


def test_a_missing_split_is_named_before_anything_is_read(folder: Path) -> None:
    (folder / "rte" / "validation.parquet").unlink()
    with pytest.raises(InputError, match=r"validation\.parquet: no such file, nor validation\.csv"):
        resolve_source(compose(folder).data, compose(folder).task)


@pytest.mark.parametrize("name", ["train.csv", "train.parquet", "train.jsonl.gz"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("nowhere")])
def test_what_is_not_a_file_is_named_by_its_own_name(name: str, make: Callable[[Path], None], folder: Path) -> None:
    (folder / "rte" / "train.parquet").unlink()
    make(folder / "rte" / name)
    with pytest.raises(InputError, match=rf"{name}: cannot be read: (not a regular file|Is a directory|No such file)"):
        resolve_source(compose(folder).data, compose(folder).task)


@pytest.mark.parametrize(
    ("shards", "message"),
    [
        (["00000-of-00000"], "train has 1 of 0 files; number 00000 is one too many"),
        (["00000-of-99999999999"], "train has 1 of 99999999999 files; number 00001 is missing"),
        ([f"00000-of-{'9' * 200}"], "number 00001 is missing"),
        (["00000-of-00001", "00007-of-00001"], "train has 2 of 1 files; number 00007 is one too many"),
        (["00000-of-00001-aa", "00000-of-00001-bb"], "train-00000-of-00001-aa.parquet and train-00000-of-00001-bb"),
    ],
)
def test_shards_whose_numbers_do_not_fit_are_one_line(shards: list[str], message: str, folder: Path) -> None:
    (folder / "rte" / "train.parquet").unlink()
    for shard in shards:
        write_rte(folder, name=f"train-{shard}.parquet")
    with pytest.raises(InputError) as caught:
        resolve_source(compose(folder).data, compose(folder).task)
    assert message in str(caught.value)


def test_a_split_with_two_files_is_refused(folder: Path) -> None:
    (folder / "rte" / "train.csv").write_text("x")
    with pytest.raises(InputError, match=r"duplicate split train: train\.parquet, train\.csv"):
        resolve_source(compose(folder).data, compose(folder).task)


def test_sample_rows_exist_for_the_eight_tasks_only() -> None:
    config = compose_run(["task=wnli", "data=sample"])
    with pytest.raises(UsageError, match="no sample rows for task=wnli"):
        resolve_source(config.data, config.task)


def test_every_sample_task_loads_through_the_adapter_and_is_never_comparable() -> None:

    for task in ("mnli", "qqp", "qnli", "sst2", "cola", "stsb", "mrpc", "rte"):
        config = compose_run([f"task={task}", "data=sample"])
        data = load_task_data(resolve_source(config.data, config.task), config.data, task=config.task)
        assert min(data.rows.values()) > 100
        reasons = config.task.not_comparable_because(source=data.source, rows=data.rows, fingerprints=data.fingerprints)
        assert reasons == ["sample data"]


def test_empty_texts_are_warned_about(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_rte(folder, {"sentence1": ["", " "], "sentence2": ["c", "d"]})
    load(folder)
    assert "train.parquet: row 1 and 1 more: a text is empty" in caplog.text


@pytest.mark.parametrize("place", ["data:v1", "s3:x", "file:y", "données"])
def test_a_folder_is_never_taken_for_an_address(place: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    folder.rename(folder.parent / place)
    assert load(Path(place)).rows == {"train": 2, "validation": 2}


def test_a_parquet_column_that_nobody_reads_may_hold_anything(folder: Path) -> None:
    path = folder / "rte" / "train.parquet"
    table = pq.read_table(path)
    when = pa.array([2**62] * table.num_rows, type=pa.timestamp("us"))  # no date of Python's
    pq.write_table(table.append_column("when", when), path)
    assert len(check_rows(read_table(path), compose_task("rte"))) == table.num_rows


@pytest.mark.parametrize("features", [b"{", b"5", b'{"info": {"features": {"label": 5}}}', b'{"info": 5}', b"\xff"])
def test_an_odd_description_of_a_data_set_is_one_line(features: bytes, folder: Path) -> None:
    path = folder / "rte" / "train.parquet"
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({b"huggingface": features}), path)
    with pytest.raises(InputError, match="its data set description cannot be read") as caught:
        read_table(path)
    assert len(str(caught.value).splitlines()) == 1
