"""Worker processes on this machine, one per run, so that whatever ends one spares the others. Knows no torch."""

import contextlib
import importlib
import logging
import math
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import connection, forkserver, resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from glue_bench.config.schema import ExecutorConfig
from glue_bench.errors import GlueBenchError, UsageError, describe
from glue_bench.machine import total_memory, usable_cores
from glue_bench.runs.identity import RunRequest
from glue_bench.runs.record import Record
from glue_bench.runs.store import RunStore
from glue_bench.stops import STOPS
from glue_bench.sweep.board import Listener
from glue_bench.sweep.plan import Plan
from glue_bench.sweep.queue import Queue
from glue_bench.sweep.sharing import PRIORITY, runs_that_fit, side_by_side
from glue_bench.sweep.timing import rough_work
from glue_bench.sweep.worker import LOG, count_gpus, find_fault, keep_log, work
from glue_bench.training.stopping import SIGNALS

MEMORY_PER_WORKER = 4 * 2**30  # bytes: DistilRoBERTa with gradients, AdamW's moments and a batch of long rows
_CONTEXT = multiprocessing.get_context("forkserver")
# What a run imports, loaded once: a worker starts in a tenth of a second instead of five.
_PRELOADED = [
    "glue_bench.sweep.worker",
    "glue_bench.runs.experiment",
    "glue_bench.tasks.metrics",
    "transformers.models.bert.modeling_bert",
    "transformers.models.roberta.modeling_roberta",
]
_OF_THE_SERVER = {
    "OPENBLAS_NUM_THREADS": "1",  # NumPy's thread pool, of no use here, must not be forked
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # nor may CUDA, which torch would start to see whether there is a GPU
}
_LEAVING = 30.0  # seconds that a worker has to end after it reported its outcome
_ANSWERING = 60.0  # seconds that a worker has to say something once it was asked to stop
_TICK = 0.25  # seconds between checks of signals, hangs and other workers

_Found = TypeVar("_Found")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """The share of the machine that one worker may use."""

    cores: Sequence[int]
    gpu: str | None = None  # as CUDA_VISIBLE_DEVICES names it; None: whatever is visible


@dataclass(slots=True, kw_only=True)
class _Worker:
    """A running worker process."""

    request: RunRequest
    process: BaseProcess
    pipe: connection.Connection
    slot: Slot
    heard: float = field(default_factory=time.monotonic)  # when it last sent a message
    longest: float = 0.0  # seconds between two of them: an update may take minutes
    steps: int = 0
    outcome: tuple[str, Any] | None = None  # ended and its record or None, failed and why, or fatal and the error

    @property
    def quiet(self) -> float:
        """Seconds since its last message."""
        return time.monotonic() - self.heard

    def send(self, number: int) -> None:
        """Send a signal, if the process still runs."""
        with contextlib.suppress(OSError):
            if self.process.pid is not None and self.process.is_alive():
                os.kill(self.process.pid, number)

    def why_lost(self) -> str:
        """Explain why the process ended without an outcome, as far as its exit code says."""
        code = self.process.exitcode
        if code == 255:  # what multiprocessing says where the server that forked the worker is gone
            return "its process, or the one that starts all workers, was killed"
        if code is None or code >= 0:
            return f"its process ended with exit status {code} in the middle of the run; its output is in {LOG}"
        killed = -code == signal.SIGKILL
        hint = "often the system does that when memory runs out" if killed else f"its output is in {LOG}"
        return f"its process was killed by {signal.Signals(-code).name}; {hint}"


def warm_up() -> None:
    """Start loading what runs need, in the server that forks the workers; returns at once."""
    _CONTEXT.set_forkserver_preload(_PRELOADED if sys.platform == "linux" else [])  # macOS: forking it would crash
    before = {name: os.environ.get(name) for name in _OF_THE_SERVER}
    os.environ.update(_OF_THE_SERVER)
    resource_tracker.ensure_running()  # it unblocks signals when it starts, so it has to start first
    # Ctrl-C reaches the server too; it, and workers until they are ready, must survive it.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _load_here() -> None:
    """Load what the server must load: what fails is then an error here, and not only the end of the server."""
    for name in _PRELOADED:
        importlib.import_module(name)


def start_process(process: BaseProcess) -> None:
    """Start a worker, and first the server that forks it, if that was killed; a GlueBenchError if it cannot be."""
    for pause in (0.0, 0.1, 1.0):  # seconds: a process that was killed is not gone at once
        time.sleep(pause)
        try:
            warm_up()
            return process.start()
        except (EOFError, OSError) as error:  # the server was killed in this moment
            _load_here()
            reason = describe(error)
    raise GlueBenchError(f"no worker can be started ({reason}); executor=serial needs none")


