"""Worker processes on this machine: one a run, so that whatever ends one ends no other."""

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection as connections
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from glue_bench.config.schema import ExecutorConfig
from glue_bench.errors import DiskError, GlueBenchError
from glue_bench.runs.identity import RunRequest
from glue_bench.runs.lease import Owner, take_lease
from glue_bench.runs.record import Record, request_facts
from glue_bench.runs.store import RunStore
from glue_bench.sweep.listener import Listener
from glue_bench.sweep.plan import Plan
from glue_bench.sweep.queue import Queue
from glue_bench.sweep.slots import Slot, deal_out, gpus_for
from glue_bench.sweep.worker import LOG, Job, count_gpus, keep_log, work
from glue_bench.training.stopping import HANDLED, SIGNALS

_CONTEXT = multiprocessing.get_context("forkserver")
# What a run imports, loaded once: a worker starts in a tenth of a second instead of five.
_PRELOADED = [
    "glue_bench.sweep.worker",
    "glue_bench.runs.experiment",
    "glue_bench.tasks.metrics",
    "transformers.models.bert.modeling_bert",
    "transformers.models.roberta.modeling_roberta",
]
_LEAVING = 30.0  # seconds in which a worker that has said its last word may end
_TICK = 0.25  # seconds between two looks at signals, hangs and other workers

logger = logging.getLogger(__name__)


class CrashedError(GlueBenchError):
    """A worker process ended without a word."""


@dataclass(slots=True, kw_only=True)
class _Worker:
    """A process at work."""

    request: RunRequest
    process: BaseProcess
    pipe: Connection
    slot: Slot
    heard: float  # monotonic, when it last gave a sign
    before: str  # when the record ended that was there at its start; empty without one
    steps: int = 0
    outcome: tuple[str, str] | None = None
    hangs: bool = False


def warm_up() -> None:
    """Start to load what runs need, in the server that workers are forked from; returns at once."""
    _CONTEXT.set_forkserver_preload(_PRELOADED if sys.platform == "linux" else [])  # macOS: forking it would crash
    before = os.environ.get("OPENBLAS_NUM_THREADS")
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # NumPy's thread pool, of no use here, must not be forked
    resource_tracker.ensure_running()  # a helper of the server's, which would unblock signals when it starts
    # The server, and workers until they are ready, must not die of the Ctrl-C that the driver gets as well.
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
        if before is None:
            del os.environ["OPENBLAS_NUM_THREADS"]
        else:
            os.environ["OPENBLAS_NUM_THREADS"] = before


def run_in_workers(plan: Plan, store: RunStore, listener: Listener, executor: ExecutorConfig) -> dict[str, Record]:
    """Run what is missing, several at a time; wait for what other workers have, and take it over if they die.

    Returns:
        Every record of the plan, by run id.

    Raises:
        DiskError: results can no longer be written; what was finished before is intact.
        Stopped: a signal asked to; every worker has kept a snapshot.
    """
    warm_up()
    listener.note("starting: PyTorch is being loaded")
    device = plan.missing[0].config.trainer.device
    slots = deal_out(executor, runs=len(plan.requests), gpus=gpus_for(device, _visible_gpus))
    return _Driver(plan, store, listener, slots, timeout=60 * executor.timeout).run()


def _visible_gpus() -> Sequence[str]:
    """The GPUs that torch sees, as CUDA_VISIBLE_DEVICES names them."""
    ours, theirs = _CONTEXT.Pipe()
    process = _CONTEXT.Process(target=count_gpus, args=(theirs,))
    process.start()
    theirs.close()
    with contextlib.suppress(EOFError):
        count = int(ours.recv())
        named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
        return named[:count] if named else [str(number) for number in range(count)]
    return []


