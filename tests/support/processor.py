"""Processor time of child processes, and how slow this machine is today: limits in seconds were set on a quiet one."""

import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TypeVar

# Processor seconds of `import hydra, pandas` on the machine on which the limits were set (two quiet cores).
_REFERENCE = 0.7

PATIENCE = 900.0  # seconds after which something that has no limit of its own counts as hanging

_Result = TypeVar("_Result")


def assert_quick(call: Callable[[], _Result], *, seconds: float) -> _Result:
    """Check that what `call` starts takes less processor time than this on the reference; return what it returns.

    Other work on the machine slows down this one and the measure by turns, so the best of several tries counts.
    """
    tries = list[str]()
    while True:
        used, result = _cpu_seconds_of(call)
        slower = max(1.0, _cpu_seconds_of(_load)[0] / _REFERENCE)
        if used < seconds * slower:
            return result
        tries.append(f"{used:.1f} s on a machine {slower:.1f} times slower")
        assert len(tries) < 4, f"must be under {seconds} s of the processor: {tries}"


def _cpu_seconds_of(call: Callable[[], _Result]) -> tuple[float, _Result]:
    before = os.times()
    result = call()
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system, result


@functools.cache
def slowness() -> float:
    """Measure how many times slower than the reference this machine works just now; at least 1."""
    _load()  # the files are in memory from now on
    return max(1.0, min(_cpu_seconds_of(_load)[0] for _ in range(2)) / _REFERENCE)


def lag() -> float:
    """Measure how many times longer than on the reference something takes just now, by the clock; at least 1."""
    began = time.monotonic()
    _load()
    return max(1.0, (time.monotonic() - began) / _REFERENCE)


def wait_until(condition: Callable[[], bool], *, running: "subprocess.Popen[str] | None" = None) -> None:
    """Wait for a condition, at most until the process has ended."""
    until = time.monotonic() + PATIENCE
    while not condition():
        assert running is None or running.poll() is None, "the process ended before"
        assert time.monotonic() < until, f"not within {PATIENCE:.0f} s"
        time.sleep(0.05)


def _load() -> None:
    subprocess.run([sys.executable, "-c", "import hydra, pandas"], check=True)
