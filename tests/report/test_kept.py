"""What is computed from predictions is kept: the second report equals the first, with or without the folder."""

from pathlib import Path

import numpy as np
import pytest

from glue_bench.cli import main
from glue_bench.files import cache_folder
from glue_bench.report import comparison, rows
from glue_bench.report.rows import keep_numbers
from glue_bench.statistics.intervals import SplitPredictions
from tests.support.damage import SEALED
from tests.support.making import DISTILROBERTA, ROBERTA
from tests.support.making_results import write_run

COMMANDS = (["report", "--format", "json"], ["compare", "distilroberta", "roberta", "--format", "json"])


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for encoder in (DISTILROBERTA, ROBERTA):
        for seed in (1, 2, 3):
            write_run(tmp_path / "results", rows={"validation": 80}, task="mrpc", seed=seed, encoder=encoder)
            write_run(tmp_path / "results", rows={"validation": 60}, task="stsb", seed=seed, encoder=encoder)
    return tmp_path / "results"


def outputs(results: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    for command in COMMANDS:
        assert main([*command, f"results_dir={results}"]) == 0
    return capsys.readouterr().out.splitlines()


def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(rows, "resample_scores", fail)
    monkeypatch.setattr(comparison, "compare_pairs", fail)


def test_the_same_predictions_are_drawn_from_once(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = outputs(results, capsys)
    assert len(list(cache_folder("report").iterdir())) == 6  # a row for each encoder and task, a pair for each task
    with monkeypatch.context() as patch:
        forbid(patch)
        assert outputs(results, capsys) == first
        write_run(results, rows={"validation": 80}, skill=0.5, task="mrpc", seed=3, encoder=ROBERTA)
        assert main([*COMMANDS[0], f"results_dir={results}"]) == 1
        assert "computed again" in capsys.readouterr().err
    assert outputs(results, capsys) != first


def ask(rows: int) -> tuple[list[list[float]], bool]:
    """Ask for numbers; return them, and whether they were computed."""
    computed = list[int]()

    def compute() -> list[list[float]]:
        computed.append(rows)
        return [[0.1, 1 / 3, -2e-300], [float(rows)]]

    predictions = SplitPredictions(labels=np.zeros(rows), predictions=np.zeros((1, rows)))
    numbers = keep_numbers(compute, splits={"validation": predictions}, words=["test"])
    return numbers, bool(computed)


@pytest.mark.parametrize("damage", SEALED)
def test_an_entry_that_is_not_as_it_was_written_is_computed_again(damage: str) -> None:
    numbers, computed = ask(1)
    assert computed
    (path,) = cache_folder("report").iterdir()
    content = path.read_bytes()
    assert ask(1) == (numbers, False)
    SEALED[damage](path)
    assert ask(1) == (numbers, True)
    assert path.is_dir() or path.read_bytes() == content


def test_without_a_folder_nothing_is_kept_and_nothing_said(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = outputs(results, capsys)
    (tmp_path / "file").touch()
    monkeypatch.setenv("GLUE_BENCH_CACHE", str(tmp_path / "file"))
    assert outputs(results, capsys) == first
    assert capsys.readouterr().err == ""
