"""How long runs will take, and which come first."""

import dataclasses
from pathlib import Path

import pytest

from glue_bench.cli import main
from glue_bench.config.compose import compose_run
from glue_bench.runs.identity import RunRequest, make_requests
from glue_bench.runs.record import Record
from glue_bench.sweep import local
from glue_bench.sweep.local import deal_out
from glue_bench.sweep.timing import describe_work, estimate_runs, longest_first, measure_run
from tests.support.making import executor, make_record
from tests.support.planning import names, request


def test_longest_come_first_and_a_parent_counts_with_its_children() -> None:
    parent = request("mnli")
    some = [request("rte"), request("cola"), request("qqp"), request("stsb", starts=(parent,)), parent]
    assert names(longest_first(some, {})) == ["mnli-1", "qqp-1", "stsb-1", "cola-1", "rte-1"]


def finished(task: str, seed: int, seconds: float, *, setting: str | None = None) -> Record:
    return make_record(task=task, seed=seed, setting=setting or task, epochs=3, seconds={"total": seconds})


def test_estimates_come_from_other_seeds_else_from_the_task_by_rows_else_there_are_none() -> None:
    asked = request("rte", seed=9)
    assert estimate_runs([asked], [finished("cola", 1, 50.0)]) == {}
    by_epochs = estimate_runs([asked], [finished("rte", 1, 30.0, setting="111")])[asked.run_id]
    assert (by_epochs.seconds, by_epochs.basis) == (100.0, "1 finished run of this encoder and task, by training rows")
    runs = [finished("rte", 1, 30.0, setting="111"), finished("rte", 2, 40.0), finished("rte", 3, 60.0)]
    by_seed = estimate_runs([asked], runs)[asked.run_id]
    assert (by_seed.seconds, by_seed.basis) == (50.0, "2 finished runs of this setting, median time")


def asked_for(task: str, seed: int = 9, **trainer: object) -> RunRequest:
    """Return a request with other trainer values."""
    plain = request(task, seed)
    changed = dataclasses.replace(plain.config.trainer, **trainer)  # type: ignore[arg-type]
    return dataclasses.replace(plain, config=dataclasses.replace(plain.config, trainer=changed))


def test_estimates_and_order_follow_the_number_of_updates() -> None:
    rows = request("rte").config.task.rows["train"]
    short = asked_for("rte", updates=100, batch_size=16)
    known = [finished("rte", 1, 30.0, setting="111")]  # 10 s for each of 3 epochs
    assert estimate_runs([short], known)[short.run_id].seconds == pytest.approx(10 * 100 * 16 / rows)
    record = make_record(seed=1, setting="222", epochs=1, seconds={"total": 8.0}, config=as_config(short))
    assert estimate_runs([request("rte", 9)], [record])["seed9-rte"].seconds == pytest.approx(80 * rows / 1600)
    assert names(longest_first([asked_for("mnli", updates=10), request("cola")], {})) == ["cola-1", "mnli-9"]


def as_config(asked: RunRequest) -> dict[str, object]:
    return dataclasses.asdict(asked.config)


@pytest.mark.parametrize("seconds", [{}, {"train": 3.0}, {"total": None}, {"total": "long"}], ids=str)
def test_a_record_of_another_program_without_a_time_gives_no_estimate(seconds: dict[str, object]) -> None:
    foreign = make_record(task="rte", setting="rte", epochs=3, seconds=seconds)
    assert estimate_runs([request("rte", 9)], [foreign]) == {}
    assert estimate_runs([request("rte", 9)], [foreign, finished("rte", 2, 40.0)])["seed9-rte"].seconds == 40.0


def test_without_a_finished_run_a_dry_run_says_how_much_work_there_is_or_times_a_few_updates(
    tiny_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sweep", *tiny_words, "tasks=[rte,stsb]", "seeds=[1,2]", "grid.learning_rate=[1e-4,3e-4]", "--dry-run"]
    assert main(words) == 0
    captured = capsys.readouterr()
    assert captured.err.splitlines()[0].startswith("weights will not be kept, and predict, card and submit need them")
    assert "no estimate of the time: nothing like these runs has finished here yet; --measure" in captured.err
    assert "3 updates, roughly " in " ".join(captured.out.split())
    assert main([*words, "--measure", "save_model=true"]) == 0
    captured = capsys.readouterr()
    assert "weights will not" not in captured.err
    assert captured.err.count("timing a few updates of") == 4  # two tasks, two cells; not for each seed
    assert "if threads and device are those of the runs in these estimates" in captured.err
    assert captured.out.count("10 updates, timed now") == 8
    assert not (tmp_path / "results" / "runs").exists()
    assert main(["sweep", *tiny_words, "--measure"]) == 2
    assert "--measure: only with --dry-run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "updates"),
    [(["trainer.epochs=3"], 9), (["trainer.updates=7"], 7), (["data.max_train_rows=16", "trainer.epochs=1"], 1)],
)
def test_the_work_of_a_run_is_counted_from_its_rows(words: list[str], updates: int, tiny_words: list[str]) -> None:
    tiny_words.remove("trainer.epochs=1")
    config = compose_run([*tiny_words, "task=rte", "trainer.batch_size=16", *words])
    found = describe_work(make_requests(config, [1])[0]).replace(",", "").split()
    assert (int(found[0]), found[2], found[4]) == (updates, "roughly", "tokens")  # of 48 rows
    assert 10 < int(found[3]) / (updates * 16) < 40  # two short sentences a row


def test_rows_on_the_hub_are_counted_without_a_request() -> None:
    config = compose_run(["task=cola", "trainer.batch_size=32", "trainer.epochs=2"])
    assert describe_work(make_requests(config, [1])[0]) == "536 updates"  # 2 x 268


def test_a_measured_time_grows_with_the_updates(tiny_words: list[str]) -> None:
    tiny_words.remove("trainer.epochs=1")
    few, many = (
        measure_run(
            make_requests(compose_run([*tiny_words, "task=rte", f"trainer.updates={count}"]), [1])[0], threads=1
        )
        for count in (10, 1_000_000)
    )
    assert 0 < 100 * few.seconds < many.seconds


@pytest.mark.parametrize(
    ("changes", "runs", "gpus", "cores"),
    [
        ({}, 99, [], [[0], [1], [2], [3], [4], [5]]),
        ({}, 2, [], [[0, 1, 2], [3, 4, 5]]),
        ({"workers": "1"}, 99, [], [[0, 1, 2, 3, 4, 5]]),
        ({"workers": "4"}, 99, [], [[0], [1], [2], [3]]),
        ({"workers": "8"}, 99, [], [[0], [1], [2], [3], [4], [5], [0], [1]]),
        ({}, 99, ["0", "1"], [[0, 1, 2, 3, 4, 5]] * 2),
        ({"runs_per_gpu": 2}, 99, ["GPU-a"], [[0, 1, 2, 3, 4, 5]] * 2),
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
    monkeypatch.setattr(local, "usable_cores", lambda: list(range(6)))
    monkeypatch.setattr(local, "total_memory", lambda: 2**40)
    dealt = deal_out(executor(**changes), runs=runs, gpus=gpus)
    assert [list(slot.cores) for slot in dealt] == cores
    assert [slot.gpu for slot in dealt if slot.gpu] == [*gpus, *gpus][: len(dealt)]
