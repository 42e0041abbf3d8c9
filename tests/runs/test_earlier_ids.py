"""A cell of a grid and a plain run with its values are one run; cells kept under ids of earlier versions are found."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from glue_bench.config.compose import compose_sweep
from glue_bench.config.schema import RunConfig
from glue_bench.runs.identity import RunRequest, cell_shape, identify
from glue_bench.runs.record import request_facts
from glue_bench.runs.store import RunStore, find_earlier
from glue_bench.sweep.plan import plan_runs, read_plan, write_plan
from tests.support.making import make_record
from tests.support.results_of_v1 import NAME, call, changed, lay_out

INPUTS: dict[str, dict[str, object]] = {"encoder": {"files": "e"}, "data": {"files": "d"}}
GRID = "grid.learning_rate=[1e-5,3e-5]"


def configs_of(*words: str) -> list[RunConfig]:
    return compose_sweep(["task=rte", "seed=1", "encoder=minilm", "data=sample", *words]).configs


def requests_of(*words: str, seeds: tuple[int, ...] = (1,), before: bool = False) -> list[RunRequest]:
    """Make the requests as now, or with the ids of earlier versions."""
    found = [dataclasses.replace(config, seed=seed) for config in configs_of(*words) for seed in seeds]
    return [identify(each, INPUTS, shape=cell_shape(dataclasses.asdict(each)) if before else None) for each in found]


def keep(store: RunStore, requests: list[RunRequest], **changes: Any) -> None:
    for request in requests:
        facts = {**request_facts(request), "scores": {"validation": {"accuracy": 0.5}}, "comparable": True}
        facts["data"] = {**facts["data"], "rows": {"train": 9, "validation": 9}}
        store.save(make_record(**{**facts, **changes}))


def test_a_cell_has_the_id_of_the_plain_run_with_its_values() -> None:
    cells, (plain,) = requests_of(GRID), requests_of("trainer.learning_rate=3e-5")
    assert [cell.run_id == plain.run_id for cell in cells] == [False, True]
    (other,) = [cell for cell in requests_of(GRID, "grid.epochs=[3,10]") if cell.run_id == plain.run_id]
    assert other.config.cell == {"learning_rate": 3e-5, "epochs": 10}
    assert not {each.run_id for each in requests_of(GRID, before=True)} & {each.run_id for each in cells}


@pytest.mark.parametrize(
    ("kept", "asked"),
    [
        ((GRID,), (GRID,)),
        ((GRID,), ("trainer.learning_rate=3e-5",)),
        ((GRID,), ("grid.learning_rate=[3e-5,1e-4]", "trainer.learning_rate=3e-5")),
        ((GRID,), (GRID, "grid.epochs=[10]")),
        ((GRID, "grid.batch_size=[16,32]"), (GRID, "trainer.batch_size=16")),
        (("recipe=roberta_paper",), ("recipe=roberta_paper",)),
        (("recipe=roberta_paper",), ("recipe=roberta_paper", "trainer.learning_rate=2e-5")),
    ],
    ids=str,
)
def test_a_run_that_an_earlier_version_kept_as_a_cell_is_not_trained_again(
    kept: tuple[str, ...], asked: tuple[str, ...], tmp_path: Path
) -> None:
    store, before = RunStore(tmp_path), requests_of(*kept, before=True)
    keep(store, before)
    plan = plan_runs(requests_of(*asked), store, retry_failed=False)
    assert plan.missing == []
    assert {*plan.records} <= {each.run_id for each in before}


def test_what_is_not_known_keeps_its_own_id(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    asked = requests_of(GRID, "trainer.epochs=3")
    keep(store, requests_of(GRID, before=True))
    assert find_earlier(asked, store) == asked
    assert plan_runs(asked, store, retry_failed=False).missing == asked


def test_other_seeds_of_a_cell_that_an_earlier_version_kept_share_its_setting(tmp_path: Path) -> None:
    store, before = RunStore(tmp_path), requests_of(GRID, seeds=(1, 2, 3), before=True)
    keep(store, [each for each in before if each.config.seed < 3])
    plan = plan_runs(requests_of(GRID, seeds=(1, 2, 3)), store, retry_failed=False)
    assert [each.run_id for each in plan.missing] == [each.run_id for each in before if each.config.seed == 3]


def test_failures_under_an_earlier_id_are_retried_in_their_place(tmp_path: Path) -> None:
    store, before = RunStore(tmp_path), requests_of(GRID, before=True)
    keep(store, before, status="failed", scores={}, error="x")
    assert plan_runs(requests_of(GRID), store, retry_failed=False).missing == []
    assert plan_runs(requests_of(GRID), store, retry_failed=True).missing == before


def test_a_plan_of_an_earlier_version_names_the_same_runs(tmp_path: Path) -> None:
    store, before = RunStore(tmp_path / "results"), requests_of(GRID, before=True)
    keep(store, before[:1])
    plan = plan_runs(requests_of(GRID), store, retry_failed=False)
    write_plan(tmp_path / "plan.jsonl", plan, estimates={})
    assert [read_plan(tmp_path / "plan.jsonl", line).run_id for line in (0, 1)] == [
        each.run_id for each in plan.requests
    ]
    lines = [json.loads(line) for line in (tmp_path / "plan.jsonl").read_text().splitlines()]
    for line, each in zip(lines, before, strict=True):
        del line["shape"]
        line |= {"run_id": each.run_id, "setting_id": each.setting_id}
    (tmp_path / "old.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [read_plan(tmp_path / "old.jsonl", line).run_id for line in (0, 1)] == [each.run_id for each in before]


def test_runs_of_the_first_version_are_found_as_plain_runs_and_by_a_wider_grid(tmp_path: Path) -> None:
    lay_out(tmp_path)
    place = f"results_dir={NAME}"
    words = ["task=sst2", "seed=1", *changed("trainer.learning_rate=2e-3")]
    code, _, errors = call("run", *words)
    assert (code, "already done, nothing to train" in errors) == (0, True), errors
    wider = ["task=sst2", "seed=1", "grid.learning_rate=[2e-3,3e-3,4e-3,5e-3]", *changed("trainer.learning_rate=")]
    code, _, errors = call("sweep", "--dry-run", *wider)  # two cells of earlier versions, and a plain run
    assert (code, "4 runs: 3 done, 1 to run" in errors) == (0, True), errors
    assert call("report", place, "--cells", "task=sst2")[0] == 0
