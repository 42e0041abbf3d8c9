"""What is computed from predictions is kept: the second report equals the first, with or without the folder."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glue_bench.cli import main
from glue_bench.files import cache_folder
from glue_bench.report import comparison, rows
from glue_bench.report.kept import keep_numbers
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


def draw_once(rows: int) -> tuple[list[list[float]], dict[str, Any], bool]:
    """Ask for numbers that are drawn; return them, the stream's state afterwards, and whether they were computed."""
    stream, computed = np.random.default_rng(rows), list[int]()

    def compute() -> list[list[float]]:
        computed.append(rows)
        return [[*stream.random(3)], [*stream.random(2)]]

    predictions = SplitPredictions(labels=np.zeros(rows), predictions=np.zeros((1, rows)))
    numbers = keep_numbers(compute, splits={"validation": predictions}, words=["test"], stream=stream)
    return numbers, dict(stream.bit_generator.state), bool(computed)


@pytest.mark.parametrize("damage", SEALED)
def test_an_entry_that_is_not_as_it_was_written_is_computed_again(damage: str) -> None:
    numbers, state, computed = draw_once(1)
    assert computed
    (path,) = cache_folder("report").iterdir()
    content = path.read_bytes()
    assert draw_once(1) == (numbers, state, False)
    SEALED[damage](path)
    assert draw_once(1) == (numbers, state, True)
    assert path.is_dir() or path.read_bytes() == content


def test_without_a_folder_nothing_is_kept_and_nothing_said(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = outputs(results, capsys)
    (tmp_path / "file").touch()
    monkeypatch.setenv("GLUE_BENCH_CACHE", str(tmp_path / "file"))
    assert outputs(results, capsys) == first
    assert capsys.readouterr().err == ""