def run_in_workers(plan: Plan, store: RunStore, *, listener: Listener, executor: ExecutorConfig) -> dict[str, Record]:
    """Run what is missing, several at a time; otherwise as `run_serially`."""
    try:
        warm_up()
    except OSError as error:
        why = f"{describe(error)}; TMPDIR={tempfile.gettempdir()}"
        raise UsageError(f"no worker can be started ({why}); executor=serial needs none") from error
    listener.note("starting: loading PyTorch")
    device, runs = plan.missing[0].config.trainer.device, len(plan.requests)
    gpus = gpus_for(device, lambda: _in_a_worker(count_gpus, otherwise=0))
    each = [rough_work(request) for request in plan.requests]
    fit = runs_that_fit(each, gpus=len(gpus)) if gpus and executor.runs_per_gpu is None else 1
    slots = deal_out(executor, runs=runs, gpus=gpus, fit=fit)
    exact = any(request.config.trainer.deterministic for request in plan.requests)
    with side_by_side(math.ceil(len(slots) / len(gpus)) if gpus else 1, exact=exact, find_fault=_find_fault) as shared:
        slots = slots if shared else deal_out(executor, runs=runs, gpus=gpus)
        queue = Queue(plan, store, listener=listener)
        return _Driver(queue, slots=slots, timeout=60 * executor.timeout, most=max(each) if shared else 0.0).run()


def _find_fault() -> str:
    return _in_a_worker(find_fault, dict(os.environ), otherwise="the process that tried it was killed")


def _in_a_worker(function: Callable[..., _Found], *arguments: object, otherwise: _Found) -> _Found:
    """Return what a function finds in a process like a worker's, `otherwise` if that dies."""
    with contextlib.suppress(BrokenExecutor), ProcessPoolExecutor(1, mp_context=_CONTEXT) as pool:
        try:
            return pool.submit(function, *arguments).result()
        except EOFError:
            _load_here()
            raise
    return otherwise