class _Driver:
    """The workers of one sweep."""

    def __init__(
        self, plan: Plan, store: RunStore, listener: Listener, slots: Sequence[Slot], *, timeout: float
    ) -> None:
        self._store, self._listener, self._timeout = store, listener, timeout
        self._queue, self._free, self._workers = Queue(plan, store, listener), list(slots), list[_Worker]()
        self._asked_to_stop = False
        self._fatal: DiskError | None = None

    def run(self) -> dict[str, Record]:
        with SIGNALS.at_a_good_moment(), self._nobody_left_behind():
            while self._workers or not (self._queue.empty or self._stopping):
                if self._stopping:
                    self._ask_to_stop()
                else:
                    self._start_what_fits()
                self._listen()
                for worker in [worker for worker in self._workers if not worker.process.is_alive()]:
                    self._hear(worker)  # what it said last
                    self._finish(worker)
                self._kill_what_hangs()
        if self._fatal:
            raise self._fatal
        return self._queue.records

    @property
    def _stopping(self) -> bool:
        return bool(SIGNALS.pending or self._fatal)

    def _start_what_fits(self) -> None:
        while self._free and not SIGNALS.pending and (request := self._queue.next_run()):
            slot = self._free.pop(0)
            self._listener.started(request)
            ours, theirs = _CONTEXT.Pipe()
            known = self._store.load(*request.place)
            job = Job(
                request=request,
                results_dir=self._store.root.parent,
                slot=slot,
                earlier=self._queue.earlier(request),
                environment=dict(os.environ),
                debug=logger.isEnabledFor(logging.DEBUG),
            )
            process = _CONTEXT.Process(target=work, args=(job, theirs), name=request.title)
            process.start()
            theirs.close()
            before = known.ended if known else ""
            self._workers.append(
                _Worker(request=request, process=process, pipe=ours, slot=slot, heard=time.monotonic(), before=before)
            )

    def _listen(self) -> None:
        """Wait a moment for words or ends, and pass words on."""
        if not self._workers:
            time.sleep(_TICK)
            return
        talking = {worker.pipe: worker for worker in self._workers if not worker.pipe.closed}
        ends = [worker.process.sentinel for worker in self._workers]
        for ready in connections.wait([*talking, *ends], timeout=_TICK):
            if isinstance(ready, Connection):
                self._hear(talking[ready])

    def _hear(self, worker: _Worker) -> None:
        with contextlib.suppress(EOFError, OSError):
            while not worker.pipe.closed and worker.pipe.poll():
                kind, content = worker.pipe.recv()
                worker.heard = time.monotonic()
                self._pass_on(worker, kind, content)
            return
        worker.pipe.close()

    def _pass_on(self, worker: _Worker, kind: str, content: Any) -> None:
        if kind == "phase":
            if not self._asked_to_stop:
                self._listener.note("")
            self._listener.phase(worker.request, content)
        elif kind == "step":
            worker.steps = content.step
            self._listener.step(worker.request, content)
        elif kind == "log":
            level, text = content
            logger.log(level, "%s: %s", worker.request.title, text)
        else:
            worker.outcome = content

    def _finish(self, worker: _Worker) -> None:
        """A worker has ended: what came of its run."""
        worker.process.join()
        worker.pipe.close()
        self._workers.remove(worker)
        self._free.append(worker.slot)
        kind, text = worker.outcome or ("crashed", _reason(worker, self._timeout))
        if kind == "disk":  # the others are asked to stop, and it is raised when they have
            self._fatal = self._fatal or DiskError(text)
            return
        if text and kind in ("recorded", "lost"):
            logger.warning("%s: %s", worker.request.title, text)
        record = self._store.load(*worker.request.place) if kind == "recorded" else None
        if kind in ("stopped", "elsewhere", "lost"):
            self._queue.put_back(worker.request, stopped=kind == "stopped" and self._stopping)
        elif record is not None:
            self._queue.settle(worker.request, record)
        else:
            self._bury(worker, text)

    def _bury(self, worker: _Worker, reason: str) -> None:
        """Record that a run's process died; unless somebody has taken the run over already."""
        request, folder = worker.request, self._store.folder(*worker.request.place)
        lease = take_lease(folder, dead=worker.process.pid)
        if isinstance(lease, Owner):
            self._queue.put_back(request)
            return
        record = self._store.load(*request.place)
        try:
            if worker.process.pid:
                keep_log(folder, worker.process.pid)
            if record is not None and record.status == "interrupted" and record.ended != worker.before:
                record = None  # it had stopped in good order, and was killed as it left
            else:
                facts = {**request_facts(request), "steps": worker.steps}
                record = self._store.keep_failure(request, CrashedError(reason), facts=facts)
        finally:
            lease.release(done=record is not None and record.status == "finished")
        if record is None:
            self._queue.put_back(request)
            return
        if record.status == "finished":
            logger.warning("%s: its result is kept, but making it again failed: %s", request.title, reason)
        self._queue.settle(request, record)

    def _ask_to_stop(self) -> None:
        if self._asked_to_stop:
            return
        self._asked_to_stop = True
        if self._workers:
            self._listener.note(
                "stopping: each run keeps a snapshot after the update at hand; Ctrl-C again ends at once"
            )
        for worker in self._workers:
            self._send(worker, SIGNALS.pending or signal.SIGTERM)

    def _kill_what_hangs(self) -> None:
        for worker in self._workers:
            quiet = time.monotonic() - worker.heard
            if worker.outcome and quiet > _LEAVING:
                self._send(worker, signal.SIGKILL)
            elif self._timeout and quiet > self._timeout and not worker.hangs:
                worker.hangs = True
                self._send(worker, signal.SIGKILL)

    @contextlib.contextmanager
    def _nobody_left_behind(self) -> Iterator[None]:
        """However the sweep ends, no worker goes on unseen."""
        try:
            yield
        finally:
            for worker in self._workers:
                self._send(worker, signal.SIGKILL)
            for worker in self._workers:
                worker.process.join(timeout=10)

    def _send(self, worker: _Worker, number: int) -> None:
        with contextlib.suppress(OSError):
            if worker.process.pid is not None and worker.process.is_alive():
                os.kill(worker.process.pid, number)


def _reason(worker: _Worker, timeout: float) -> str:
    """Why a process ended without a word, as far as its exit code tells."""
    if worker.hangs:
        return f"no sign of progress for {timeout / 60:g} minutes (executor.timeout), so its process was killed"
    code = worker.process.exitcode
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = {
            "SIGKILL": "; often the system does that when memory runs out",
            "SIGSEGV": f"; where is in {LOG}",
            "SIGABRT": f"; why is in {LOG}",
        }.get(name, "")
        return f"its process was killed by {name}{hint}"
    return f"its process ended with exit status {code} in the middle of the run; what it said is in {LOG}"
