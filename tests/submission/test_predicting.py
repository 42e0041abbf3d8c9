"""Test rows: which are refused, what is predicted again, how an interrupted build resumes."""

import dataclasses
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from glue_bench.config.schema import DataConfig
from glue_bench.errors import InputError
from glue_bench.runs.store import RunStore
from glue_bench.submission import Source, choose_runs, predict_files, prepare_sources
from tests.support.building import Bench, layout, write_test_rows
from tests.support.tiny import sentences, write_parquet


def sources_of(bench: Bench, task: str) -> tuple[list[Source], list[str]]:
    """Return what `prepare_sources` finds for one task of a bench, and its problems."""
    _, choices = choose_runs(RunStore(bench.results), [task])
    data = DataConfig(source="local", path=str(bench.glue))
    return prepare_sources(layout(task), choices=choices, data=data)


def test_other_numbers_of_test_rows_are_refused_in_one_line_each(made: Bench, tmp_path: Path) -> None:
    bench = made.copy(tmp_path)
    path = write_test_rows(bench.glue, "mnli/test_matched", 500)
    (bench.glue / "ax" / "test.parquet").unlink()
    found, problems = sources_of(bench, "mnli")
    assert [source.file.name for source in found] == ["MNLI-mm.tsv"]
    assert problems == [
        f"AX.tsv: {bench.glue / 'ax' / 'test.parquet'}: no such file, nor test.csv, test.tsv, test.jsonl, "
        "test.json, one of these with .gz, test-00000-of-00001.parquet, or a folder test of save_to_disk",
        f"MNLI-m.tsv: {path}: 500 rows; the leaderboard wants predictions for 9,796",
    ]


def test_missing_and_wrong_weights_are_reported_before_anything_is_predicted(made: Bench, tmp_path: Path) -> None:
    bench = made.copy(tmp_path)
    run = bench.run("mnli")
    for path in run.folder.rglob("test*.parquet"):
        path.unlink()
    weights = run.model_folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    _, problems = sources_of(bench, "mnli")
    assert len(problems) == 1
    assert "these weights do not belong to the run's record" in problems[0]
    weights.unlink()
    _, problems = sources_of(bench, "mnli")
    assert len(problems) == 1
    assert "kept no weights. To train " in problems[0]
    assert "again and keep them: glue-bench run task=mnli seed=1" in problems[0]


def test_stored_predictions_need_no_weights(made: Bench, tmp_path: Path) -> None:
    bench = made.copy(tmp_path)
    shutil.rmtree(bench.run("stsb").model_folder)
    found, problems = sources_of(bench, "stsb")
    assert problems == []
    assert found[0].kept is not None


@pytest.mark.parametrize("change", ["rows", "weights", "damage"])
def test_kept_predictions_of_other_rows_or_weights_or_damaged_ones_are_not_used(
    change: str, made: Bench, tmp_path: Path
) -> None:
    bench = made.copy(tmp_path)
    (source,), _ = sources_of(bench, "sst2")
    assert source.kept is not None
    run = source.run
    if change == "rows":
        path = bench.glue / "sst2" / "test.parquet"
        columns = pq.read_table(path).to_pydict()
        write_parquet(path, {**columns, "sentence": [*columns["sentence"][:-1], "another one"]})
    elif change == "weights":
        run = dataclasses.replace(run, record=dataclasses.replace(run.record, model_sha256="0" * 64))
    else:
        (run.folder / "predictions" / "test.parquet").write_bytes(b"PAR1 and nothing else")
    (now,), _ = sources_of(bench, "sst2")
    assert dataclasses.replace(now, run=run).kept is None


def test_rows_in_another_order_than_their_idx_are_refused(made: Bench, tmp_path: Path) -> None:
    bench = made.copy(tmp_path)
    path = bench.glue / "stsb" / "test.parquet"
    table = pq.read_table(path)
    pq.write_table(table.take([*range(100), 101, 100, *range(102, 1379)]), path)
    (source,), problems = sources_of(bench, "stsb")
    assert problems == []
    with pytest.raises(InputError, match="row 102: idx 100 follows 101; test rows must be in their official order"):
        predict_files([source], device="cpu")


