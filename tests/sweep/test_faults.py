"""Sweeps under fire: killed at random, started many times at once, with runs that go wrong. Real processes throughout.

Small versions run with the fast tests; `nox -s faults` runs the whole campaign.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from glue_bench.runs.record import Record
from glue_bench.runs.store import RunStore
from tests.support.bad_kinds import KINDS, REASONS
from tests.support.kills import Campaign
from tests.support.loaded import folder_in_memory
from tests.support.making import make_record
from tests.support.making_results import write_at_once
from tests.support.processor import PATIENCE, assert_quick, lag, wait_until
from tests.support.sweeps import Sweeps, assert_same_results, descendants, kill, records_in, trainings, workers_of
from tests.support.warm import WarmProcess

KILLS, SEED = int(os.environ.get("KILLS", "1000")), int(os.environ.get("SEED", "7"))


@pytest.fixture
def sweep(tmp_path: Path, tiny_words: list[str]) -> Iterator[Sweeps]:
    """Start a sweep of tiny runs in the background; its output goes to a file."""
    sweeps = Sweeps(tmp_path, tiny_words)
    yield sweeps
    sweeps.end()


@pytest.fixture(params=[pytest.param(WarmProcess, id="forked")])
def sweep_in_memory(tiny_words: list[str], request: pytest.FixtureRequest) -> Iterator[Sweeps]:
    """Start sweeps in a folder in memory: kills need no disk that takes its time."""
    with tempfile.TemporaryDirectory(dir=folder_in_memory()) as folder:
        sweeps = Sweeps(Path(folder), tiny_words, kind=request.param)
        yield sweeps
        sweeps.end()


def test_a_sweep_whose_worker_processes_and_driver_are_killed_in_turn_ends_with_the_results_of_one_that_was_not(
    sweep_in_memory: Sweeps,
) -> None:
    campaign = Campaign(sweeps=sweep_in_memory, words=["tasks=[rte]", "seeds=[1,2]"], epochs=20)
    campaign.undisturbed()
    aims = [("the driver", "training"), ("a worker", "training"), ("everything", "writing")]
    assert campaign.round("killed", aims, rng=random.Random(7), kills=3) >= 2  # a run may be too quick for one
    assert campaign.toll.resumed
    assert (campaign.toll.recorded, campaign.toll.lost, campaign.toll.twice) == (2, [], [])


@pytest.mark.faults
@pytest.mark.parametrize("sweep_in_memory", [subprocess.Popen], ids=["started"], indirect=True)
def test_nothing_is_lost_or_trained_twice_by_many_kills_of_real_commands(sweep_in_memory: Sweeps) -> None:
    words = ["tasks=[rte,mrpc,sst2,stsb]", "seeds=[1,2]"]
    campaign = Campaign(sweeps=sweep_in_memory, words=words, epochs=20)
    campaign.undisturbed()
    toll = campaign.carry_out(20, seed=str(SEED))
    print(toll)  # noqa: T201
    assert (toll.kills.total(), toll.lost, toll.twice) == (20, [], [])


@pytest.mark.faults
def test_nothing_is_lost_or_trained_twice_by_a_thousand_kills_of_commands_that_are_forked() -> None:
    command = [sys.executable, "-m", "tests.support.kills", "--kills", str(KILLS), "--seed", str(SEED)]
    assert subprocess.run(command, cwd=Path(__file__).parents[2], check=False).returncode == 0


TITLES = {"rte": "RTE", "mrpc": "MRPC", "sst2": "SST-2", "stsb": "STS-B"}


@pytest.mark.parametrize(
    ("drivers", "tasks"),
    [
        pytest.param(3, "[rte,sst2]", id="three"),
        pytest.param(8, "[rte,mrpc,sst2,stsb]", id="eight", marks=pytest.mark.faults),
    ],
)
def test_sweeps_started_at_once_execute_each_run_once(drivers: int, tasks: str, sweep: Sweeps, tmp_path: Path) -> None:
    words = [f"tasks={tasks}", "seeds=[1,2]"]
    kinds = ["executor=local", "executor=serial"]
    started = [sweep(*words, kinds[number % 2], log=f"{number}.log") for number in range(drivers)]
    assert [process.wait() for process in started] == [0] * drivers, (tmp_path / "0.log").read_text()
    tasks_in = tasks.strip("[]").split(",")
    assert sorted(trainings(tmp_path)) == sorted(f"{task}-{seed}" for task in tasks_in for seed in (1, 2))
    assert all(record.status == "finished" for record in records_in(tmp_path, "results").values())
    runs = 2 * len(tasks_in)
    for number in range(drivers):  # each knows of every run, also one that started when all were done
        said = (tmp_path / f"{number}.log").read_text()
        assert f"[{runs}/{runs}]" in said or f"{runs} done, 0 to run" in said
        assert all(f" {title} " in said for task, title in TITLES.items() if task in tasks_in)


def test_the_run_of_a_killed_worker_is_completed_by_another_sweep_within_ten_seconds(
    sweep: Sweeps, tmp_path: Path
) -> None:
    words = ["tasks=[rte]", "seeds=[1]", "trainer.snapshot_minutes=0.01"]
    assert sweep(*words, results="undisturbed", epochs=60).wait() == 0
    first = sweep(*words, epochs=60)
    wait_until(lambda: bool(list((tmp_path / "results").rglob("step-*"))), running=first)
    second = sweep(*words, epochs=60, log="second.log")
    wait_until(lambda: "waiting for it" in (tmp_path / "second.log").read_text(), running=second)
    kill([first.pid, *descendants(first.pid)])
    killed = time.monotonic()
    wait_until(lambda: "rte seed 1: started" in (tmp_path / "second.log").read_text(), running=second)
    took = time.monotonic() - killed
    assert took < 10 * lag()
    assert second.wait() == 0
    assert sweep(*words, epochs=60).wait() == 0  # which deletes what the killed one left
    assert_same_results(tmp_path, "results", "undisturbed")
    (record,) = records_in(tmp_path, "results").values()
    assert record.resumed_at


def assert_only_these_failed(tmp_path: Path, bad: dict[str, str], *, runs: int) -> None:
    """Check the failures; `bad` maps task-seed to the kind of its end."""
    records = records_in(tmp_path, "results")
    assert len(records) == runs
    log = (tmp_path / "sweep.log").read_text()
    for record in records.values():
        name = f"{record.task}-{record.seed}"
        if name not in bad:
            assert record.status == "finished", (name, record.error)
            continue
        assert record.status == "failed", name
        assert REASONS[bad[name]] in (record.error or ""), name
        assert f"tiny {record.task} seed {record.seed}: failed: {(record.error or '').splitlines()[0]}" in log
        folder = RunStore(tmp_path / "results").folder("tiny", record.task, record.run_id)
        if bad[name] in ("exception", "sys.exit", "memory"):
            assert "Traceback" in (folder / "error.log").read_text()
        if bad[name] == "segfault":
            assert "Segmentation fault" in (folder / "output.log").read_text()


def test_runs_that_go_wrong_in_every_way_leave_the_others_alone(sweep: Sweeps, tmp_path: Path) -> None:
    names = [f"{task}-{seed}" for seed in (1, 2, 3) for task in ("rte", "sst2", "stsb")]
    bad = dict(zip(names, KINDS, strict=False))
    words = ["tasks=[rte,sst2,stsb]", "seeds=[1,2,3]", f"executor.timeout={0.15 * lag():.2f}"]
    process = sweep(*words, bad=[f"{name}={kind}" for name, kind in bad.items()])
    assert process.wait() == 1, (tmp_path / "sweep.log").read_text()
    assert_only_these_failed(tmp_path, bad, runs=9)
    assert sweep(*words).wait() == 1  # what failed is not run again unasked, but for want of memory
    again = [name for name, kind in bad.items() if kind in ("killed", "memory")]
    assert_only_these_failed(tmp_path, {name: kind for name, kind in bad.items() if name not in again}, runs=9)
    assert sweep(*words, "--retry-failed").wait() == 0
    assert {record.status for record in records_in(tmp_path, "results").values()} == {"finished"}


@pytest.mark.faults
@pytest.mark.parametrize("kind", KINDS)
def test_one_bad_run_among_eight_costs_that_one_only(kind: str, sweep: Sweeps, tmp_path: Path) -> None:
    words = ["tasks=[rte,mrpc,sst2,stsb]", "seeds=[1,2]", f"executor.timeout={0.15 * lag():.2f}"]
    assert sweep(*words, bad=[f"mrpc-2={kind}"]).wait() == 1, (tmp_path / "sweep.log").read_text()
    assert_only_these_failed(tmp_path, {"mrpc-2": kind}, runs=8)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 75)], ids=lambda x: str(x)
)
def test_a_sweep_that_is_stopped_keeps_snapshots_and_says_what_is_left_and_how_to_continue(
    number: int, code: int, sweep: Sweeps, tmp_path: Path
) -> None:
    words = ["tasks=[rte,sst2]", "seeds=[1,2]", "executor.workers=2"]
    process = sweep(*words, epochs=3000)
    wait_until(lambda: len(trainings(tmp_path)) == 2, running=process)
    time.sleep(1)
    workers = workers_of(process.pid)
    process.send_signal(number)
    assert process.wait(timeout=PATIENCE) == code
    lines = (tmp_path / "sweep.log").read_text().splitlines()
    assert lines[-2].startswith(f"glue-bench: stopped by {signal.Signals(number).name}")
    assert "4 runs: 0 done, 4 to run, 2 of them with a snapshot; continue with: " in lines[-1]
    assert lines[-1].endswith("'tasks=[rte,sst2]' 'seeds=[1,2]' executor.workers=2")
    assert [record.status for record in records_in(tmp_path, "results").values()] == ["interrupted"] * 2
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)


def test_where_the_process_that_starts_the_workers_was_killed_the_record_says_so(sweep: Sweeps, tmp_path: Path) -> None:
    process = sweep("tasks=[rte]", "seeds=[1]", epochs=3000)
    wait_until(lambda: bool(trainings(tmp_path)), running=process)
    kill([child for child in descendants(process.pid) if descendants(child)])
    assert process.wait(timeout=PATIENCE) == 1
    (record,) = records_in(tmp_path, "results").values()
    assert (record.status, record.error) == ("failed", "its process, or the one that starts all workers, was killed")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=str)
def test_a_signal_to_the_whole_group_stops_a_sweep_in_good_order_at_any_time(
    number: int, sweep: Sweeps, tmp_path: Path
) -> None:
    words = ["tasks=[rte]", "seeds=[1,2]", "executor.workers=2"]
    early = sweep(*words, epochs=3000)
    wait_until(lambda: bool(descendants(early.pid)), running=early)  # the server that workers come from begins to load
    time.sleep(0.5)
    os.killpg(early.pid, number)
    assert early.wait(timeout=PATIENCE) == 128 + number
    begun = len(trainings(tmp_path))  # the early one may have got that far
    late = sweep(*words, epochs=3000)
    wait_until(lambda: len(trainings(tmp_path)) == begun + 2, running=late)
    time.sleep(0.5)
    os.killpg(late.pid, number)
    assert late.wait(timeout=PATIENCE) == 128 + number
    assert [record.status for record in records_in(tmp_path, "results").values()] == ["interrupted"] * 2
    assert len({path.parent for path in (tmp_path / "results").rglob("step-*")}) == 2
    log = (tmp_path / "sweep.log").read_text()
    assert "Traceback" not in log
    assert "internal error" not in log


def test_workers_whose_driver_is_killed_keep_a_snapshot_and_end(sweep: Sweeps, tmp_path: Path) -> None:
    words = ["tasks=[rte]", "seeds=[1,2]", "executor.workers=2", "trainer.snapshot_minutes=0.01"]
    process, store = sweep(*words, epochs=100_000), RunStore(tmp_path / "results")
    wait_until(
        lambda: len({path.parent for path in store.root.rglob("step-*")}) == 2, running=process
    )  # both are at work
    workers = workers_of(process.pid)
    assert len(workers) == 2
    process.kill()
    process.wait()
    wait_until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
    records = list(store.load_all())
    assert [record.status for record in records] == ["interrupted"] * 2
    assert [record.steps for record in records] == [store.snapshot_steps(*record.place)[-1] for record in records]


@pytest.mark.faults
def test_sixteen_writers_of_fifty_records_keep_eight_hundred(tmp_path: Path) -> None:
    write_at_once(tmp_path, writers=16, each=50)
    assert len(list(RunStore(tmp_path).load_all())) == 800


def test_a_finished_sweep_of_eighty_runs_is_repeated_in_three_seconds_without_training(
    tmp_path: Path,
) -> None:
    from glue_bench.config.compose import compose_starts, compose_sweep
    from glue_bench.runs.identity import make_requests

    words = ["preset=card", "encoders=[distilroberta,roberta]", f"results_dir={tmp_path / 'results'}"]
    store = RunStore(tmp_path / "results")
    sweep = compose_sweep(words)
    for config in sweep.configs:
        for request in make_requests(config, sweep.seeds, starts=compose_starts(config, words)):
            record = make_record(task=config.task.name, seed=request.config.seed, encoder=encoder_of(request.encoder))
            facts = {"run_id": request.run_id, "setting_id": request.setting_id}
            store.save(Record(**{**{key: getattr(record, key) for key in Record.__slots__}, **facts}))
    command = [sys.executable, "-m", "glue_bench", "sweep", *words]
    done = assert_quick(
        lambda: subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False), seconds=3.0
    )
    assert done.returncode == 0, done.stderr
    assert "80 runs: 80 done, 0 to run; nothing to train" in done.stderr


def encoder_of(name: str) -> dict[str, object]:
    return {"name": name, "hub_id": None, "revision": None, "weights_sha256": "0", "parameters": 1}
