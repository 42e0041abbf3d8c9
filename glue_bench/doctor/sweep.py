"""Everything that one sweep needs, checked in turn: quick checks first, torch last. Runs and downloads nothing."""

import json
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from glue_bench.config.schema import RunConfig, Sweep
from glue_bench.data.encoding import cache_folder
from glue_bench.data.hub import hub_cache_folder
from glue_bench.doctor import NOTE, OK, PROBLEM, Finding, format_bytes
from glue_bench.doctor.inputs import examine_inputs
from glue_bench.errors import DiskError, UsageError
from glue_bench.files import check_writable
from glue_bench.models.pretrained import encoder_name
from glue_bench.runs.lease import is_abandoned, owner_of
from glue_bench.runs.record import STATUSES, parse_record
from glue_bench.runs.store import RunStore
from glue_bench.sweep.local import MEMORY_PER_WORKER, deal_out, gpus_for, total_memory, usable_cores
from glue_bench.sweep.slurm import JOBS_AT_ONCE, queued_jobs
from glue_bench.sweep.worker import Slot
from glue_bench.text import plural

_TIMEOUT = 180.0  # seconds: from a cold network disk torch takes a minute to load
_REINSTALL = "install PyTorch for this machine: https://pytorch.org/get-started/locally"
_LEAST_ROOM = 16 * 10**6  # bytes without which not even records can be kept
_ROOM_PER_RUN = 2 * 10**6  # bytes of predictions and history of a large task: QQP has 40,430 dev rows
# A snapshot is weights and two moments, all float32; two are kept while a third is written.
_SNAPSHOTS = 3 * 3


def examine_sweep(sweep: Sweep, parents: Sequence[RunConfig]) -> Iterator[Finding]:
    """Yield findings on a sweep as they become known.

    Args:
        sweep: what it runs.
        parents: the configurations of the runs that these start from.
    """
    configs, seeds = sweep.configs, len(sweep.seeds)
    every = [*configs, *parents]
    runs = seeds * len(every)
    store = RunStore(Path(configs[0].results_dir))
    yield _describe_sweep(sweep, runs)
    yield _examine_cores()
    yield from (results := list(examine_results(store)))
    encoders = {str(config.encoder): config.encoder for config in every}
    tasks = {config.task.name: config.task for config in every}
    hub, inputs = examine_inputs(list(encoders.values()), configs[0].data, tasks=list(tasks.values()))
    yield from (hub, *(each.finding for each in inputs))
    download = sum(each.download for each in inputs)
    if download:
        yield from _examine_writable("hub's cache", hub_cache_folder(), advice="HF_HOME=FOLDER that you may write")
    for fault in _examine_writable("cache", cache_folder(), advice="GLUE_BENCH_CACHE=FOLDER that you may write"):
        found = f"{fault.found}; texts are encoded again for every run"
        yield Finding(name=fault.name, state=NOTE, found=found, advice=fault.advice)
    findings, at_once = examine_device(configs[0], runs=runs)
    yield from findings
    weights = max(each.weights for each in inputs)
    models = seeds * sum(config.save_model for config in every)
    needs = [needs_of_results(store.root, runs=runs, at_once=at_once, weights=weights, models=models)]
    needs = [] if results[0].state == PROBLEM else needs
    needs += [Need(place="the hub's cache", folder=hub_cache_folder(), sure=download, rough=0)] if download else []
    yield from examine_disk(needs)


def _describe_sweep(sweep: Sweep, runs: int) -> Finding:
    configs, first = sweep.configs, sweep.configs[0]
    tasks = dict.fromkeys(config.task.name for config in configs)
    encoders = dict.fromkeys(encoder_name(config.encoder) for config in configs)
    parts = [", ".join(tasks), plural(len(sweep.seeds), "seed"), ", ".join(encoders)]
    parts += [f"data={first.data.source}", f"executor={first.executor.kind}"]
    return Finding(name="sweep", state=OK, found=f"{plural(runs, 'run')}: {'; '.join(parts)}")


def _examine_cores() -> Finding:
    """Check the cores and the memory that this process may use."""
    memory = total_memory()
    found = f"{plural(len(usable_cores()), 'core')}, {memory / 2**30:.1f} GiB of memory"
    if memory >= MEMORY_PER_WORKER:
        return Finding(name="machine", state=OK, found=found)
    found += f"; a run of DistilRoBERTa takes up to {MEMORY_PER_WORKER / 2**30:.0f} GiB"
    return Finding(name="machine", state=NOTE, found=found, advice="trainer.accumulation=4, or encoder=minilm")