def stop_halfway(text: str) -> None:
    """Stop as a signal would."""
    if ": 8,192 done" in text:
        raise KeyboardInterrupt


def test_an_interrupted_build_resumes_where_it_stopped(
    made: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glue_bench.submission._LINE_EVERY", 0)
    bench = made.copy(tmp_path)
    whole = bench.run("mnli").folder / "predictions" / "test_matched.parquet"
    expected = pq.read_table(whole)
    whole.unlink()
    source = next(source for source in sources_of(bench, "mnli")[0] if source.file.name == "MNLI-m.tsv")
    with pytest.raises(KeyboardInterrupt):
        predict_files([source], device="cpu", on_progress=stop_halfway)
    assert not whole.exists()
    lines = list[str]()
    predict_files([source], device="cpu", on_progress=lines.append)
    clock = r"\d+:\d\d"
    patterns = [
        f"predicting with {re.escape(source.run.title)}",
        f"4,096 done, about {clock} left",
        f"8,192 done, about {clock} left",
        f"done in {clock}",
    ]
    for line, pattern in zip(lines, patterns, strict=True):
        assert re.fullmatch(f"MNLI-m.tsv, 9,796 rows: {pattern}", line), line
    assert pq.read_table(whole).equals(expected)
    assert not list(whole.parent.glob(".*"))


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
def test_test_rows_may_be_in_other_kinds_of_files(kind: str, made: Bench, tmp_path: Path) -> None:
    bench = made.copy(tmp_path)
    path = bench.glue / "mnli" / "test_matched.parquet"
    table = pq.read_table(path, columns=["premise", "hypothesis"]).to_pandas()
    path.unlink()
    if kind == "jsonl":
        table.to_json(path.with_suffix(".jsonl"), orient="records", lines=True)
    else:
        table.to_csv(path.with_suffix(f".{kind}"), sep="," if kind == "csv" else "\t", index=False)
    source = next(source for source in sources_of(bench, "mnli")[0] if source.file.name == "MNLI-m.tsv")
    predict_files([source], device="cpu")
    place = Path("predictions") / "test_matched.parquet"
    found, kept = (pq.read_table(run.folder / place) for run in (source.run, made.run("mnli")))
    assert np.array_equal(found["prediction"].to_numpy(), kept["prediction"].to_numpy())
    assert np.array_equal(found["idx"].to_numpy(), np.arange(9796))


@pytest.mark.slow
def test_many_rows_take_no_more_memory_than_few(made: Bench, tmp_path: Path) -> None:
    bench = made.copy(tmp_path)
    run = bench.run("mnli")
    rows, rng = 24 * 4096, random.Random(0)
    pool = sentences(10_000, seed=1)
    lengths = [1 + min(5, int(rng.expovariate(0.7))) for _ in range(2 * rows)]  # as uneven as QQP's
    texts: list[object] = [" ".join(rng.choices(pool, k=length)) for length in lengths]
    write_parquet(bench.glue / "mnli" / "many.parquet", {"premise": texts[:rows], "hypothesis": texts[rows:]})
    code = f"""
from pathlib import Path
from glue_bench.config.schema import DataConfig
from glue_bench.data.texts import open_texts
from glue_bench.runs.finished import find_finished
from glue_bench.runs.store import RunStore
from glue_bench import submission
from glue_bench.submission import Source, predict_files
from glue_bench.submission.layout import LeaderboardFile

submission._LINE_EVERY = 0

def on_progress(text):
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    print(pages * 4 // 1024)

run = find_finished(RunStore(Path()), run_id={str(run.folder)!r})
texts = open_texts(DataConfig(source="local", path={str(bench.glue)!r}), run.task, place="many")
file = LeaderboardFile(name="many.tsv", task=run.task, place="many", rows=texts.rows)
predict_files([Source(file=file, run=run, texts=texts)], device="cpu", on_progress=on_progress)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False)
    assert result.returncode == 0, result.stderr
    megabytes = [int(line) for line in result.stdout.splitlines()]
    assert len(megabytes) == 25  # at the start, and after every piece
    assert megabytes[24] - megabytes[4] < 70
