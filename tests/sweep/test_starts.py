"""Runs that start from other runs: chains of tasks, and the seed of a task that is the best or the median."""

import json
from pathlib import Path

import pytest

from glue_bench.cli import main
from glue_bench.config.compose import compose_starts, compose_sweep
from glue_bench.runs.finished import repeating_words
from glue_bench.runs.identity import RunRequest, make_requests
from glue_bench.runs.record import Record
from glue_bench.runs.store import RunStore, choose_start
from tests.support.making import make_record, make_request, scores_of

POOL = ["tasks=[rte]", "seeds=[1,2,3]", "init={rte:sst2}"]


def requests_of(words: list[str]) -> list[RunRequest]:
    sweep = compose_sweep(words)
    config = sweep.configs[0]
    return make_requests(config, sweep.seeds, starts=compose_starts(config, words))


def by_task(folder: Path) -> dict[str, list[Record]]:
    records = sorted(RunStore(folder / "results").load_all(), key=lambda record: (record.task, record.seed))
    return {task: [record for record in records if record.task == task] for task in {each.task for each in records}}


def finished(store: RunStore, scores: list[float]) -> RunRequest:
    """Keep one run for each score, seeds 1 to n, and return a run that may start from any of them."""
    for seed, score in enumerate(scores, start=1):
        store.save(make_record(task="sst2", seed=seed, setting="s", scores=scores_of("sst2", score)))
    starts = tuple(make_request(task="sst2", seed=seed, setting="s") for seed in range(1, len(scores) + 1))
    return make_request(task="rte", seed=1, setting="r", starts=starts)


@pytest.mark.parametrize(
    ("which", "scores", "seed"),
    [
        ("best", [0.7, 0.9, 0.8], 2),
        ("best", [0.7, 0.9, 0.9], 2),
        ("median", [0.7, 0.9, 0.8], 3),
        ("median", [0.9, 0.7, 0.8, 0.6], 2),
        ("median", [0.8, 0.8, 0.8], 2),
        ("best", [0.8, 0.8], 1),
    ],
)
def test_the_best_and_the_median_seed(which: str, scores: list[float], seed: int, tmp_path: Path) -> None:
    request = finished(RunStore(tmp_path), scores)
    request.config.init_seed = which  # type: ignore[assignment]
    chosen = choose_start(request, RunStore(tmp_path))
    assert chosen.parent is not None
    assert chosen.parent.config.seed == seed
    assert (chosen.run_id, chosen.init) == (request.run_id, f"sst2:seed{seed}-s")


@pytest.mark.parametrize("which", ["best", "median"])
def test_every_seed_starts_from_the_one_that_is_chosen(
    which: str, tiny_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*POOL, f"init_seed={which}", *tiny_words]
    assert main(["sweep", *words]) == 0
    records = by_task(tmp_path)
    parents = sorted(records["sst2"], key=lambda record: (-record.scores["validation"]["accuracy"], record.seed))
    start = parents[0 if which == "best" else 1]
    assert [record.seed for record in records["rte"]] == [1, 2, 3]
    assert {record.init for record in records["rte"]} == {f"sst2:{start.run_id}"}
    assert {record.encoder["init_sha256"] for record in records["rte"]} == {start.model_sha256}
    capsys.readouterr()
    assert main(["sweep", *words]) == 0
    assert "6 runs: 6 done, 0 to run" in capsys.readouterr().err
    assert main(["sweep", "--dry-run", *words, "seeds=[1,2]"]) == 0  # others to choose among: other runs
    out = capsys.readouterr().out
    assert (out.count("missing"), out.count("done")) == (2, 2)


def test_a_chain_runs_each_task_from_the_one_before_it(
    tiny_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["tasks=[rte,sst2]", "seeds=[1]", "init={rte:mnli,mnli:mrpc}", *tiny_words]
    assert main(["sweep", *words]) == 0
    records = {task: record for task, (record,) in by_task(tmp_path).items()}
    assert {task: record.init for task, record in records.items()} == {
        "mrpc": "pretrained",
        "mnli": f"mrpc:{records['mrpc'].run_id}",
        "rte": f"mnli:{records['mnli'].run_id} from mrpc",
        "sst2": "pretrained",
    }
    assert records["mnli"].encoder["init_sha256"] == records["mrpc"].model_sha256
    assert records["rte"].encoder["init_sha256"] == records["mnli"].model_sha256
    assert "mnli from mrpc" in capsys.readouterr().out
    # The words that a table or the page gives for the setting are those of the same run.
    kinds = ("recipe=", "init", "selection=", "trainer.")
    words = [word for word in repeating_words(records["rte"], private=True) if word.startswith(kinds)]
    again = requests_of(["tasks=[rte]", "seeds=[1]", *tiny_words, *words])
    assert [request.run_id for request in again] == [records["rte"].run_id]
    assert main(["sweep", "tasks=[rte]", "seeds=[1]", "init={rte:mnli}", *tiny_words]) == 0  # without mrpc: another run
    assert "2 runs: 0 done, 2 to run" in capsys.readouterr().err


def test_a_plan_keeps_what_its_runs_may_start_from(
    tiny_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["tasks=[rte]", "seeds=[1,2]", "init={rte:mnli,mnli:sst2}", "init_seed=best", *tiny_words]
    assert main(["sweep", "--plan", "plan.jsonl", *words]) == 0
    titles = [json.loads(line)["title"] for line in Path("plan.jsonl").read_text().splitlines()]
    assert titles == [f"tiny {task} seed {seed}" for task in ("sst2", "mnli") for seed in (1, 2)] + [
        "tiny rte seed 1",
        "tiny rte seed 2",
    ]
    assert main(["sweep", "--plan", "plan.jsonl", "--index", "4"]) == 0  # with everything that it starts from
    assert {task: len(records) for task, records in by_task(tmp_path).items()} == {"sst2": 2, "mnli": 2, "rte": 1}
    capsys.readouterr()
    assert main(["sweep", *words]) == 0
    assert "6 runs: 5 done, 1 to run" in capsys.readouterr().err


def test_a_run_waits_for_all_that_it_may_start_from_and_fails_with_one(
    tiny_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hot = [*tiny_words, "trainer.learning_rate=1e30", "trainer.clip_norm=0"]
    assert main(["sweep", *POOL, "init_seed=best", "executor=serial", *hot]) == 1
    records = by_task(tmp_path)
    assert {record.status for record in records["sst2"]} == {"diverged"}
    assert all("the run that it starts from, tiny sst2 seed 1, has diverged" in str(r.error) for r in records["rte"])
    assert main(["run", "task=rte", "init={rte:sst2}", "init_seed=median", *tiny_words]) == 2
    message = "init_seed=median: chooses among the seeds of a sweep; must be a number with one seed"
    assert message in capsys.readouterr().err
