"""The leaderboard's zip from finished runs: which run, which rows, and the same bytes every time."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from glue_bench.cli import main
from tests.support.building import FILLS, Bench


def lines_of(path: Path, name: str) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.read(name).decode("ascii").splitlines()


def test_the_zip_passes_its_own_check(made: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", "check", str(made.results / "submission-tiny.zip")]) == 0
    assert "11 files, 426,309 predictions" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "place", "task"),
    [
        ("AX.tsv", "ax/test", "mnli"),
        ("MNLI-mm.tsv", "mnli/test_mismatched", "mnli"),
        ("STS-B.tsv", "stsb/test", "stsb"),
    ],
)
def test_its_predictions_are_those_that_transformers_makes_with_the_kept_weights(
    name: str, place: str, task: str, made: Bench
) -> None:
    run = made.run(task)
    model = AutoModelForSequenceClassification.from_pretrained(run.model_folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(run.model_folder)
    rows = pq.read_table(made.glue / f"{place}.parquet").slice(0, 200).to_pydict()
    first, second = (rows[column] for column in run.task.texts)
    with torch.inference_mode():
        logits = model(**tokenizer(first, second, padding=True, return_tensors="pt")).logits
    found = [line.split("\t") for line in lines_of(made.results / "submission-tiny.zip", name)[1:201]]
    assert [index for index, _ in found] == [str(index) for index in range(200)]
    if task == "stsb":
        scores = logits[:, 0].clamp(0, 5).tolist()
        assert np.abs(np.array([float(text) for _, text in found]) - scores).max() < 6e-4
    else:
        labels = [model.config.id2label[code] for code in logits.argmax(dim=1).tolist()]
        assert len(set(labels)) > 1  # no constant would pass
        assert [text for _, text in found] == labels


def test_predictions_of_test_rows_are_kept_without_labels_and_without_scores(made: Bench) -> None:
    run = made.run("mnli")
    for place, outputs in (("test_matched", 3), ("ax/test", 3)):
        table = pq.read_table(run.folder / "predictions" / f"{place}.parquet")
        assert table.column_names == ["idx", "prediction", *(f"logit_{number}" for number in range(outputs))]
    assert set(run.record.scores) == {"validation_matched", "validation_mismatched"}
    assert sorted(path.name for path in (run.folder / "predictions").iterdir()) == [
        "ax",
        "test_matched.parquet",
        "test_mismatched.parquet",
        "validation_matched.parquet",
        "validation_mismatched.parquet",
    ]


def test_a_second_build_predicts_nothing_and_writes_the_same_bytes(made: Bench, tmp_path: Path) -> None:
    code = f"""
import sys
from glue_bench.cli import main
code = main({["submit", "build", f"results_dir={made.results}", *FILLS, "--out", str(tmp_path / "again.zip")]!r})
sys.exit("imported torch" if "torch" in sys.modules else code)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False)
    assert result.returncode == 0, result.stderr
    assert "predicting" not in result.stderr
    assert "STS-B.tsv       1,379 rows  tiny stsb seed 1" in result.stdout
    assert result.stdout.count("; kept\n") == 5
    first = (made.results / "submission-tiny.zip").read_bytes()
    assert (tmp_path / "again.zip").read_bytes() == first


def test_predicting_again_from_the_weights_gives_the_same_bytes(
    made: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = made.copy(tmp_path)
    for path in bench.results.rglob("test*.parquet"):
        path.unlink()
    assert bench.build(f"data.path={made.glue}", "data=local", *FILLS, "--out", "sub.zip") == 0
    assert "AX.tsv, 1,104 rows: predicting with tiny mnli seed 1" in capsys.readouterr().err
    assert Path("sub.zip").read_bytes() == (made.results / "submission-tiny.zip").read_bytes()


def test_it_says_which_run_each_file_comes_from_and_which_were_filled(
    made: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    assert made.build(*FILLS, "--fill", "stsb=2.5", "--out", "sub.zip") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 12
    assert lines[0].startswith("AX.tsv          1,104 rows  tiny mnli seed 1 (seed1-")
    assert "the only seed" in lines[0]
    assert "median of 3 seeds on the dev set" in next(line for line in lines if line.startswith("SST-2"))
    assert "STS-B.tsv       1,379 rows  no model: 2.500 in every line, because of --fill" in lines
    assert lines[10] == "WNLI.tsv          146 rows  no model: not_entailment in every line, because of --fill"
    assert lines_of(Path("sub.zip"), "WNLI.tsv")[1:] == [f"{index}\t0" for index in range(146)]
    assert set(lines_of(Path("sub.zip"), "STS-B.tsv")[1:]) == {f"{index}\t2.500" for index in range(1379)}
