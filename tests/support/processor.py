"""Processor time of child processes, and how slow this machine is today: limits in seconds were set on a quiet one."""

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from typing import TypeVar

# Processor seconds of `import hydra, pandas` on the machine on which the limits were set (two quiet cores).
_REFERENCE = 0.7

_Result = TypeVar("_Result")


def cpu_seconds_of(call: Callable[[], _Result]) -> tuple[float, _Result]:
    """Return the user and system time of the child processes of `call`, and what it returns."""
    before = os.times()
    result = call()
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system, result


@functools.cache
def slowness() -> float:
    """Measure how many times slower than the reference this machine works just now; at least 1."""

    def load() -> None:
        subprocess.run([sys.executable, "-c", "import hydra, pandas"], check=True)

    load()  # the files are in memory from now on
    return max(1.0, min(cpu_seconds_of(load)[0] for _ in range(2)) / _REFERENCE)
