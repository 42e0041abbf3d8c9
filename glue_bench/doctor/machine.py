"""What a sweep has to run on: cores, memory, device, Slurm. torch is asked in a process of its own."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from glue_bench.config.schema import RunConfig, TrainerConfig
from glue_bench.doctor.findings import NOTE, OK, PROBLEM, Finding, format_bytes
from glue_bench.errors import UsageError
from glue_bench.sweep.local import MEMORY_PER_WORKER, deal_out, gpus_for, total_memory, usable_cores
from glue_bench.sweep.slurm import JOBS_AT_ONCE, queued_jobs
from glue_bench.sweep.worker import Slot

_PATIENCE = 180.0  # seconds in which torch must have loaded: a cold network disk takes a minute
_REINSTALL = "install PyTorch for this machine: https://pytorch.org/get-started/locally"


def examine_cores() -> Finding:
    """Cores and memory that this process may use."""
    cores, memory = len(usable_cores()), total_memory()
    small = memory < MEMORY_PER_WORKER
    wanted = f"; a run of DistilRoBERTa takes up to {MEMORY_PER_WORKER / 2**30:.0f} GiB" if small else ""
    return Finding(
        name="machine",
        state=NOTE if small else OK,
        found=f"{cores} {'core' if cores == 1 else 'cores'}, {memory / 2**30:.1f} GiB of memory{wanted}",
        advice="trainer.accumulation=4, or encoder=minilm" if small else "",
    )


def examine_device(config: RunConfig, *, runs: int) -> tuple[list[Finding], int]:
    """Findings on where the runs of a sweep would be, and how many at a time.

    Args:
        config: of any of its runs.
        runs: of the whole sweep.
    """
    executor = config.executor
    if executor.kind == "slurm":
        at_once = JOBS_AT_ONCE if executor.workers == "auto" else int(executor.workers)
        found = f"jobs run on the cluster's nodes, {at_once} at a time: not looked at from here"
        return [*_examine_slurm(), Finding(name="device", state=OK, found=found)], min(at_once, runs)
    facts = ask_torch(config.trainer.device, config.trainer.precision)
    if "error" in facts:
        advice = "trainer.device=auto" if facts["error"].startswith("trainer.device") else _REINSTALL
        return [Finding(name="device", state=PROBLEM, found=facts["error"], advice=advice)], 1
    slots = [Slot(cores=usable_cores())]
    if executor.kind == "local":
        gpus = gpus_for(config.trainer.device, lambda: [str(number) for number in range(facts["gpus"])])
        slots = deal_out(executor, runs=runs, gpus=gpus)
    return list(_tell_device(facts, config.trainer, slots)), len(slots)


def ask_torch(device: str, precision: str) -> Mapping[str, Any]:
    """What `glue_bench.doctor.probe` says, or `error` with what became of it."""
    command = [sys.executable, "-m", "glue_bench.doctor.probe", device, precision]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"torch has not loaded within {_PATIENCE:.0f} seconds"}
    try:
        facts = json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        said = (done.stderr.strip().splitlines() or ["no word"])[-1]
        ended = _ending(done.returncode)
        return {"error": f"the process that loaded torch ended with {ended} ({said})"}
    return facts if isinstance(facts, dict) else {"error": "the process that loaded torch gave no answer"}


def _ending(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _tell_device(facts: Mapping[str, Any], trainer: TrainerConfig, slots: list[Slot]) -> Iterator[Finding]:
    each = len(slots[0].cores)
    threads = f", {each} {'thread' if each == 1 else 'threads'} each" if facts["device"] == "cpu" else ""
    many = f"{len(slots)} {'run' if len(slots) == 1 else 'runs'} at a time{threads}"
    memory, free = int(facts.get("memory", 0)), int(facts.get("free", 0))  # bytes; 0 for a CPU
    room = f", {memory / 2**30:.0f} GiB, {free / 2**30:.0f} free" if memory else ""
    gpus = f" (one of {facts['gpus']})" if facts["gpus"] > 1 and facts["device"].startswith("cuda") else ""
    text = f"{facts['device']}{gpus}: {facts['name']}{room}; {facts['precision']}; {many}"
    crowded = free < memory / 4
    yield Finding(
        name="device",
        state=NOTE if crowded else OK,
        found=text,
        advice=f"other processes hold {format_bytes(memory - free)} of it: see nvidia-smi" if crowded else "",
    )
    idle = facts["device"] == "cpu" and trainer.device == "auto" and _has_nvidia_gpu()
    if idle:
        why = f": {facts['remarks'][0]}" if facts["remarks"] else ""
        found = f"an NVIDIA GPU is here, but torch {facts['torch']} does not use it{why}"
        yield Finding(name="GPU", state=NOTE, found=found, advice=_REINSTALL)


def _has_nvidia_gpu() -> bool:
    return any(Path("/dev").glob("nvidia[0-9]*"))


def _examine_slurm() -> Iterator[Finding]:
    """What submitting jobs needs."""
    if find_spec("submitit") is None:
        advice = "pip install 'glue-bench[slurm]'"
        yield Finding(name="submitit", state=PROBLEM, found="not installed; executor=slurm needs it", advice=advice)
    if shutil.which("sbatch") is None:
        found, advice = "no sbatch on PATH", "start the sweep on a login node of a Slurm cluster, or executor=local"
        yield Finding(name="Slurm", state=PROBLEM, found=found, advice=advice)
        return
    try:
        jobs = queued_jobs()
    except UsageError as error:
        found, advice = str(error), "scontrol ping; or executor=local"
        yield Finding(name="Slurm", state=PROBLEM, found=found, advice=advice)
        return
    found = f"answers; {len(jobs)} {'job' if len(jobs) == 1 else 'jobs'} of yours there"
    yield Finding(name="Slurm", state=OK, found=found)
