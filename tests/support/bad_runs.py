"""Runs that fail, each in a different way, and a count of trainings; preloaded into the workers of a real sweep.

The variable BAD_RUNS, as in `rte-2=segfault,sst2-1=hang`, says
which runs go wrong in the middle of their training, TRAININGS names a file that gets a line per training begun, and
PHASES a folder with a file per run, which holds its phase.
"""

import ctypes
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from glue_bench.runs import experiment


def fail() -> None:
    """Raise an exception."""
    raise ValueError("the wheel came off")


def call_exit() -> None:
    """Call sys.exit, as badly behaved libraries do."""
    sys.exit(3)


def end_at_once() -> None:
    """Exit in a way that nothing can catch."""
    os._exit(7)


def segfault() -> None:
    """Read from address 0."""
    ctypes.string_at(0)


def be_killed() -> None:
    """Get killed, as the system does to a process when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def run_out_of_memory() -> None:
    """Allocate more memory than the process may have."""
    in_use = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()  # noqa: SIM115, PTH123
    resource.setrlimit(resource.RLIMIT_AS, (in_use + 2**28, in_use + 2**28))
    hoard = []
    while True:
        hoard.append(bytearray(2**26))


def hang() -> None:
    """Stop making progress."""
    time.sleep(10**6)


KINDS: dict[str, Callable[[], None]] = {
    "exception": fail,
    "sys.exit": call_exit,
    "exit": end_at_once,
    "segfault": segfault,
    "killed": be_killed,
    "memory": run_out_of_memory,
    "hang": hang,
}
REASONS = {
    "exception": "ValueError: the wheel came off",
    "sys.exit": "the run called sys.exit(3)",
    "exit": "its process ended with exit status 7",
    "segfault": "its process was killed by SIGSEGV",
    "killed": "its process was killed by SIGKILL",
    "memory": "MemoryError",
    "hang": "no sign of progress for",
}

_fit, _run_experiment = experiment.fit, experiment.run_experiment  # type: ignore[attr-defined]
_now: list[str] = []


def _run_and_remember(request: Any, *rest: Any, on_phase: Callable[[str], None], **more: Any) -> Any:
    _now[:] = [f"{request.config.task.name}-{request.config.seed}"]

    def note(name: str) -> None:
        on_phase(name)
        if "PHASES" in os.environ:
            with open(f"{os.environ['PHASES']}/{_now[0]}", "w") as file:  # noqa: PTH123
                file.write(name)

    try:
        return _run_experiment(request, *rest, on_phase=note, **more)
    finally:
        note("")


def _fit_or_not(*rest: Any, on_step: Callable[[Any], None], **more: Any) -> Any:
    if "TRAININGS" in os.environ:
        with open(os.environ["TRAININGS"], "a") as file:  # noqa: PTH123
            file.write(f"{_now[0]}\n")
    wrong = dict(pair.split("=") for pair in os.environ.get("BAD_RUNS", "").split(",") if pair)

    def step(report: Any) -> None:
        on_step(report)
        if report.step == 2 and _now[0] in wrong:
            KINDS[wrong[_now[0]]]()

    return _fit(*rest, on_step=step, **more)


experiment.fit, experiment.run_experiment = _fit_or_not, _run_and_remember  # type: ignore[assignment, attr-defined]
