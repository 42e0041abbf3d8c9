"""Sweeps of tiny runs as real processes, to be killed, stopped and started again, and what they leave behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from glue_bench.runs.record import Record
from glue_bench.runs.store import RunStore
from tests.support.warm import WarmProcess


class Sweeps:
    """Commands in one folder; `words` configures their tiny runs; `kind` starts Python, or forks it."""

    def __init__(self, folder: Path, words: Sequence[str], *, kind: type[subprocess.Popen[str]] = WarmProcess) -> None:
        self.folder, self._words, self._kind = folder, words, kind
        self._started = list[subprocess.Popen[str]]()

    def __call__(
        self, *words: str, results: str = "results", bad: Sequence[str] = (), epochs: int = 2, log: str = "sweep.log"
    ) -> subprocess.Popen[str]:
        """Start a sweep in the background; its output goes to a file."""
        program = "import sys; from tests.support.faulty_sweep import main; sys.exit(main())"
        command = [sys.executable, "-c", program, *self.command(*words, results=results, epochs=epochs)]
        with (self.folder / log).open("a") as file:
            process = self._kind(
                command,
                cwd=self.folder,
                stdout=file,
                stderr=subprocess.STDOUT,
                text=True,
                env={**os.environ, **self.environment(results, bad)},
                start_new_session=True,  # its own process group, like a terminal's foreground job
            )
        self._started.append(process)
        return process

    def command(self, *words: str, results: str, epochs: int) -> list[str]:
        """Return the arguments of `glue-bench`."""
        return ["sweep", *self._words, f"trainer.epochs={epochs}", f"results_dir={results}", *words]

    def environment(self, results: str, bad: Sequence[str] = ()) -> dict[str, str]:
        """Return the variables of tests.support.bad_runs; clear the folder of phases."""
        phases = self.folder / f"{results}.phases"
        phases.mkdir(exist_ok=True)
        for path in phases.iterdir():  # of a sweep that was killed, and may still write
            path.unlink(missing_ok=True)
        return {
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "BAD_RUNS": ",".join(bad),
            "TRAININGS": str(self.folder / f"{results}.trainings"),
            "PHASES": str(phases),
        }

    def end(self) -> None:
        """Kill what is left."""
        for process in self._started:
            kill([process.pid, *descendants(process.pid)] if process.poll() is None else [])
            process.wait()


def descendants(process: int) -> list[int]:
    """Return every process below one, deepest last."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return []
    return [found for child in map(int, children) for found in (child, *descendants(child))]


def workers_of(process: int) -> list[int]:
    """Return the worker processes below a driver: children of its fork server."""
    return [worker for child in descendants(process) for worker in descendants(child)]


def kill(processes: Sequence[int]) -> int:
    """Kill processes by SIGKILL; return how many there were."""
    hit = 0
    for process in processes:
        try:
            os.kill(process, signal.SIGKILL)
            hit += 1
        except ProcessLookupError:
            continue
    return hit


def records_in(folder: Path, results: str) -> dict[str, Record]:
    """Return every record, by run id."""
    return {record.run_id: record for record in RunStore(folder / results).load_all()}


def trainings(folder: Path, results: str = "results") -> list[str]:
    """Return the trainings that have begun, as task-seed; with an exclamation mark if the run was finished before."""
    path = folder / f"{results}.trainings"
    return path.read_text().split() if path.exists() else []


def assert_same_results(folder: Path, results: str, expected: str) -> None:
    """Check that `results` has the runs of `expected`, finished, with equal predictions and scores, and no others."""
    ours, wanted = records_in(folder, results), records_in(folder, expected)
    assert set(ours) == set(wanted)
    folders = [path.parent for path in (folder / results).rglob("record.json")]
    assert len(folders) == len(ours)
    for run_id, record in ours.items():
        assert (record.status, record.scores) == ("finished", wanted[run_id].scores), run_id
    for path in (folder / expected).rglob("*.parquet"):
        other = folder / results / path.relative_to(folder / expected)
        assert pq.read_table(other).equals(pq.read_table(path)), path
    signs = (".", "claim-", "step-", "output.")  # of what killed processes leave
    left = [path.name for path in (folder / results).rglob("*") if path.name.startswith(signs)]
    assert {*left} <= {"output.log"}
