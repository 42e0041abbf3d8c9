"""Runs that share a GPU. While one prepares or evaluates, others train; the kernels of several fill a large GPU better.

Processes take turns on a GPU unless NVIDIA's Multi-Process Service runs their kernels side by side: taking turns makes
them slower overall (docs/performance.md), so without it a GPU has one run at a time. Knows no torch.
"""

import contextlib
import logging
import math
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from glue_bench.machine import MPS_SHARE, TRIED_SHARE

logger = logging.getLogger(__name__)

_MOST = 4  # runs: six were no faster
_HALF = "50"  # %
_MEMORY_PER_RUN = 8 * 1024  # MiB: roberta-base with a batch of 32 long rows
_IDLE = 1024  # MiB that may be taken on a GPU that nobody uses
_CONTROL = "nvidia-cuda-mps-control"
PRIORITY = "CUDA_MPS_CLIENT_PRIORITY"  # of a process: 0 or, below that, 1
_SECONDS = 20.0  # that one of NVIDIA's commands may take


def runs_that_fit(work: Sequence[float], *, gpus: int) -> int:
    """Return how many runs each of `gpus` has room for: one where other processes use any, or nothing is known.

    `work` is that of each run. So few run at a time that the longest is not left alone at the end, since a few train
    faster side by side than many.
    """
    printed = _output("nvidia-smi", "--query-gpu=memory.total,memory.used", "--format=csv,noheader,nounits") or ""
    try:
        memory = [[int(number) for number in line.split(",")] for line in printed.splitlines()]
        free = [total - used if used <= _IDLE else 0 for total, used in memory]
    except ValueError:
        return 1
    balanced = math.ceil(sum(work) / max(work) / gpus)
    return max(1, min(_MOST, balanced, min(free, default=0) // _MEMORY_PER_RUN))


@contextlib.contextmanager
def side_by_side(runs: int, *, exact: bool = False, find_fault: Callable[[], str] = lambda: "") -> Iterator[bool]:
    """Start the Multi-Process Service for several runs at a time, and end it afterwards; say whether they have it.

    Processes find it by environment variables; somebody else's is used as it is. Three runs or more get half of the
    multiprocessors each, or a large kernel of one would keep the others' small ones waiting. All get the
    whole GPU if a run must be `exact`, the same to the bit as alone, since libraries choose kernels by the number of
    multiprocessors, or if `find_fault`, called with that share in the environment, says what would be computed wrongly.
    """
    if runs < 2 or shutil.which(_CONTROL) is None:
        yield False
        return
    with contextlib.ExitStack() as afterwards:
        halves = runs > 2 and not exact and MPS_SHARE not in os.environ
        started = "CUDA_MPS_PIPE_DIRECTORY" in os.environ
        if not started:
            folder = afterwards.enter_context(tempfile.TemporaryDirectory(prefix="glue-bench-mps-"))
            for name in ("pipe", "log"):
                variable, path = f"CUDA_MPS_{name.upper()}_DIRECTORY", Path(folder, name)
                path.mkdir()
                os.environ[variable] = str(path)
                afterwards.callback(os.environ.pop, variable, None)
            if started := _output(_CONTROL, "-d", capture=False) is not None:
                afterwards.callback(_output, _CONTROL, text="quit\n")
            else:
                logger.warning("%s cannot be started here: each GPU runs one run at a time", _CONTROL)
                afterwards.close()  # a process that looks for a service that is not there finds no GPU
        if started and halves:
            for variable in (MPS_SHARE, TRIED_SHARE):
                afterwards.callback(os.environ.pop, variable, None)
            os.environ[MPS_SHARE] = _HALF
            if fault := find_fault():
                del os.environ[MPS_SHARE]
                logger.warning("no run is kept to a part of a GPU, which is slower: %s", fault)
            else:
                os.environ[TRIED_SHARE] = _HALF
        yield started


def _output(command: str, *words: str, text: str = "", capture: bool = True) -> str | None:
    """Return what a command prints; None if it is not there or fails. What stays in the background prints nothing."""
    nothing = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    how: dict[str, Any] = {"input": text, "capture_output": True} if capture else nothing
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run([command, *words], text=True, timeout=_SECONDS, check=True, **how).stdout or ""
    return None
