"""The machine dealt out to workers: cores, threads, GPUs. Knows no runs, no torch."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from glue_bench.config import ExecutorConfig

MEMORY_PER_WORKER = 4 * 2**30  # bytes: DistilRoBERTa with gradients, AdamW's moments and a batch of long rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """What one worker may use."""

    cores: Sequence[int]
    gpu: str | None = None  # as CUDA_VISIBLE_DEVICES names it; None: whatever is visible

    @property
    def title(self) -> str:
        """As the board names it."""
        threads = f"{len(self.cores)} {'thread' if len(self.cores) == 1 else 'threads'}"
        return threads if self.gpu is None else f"GPU {self.gpu}, {threads}"


def deal_out(executor: ExecutorConfig, *, runs: int, gpus: Sequence[str]) -> list[Slot]:
    """The workers of this machine. The same command gets the same ones, whatever of it is done already.

    On GPUs as many as `runs_per_gpu` allows; on a CPU one a core, as far as memory reaches.

    Args:
        runs: of the whole plan, done ones included; there are never more workers.
        gpus: those that runs may use; none if they run on the CPU.
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
    """The cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def total_memory() -> int:
    """Bytes of the machine, or of the container if that has less."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = Path(path).read_text(encoding="ascii").strip() if Path(path).is_file() else ""
        limits += [int(text)] if text.isdigit() else []
    return min(limits)


def wants_gpu(devices: Iterable[str]) -> bool:
    """Whether runs with these values of trainer.device may be given a GPU by us."""
    return all(device in ("auto", "cuda") for device in devices)
