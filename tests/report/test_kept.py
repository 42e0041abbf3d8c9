"""What is computed from predictions is kept: the second report equals the first, with or without the folder."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glue_bench.cli import main
from glue_bench.files import cache_folder
from glue_bench.report import comparison, rows
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


DAMAGE: dict[str, Callable[[Any], object]] = {
    "another kind": lambda content: [content],
    "texts": lambda content: {**content, "numbers": [["x"] * len(each) for each in content["numbers"]]},
    "too few numbers": lambda content: {**content, "numbers": content["numbers"][1:]},
    "too short": lambda content: {**content, "numbers": [each[1:] for each in content["numbers"]]},
    "another generator": lambda content: {**content, "after": '{"bit_generator": "MT19937"}'},
    "no state": lambda content: {**content, "after": 1},
    "infinite": lambda content: {**content, "numbers": [[math.inf] * len(each) for each in content["numbers"]]},
}


@pytest.mark.parametrize("damage", [*DAMAGE, "a folder"])
def test_a_damaged_entry_is_computed_again(damage: str, results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = outputs(results, capsys)
    for path in cache_folder("report").iterdir():
        content = json.loads(path.read_text())
        if damage == "a folder":
            path.unlink()
            path.mkdir()
        else:
            path.write_text(json.dumps(DAMAGE[damage](content)))
    assert outputs(results, capsys) == first


def test_without_a_folder_nothing_is_kept_and_nothing_said(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = outputs(results, capsys)
    (tmp_path / "file").touch()
    monkeypatch.setenv("GLUE_BENCH_CACHE", str(tmp_path / "file"))
    assert outputs(results, capsys) == first
    assert capsys.readouterr().err == ""
