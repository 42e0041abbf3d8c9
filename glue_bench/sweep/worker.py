"""What happens in a worker process: one run, told through a pipe; whatever it prints goes to a log beside its results.

The process is forked from a server that has torch loaded already. It ends with its run, and if its driver dies it keeps
a snapshot and ends too.
"""

import contextlib
import faulthandler
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glue_bench.errors import DiskError, GlueBenchError, UsageError
from glue_bench.runs.identity import RunRequest
from glue_bench.runs.lease import LostLeaseError, Owner
from glue_bench.runs.record import Record
from glue_bench.runs.store import RunStore
from glue_bench.sweep.claimed import run_claimed
from glue_bench.sweep.listener import Listener
from glue_bench.sweep.slots import Slot
from glue_bench.training.stopping import HANDLED, SIGNALS, Stopped

if TYPE_CHECKING:
    from glue_bench.training.updates import StepReport

LOG = "output.log"
_TELL_EVERY = 0.1  # seconds between two updates that the driver is told of

logger = logging.getLogger("glue_bench")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a worker is to do, and in which surroundings."""

    request: RunRequest
    results_dir: Path
    slot: Slot
    earlier: Record | None  # the failure because of which it is run again
    environment: Mapping[str, str]
    debug: bool


def work(job: Job, connection: Connection) -> None:
    """Do one run; the process's main function."""
    with contextlib.suppress(OSError):
        os.setsid()  # Ctrl-C in a terminal goes to the driver, which passes it on once
    _settle_in(job)
    pipe = _Pipe(connection)
    logger.handlers, logger.propagate = [_PipeHandler(pipe)], False
    logger.setLevel(logging.DEBUG if job.debug else logging.WARNING)
    with SIGNALS.handled():
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
            threading.Thread(target=_stop_without, args=(connection,), name="driver", daemon=True).start()
            kind, text = _run(job, pipe)
        except Stopped as stop:
            kind, text = "stopped", str(stop)
        except BaseException as error:
            kind, text = "crashed", f"{type(error).__name__}: {error}"
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)  # it ends anyway, and must be able to say how
    pipe.tell("outcome", (kind, text))
    sys.stdout.flush()
    sys.stderr.flush()
    keep_log(RunStore(job.results_dir).folder(*job.request.place), os.getpid())


def keep_log(folder: Path, process: int) -> None:
    """Make what a worker printed the run's log, or remove it if that was nothing."""
    log = folder / _log_name(process)
    with contextlib.suppress(OSError):
        if log.stat().st_size:
            log.replace(folder / LOG)
        else:
            log.unlink()


def count_gpus(connection: Connection) -> None:
    """Tell how many GPUs torch sees; in a process of its own, since a process that has asked must not be forked."""
    from glue_bench.models import placement

    connection.send(placement.count_gpus())


def _run(job: Job, pipe: "_Pipe") -> tuple[str, str]:
    """What came of it: recorded, elsewhere, lost, disk or usage; and a remark."""
    import torch

    torch.set_num_threads(len(job.slot.cores))
    store = RunStore(job.results_dir)
    known = store.load(*job.request.place)
    before = known.ended if known else ""
    try:
        outcome = run_claimed(job.request, store, pipe, earlier=job.earlier)
        return ("elsewhere" if isinstance(outcome, Owner) else "recorded"), ""
    except (DiskError, UsageError) as error:
        return ("disk" if isinstance(error, DiskError) else "usage"), str(error)
    except LostLeaseError as error:
        return "lost", str(error)
    except (Exception, SystemExit) as error:
        logger.debug("%s: %s", job.request.title, error, exc_info=not isinstance(error, GlueBenchError))
        found = store.load(*job.request.place)
        if found is not None and found.status == "finished":
            return "recorded", f"its result is kept, but making it again failed: {error}"
        if found is None or found.ended == before:  # it failed too early for a record
            return "crashed", f"{type(error).__name__}: {error}"
        return "recorded", ""


def _settle_in(job: Job) -> None:
    """Take the surroundings of the driver and the slot's share of the machine."""
    os.environ.clear()
    os.environ.update(job.environment)
    if job.slot.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = job.slot.gpu
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setaffinity(0, job.slot.cores)
    with contextlib.suppress(OSError):  # where memory runs out, the worker goes, not the driver
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    folder = RunStore(job.results_dir).folder(*job.request.place)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        log = os.open(folder / _log_name(os.getpid()), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    except OSError:
        log = os.open(os.devnull, os.O_WRONLY)  # the run itself will say what is wrong with the folder
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)
    faulthandler.enable()


def _log_name(process: int) -> str:
    """Of a log in the making: several workers may try for one run, and only the one that has it keeps its log."""
    return f"output.{process}.log"


def _stop_without(connection: Connection) -> None:
    """Wait until the driver is gone, then stop as by SIGTERM."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            connection.recv()
    os.kill(os.getpid(), signal.SIGTERM)


class _Pipe(Listener):
    """Passes a run's events on to the driver."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._lock, self._told = connection, threading.Lock(), 0.0

    def tell(self, kind: str, content: Any) -> None:
        with self._lock, contextlib.suppress(OSError):  # a driver that is gone hears nothing
            self._connection.send((kind, content))

    def phase(self, request: RunRequest, name: str) -> None:
        del request
        self.tell("phase", name)

    def step(self, request: RunRequest, report: "StepReport") -> None:
        del request
        now = time.monotonic()
        if now - self._told >= _TELL_EVERY or report.step == report.steps:
            self._told = now
            self.tell("step", report)


class _PipeHandler(logging.Handler):
    """Log lines to the driver, which shows them."""

    def __init__(self, pipe: _Pipe) -> None:
        super().__init__()
        self._pipe = pipe

    def emit(self, record: logging.LogRecord) -> None:
        self._pipe.tell("log", (record.levelno, self.format(record)))