def examine_device(config: RunConfig, *, runs: int) -> tuple[list[Finding], int]:
    """Check where the runs of a sweep would be, and count how many at a time.

    Args:
        config: of any of its runs.
        runs: of the whole sweep.
    """
    executor, trainer = config.executor, config.trainer
    if executor.kind == "slurm":
        at_once = JOBS_AT_ONCE if executor.workers == "auto" else int(executor.workers)
        found = f"jobs run on the cluster's nodes, {at_once} at a time; not checked from here"
        return [*_examine_slurm(), Finding(name="device", state=OK, found=found)], min(at_once, runs)
    facts = ask_torch(trainer.device, trainer.precision)
    if "error" in facts:
        advice = "trainer.device=auto" if facts["error"].startswith("trainer.device") else _REINSTALL
        return [Finding(name="device", state=PROBLEM, found=facts["error"], advice=advice)], 1
    slots = [Slot(cores=usable_cores())]
    if executor.kind == "local":
        gpus = gpus_for(trainer.device, lambda: [str(number) for number in range(facts["gpus"])])
        slots = deal_out(executor, runs=runs, gpus=gpus)
    device, memory, free = facts["device"], int(facts.get("memory", 0)), int(facts.get("free", 0))  # bytes
    one_of = f" (one of {facts['gpus']})" if facts["gpus"] > 1 and device.startswith("cuda") else ""
    room = f", {memory / 2**30:.0f} GiB, {free / 2**30:.0f} free" if memory else ""
    threads = f", {plural(len(slots[0].cores), 'thread')} each" if device == "cpu" else ""
    text = f"{device}{one_of}: {facts['name']}{room}; {facts['precision']}; "
    text += f"{plural(len(slots), 'run')} at a time{threads}"
    crowded = free < memory / 4
    advice = f"other processes use {format_bytes(memory - free)} of it: see nvidia-smi" if crowded else ""
    findings = [Finding(name="device", state=NOTE if crowded else OK, found=text, advice=advice)]
    if device == "cpu" and trainer.device == "auto" and any(Path("/dev").glob("nvidia[0-9]*")):
        why = f": {facts['remarks'][0]}" if facts["remarks"] else ""
        text = f"this machine has an NVIDIA GPU, but torch {facts['torch']} does not use it{why}"
        findings.append(Finding(name="GPU", state=NOTE, found=text, advice=_REINSTALL))
    return findings, len(slots)


