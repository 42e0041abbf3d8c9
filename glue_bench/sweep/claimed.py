"""One run in this process, under a claim: nobody else runs it meanwhile."""

from typing import TYPE_CHECKING

from glue_bench.runs.identity import RunRequest
from glue_bench.runs.lease import Owner, take_lease
from glue_bench.runs.record import Record
from glue_bench.runs.store import RunStore
from glue_bench.sweep.listener import Listener
from glue_bench.sweep.plan import find_record
from glue_bench.training.distributed import ALONE, Processes

if TYPE_CHECKING:
    from glue_bench.training.updates import StepReport


def run_claimed(
    request: RunRequest,
    store: RunStore,
    listener: Listener,
    *,
    earlier: Record | None = None,
    processes: Processes = ALONE,
) -> Record | Owner:
    """Run a request, unless somebody else has it or has done it since.

    Args:
        earlier: the failure because of which it is run again; another record in its place is a result of today's.

        processes: which run it together with this one, the first of them.

    Returns:
        The record, or who is running it now.

    Raises:
        GlueBenchError, Exception: what made it fail; its record is written.
        LostLeaseError: another worker took it over.
    """
    lease = take_lease(store.folder(*request.place), patience=60 * request.config.executor.timeout)
    if isinstance(lease, Owner):
        return lease
    try:
        found = find_record(request, store)
        if found is not None and (earlier is None or found.ended != earlier.ended):
            return found
        from glue_bench.runs.experiment import run_experiment

        def on_phase(name: str) -> None:
            lease.note_progress(name)
            listener.phase(request, name)

        def on_step(report: "StepReport") -> None:
            lease.note_progress("training", report.step, steps=report.steps)
            listener.step(request, report)

        processes.broadcast(request)
        return run_experiment(
            request, store, on_phase=on_phase, on_step=on_step, check_owner=lease.check, processes=processes
        )
    finally:
        record = store.load(*request.place)
        lease.release(done=record is not None and record.status == "finished")
