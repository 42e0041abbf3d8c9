"""Requests have the ids that were recorded: a change of code never makes old results count as missing."""

import json
from pathlib import Path

import pytest

from tests.support.golden_ids import BASE, CASES, EXECUTION_ONLY, FILE, OTHER_RUNS, ids_of

RECORDED: dict[str, list[str]] = json.loads(FILE.read_text())


@pytest.mark.parametrize("name", list(CASES))
def test_a_sweep_plans_runs_of_the_recorded_ids(name: str, tmp_path: Path) -> None:
    assert ids_of(CASES[name], tmp_path) == RECORDED[name]


def test_every_recorded_sweep_is_tried() -> None:
    assert list(RECORDED) == list(CASES)


def test_how_a_run_executes_changes_no_recorded_id_and_what_it_computes_does() -> None:
    assert all(RECORDED[f"{BASE}, {words}"] == RECORDED[BASE] for words in EXECUTION_ONLY)
    others = {ids[-1].partition(": ")[2] for ids in (RECORDED[f"{BASE}, {words}"] for words in OTHER_RUNS)}
    assert len(others) == len(OTHER_RUNS)
    assert RECORDED[BASE][0].partition(": ")[2] not in others


def test_every_run_of_a_recorded_sweep_has_its_own_id() -> None:
    for name, lines in RECORDED.items():
        ids = [line.partition(": ")[2].partition(" ")[0] for line in lines]
        assert len(set(ids)) == len(ids), name
