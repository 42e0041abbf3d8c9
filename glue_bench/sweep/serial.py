"""Runs in this process, one after another, each under a lease. A failed run is recorded and the next one starts."""

import logging
import time
from typing import TYPE_CHECKING

from glue_bench.errors import DiskError, GlueBenchError, UsageError
from glue_bench.runs.identity import RunRequest
from glue_bench.runs.lease import LostLeaseError, Owner, take_lease
from glue_bench.runs.record import Record
from glue_bench.runs.store import RunStore
from glue_bench.sweep.board import Listener
from glue_bench.sweep.plan import Plan, find_record
from glue_bench.sweep.queue import Queue, resolve_lost
from glue_bench.training.distributed import ALONE, Processes
from glue_bench.training.stopping import SIGNALS

if TYPE_CHECKING:
    from glue_bench.training.updates import StepReport

logger = logging.getLogger(__name__)


def run_leased(
    request: RunRequest,
    store: RunStore,
    *,
    listener: Listener,
    earlier: Record | None = None,
    processes: Processes = ALONE,
) -> Record | Owner:
    """Run a request under its lease, unless another worker has it or has finished it in the meantime.

    `earlier` is the failure that is being retried; the `processes` run it together, this one first.

    Returns:
        The record, or the worker that has the run. Raises why it failed, after its record was written, and a
        LostLeaseError if another worker took it over.
    """
    lease = take_lease(store.folder(*request.place), patience=60 * request.config.executor.timeout)
    if isinstance(lease, Owner):
        return lease
    try:
        if found := find_record(request, store, earlier=earlier):
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
        lease.release(done=record is not None and record.finished)


def run_serially(
    plan: Plan, store: RunStore, *, listener: Listener, stop_at_failure: bool, processes: Processes = ALONE
) -> dict[str, Record]:
    """Run what is missing; wait for the runs of other workers, and take them over if their workers die.

    Args:
        stop_at_failure: raise what a run raises, instead of recording it and starting the next run.
        processes: those that carry out each run together; this is the first of them.

    Returns:
        Every record of the plan, by run id.

    Raises:
        DiskError: results can no longer be written; those written before are intact.
        Stopped: a signal asked to stop; what ran has kept a snapshot.
    """
    queue = Queue(plan, store, listener=listener)
    while not queue.empty:
        request = queue.next_run()
        if request is None:
            time.sleep(0.2)
            continue
        listener.started(request)
        before = store.load(*request.place)
        record: Record | None = None
        try:
            earlier = queue.earlier.get(request.run_id)
            outcome = run_leased(request, store, listener=listener, earlier=earlier, processes=processes)
            record = outcome if isinstance(outcome, Record) else None
        except LostLeaseError as error:
            if processes.count > 1:  # the other processes cannot leave in the middle of an update
                raise
            logger.warning("%s", error)
        except (DiskError, UsageError):
            raise
        except (Exception, SystemExit) as error:
            if stop_at_failure:
                raise
            logger.debug("%s: %s", request.title, error, exc_info=not isinstance(error, GlueBenchError))
            record = resolve_lost(request, store, error=error, before=before)
        queue.settle(request, record)
        SIGNALS.obey()  # a signal that came while the run failed
    return queue.records
