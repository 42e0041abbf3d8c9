"""Tasks x seeds x encoders: which runs are missing, and running them. Knows no torch before the first run starts."""

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from glue_bench.data import resolve_source
from glue_bench.errors import DiskError, GlueBenchError
from glue_bench.identity import RunRequest
from glue_bench.pretrained import resolve_pretrained
from glue_bench.processes import ALONE, Processes
from glue_bench.records import Record, RunStore
from glue_bench.stopping import SIGNALS
from glue_bench.tasks import TaskAdapter

if TYPE_CHECKING:
    from glue_bench.updates import StepReport

logger = logging.getLogger(__name__)


class Listener(Protocol):
    """Who is told how a sweep goes on: the live board, or plain lines."""

    def started(self, request: RunRequest) -> None:
        """A run begins."""

    def phase(self, request: RunRequest, name: str) -> None:
        """A run goes on to loading, tokenising, training or evaluating."""

    def step(self, request: RunRequest, report: "StepReport") -> None:
        """An update was done."""

    def ended(self, request: RunRequest, record: Record) -> None:
        """A run has a record now: finished, failed or diverged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Every run of a sweep, and what is already there."""

    requests: Sequence[RunRequest]
    records: dict[str, Record] = field(default_factory=dict)  # by run id: those that need no run
    missing: Sequence[RunRequest]  # in the order in which they are run


def plan_runs(requests: Sequence[RunRequest], store: RunStore, *, retry_failed: bool) -> Plan:
    """Look up every request in the store.

    Args:
        retry_failed: also run again what failed or diverged.
    """
    records = {}
    for request in requests:
        record = find_record(request, store)
        if record is not None and (record.status == "finished" or not retry_failed):
            records[request.run_id] = _refresh(record, request, store)
    missing = [request for request in requests if request.run_id not in records]
    return Plan(requests=requests, records=records, missing=missing)


def _refresh(record: Record, request: RunRequest, store: RunStore) -> Record:
    """Bring what the task says of itself up to date (title, official rows, conventions): it changes no score."""
    task = dataclasses.asdict(request.config.task)
    if record.status != "finished" or record.config["task"] == task:
        return record
    adapter = TaskAdapter(request.config.task)
    reasons = adapter.not_comparable_because(source=record.data["source"], rows=record.data["rows"])
    updated = dataclasses.replace(
        record, config={**record.config, "task": task}, comparable=not reasons, not_comparable_because=reasons
    )
    store.save(updated)
    return updated


def find_record(request: RunRequest, store: RunStore) -> Record | None:
    """The record that answers a request; None if it was never run, was interrupted, or lacks the model asked for."""
    record = store.load(request.encoder, request.config.task.name, request.run_id)
    if record is None or record.status == "interrupted":
        return None
    if record.status == "finished" and request.config.save_model and not store.has_model(record):
        return None
    return record


def discard_leftovers(plan: Plan, store: RunStore) -> None:
    """Delete snapshots that a process killed at the very end left beside a result; failed runs keep theirs."""
    for record in plan.records.values():
        if record.status == "finished":
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


def run_missing(plan: Plan, store: RunStore, listener: Listener) -> dict[str, Record]:
    """Run what is missing, one after another; a run that fails is recorded and the next one goes on.

    Returns:
        Every record of the plan, by run id.

    Raises:
        DiskError: results can no longer be written; what was finished before is intact.
    """
    records = dict(plan.records)
    for request in plan.missing:
        listener.started(request)
        try:
            record = run_request(request, store, listener)
        except DiskError:
            raise
        except Exception as error:
            logger.debug("%s: %s", request.title, error, exc_info=not isinstance(error, GlueBenchError))
            found = store.load(request.encoder, request.config.task.name, request.run_id)
            if found is None:
                raise
            if found.status == "finished":
                logger.warning("%s: its result is kept, but making it again failed: %s", request.title, error)
            record = found
        records[request.run_id] = record
        listener.ended(request, record)
        SIGNALS.obey()  # one that came while the run failed
    return records


def run_request(request: RunRequest, store: RunStore, listener: Listener, *, processes: Processes = ALONE) -> Record:
    """One run in this process, or this process's share of it.

    Raises:
        GlueBenchError, Exception: what made it fail; its record is written.
    """
    from glue_bench.experiment import run_experiment

    return run_experiment(
        request,
        store,
        on_phase=lambda name: listener.phase(request, name),
        on_step=lambda report: listener.step(request, report),
        processes=processes,
    )
