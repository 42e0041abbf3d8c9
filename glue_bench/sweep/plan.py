"""Which runs of a sweep are missing, done, running and failed. Runs nothing; knows no torch."""

import contextlib
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

from glue_bench.data.sources import resolve_source
from glue_bench.errors import DiskError
from glue_bench.models.pretrained import resolve_pretrained
from glue_bench.runs.identity import RunRequest
from glue_bench.runs.lease import Owner, owner_of
from glue_bench.runs.record import Record
from glue_bench.runs.store import RunStore
from glue_bench.tasks.adapter import TaskAdapter


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Every run of a sweep, and what is already there."""

    requests: Sequence[RunRequest]  # those asked for, each after the one it starts from; in an order that stays
    records: dict[str, Record] = field(default_factory=dict)  # by run id: those that need no run
    missing: Sequence[RunRequest]  # in the order in which they are run
    running: dict[str, Owner] = field(default_factory=dict)  # by run id: those of `missing` that a worker has now
    earlier: dict[str, Record] = field(default_factory=dict)  # by run id: failures that are to be run again
    snapshots: dict[str, int] = field(default_factory=dict)  # by run id: updates done in a missing run's newest

    @property
    def concerned(self) -> list[RunRequest]:
        """The requests that have a record or need one; parents whose children are all done may have neither."""
        missing = {request.run_id for request in self.missing}
        return [request for request in self.requests if request.run_id in missing or request.run_id in self.records]

    def in_order(self, missing: Sequence[RunRequest]) -> "Plan":
        """The same plan, to be run in this order."""
        return dataclasses.replace(self, missing=list(missing))


def plan_runs(requests: Sequence[RunRequest], store: RunStore, *, retry_failed: bool) -> Plan:
    """Look up every request in the store, and the parents of those that are missing.

    Args:
        retry_failed: also run again what failed or diverged.
    """
    records, missing = dict[str, Record](), dict[str, RunRequest]()
    running, earlier, snapshots = dict[str, Owner](), dict[str, Record](), dict[str, int]()

    def look_up(request: RunRequest) -> None:
        if request.run_id in records or request.run_id in missing:
            return
        record = find_record(request, store)
        if record is not None and (record.status == "finished" or not retry_failed):
            records[request.run_id] = _refresh(record, request, store)
            return
        if request.parent:
            look_up(request.parent)
        missing[request.run_id] = request
        if record is not None:
            earlier[request.run_id] = record
        if owner := owner_of(store.folder(*request.place)):
            running[request.run_id] = owner
        elif steps := store.snapshot_steps(*request.place):
            snapshots[request.run_id] = steps[-1]

    every = _with_parents(requests)
    for request in requests:
        look_up(every[request.run_id])
    for request in every.values():  # parents that no missing run needs: shown if they are there
        record = find_record(request, store)
        if request.run_id not in missing and record is not None:
            records.setdefault(request.run_id, record)
    return Plan(
        requests=list(every.values()),
        records=records,
        missing=list(missing.values()),
        running=running,
        earlier=earlier,
        snapshots=snapshots,
    )


def _with_parents(requests: Sequence[RunRequest]) -> dict[str, RunRequest]:
    """The requests by run id, parents before their first child; one that is also a parent keeps its model, as that."""
    parents = {request.parent.run_id: request.parent for request in requests if request.parent}
    every = dict[str, RunRequest]()
    for request in requests:
        for each in (request.parent, request) if request.parent else (request,):
            every.setdefault(each.run_id, parents.get(each.run_id, each))
    return every


def _refresh(record: Record, request: RunRequest, store: RunStore) -> Record:
    """Bring what the task says of itself up to date (title, official rows, conventions): it changes no score."""
    task = dataclasses.asdict(request.config.task)
    if record.status != "finished":
        return record
    adapter = TaskAdapter.of(request.config.task)
    source, fingerprints = record.data["source"], record.data.get("fingerprints", {})
    reasons = adapter.not_comparable_because(
        source=source, rows=record.data["rows"], fingerprints=fingerprints, init=record.init
    )
    data = {**record.data, "checked": adapter.checked(source=source, fingerprints=fingerprints)}
    known = {key: task.get(key) for key in record.config["task"]}  # a new key alone makes no record outdated
    if record.config["task"] == known and record.not_comparable_because == reasons:
        return record
    updated = dataclasses.replace(
        record,
        config={**record.config, "task": task},
        data=data,
        comparable=not reasons,
        not_comparable_because=reasons,
    )
    with contextlib.suppress(DiskError):  # somebody else's folder can still be looked at
        store.save(updated)
    return updated


def find_record(request: RunRequest, store: RunStore) -> Record | None:
    """The record that answers a request; None if it was never run, was interrupted, or lacks the model asked for."""
    record = store.load(*request.place)
    if record is None or record.status == "interrupted":
        return None
    if record.status == "finished" and request.config.save_model and not store.has_model(record):
        return None
    return record


def discard_leftovers(plan: Plan, store: RunStore) -> None:
    """Delete snapshots that a process killed at the very end left beside a result; failed runs keep theirs."""
    for record in plan.records.values():
        if record.status == "finished" and owner_of(store.folder(*record.place)) is None:
            store.discard_snapshots(record)


def fetch_inputs(missing: Sequence[RunRequest]) -> None:
    """Find or download every file that the missing runs need, so that nothing is missing halfway.

    Raises:
        InputError: a file is missing or unreachable.
    """
    encoders = {str(request.config.encoder): request.config.encoder for request in missing}
    for encoder in encoders.values():
        resolve_pretrained(encoder)
    sources = {f"{request.config.task} {request.config.data}": request.config for request in missing}
    for config in sources.values():
        resolve_source(config.data, config.task)
