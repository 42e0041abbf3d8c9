"""A sweep as a job array on a Slurm cluster, through submitit. Jobs need no driver: this one only submits and watches.

A job runs one line of a plan file. Before its time is up, or when it is preempted, Slurm sends SIGUSR1: the run keeps a
snapshot, submitit queues the job again, and the run resumes.
"""

import json
import logging
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glue_bench.config.schema import ExecutorConfig
from glue_bench.errors import GlueBenchError, UsageError
from glue_bench.files import write_text_atomically
from glue_bench.reading import conform, read_json
from glue_bench.runs.identity import RunRequest
from glue_bench.runs.lease import owner_of
from glue_bench.runs.record import Record
from glue_bench.runs.store import RunStore
from glue_bench.sweep.board import Listener
from glue_bench.sweep.plan import Plan, plan_line, write_plan
from glue_bench.sweep.queue import Queue, run_serially
from glue_bench.text import plural
from glue_bench.training.stopping import SIGNALS, Stopped

if TYPE_CHECKING:
    from submitit import AutoExecutor

_WATCH_EVERY = 2.0  # seconds between checks of records and leases
_ASK_EVERY = 10.0  # seconds between queries to Slurm
_ANSWERED_IN = 60.0  # seconds that one may take; Slurm's commands themselves try for about as long
JOBS_AT_ONCE = 8  # jobs, if executor.workers is auto
_ENDLESS = 10_000  # times that a job may reach its time limit: it makes progress each time

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RunLine:
    """A job: one line of a plan. Submitit calls it in the job, and again after each requeue."""

    plan: Path
    index: int
    retry_failed: bool

    def __call__(self) -> str:
        """Run the line; return the outcome in words."""
        queue_again = signal.getsignal(signal.SIGUSR1)
        try:
            with SIGNALS.handled():
                if cores := os.environ.get("SLURM_CPUS_PER_TASK"):
                    import torch

                    torch.set_num_threads(int(cores))
                plan, request, store, owner = plan_line(self.plan, self.index, retry_failed=self.retry_failed)
                if owner:
                    return f"{request.title}: is being run by {owner.title}"
                records = run_serially(plan, store, listener=Listener(), stop_at_failure=False)
                return f"{request.title}: {records[request.run_id].status}"
        except Stopped as stop:
            if stop.name == "SIGUSR1" and callable(queue_again):
                queue_again(int(signal.SIGUSR1), None)  # submitit's handler, which does not return
            raise SystemExit(stop.exit_code) from stop

    def checkpoint(self) -> Any:
        """Return the job that submitit queues again: the same line."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class Watch:
    """The jobs of one sweep, seen from a login node."""

    def __init__(self, plan: Plan, store: RunStore, *, listener: Listener, executor: ExecutorConfig) -> None:
        """Ask nothing of Slurm yet."""
        self._store, self._listener, self._executor, self._missing = store, listener, executor, plan.missing
        self._queue, self._jobs = Queue(plan, store, listener=listener), dict[str, str]()  # by run id
        self._folder = store.root.parent.resolve() / "slurm"

    def until_done(self) -> dict[str, Record]:
        """Submit what is missing and not queued yet; return every record, by run id, when each run has one.

        A UsageError if submitit or Slurm is missing, or Slurm refuses the job; Stopped if a signal ended the watching:
        the jobs continue.
        """
        for request in self._missing:
            self._queue.note_start(request)
        queued, ours = queued_jobs(), {request.run_id for request in self._missing}
        for path in sorted(self._folder.glob("*/jobs.json")):
            try:
                known = read_json(path)
                conform(Mapping[str, str], known, where="the list of jobs")
                self._jobs |= {run_id: job for run_id, job in known.items() if job in queued and run_id in ours}
            except (OSError, ValueError) as error:
                logger.warning("%s: jobs of an earlier command are not watched (%s)", path, error)
        if self._jobs:
            self._listener.note(f"watching {plural(len(self._jobs), 'job')} of an earlier command")
        self._submit([request for request in self._missing if request.run_id not in self._jobs])
        asked = time.monotonic()
        while not self._queue.empty:
            time.sleep(_WATCH_EVERY)
            alive: set[str] | None = None
            if time.monotonic() - asked > _ASK_EVERY:
                asked = time.monotonic()
                try:
                    alive = queued_jobs()
                except UsageError as error:  # the controller is unreachable, which happens
                    logger.warning("%s; asking again", error)
            for request in self._queue.ready():
                job = self._jobs[request.run_id]
                if alive is None or job in alive:
                    continue
                state = job_state(job)
                why = f"its job {job} ended without a result ({state}); its log is under {self._folder}"
                again = not state.startswith("CANCELLED")
                record = self._queue.settle_lost(request, GlueBenchError(why), again=again)
                if record is None and owner_of(self._store.folder(*request.place)) is None:  # stopped in good order
                    self._queue.note_start(request)
                    self._submit([request])
        return self._queue.records

    def _submit(self, requests: Sequence[RunRequest]) -> None:
        """Submit an array of runs that can start at once, then of those that start from their results, and so on."""
        if not requests:
            return
        folder = self._folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{len(list(self._folder.glob('*')))}"
        plan = folder / "plan.jsonl"
        write_plan(plan, Plan(requests=requests, missing=requests), estimates={})
        waits = [sum(run not in self._queue.records for run in request.ancestors) for request in requests]
        jobs = dict[str, str]()
        for after in sorted({*waits}):  # a run waits for more runs than any of those that it waits for
            places = [place for place, others in enumerate(waits) if others == after]
            parents = [start.run_id for at in places for start in requests[at].starts]
            arrays = sorted({self._jobs[run_id].partition("_")[0] for run_id in parents if run_id in self._jobs})
            dependency = ":".join(["afterany", *arrays]) if arrays else None  # of sbatch
            executor = open_executor(folder, self._executor, dependency=dependency)
            retried = self._queue.earlier
            lines = [RunLine(plan=plan, index=at, retry_failed=requests[at].run_id in retried) for at in places]
            with SIGNALS.at_a_good_moment():  # what is submitted must also be written down
                try:
                    submitted = executor.submit_array(lines)
                except Exception as error:  # submitit passes on the errors of sbatch
                    text = f"executor=slurm: the jobs could not be submitted ({_last_line(error)})"
                    raise UsageError(text) from error
                jobs |= {requests[at].run_id: job.job_id for at, job in zip(places, submitted, strict=True)}
                write_text_atomically(folder / "jobs.json", json.dumps(jobs, indent=1) + "\n")
            self._jobs |= jobs
        array = ", ".join(sorted({job.partition("_")[0] for job in jobs.values()}))
        self._listener.note(f"submitted {plural(len(jobs), 'job')} as {array}; they no longer need this command")


def open_executor(folder: Path, executor: ExecutorConfig, *, dependency: str | None) -> "AutoExecutor":
    """Open submitit's executor with what each job asks for; a UsageError if submitit or Slurm is missing."""
    # Submitit reads it when it loads, here and in the jobs, which inherit it.
    os.environ["SUBMITIT_PREEMPT_SIGNAL"] = "USR1"
    try:
        import submitit
    except ImportError as error:
        raise UsageError("executor=slurm: submitit is not installed: pip install 'glue-bench[slurm]'") from error
    slurm = executor.slurm
    try:
        python = f"{shlex.quote(sys.executable)} -P"  # a job imports nothing from the folder that it starts in
        about = {"slurm_max_num_timeout": _ENDLESS, "slurm_python": python}
        opened = submitit.AutoExecutor(folder=folder / "%A", cluster="slurm", **about)
    except RuntimeError as error:
        raise UsageError(f"executor=slurm: {_last_line(error)}") from error
    wanted: dict[str, Any] = {
        "name": "glue-bench",
        "timeout_min": max(1, round(60 * slurm.hours)),
        "cpus_per_task": slurm.cpus,
        "mem_gb": slurm.memory_gb,
        "slurm_signal_delay_s": slurm.notice,
        "slurm_array_parallelism": JOBS_AT_ONCE if executor.workers == "auto" else int(executor.workers),
        "slurm_additional_parameters": {"requeue": True, **dict(option.split("=", 1) for option in slurm.options)},
        "slurm_partition": slurm.partition,
        "slurm_dependency": dependency,
        "gpus_per_node": slurm.gpus or None,
    }
    opened.update_parameters(**{key: value for key, value in wanted.items() if value is not None})
    return opened