def ask_torch(device: str, precision: str) -> Mapping[str, Any]:
    """The answer of `glue_bench.doctor.probe`, or `error` with how it ended."""
    command = [sys.executable, "-m", "glue_bench.doctor.probe", device, precision]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
        facts: Mapping[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except subprocess.TimeoutExpired:
        return {"error": f"torch has not loaded within {_TIMEOUT:.0f} seconds"}
    except (IndexError, ValueError):
        code, message = done.returncode, (done.stderr.strip().splitlines() or ["no message"])[-1]
        ending = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return {"error": f"the process that loaded torch ended with {ending} ({message})"}
    return facts


def _examine_slurm() -> Iterator[Finding]:
    """Check what submitting jobs needs."""
    if find_spec("submitit") is None:
        found, advice = "not installed; executor=slurm needs it", "pip install 'glue-bench[slurm]'"
        yield Finding(name="submitit", state=PROBLEM, found=found, advice=advice)
    if shutil.which("sbatch") is None:
        found, advice = "no sbatch on PATH", "start the sweep on a login node of a Slurm cluster, or executor=local"
        yield Finding(name="Slurm", state=PROBLEM, found=found, advice=advice)
        return
    try:
        found = f"answers; you have {plural(len(queued_jobs()), 'job')} there"
        yield Finding(name="Slurm", state=OK, found=found)
    except UsageError as error:
        yield Finding(name="Slurm", state=PROBLEM, found=str(error), advice="scontrol ping; or executor=local")


def examine_results(store: RunStore) -> Iterator[Finding]:
    """Check that results can be written, and list what earlier sweeps left behind."""
    faults = _examine_writable("results", store.root, advice="results_dir=FOLDER that you may write")
    if faults:
        yield from faults
        return
    counts, damaged = Counter[str](), list[Path]()
    leased, abandoned, stopped = list[Path](), list[Path](), list[Path]()
    for folder in store.folders():
        try:
            counts[parse_record(folder / "record.json").status] += 1
        except FileNotFoundError:
            pass
        except (OSError, ValueError):
            damaged.append(folder / "record.json")
        if owner_of(folder) is not None:
            leased.append(folder)
            continue
        abandoned += [folder] if is_abandoned(folder) else []
        stopped += [folder] if any((folder / "snapshots").glob("step-*")) else []
    existing = ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status]) or "no runs yet"
    yield Finding(name="results", state=OK, found=f"{store.root.parent}: can be written; {existing}")
    if damaged:
        found = f"{plural(len(damaged), 'damaged record')}, ignored: {_first_of(damaged)}"
        yield Finding(name="records", state=NOTE, found=found, advice="nothing: a sweep repeats such a run")
    if leased:
        found = f"{plural(len(leased), 'run')}: {_first_of(leased)}"
        yield Finding(name="at work", state=OK, found=found)
    if abandoned:
        found = f"the worker of {plural(len(abandoned), 'run')} died or stopped responding: {_first_of(abandoned)}"
        yield Finding(name="leases", state=NOTE, found=found, advice="nothing: the same sweep takes them over")
    if stopped:
        size = sum(file.stat().st_size for folder in stopped for file in (folder / "snapshots").rglob("*"))
        found = f"{plural(len(stopped), 'unfinished run')} with {format_bytes(size)} of snapshots: {_first_of(stopped)}"
        advice = "the same sweep resumes from them; or delete the folders snapshots/"
        yield Finding(name="snapshots", state=NOTE, found=found, advice=advice)


def _examine_writable(name: str, folder: Path, *, advice: str) -> list[Finding]:
    """A problem if the folder, or its nearest existing parent, cannot be written; creates nothing that stays."""
    try:
        check_writable(_nearest(folder))
        return []
    except (DiskError, OSError) as error:
        return [Finding(name=name, state=PROBLEM, found=str(error), advice=advice)]


def _nearest(folder: Path) -> Path:
    """The folder itself, or its nearest existing parent.

    Raises:
        OSError: no file system accepts the name.
    """
    full = folder.absolute()
    return next(path for path in (full, *full.parents) if path.exists())


def _first_of(paths: Sequence[Path]) -> str:
    return f"{paths[0]}" + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a sweep will write to one folder."""

    place: str  # in words
    folder: Path
    sure: int  # bytes
    rough: int | None  # bytes besides, at most; None if not known


def needs_of_results(folder: Path, *, runs: int, at_once: int, weights: int, models: int) -> Need:
    """Estimate records, predictions, kept weights, and snapshots of the runs at work.

    Args:
        weights: bytes of the largest encoder's; 0 if not known.
        models: runs that keep their weights.
    """
    rough = _ROOM_PER_RUN * runs + _SNAPSHOTS * weights * at_once + weights * models
    return Need(place="results", folder=folder, sure=_LEAST_ROOM, rough=rough if weights else None)


def examine_disk(needs: Sequence[Need]) -> Iterator[Finding]:
    """Compare the free space of each disk with what the sweep will write to it."""
    disks = dict[int, list[Need]]()
    for need in needs:
        disks.setdefault(_nearest(need.folder).stat().st_dev, []).append(need)
    for on_it in disks.values():
        free = shutil.disk_usage(_nearest(on_it[0].folder)).free
        sure = sum(need.sure for need in on_it)
        rough = sure + sum(need.rough or 0 for need in on_it)
        wanted = f"roughly {format_bytes(rough)} or less will be needed"
        if any(need.rough is None for need in on_it):
            wanted = "how much is needed depends on the encoder's size, which is not known"
        found = f"{format_bytes(free)} free for {' and '.join(need.place for need in on_it)}; {wanted}"
        state = PROBLEM if free < sure else NOTE if free < rough else OK
        advice = "" if state == OK else "make room, or results_dir=FOLDER and HF_HOME on a larger disk"
        yield Finding(name="disk", state=state, found=found, advice=advice)
