"""A worker process: one run, reported through a pipe; whatever it prints goes to a log next to its results.

The process is forked from a server that has torch loaded. It ends with its run; if its driver dies, it keeps a snapshot
and ends too.
"""

import contextlib
import faulthandler
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from glue_bench.errors import DiskError, GlueBenchError, UsageError, describe
from glue_bench.runs.identity import RunRequest
from glue_bench.runs.record import Record
from glue_bench.runs.store import RunStore
from glue_bench.stops import STOPS
from glue_bench.sweep.board import Listener
from glue_bench.sweep.queue import run_leased
from glue_bench.training.course import StepReport
from glue_bench.training.stopping import SIGNALS, Stopped

LOG = "output.log"
_LOG_SO_FAR = "output.{}.log"  # by process: of several workers that try for a run, only one keeps its log
_REPORT_EVERY = 0.1  # seconds between two updates that are reported to the driver

logger = logging.getLogger("glue_bench")


def work(
    request: RunRequest,
    connection: Connection,
    *,
    store: RunStore,
    cores: Sequence[int],
    earlier: Record | None,
    environment: Mapping[str, str],
    debug: bool,
) -> None:
    """Do one run in the driver's `environment`, reported through `connection`; the process's main function.

    The last report is how it ended: with a record, or with None if the run must be put back; or else, why not (failed,
    or fatal: a full disk or a wrong command, which concern every run).
    """
    with contextlib.suppress(OSError):
        os.setsid()  # Ctrl-C in a terminal goes to the driver, which passes it on once
    os.environ.clear()
    os.environ.update(environment)
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setaffinity(0, cores)
    with contextlib.suppress(OSError):  # if memory runs out, the worker is killed, not the driver
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    folder = store.folder(*request.place)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        log = os.open(folder / _LOG_SO_FAR.format(os.getpid()), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    except OSError:
        log = os.open(os.devnull, os.O_WRONLY)  # the run itself will report what is wrong with the folder
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)
    faulthandler.enable()
    pipe = _Pipe(connection)
    logger.handlers, logger.propagate = [pipe], False
    logger.setLevel(logging.DEBUG if debug else logging.WARNING)
    with SIGNALS.handled():
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
            threading.Thread(target=_stop_without, args=(connection,), name="driver", daemon=True).start()
            import torch

            torch.set_num_threads(len(cores))
            outcome: tuple[str, Any] = "ended", run_leased(request, store, listener=pipe, earlier=earlier)
            signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)  # it ends anyway, and must be able to report how
        except Stopped:
            signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
            outcome = "ended", None
        except BaseException as error:
            signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
            outcome = ("fatal", error) if isinstance(error, DiskError | UsageError) else ("failed", describe(error))
            logger.debug("%s: %s", request.title, error, exc_info=not isinstance(error, GlueBenchError))
    pipe.send(*outcome)
    sys.stdout.flush()
    keep_log(folder, os.getpid())  # not left to the driver, which may be gone


def keep_log(folder: Path, process: int | None) -> None:
    """Make what a worker printed the run's log, or remove it if it printed nothing."""
    with contextlib.suppress(OSError):
        log = folder / _LOG_SO_FAR.format(process)
        log.replace(folder / LOG) if log.stat().st_size else log.unlink()


def count_gpus() -> int:
    """Count the GPUs that torch sees; run it in a separate process: one that has used CUDA must not be forked."""
    from glue_bench.models import placement

    return placement.count_gpus()


def find_fault(environment: Mapping[str, str]) -> str:
    """Say why runs could not train on some GPU in the driver's `environment`; empty if they could. Run it as above."""
    from glue_bench.models import placement

    os.environ.update(environment)
    try:
        for number in range(placement.count_gpus()):
            placement.choose_placement(f"cuda:{number}", "auto")
    except UsageError as error:
        return str(error)
    return ""


def _stop_without(connection: Connection) -> None:
    """Wait until the driver is gone, then stop as if by SIGTERM."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            connection.recv()
    os.kill(os.getpid(), signal.SIGTERM)


class _Pipe(Listener, logging.Handler):
    """Passes a run's events and log lines on to the driver."""

    def __init__(self, connection: Connection) -> None:
        Listener.__init__(self)
        logging.Handler.__init__(self)
        self._connection, self._sending, self._reported = connection, threading.Lock(), 0.0

    def send(self, kind: str, content: Any) -> None:
        with self._sending, contextlib.suppress(OSError):  # the driver may be gone
            self._connection.send((kind, content))

    def phase(self, request: RunRequest, name: str) -> None:  # noqa: ARG002 - the driver knows the run
        self.send("phase", name)

    def step(self, request: RunRequest, report: StepReport) -> None:  # noqa: ARG002
        now = time.monotonic()
        if now - self._reported >= _REPORT_EVERY or report.step == report.steps:
            self._reported = now
            self.send("step", report)

    def emit(self, record: logging.LogRecord) -> None:
        self.send("log", (record.levelno, self.format(record), getattr(record, "shared", False)))
