"""A sweep on a real Slurm of this machine alone: eight runs, one preempted and queued again, one killed."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from glue_bench.runs.record import Record
from glue_bench.runs.store import RunStore
from tests.support.processor import PATIENCE
from tests.support.slurm_cluster import Cluster, one_machine_slurm, why_not

pytestmark = pytest.mark.slurm


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    if reason := why_not():
        pytest.skip(reason)
    with one_machine_slurm(tmp_path / "slurm") as started:
        for name, value in started.environment.items():
            monkeypatch.setenv(name, value)
        yield started


@pytest.fixture
def words(tiny_words: list[str]) -> list[str]:
    slurm = {"hours": 0.5, "cpus": 1, "gpus": 0, "memory_gb": 1, "notice": 30}
    asked = [f"executor.slurm.{key}={value}" for key, value in slurm.items()]
    return [*tiny_words, "executor=slurm", "executor.workers=2", *asked]


@pytest.fixture
def sweep(tmp_path: Path, words: list[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., subprocess.Popen[str]]:
    """Start a sweep whose jobs load tests.support.bad_runs first: Python imports a sitecustomize wherever it starts."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "import sys\nif any('submitit' in word for word in sys.orig_argv):\n    import tests.support.bad_runs\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'site'}:{Path(__file__).parents[2]}")
    monkeypatch.setenv("TRAININGS", str(tmp_path / "trainings"))

    def start(*more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "glue_bench", "sweep", *words, *more]
        with (tmp_path / "sweep.log").open("a") as log:
            return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, text=True)

    return start


def wait_for(condition: Callable[[], bool], *, seconds: float = 120) -> None:
    for _ in range(int(seconds / 0.1)):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds:g} s")


def records_in(tmp_path: Path) -> dict[str, Record]:
    return {f"{record.task}-{record.seed}": record for record in RunStore(tmp_path / "results").load_all()}


def trainings(tmp_path: Path) -> list[str]:
    """Return the trainings that have begun, as task-seed."""
    path = tmp_path / "trainings"
    return path.read_text().split() if path.exists() else []


def log_of(tmp_path: Path) -> str:
    return (tmp_path / "sweep.log").read_text()


def test_eight_runs_of_which_one_is_preempted_and_queued_again_and_one_is_killed(
    cluster: Cluster,
    sweep: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BAD_RUNS", "mrpc-2=killed")
    grid = ["tasks=[rte,mrpc,sst2,stsb]", "seeds=[1,2]", "trainer.epochs=1500"]
    process = sweep(*grid)
    wait_for(lambda: len(trainings(tmp_path)) >= 2)
    time.sleep(2)
    cluster.run("sbatch", "--partition=urgent", "--cpus-per-task=1", "--output=/dev/null", "--wrap=sleep 3")
    assert process.wait(timeout=PATIENCE) == 1, log_of(tmp_path)
    records = records_in(tmp_path)
    assert len(records) == 8
    killed = records.pop("mrpc-2")
    assert killed.status == "failed"
    assert "ended without a result (FAILED, exit code 137:0)" in (killed.error or "")
    assert {record.status for record in records.values()} == {"finished"}
    resumed = [record for record in records.values() if record.resumed_at]
    assert len(resumed) == 1
    assert "tiny mrpc seed 2: failed: its job" in log_of(tmp_path)
    print(log_of(tmp_path))  # noqa: T201
    monkeypatch.setenv("BAD_RUNS", "")
    assert sweep(*grid, "--retry-failed").wait(timeout=PATIENCE) == 0, log_of(tmp_path)
    assert records_in(tmp_path)["mrpc-2"].status == "finished"


@pytest.mark.usefixtures("cluster")
def test_jobs_continue_without_the_command_and_a_second_one_watches_the_same_jobs(
    sweep: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    grid = ["tasks=[rte,sst2]", "seeds=[1]", "trainer.epochs=1500"]
    first = sweep(*grid)
    wait_for(lambda: len(trainings(tmp_path)) >= 1)
    first.kill()
    first.wait()
    assert sweep(*grid).wait(timeout=PATIENCE) == 0, log_of(tmp_path)
    assert "watching 2 jobs of an earlier command" in log_of(tmp_path)
    assert sorted(trainings(tmp_path)) == ["rte-1", "sst2-1"]


@pytest.mark.usefixtures("cluster")
def test_runs_that_start_from_others_are_arrays_that_depend_on_each_other(
    sweep: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = sweep("tasks=[rte]", "seeds=[1,2]", "init={rte:mnli,mnli:sst2}", "init_seed=best")
    assert process.wait(timeout=PATIENCE) == 0, log_of(tmp_path)
    records = records_in(tmp_path)
    assert {name: record.status for name, record in records.items()} == dict.fromkeys(
        [f"{task}-{seed}" for task in ("mnli", "rte", "sst2") for seed in (1, 2)], "finished"
    )
    order = [name.partition("-")[0] for name in trainings(tmp_path)]
    assert order == ["sst2", "sst2", "mnli", "mnli", "rte", "rte"]
    assert len({record.init for record in records.values() if record.task == "rte"}) == 1
    noted = next(line for line in log_of(tmp_path).splitlines() if "submitted 6 jobs as" in line)
    assert noted.count(", ") == 2, noted  # three arrays


@pytest.mark.usefixtures("cluster")
def test_what_slurm_refuses_is_one_line(words: list[str]) -> None:
    command = [sys.executable, "-m", "glue_bench", "sweep", *words, "tasks=[rte]", "seeds=[1]"]
    done = subprocess.run(
        [*command, "executor.slurm.partition=nowhere"], capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.returncode == 2
    assert "executor=slurm: the jobs could not be submitted" in done.stderr
    assert "invalid partition" in done.stderr
    assert "Traceback" not in done.stderr
