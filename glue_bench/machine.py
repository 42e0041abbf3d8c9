"""How much of this machine a process may use: its cores and memory, or those of its container if they are fewer."""

import math
import os
import platform
from pathlib import Path

MPS_SHARE = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"  # share of a GPU for a process of NVIDIA's MPS
TRIED_SHARE = "GLUE_BENCH_TRIED_SHARE"  # tells workers the share for which their sweep found every product right


def usable_cores(root: Path = Path("/")) -> list[int]:
    """Return the cores that this process and its container may use; `root` is where proc/ and sys/ are."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = sorted(affinity(0)) if affinity else list(range(os.cpu_count() or 1))
    quotas = [text.split() for text in _read_limits(root, "cpu", name="cpu.max")]
    periods = _read_limits(root, "cpu", name="cpu.cfs_period_us")
    quotas += [list(pair) for pair in zip(_read_limits(root, "cpu", name="cpu.cfs_quota_us"), periods, strict=False)]
    shares = [int(quota) / int(period) for quota, period in quotas if quota.isdecimal() and int(period) > 0]
    return cores[: max(1, math.ceil(min(shares, default=len(cores))))]


def total_memory(root: Path = Path("/")) -> int:
    """Return the memory in bytes; `root` as in `usable_cores`."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for name in ("memory.max", "memory.limit_in_bytes"):
        limits += [int(text) for text in _read_limits(root, "memory", name=name) if text.isdecimal()]
    return min(limits)


def processor_name() -> str:
    """Return the processor as the system names it."""
    return processor_fact("model name") or platform.processor() or platform.machine()


def processor_fact(name: str) -> str:
    """Return what Linux says of the processor under a name such as `vendor_id`; empty if it says nothing."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.is_file() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(name)), "")


def has_nvidia_gpu() -> bool:
    """Return whether there is one, whether torch can use it or not."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


def _read_limits(root: Path, controller: str, *, name: str) -> list[str]:
    """Return a file's text of this process's control group and of each one around it, of version 1 and 2."""
    groups, own = root / "sys/fs/cgroup", root / "proc/self/cgroup"
    found = [groups / name, groups / controller / name]  # inside a container its own group is the top
    for line in own.read_text("utf-8", "replace").splitlines() if own.is_file() else ():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and controller not in controllers.split(","):
            continue
        inside = Path(path.lstrip("/"))
        tops = (groups / controllers, groups / controller) if controllers else (groups,)
        found += [top / each / name for top in tops for each in (inside, *inside.parents)]
    return [file.read_text("utf-8", "replace").strip() for file in found if file.is_file()]
