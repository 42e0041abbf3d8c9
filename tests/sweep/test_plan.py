"""Plans: what is missing, in which order, how long; as a table and as a file whose lines run by themselves."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from glue_bench.runs.store import RunStore

from glue_bench.cli import main
from glue_bench.config.schema import ExecutorConfig, SlurmConfig
from glue_bench.runs.identity import RunRequest
from glue_bench.runs.record import Record
from glue_bench.sweep import slots
from glue_bench.sweep.estimate import estimate_runs, longest_first, seconds_in_all
from glue_bench.sweep.plan import plan_runs
from glue_bench.sweep.plan_file import state_of
from glue_bench.sweep.slots import deal_out
from tests.support.making import make_record, make_request


def request(task: str, seed: int = 1, *, parent: RunRequest | None = None) -> RunRequest:
    return make_request(task=task, seed=seed, setting=task, parent=parent)


def names(requests: Sequence[RunRequest]) -> list[str]:
    return [f"{each.config.task.name}-{each.config.seed}" for each in requests]


def test_a_missing_parent_joins_the_plan_before_its_child(tmp_path: Path) -> None:
    store, parent = RunStore(tmp_path), request("mnli")
    child = request("rte", parent=parent)
    plan = plan_runs([child, request("cola")], store, retry_failed=False)
    assert names(plan.missing) == ["mnli-1", "rte-1", "cola-1"]
    assert names(plan.requests) == ["mnli-1", "rte-1", "cola-1"]
    store.save(make_record(task="rte", setting="rte"))
    plan = plan_runs([child, request("cola")], store, retry_failed=False)
    assert (names(plan.missing), list(plan.records)) == (["cola-1"], [child.run_id])
    assert names(plan.requests) == ["mnli-1", "rte-1", "cola-1"]  # the numbers of a plan file's lines
    assert [state_of(each, plan) for each in plan.requests] == ["not needed", "done", "missing"]
    assert names(plan.concerned) == ["rte-1", "cola-1"]


def test_a_run_that_is_asked_for_and_a_parent_is_one_run_that_keeps_its_model(tmp_path: Path) -> None:
    asked = request("mnli")
    keeping = dataclasses.replace(asked, config=dataclasses.replace(asked.config, save_model=True))
    plan = plan_runs([asked, request("rte", parent=keeping)], RunStore(tmp_path), retry_failed=False)
    assert names(plan.missing) == ["mnli-1", "rte-1"]
    assert plan.missing[0].config.save_model


def test_longest_come_first_and_a_parent_counts_with_its_children() -> None:
    parent = request("mnli")
    some = [request("rte"), request("cola"), request("qqp"), request("stsb", parent=parent), parent]
    assert names(longest_first(some, {})) == ["mnli-1", "qqp-1", "stsb-1", "cola-1", "rte-1"]


def finished(task: str, seed: int, seconds: float, *, setting: str | None = None) -> Record:
    return make_record(task=task, seed=seed, setting=setting or task, epochs=3, seconds={"total": seconds})


def test_estimates_come_from_other_seeds_else_from_the_task_by_epochs_else_there_are_none() -> None:
    asked = request("rte", seed=9)
    assert estimate_runs([asked], [finished("cola", 1, 50.0)]) == {}
    by_epochs = estimate_runs([asked], [finished("rte", 1, 30.0, setting="111")])[asked.run_id]
    assert (by_epochs.seconds, by_epochs.basis) == (100.0, "1 finished run of this encoder and task, by epochs")
    runs = [finished("rte", 1, 30.0, setting="111"), finished("rte", 2, 40.0), finished("rte", 3, 60.0)]
    by_seed = estimate_runs([asked], runs)[asked.run_id]
    assert (by_seed.seconds, by_seed.basis) == (50.0, "2 finished runs of this setting, median time")


@pytest.mark.parametrize(("workers", "seconds"), [(1, 12.0), (2, 6.0), (9, 5.0)])
def test_the_time_in_all_is_that_of_workers_who_take_the_next_run_when_free(workers: int, seconds: float) -> None:
    assert seconds_in_all([5.0, 3.0, 3.0, 1.0], workers=workers) == seconds


def executor(**changes: object) -> ExecutorConfig:
    slurm = SlurmConfig(hours=1, cpus=1, gpus=0, memory_gb=1, notice=60)
    facts: dict[str, object] = {"kind": "local", "workers": "auto", "runs_per_gpu": 1, "timeout": 1.0, "slurm": slurm}
    return ExecutorConfig(**{**facts, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "runs", "gpus", "cores"),
    [
        ({}, 99, [], [[0], [1], [2], [3], [4], [5]]),
        ({}, 2, [], [[0, 1, 2], [3, 4, 5]]),
        ({"workers": "1"}, 99, [], [[0, 1, 2, 3, 4, 5]]),
        ({"workers": "4"}, 99, [], [[0], [1], [2], [3]]),
        ({"workers": "8"}, 99, [], [[0], [1], [2], [3], [4], [5], [0], [1]]),
        ({}, 99, ["0", "1"], [[0, 1, 2], [3, 4, 5]]),
        ({"runs_per_gpu": 2}, 99, ["GPU-a"], [[0, 1, 2], [3, 4, 5]]),
    ],
    ids=str,
)
def test_the_machine_is_dealt_out(
    changes: dict[str, object],
    runs: int,
    gpus: list[str],
    cores: list[list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slots, "usable_cores", lambda: list(range(6)))
    monkeypatch.setattr(slots, "total_memory", lambda: 2**40)
    dealt = deal_out(executor(**changes), runs=runs, gpus=gpus)
    assert [list(slot.cores) for slot in dealt] == cores
    assert [slot.gpu for slot in dealt if slot.gpu] == [*gpus, *gpus][: len(dealt)]


def test_a_small_memory_means_fewer_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "usable_cores", lambda: list(range(6)))
    monkeypatch.setattr(slots, "total_memory", lambda: 9 * 2**30)
    assert [list(slot.cores) for slot in deal_out(executor(), runs=99, gpus=[])] == [[0, 1, 2], [3, 4, 5]]


def test_a_plan_file_runs_line_by_line_from_any_folder_and_keeps_its_numbers(
    tiny_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["tasks=[rte,sst2]", "seeds=[1]", *(word for word in tiny_words if "results_dir" not in word)]
    assert main(["sweep", "--plan", "plan.jsonl", *words]) == 0
    lines = [json.loads(line) for line in Path("plan.jsonl").read_text().splitlines()]
    assert [(line["index"], line["title"], line["state"]) for line in lines] == [
        (0, "tiny rte seed 1", "missing"),
        (1, "tiny sst2 seed 1", "missing"),
    ]
    plan = str(Path("plan.jsonl").resolve())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["sweep", "--plan", plan, "--index", "1"]) == 0
    assert main(["sweep", "--plan", plan, "--index", "1"]) == 0
    assert [record.task for record in RunStore(tmp_path / "results").load_all()] == ["sst2"]
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert main(["sweep", "--dry-run", *words]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert any("rte seed 1" in line and "missing" in line for line in shown)
    assert any("sst2 seed 1" in line and "done" in line and "accuracy" in line for line in shown)
    assert main(["sweep", "--plan", "plan.jsonl", *words]) == 0
    lines = [json.loads(line) for line in Path("plan.jsonl").read_text().splitlines()]
    assert [line["state"] for line in lines] == ["missing", "done"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--index", "0"], 2, "--index 0: needs a plan; give --plan FILE.jsonl"),
        (["--plan", "plan.jsonl", "--index", "7"], 2, "--index 7: no such line in plan.jsonl; allowed is 0 to 1"),
        (["--plan", "none.jsonl", "--index", "0"], 3, "--plan none.jsonl: cannot be read"),
        (["--plan", "plan.jsonl", "--index", "1"], 3, "plan.jsonl line 2: no run of a plan"),
        (["--plan", "plan.jsonl", "--index", "0", "task=rte"], 2, "task=rte: a plan's lines hold their whole"),
    ],
)
def test_a_line_that_cannot_be_run_is_one_line_of_error(
    words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("plan.jsonl").write_text('{"index": 0}\n{"format": 1}\n')
    assert main(["sweep", *words]) == code
    assert message in capsys.readouterr().err


def test_the_chain_runs_mnli_first_and_the_small_tasks_from_its_encoder(
    tiny_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["init=mnli", "tasks=[rte,sst2]", "seeds=[1]", *tiny_words]
    assert main(["sweep", *words]) == 0
    records = {record.task: record for record in RunStore(tmp_path / "results").load_all()}
    assert {task: record.init for task, record in records.items()} == {
        "mnli": "pretrained",
        "sst2": "pretrained",
        "rte": f"mnli:{records['mnli'].run_id}",
    }
    assert (
        "starts from the fine-tuned mnli model, the published numbers do not" in records["rte"].not_comparable_because
    )
    assert records["rte"].encoder["weights_sha256"] != records["mnli"].encoder["weights_sha256"]
    assert "init" in capsys.readouterr().out
    assert main(["sweep", *words]) == 0
    assert "3 runs: 3 done, 0 to run; nothing to train" in capsys.readouterr().err
    assert main(["sweep", "init=mnli", "tasks=[mrpc]", "seeds=[1]", *tiny_words]) == 0
    assert "2 runs: 1 done, 1 to run" in capsys.readouterr().err
    assert main(["run", "task=rte", *tiny_words]) == 0  # from the pretrained encoder: another run
    inits = [record.init for record in RunStore(tmp_path / "results").load_all() if record.task == "rte"]
    assert sorted(inits) == sorted(["pretrained", records["rte"].init])


def test_a_run_whose_parent_failed_says_so(tiny_words: list[str], tmp_path: Path) -> None:
    hot = [*tiny_words, "trainer.learning_rate=1e30", "trainer.clip_norm=0"]
    assert main(["sweep", "init=mnli", "tasks=[rte]", "seeds=[1]", *hot]) == 1
    records = {record.task: record for record in RunStore(tmp_path / "results").load_all()}
    assert (records["mnli"].status, records["rte"].status) == ("diverged", "failed")
    assert "the run that it starts from, tiny mnli seed 1, has diverged" in (records["rte"].error or "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "task=cola", "init=mnli", "data=sample"], "init=mnli: not for task=cola"),
        (["sweep", "tasks=[cola,sst2]", "init=mnli", "data=sample"], "init=mnli: none of these tasks starts from it"),
        (["sweep", "init=mnly", "data=sample"], "init=mnly: none of these tasks starts from it; did you mean mnli?"),
        (["run", "task=rte", "executor=lokal"], "executor=lokal: no such executor; did you mean local?"),
        (["run", "task=rte", "executor.workers=some"], "executor.workers=some: must be auto, or 1 or more"),
    ],
)
def test_a_start_or_executor_that_cannot_be_is_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "encoder=minilm"]) == 2
    assert message in capsys.readouterr().err