def queued_jobs() -> set[str]:
    """Return the ids of this user's jobs that wait or run, array tasks one by one; a UsageError without a Slurm."""
    return set(_ask("squeue", "--me", "--array", "--noheader", "--format=%i").split())


def job_state(job: str) -> str:
    """Return what Slurm says became of a job, as long as it remembers."""
    try:
        said = _ask("scontrol", "show", "job", "--oneliner", job)
    except UsageError as error:  # also once Slurm no longer knows the job
        return str(error).removeprefix("executor=slurm: ")
    words = dict(word.partition("=")[::2] for word in said.split())
    return f"{words.get('JobState', 'state unknown')}, exit code {words.get('ExitCode', 'unknown')}"


def _ask(*command: str) -> str:
    """Return what a command of Slurm prints; a UsageError if it does not start, fails, or does not answer in time."""
    try:
        how: dict[str, Any] = {"capture_output": True, "text": True, "errors": "replace", "timeout": _ANSWERED_IN}
        return str(subprocess.run(command, check=True, **how).stdout)
    except OSError as error:
        reason = f"cannot be started: {error.strerror}; is this a login node of a Slurm cluster?"
    except subprocess.TimeoutExpired:
        reason = "does not answer"
    except subprocess.CalledProcessError as error:
        reason = f"failed: {_last_line(error.stderr.strip() or f'exit status {error.returncode}')}"
    raise UsageError(f"executor=slurm: {command[0]} {reason}")


def _last_line(said: object) -> str:
    return [type(said).__name__, *str(said).strip().splitlines()][-1]