class _Driver:
    """The workers of one sweep."""

    def __init__(self, queue: Queue, *, slots: Sequence[Slot], timeout: float, most: float = 0.0) -> None:
        """Runs with less work than `most` give way on a GPU that they share."""
        self._queue, self._listener, self._timeout, self._most = queue, queue.listener, timeout, most
        self._free, self._workers = list(slots), list[_Worker]()
        self._asked_to_stop = math.inf  # when
        self._fatal: GlueBenchError | None = None

    def run(self) -> dict[str, Record]:
        with SIGNALS.at_a_good_moment():
            try:
                while self._workers or not (self._queue.empty or self._stopping):
                    if self._stopping:
                        self._ask_to_stop()
                    else:
                        self._start_what_fits()
                    pipes = [worker.pipe for worker in self._workers if not worker.pipe.closed]
                    connection.wait([*pipes, *(worker.process.sentinel for worker in self._workers)], timeout=_TICK)
                    for worker in [*self._workers]:
                        ended = not worker.process.is_alive()
                        self._hear(worker)  # to its last message
                        if ended:
                            self._finish(worker)
                    self._kill_what_hangs()
            finally:  # no worker outlives the sweep, however it ends
                for worker in self._workers:
                    worker.send(signal.SIGKILL)
                for worker in self._workers:
                    worker.process.join(timeout=10)
        if self._fatal:
            raise self._fatal
        return self._queue.records

    @property
    def _stopping(self) -> bool:
        return bool(SIGNALS.pending or self._fatal)

    def _start_what_fits(self) -> None:
        while self._free and not SIGNALS.pending and (request := self._queue.next_run()):
            slot, (ours, theirs) = self._free.pop(0), _CONTEXT.Pipe()
            gpu = {"CUDA_VISIBLE_DEVICES": slot.gpu} if slot.gpu is not None else {}
            gives_way = {PRIORITY: "1"} if rough_work(request) < self._most else {}
            job = {"store": self._queue.store, "cores": slot.cores, "earlier": self._queue.earlier.get(request.run_id)}
            around = {"environment": gives_way | os.environ | gpu, "debug": logger.isEnabledFor(logging.DEBUG)}
            process = _CONTEXT.Process(target=work, args=(request, theirs), kwargs=job | around, name=request.title)
            start_process(process)
            theirs.close()
            self._workers.append(_Worker(request=request, process=process, pipe=ours, slot=slot))

    def _hear(self, worker: _Worker) -> None:
        with contextlib.suppress(EOFError, OSError):
            while not worker.pipe.closed and worker.pipe.poll():
                kind, content = worker.pipe.recv()
                worker.longest, worker.heard = max(worker.longest, worker.quiet), time.monotonic()
                if kind == "phase":
                    if self._asked_to_stop == math.inf:
                        self._listener.note("")
                    self._listener.phase(worker.request, content)
                elif kind == "step":
                    worker.steps = content.step
                    self._listener.step(worker.request, content)
                elif kind == "log":
                    level, text, shared = content
                    title = "" if shared else f"{worker.request.title}: "
                    logger.log(level, "%s%s", title, text, extra={"shared": shared})
                else:
                    worker.outcome = kind, content
            return
        worker.pipe.close()

    def _finish(self, worker: _Worker) -> None:
        request, process = worker.request, worker.process
        process.join()
        worker.pipe.close()
        self._workers.remove(worker)
        self._free.append(worker.slot)
        keep_log(self._queue.store.folder(*request.place), process.pid)  # if its process could not do so itself
        outcome: tuple[str, Any] = worker.outcome or ("failed", worker.why_lost())
        kind, content = outcome
        if kind == "ended":
            self._queue.settle(request, content, stopped=self._stopping)
        elif kind == "fatal":  # the other workers are asked to stop; then it is raised
            logger.warning("%s ends the sweep: %s", request.title, content)
            self._fatal = self._fatal or content
        else:
            self._queue.settle_lost(request, GlueBenchError(content), steps=worker.steps, dead=process.pid)

    def _ask_to_stop(self) -> None:
        if self._workers and self._asked_to_stop == math.inf:
            self._listener.note("stopping: each run keeps a snapshot after this update; Ctrl-C again ends at once")
            for worker in self._workers:
                worker.send(SIGNALS.pending or signal.SIGTERM)
                worker.send(signal.SIGCONT)  # one that was suspended would not receive it
        self._asked_to_stop = min(self._asked_to_stop, time.monotonic())

    def _kill_what_hangs(self) -> None:
        asked = time.monotonic() - self._asked_to_stop
        for worker in self._workers:
            hangs = worker.quiet > (_LEAVING if worker.outcome else self._timeout or math.inf)
            if not worker.outcome and min(worker.quiet, asked) > max(_ANSWERING, 2 * worker.longest):
                text = "%s: was asked to stop and does not answer, so it is killed; the same command continues it"
                logger.warning(text, worker.request.title)
                worker.outcome, hangs = ("ended", None), True
            elif hangs:
                text = f"no sign of progress for {self._timeout / 60:g} minutes (executor.timeout)"
                worker.outcome = worker.outcome or ("failed", f"{text}, so its process was killed")
            if hangs:
                worker.send(signal.SIGKILL)


def gpus_for(device: str, count: Callable[[], int]) -> Sequence[str | None]:
    """Return the GPUs for runs with trainer.device=`device`, as CUDA_VISIBLE_DEVICES names them.

    None: the one that the runs' configuration names. `count` counts those that torch sees, and is called only where
    that matters.
    """
    if device not in ("auto", "cuda"):
        return [] if device == "cpu" else [None]  # cuda:1 and mps are one device that all runs share
    number = count()
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return named[:number] or [str(place) for place in range(number)]


def deal_out(executor: ExecutorConfig, *, runs: int, gpus: Sequence[str | None], fit: int = 1) -> list[Slot]:
    """Divide this machine among workers. The same command gets the same ones, however much of it is done already.

    On each of `gpus` there are `runs_per_gpu`, or `fit` if that is not set; without any, on the CPU, one per core, as
    far as memory allows. There are never more than `runs`, those of the whole plan. Only those on the CPU keep to cores
    of their own: on a GPU, what one leaves idle another can use.
    """
    cores = usable_cores()
    most = max(1, min(len(cores), total_memory() // MEMORY_PER_WORKER))
    most = len(gpus) * (executor.runs_per_gpu or fit) if gpus else most
    count = min(most if executor.workers == "auto" else int(executor.workers), runs)
    each = len(cores) if gpus else max(1, len(cores) // count)
    shares = [[cores[(worker * each + place) % len(cores)] for place in range(each)] for worker in range(count)]
    return [Slot(cores=share, gpu=gpus[worker % len(gpus)] if gpus else None) for worker, share in enumerate(shares)]
