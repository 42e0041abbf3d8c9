"""Which runs of a sweep are missing; and a plan as a file. Runs nothing; knows no torch."""

import contextlib
import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from glue_bench.config.schema import config_from_facts
from glue_bench.data.rows import load_split
from glue_bench.data.sources import resolve_source
from glue_bench.errors import DiskError, InputError, UsageError
from glue_bench.files import write_text_atomically
from glue_bench.machine import has_nvidia_gpu
from glue_bench.models.pretrained import resolve_pretrained
from glue_bench.reading import conform, parse_json, read_text
from glue_bench.runs.identity import SCORES_VERSION, RunRequest, cell_shape, identify, start_seeds
from glue_bench.runs.lease import Owner, is_beating, owner_of, take_lease
from glue_bench.runs.record import Record, checkout_commit, library_versions
from glue_bench.runs.store import RunStore, find_earlier
from glue_bench.sweep.timing import Estimate

FORMAT = 1  # of plan files
_COPIED = ("run_id", "setting_id", "encoder", "inputs")  # fields of a request that a plan file holds as they are


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Every run of a sweep, and what is known of it."""

    requests: Sequence[RunRequest]  # those asked for, each after the one it starts from, in a stable order
    missing: Sequence[RunRequest]  # in the order in which they are run
    records: dict[str, Record] = field(default_factory=dict)  # by run id: those that need no run
    outdated: set[str] = field(default_factory=set)  # run ids: the task in their record.json is an older one
    running: dict[str, Owner] = field(default_factory=dict)  # by run id: those of `missing` that a worker has now
    earlier: dict[str, Record] = field(default_factory=dict)  # by run id: failures that are to be run again
    settled: set[str] = field(default_factory=set)  # run ids: those that diverged, and would do so again
    snapshots: dict[str, int] = field(default_factory=dict)  # by run id: updates done in a missing run's newest

    @property
    def concerned(self) -> list[RunRequest]:
        """The requests that have a record or need one; a parent may have neither if its children are done."""
        missing = {request.run_id for request in self.missing}
        return [request for request in self.requests if request.run_id in missing or request.run_id in self.records]

    def state(self, request: RunRequest) -> str:
        """Return missing, running, done, failed, diverged, or not needed: a parent whose children are all done."""
        if request.run_id in self.running:
            return "running"
        record = self.earlier.get(request.run_id) or self.records.get(request.run_id)
        if record is None:
            return "missing" if request in self.missing else "not needed"
        return "done" if record.finished else record.status

    def is_fulfilled(self, records: Mapping[str, Record], store: RunStore) -> bool:
        """Return whether `records` (by run id) are all finished, each with its model if the request keeps it."""
        found = [(request, records[request.run_id]) for request in self.concerned]
        return all(record.finished and not _lacks_model(request, record, store=store) for request, record in found)


def plan_runs(requests: Sequence[RunRequest], store: RunStore, *, retry_failed: bool) -> Plan:
    """Look up every request in the store, and the parents of those that are missing. Writes nothing.

    What failed for lack of room counts as missing; with `retry_failed`, all that failed or diverged, but for what would
    diverge again in the same way.
    """
    requests = find_earlier(requests, store)
    # By run id, parents before their first child. A run that is also a parent keeps its model.
    lines = [{**request.ancestors, request.run_id: request} for request in requests]
    every = {run_id: each for line in lines for run_id, each in line.items()}
    every |= {run_id: each for request in requests for run_id, each in request.ancestors.items()}
    found = {run_id: find_record(request, store) for run_id, request in every.items()}
    settled = {run_id for run_id, request in every.items() if retry_failed and _would_diverge(request, found[run_id])}
    wanted, missing = {request.run_id for request in requests}, list[RunRequest]()
    for run_id, request in reversed(every.items()):
        record = found[run_id]
        again = record is None or not (record.finished or run_id in settled or not (retry_failed or record.lack))
        if run_id in wanted and again:
            missing.insert(0, request)
            wanted.update(start.run_id for start in request.starts)  # a parent only if a child is missing
    plan = Plan(requests=list(every.values()), missing=missing, settled=settled)
    plan.earlier.update({each.run_id: record for each in missing if (record := found[each.run_id])})
    for run_id, record in found.items():
        if record is not None and run_id not in plan.earlier:
            plan.records[run_id] = _refresh(record, every[run_id])
            plan.outdated.update({run_id} if plan.records[run_id] is not record else ())
    for request in missing:
        if owner := owner_of(store.folder(*request.place)):
            plan.running[request.run_id] = owner
        elif steps := store.snapshot_steps(*request.place):
            plan.snapshots[request.run_id] = steps[-1]
    return plan


def plan_one(request: RunRequest, *, retry_failed: bool) -> tuple[Plan, RunRequest, RunStore]:
    """Plan one run in its own results folder; also return it under the id that this folder knows it by."""
    store = RunStore(Path(request.config.results_dir))
    plan = plan_runs([request], store, retry_failed=retry_failed)
    return plan, plan.requests[-1], store


def plan_line(path: Path, index: int, *, retry_failed: bool) -> tuple[Plan, RunRequest, RunStore, Owner | None]:
    """Plan the run of a line of a plan file as `plan_one`; also return the worker that is at work on it now.

    An array of jobs should begin its next line then, and not wait. Errors as in `read_plan`.
    """
    plan, request, store = plan_one(read_plan(path, index), retry_failed=retry_failed)
    owner = plan.running.get(request.run_id)
    return plan, request, store, owner if owner and is_beating(store.folder(*request.place)) else None


def find_record(request: RunRequest, store: RunStore, *, earlier: Record | None = None) -> Record | None:
    """Find the record of a request; None if never run, interrupted, or without the requested model.

    `earlier` is the failure that is being retried, whose record does not count.
    """
    record = store.load(*request.place)
    if record is None or record.status == "interrupted" or (earlier and record.ended == earlier.ended):
        return None
    return None if _lacks_model(request, record, store=store) else record


def _would_diverge(request: RunRequest, record: Record | None) -> bool:
    """Return whether a run diverged on a CPU, where the same code and versions compute the same bits."""
    if record is None or record.status != "diverged" or not record.device.startswith("cpu"):
        return False
    commit, device = checkout_commit(), request.config.trainer.device
    same = record.versions == library_versions() and record.git == commit and not str(commit).endswith("-dirty")
    return same and (device == "cpu" or (device == "auto" and not has_nvidia_gpu()))


def _lacks_model(request: RunRequest, record: Record, *, store: RunStore) -> bool:
    return record.finished and request.config.save_model and not store.has_weights(record)


def _refresh(record: Record, request: RunRequest) -> Record:
    """Return the record with the current title, official rows and conventions of its task, which change no score."""
    if not record.finished:
        return record
    adapter, task = request.config.task, asdict(request.config.task)
    seen = {"source": record.data["source"], "fingerprints": record.data.get("fingerprints", {})}
    rows = Counter(record.data["rows"]) + Counter(record.data.get("choosing"))  # of whole splits
    reasons = adapter.not_comparable_because(rows=rows, init=record.init, selection=record.selection, **seen)
    known = {key: task.get(key) for key in record.config["task"]}  # a new key alone makes no record outdated
    if record.config["task"] == known and record.not_comparable_because == reasons:
        return record
    data = {**record.data, "checked": adapter.checked(**seen)}
    config = {**record.config, "task": task}
    return replace(record, config=config, data=data, comparable=not reasons, not_comparable_because=reasons)


def tidy_up(plan: Plan, store: RunStore) -> None:
    """Save the records that the plan updated, and delete leftovers of finished runs; each under a lease."""
    for run_id, record in plan.records.items():
        leftovers = store.leftovers(record) if record.finished else []
        if not leftovers and run_id not in plan.outdated:
            continue
        with contextlib.suppress(DiskError):  # a folder that cannot be written can still be read
            lease = take_lease(store.folder(*record.place))
            if isinstance(lease, Owner):
                continue
            try:
                found = store.load(*record.place)
                if found is not None and found.ended == record.ended:  # nobody has trained it again since
                    for path in leftovers:
                        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
                    if run_id in plan.outdated:
                        store.save(record)
            finally:
                lease.release(done=True)


def fetch_inputs(missing: Sequence[RunRequest]) -> None:
    """Find or download every file that the missing runs need: an InputError comes before the first run."""
    for encoder in {str(request.config.encoder): request.config.encoder for request in missing}.values():
        resolve_pretrained(encoder)
    for config in {f"{request.config.task} {request.config.data}": request.config for request in missing}.values():
        resolve_source(config.data, config.task)


def check_local_rows(missing: Sequence[RunRequest]) -> None:
    """Read the local rows that missing runs need, as they will: an InputError names a wrong column or label."""
    for config in {f"{request.config.task} {request.config.data}": request.config for request in missing}.values():
        if config.data.source == "local":
            for files in resolve_source(config.data, config.task).files.values():
                load_split(files, config.task)


def write_plan(path: Path, plan: Plan, *, estimates: Mapping[str, Estimate]) -> None:
    """Write every run of a plan, done ones too, with absolute paths: a line keeps its number in every such file.

    A UsageError if the file exists and is not a plan of the same runs: jobs may be queued for its lines. A
    DiskError if it cannot be written.
    """
    if path.exists():
        known = list[Any]()
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            known = [parse_json(line)["run_id"] for line in read_text(path).splitlines()]
        if known != [request.run_id for request in plan.requests]:
            raise UsageError(f"--plan {path}: exists, is no plan of these runs, and is kept; name another file")
    lines, seconds = list[str](), {run_id: round(estimate.seconds) for run_id, estimate in estimates.items()}
    for index, request in enumerate(plan.requests):
        facts = {"index": index, "title": request.title, "state": plan.state(request)}
        facts |= {"estimated_seconds": seconds.get(request.run_id), **_facts_of(request)}
        lines.append(json.dumps({**facts, "format": FORMAT, "scores_version": SCORES_VERSION}) + "\n")
    write_text_atomically(path, "".join(lines))


def read_plan(path: Path, index: int) -> RunRequest:
    """Read the run of one line, counted from 0; a UsageError if there is none.

    An InputError if the file cannot be read, or is not a plan of this version.
    """
    try:
        lines = read_text(path).splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"--plan {path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if not 0 <= index < len(lines):
        allowed = f"must be 0 to {len(lines) - 1}" if lines else "the plan is empty"
        raise UsageError(f"--index {index}: no such line in {path}; {allowed}")
    try:
        facts = parse_json(lines[index])
        for key, own in (("format", FORMAT), ("scores_version", SCORES_VERSION)):
            if facts[key] != own:
                raise ValueError(f"{key} is {facts[key]}; this version's is {own}: write the plan again")
        return _request_from(facts)
    except (ValueError, KeyError, TypeError, UsageError) as error:
        raise InputError(f"{path} line {index + 1}: not a run that this glue-bench planned ({error})") from error


def _facts_of(request: RunRequest) -> dict[str, Any]:
    config = asdict(request.config)
    for holder, key in ((config, "results_dir"), (config["data"], "path"), (config["encoder"], "path")):
        if holder.get(key):
            holder[key] = str(Path(holder[key]).resolve())
    starts = [_facts_of(start) for start in request.starts]
    before = {"parent": None, "starts": starts} if len(starts) > 1 else {"parent": starts[0] if starts else None}
    return {key: getattr(request, key) for key in (*_COPIED, "shape")} | before | {"config": config}


def _request_from(facts: Mapping[str, Any]) -> RunRequest:
    """Make the request of a line; a ValueError if its names, made again, differ: the line was edited."""
    conform(_Line, facts, where="the line")
    starts = tuple(_request_from(start) for start in facts.get("starts") or filter(None, [facts["parent"]]))
    config = config_from_facts(facts["config"])
    shape = facts["shape"] if "shape" in facts else cell_shape(facts["config"])  # a plan of before has ids of before
    request = identify(config, facts["inputs"], starts=starts, shape=shape)
    for key in _COPIED:
        if getattr(request, key) != facts[key]:
            raise ValueError(f"{key} is {facts[key]!r}; its configuration gives {getattr(request, key)!r}")
    if starts:
        first, seeds = starts[0].config, [start.config.seed for start in starts]
        place, pool = f"{first.task.name} in {first.results_dir}", [replace(first, seed=n) for n in start_seeds(config)]
        if place != f"{config.init} in {config.results_dir}" or [start.config for start in starts] != pool:
            wanted = f"{config.init} in {config.results_dir}, seeds {start_seeds(config)}"
            raise ValueError(f"starts from {place}, seeds {seeds}; its configuration says {wanted}")
    return request


class _Line(TypedDict):
    shape: NotRequired[Mapping[str, bool] | None]
    run_id: str
    setting_id: str
    encoder: str
    inputs: Mapping[str, Mapping[str, Any]]
    config: Mapping[str, Any]
    parent: Mapping[str, Any] | None
    starts: NotRequired[Sequence[Mapping[str, Any]]]
