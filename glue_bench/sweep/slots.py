"""The machine dealt out to workers: cores, threads, GPUs. Knows no runs, no torch."""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from glue_bench.config.schema import ExecutorConfig

MEMORY_PER_WORKER = 4 * 2**30  # bytes: DistilRoBERTa with gradients, AdamW's moments and a batch of long rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """What one worker may use."""

    cores: Sequence[int]
    gpu: str | None = None  # as CUDA_VISIBLE_DEVICES names it; None: whatever is visible


def gpus_for(device: str, visible: Callable[[], Sequence[str]]) -> Sequence[str | None]:
    """The GPUs to deal out where runs ask for `device`, as `deal_out` takes them.

    Args:
        device: as trainer.device has it.
        visible: finds those that torch sees, and is only called where that matters.
    """
    if device == "cpu":
        return []
    # cuda:1 and mps are one device that all runs share; auto and cuda are dealt out.
    return visible() if device in ("auto", "cuda") else [None]


def deal_out(executor: ExecutorConfig, *, runs: int, gpus: Sequence[str | None]) -> list[Slot]:
    """The workers of this machine. The same command gets the same ones, whatever of it is done already.

    On GPUs as many as `runs_per_gpu` allows; on a CPU one a core, as far as memory reaches.

    Args:
        runs: of the whole plan, done ones included; there are never more workers.
        gpus: those that runs may use, None for one that is named in their configuration; empty for the CPU.
    """
    cores = usable_cores()
    if executor.workers != "auto":
        count = int(executor.workers)
    elif gpus:
        count = len(gpus) * executor.runs_per_gpu
    else:
        count = max(1, min(len(cores), total_memory() // MEMORY_PER_WORKER))
    count = min(count, runs)
    each = max(1, len(cores) // count)
    shares = [[cores[(worker * each + place) % len(cores)] for place in range(each)] for worker in range(count)]
    return [Slot(cores=share, gpu=gpus[worker % len(gpus)] if gpus else None) for worker, share in enumerate(shares)]


def usable_cores() -> list[int]:
    """The cores that this process may run on, as many as its container may use at a time."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = sorted(affinity(0)) if affinity else list(range(os.cpu_count() or 1))
    quota = Path("/sys/fs/cgroup/cpu.max")
    words = quota.read_text(encoding="ascii").split() if quota.is_file() else ["max"]
    return cores if words[0] == "max" else cores[: max(1, math.ceil(int(words[0]) / int(words[1])))]


def total_memory() -> int:
    """Bytes of the machine, or of the container if that has less."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = Path(path).read_text(encoding="ascii").strip() if Path(path).is_file() else ""
        limits += [int(text)] if text.isdigit() else []
    return min(limits)
