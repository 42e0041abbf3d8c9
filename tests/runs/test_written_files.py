"""Predictions, history and other files of a run: whole or absent, and of this training alone."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from glue_bench.config.compose import compose_task
from glue_bench.errors import DiskError, InputError
from glue_bench.files import replace_atomically, replace_folder_atomically, write_text_atomically
from glue_bench.runs.store import Predictions, RunStore, predictions_path, write_history
from tests.support.making import make_record
from tests.support.making_results import write_at_once

RTE = compose_task("rte")


def test_predictions_hold_a_column_per_logit(tmp_path: Path) -> None:
    logits = np.array([[0.5, -1.0, 2.0], [3.0, 0.0, 0.0]], dtype=np.float32)
    path = tmp_path / "predictions" / "validation.parquet"
    idx, label, prediction = np.array([4, 9]), np.array([2, 1]), np.array([2, 0])
    Predictions(idx=idx, label=label, prediction=prediction, logits=logits).write(path)
    assert pq.read_table(path).to_pydict() == {
        "idx": [4, 9],
        "label": [2, 1],
        "prediction": [2, 0],
        "logit_0": [0.5, 3.0],
        "logit_1": [-1.0, 0.0],
        "logit_2": [2.0, 0.0],
    }


@pytest.mark.parametrize("labelled", [True, False])
def test_predictions_are_read_back_with_their_origin(labelled: bool, tmp_path: Path) -> None:
    path, logits = predictions_path(tmp_path, "validation"), np.array([[0.5, -1.0], [3.0, 0.0]], dtype=np.float32)
    label, prediction = np.array([1, 0]), np.array([0, 0])
    codes = {"prediction": prediction, **({"label": label} if labelled else {})}
    Predictions(idx=np.array([4, 9]), **codes, logits=logits, origin="rows").write(path)
    found = Predictions.read(path, RTE, labelled=labelled)
    assert (list(found.idx), list(found.label)) == ([4, 9], [1, 0] if labelled else [])
    assert (list(found.prediction), found.origin) == ([0, 0], "rows")
    assert np.array_equal(found.logits, logits)


@pytest.mark.parametrize(
    ("label", "prediction"), [([0, 2], [0, 0]), ([0, 0], [-1, 0]), ([0.0, 1.0], [0, 0]), ([], []), (["a", "b"], [0, 1])]
)
def test_predictions_of_another_task_are_refused(label: list[Any], prediction: list[int], tmp_path: Path) -> None:
    path, logits = predictions_path(tmp_path, "validation"), np.zeros((len(label), 2), dtype=np.float32)
    idx = np.arange(len(label))
    Predictions(idx=idx, label=np.array(label), prediction=np.array(prediction), logits=logits).write(path)
    with pytest.raises(InputError, match=r"^predictions/validation\.parquet that does not fit the task$"):
        Predictions.read(path, RTE)


def test_history_has_one_json_object_per_line(tmp_path: Path) -> None:
    write_history(tmp_path / "history.jsonl", [make_record(seed=1), make_record(seed=2)])
    assert [json.loads(line)["seed"] for line in (tmp_path / "history.jsonl").read_text().splitlines()] == [1, 2]


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_text_atomically(path, "old")

    def write_half() -> None:
        with replace_atomically(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_of_any_name_is_replaced_with_the_permissions_of_a_new_one(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with replace_folder_atomically(tmp_path / "old") as folder:
            (folder / "a").write_text(text)
    (tmp_path / "new").mkdir()
    assert (tmp_path / "old" / "a").read_text() == "second"
    assert (tmp_path / "old").stat().st_mode == (tmp_path / "new").stat().st_mode


def test_an_interrupted_folder_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    with replace_folder_atomically(tmp_path / "model") as folder:
        (folder / "a").write_text("old")

    def write_half() -> None:
        with replace_folder_atomically(tmp_path / "model") as folder:
            (folder / "b").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["model", "model/a"]


def test_what_cannot_be_written_is_one_line_with_the_disks_exit_code(tmp_path: Path) -> None:
    in_the_way = tmp_path / "runs"
    in_the_way.write_text("a file where the folder should be")
    with pytest.raises(DiskError, match=r"record\.json: cannot be written: ") as caught:
        RunStore(tmp_path).save(make_record())
    assert caught.value.exit_code == 74


def test_many_writers_lose_nothing(tmp_path: Path) -> None:
    write_at_once(tmp_path, writers=8, each=20)
    assert len(list(RunStore(tmp_path).load_all())) == 160


def test_predictions_of_another_training_than_the_records_are_refused(tmp_path: Path) -> None:
    store, record = RunStore(tmp_path), make_record()
    path = predictions_path(store.folder(*record.place), "validation")

    def predict(*codes: int) -> str:
        logits = np.zeros((2, 2), dtype=np.float32)
        prediction = Predictions(idx=np.arange(2), label=np.array([0, 1]), prediction=np.array(codes), logits=logits)
        return prediction.write(path)

    data = {**record.data, "rows": {**record.data["rows"], "validation": 2}}
    record = dataclasses.replace(record, data=data, predictions_sha256={"validation": predict(0, 1)})
    assert list(store.read_predictions(record, "validation").prediction) == [0, 1]
    predict(1, 1)  # trained again, and killed before the record was written
    with pytest.raises(InputError, match=r"^predictions/validation\.parquet from another training than its record$"):
        store.read_predictions(record, "validation")
    old = dataclasses.replace(record, predictions_sha256={})  # by a version without hashes
    assert list(store.read_predictions(old, "validation").prediction) == [1, 1]


_POOLS = list[pa.MemoryPool]()  # never freed, since pyarrow's buffers may outlive a test, and crash without their pool


@pytest.mark.parametrize(
    ("known", "found"),
    [
        ({"sha256": "0" * 64, "rows": 1_000_000}, "from another training than its record"),
        ({"sha256": "0" * 64}, "from another training than its record"),
        ({"rows": 2}, "of 1000000 rows; the record says 2"),
    ],
)
def test_predictions_of_something_else_take_no_memory(known: dict[str, Any], found: str, tmp_path: Path) -> None:
    path, zeros = tmp_path / "validation.parquet", np.zeros(1_000_000, dtype=np.int64)
    logits = np.zeros((len(zeros), 2), np.float32)
    Predictions(idx=zeros, label=zeros, prediction=zeros, logits=logits).write(path)
    assert path.stat().st_size < 2**17
    usual, pool = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    _POOLS.append(pool)
    pa.set_memory_pool(pool)
    try:
        with pytest.raises(InputError, match=f"validation.parquet {found}$"):
            Predictions.read(path, RTE, **known)
        refused = pool.max_memory()
        Predictions.read(path, RTE)
    finally:
        pa.set_memory_pool(usual)
    assert refused < 2**20 < 2**24 < pool.max_memory()


def test_a_part_that_cannot_be_removed_does_not_hide_why_the_block_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(KeyboardInterrupt), replace_atomically(tmp_path / "file"):
        raise KeyboardInterrupt
