"""The rest of a plan: which run may start next, which are run elsewhere, which have their record; and its runs in this
process, one after another, each under a lease. A failed run is recorded and the next one starts."""

import logging
import math
import time
from collections.abc import Iterator

from glue_bench.errors import DiskError, GlueBenchError, InputError, UsageError
from glue_bench.runs.identity import RunRequest
from glue_bench.runs.lease import Lease, LostLeaseError, Owner, owner_of, take_lease
from glue_bench.runs.record import Record
from glue_bench.runs.store import RunStore
from glue_bench.sweep.board import Listener
from glue_bench.sweep.plan import Plan, find_record
from glue_bench.training.course import StepReport
from glue_bench.training.distributed import ALONE, Processes
from glue_bench.training.stopping import SIGNALS

logger = logging.getLogger(__name__)

_LOOK_AGAIN = 1.0  # seconds between checks of a run that another worker has


class Queue:
    """The runs of a plan that have no record yet and are not run here."""

    def __init__(self, plan: Plan, store: RunStore, *, listener: Listener) -> None:
        """Start with everything that is missing, in the plan's order."""
        self.store, self.listener = store, listener
        self.records, self.earlier = dict(plan.records), plan.earlier  # by run id; failures that are being retried
        self._open = {request.run_id: request for request in plan.missing}  # by run id: without a record, not here
        self._before = dict[str, Record | None]()  # by run id: the record at its start
        self._looked = dict[str, float]()  # by run id: when a run elsewhere was last looked at

    @property
    def empty(self) -> bool:
        """Whether nothing is left to start or to wait for."""
        return not self._open

    def next_run(self) -> RunRequest | None:
        """Start the first run that may start now; None if each waits for a parent or for another worker."""
        request = next(self.ready(), None)
        if request is not None:
            del self._open[request.run_id]
            self.note_start(request)
            self.listener.started(request)
        return request

    def note_start(self, request: RunRequest) -> None:
        """Note that a run starts now: a record that is newer than the present one is its result."""
        self._before[request.run_id] = self.store.load(*request.place)

    def ready(self) -> Iterator[RunRequest]:
        """Yield the runs that may start now; settle those that another worker has finished."""
        for request in list(self._open.values()):
            now, starts = time.monotonic(), [(start, self.records.get(start.run_id)) for start in request.starts]
            if failed := [(start, record) for start, record in starts if record and not record.finished]:
                start, record = failed[0]
                reason = f"the run that it starts from, {start.title}, has {record.status}: {record.outcome}"
                self.settle(request, self.store.keep_failure(request, InputError(reason)))
                continue
            looked = self._looked.get(request.run_id, -math.inf)
            if now < looked + _LOOK_AGAIN or not all(record for _, record in starts):
                continue
            try:
                owner = owner_of(self.store.folder(*request.place))
            except OSError as error:  # a file server that is unreachable for a moment
                logger.warning("%s: %s; trying again", request.title, error)
                self._looked[request.run_id] = now
                continue
            if owner is not None:
                self._looked[request.run_id] = now
                self.listener.elsewhere(request, owner)
            elif found := find_record(request, self.store, earlier=self.earlier.get(request.run_id)):
                self.settle(request, found)
            else:
                if self._looked.pop(request.run_id, None):  # the worker elsewhere has stopped without a result
                    self.listener.put_back(request)
                yield request

    def settle(self, request: RunRequest, record: Record | None, *, stopped: bool = False) -> None:
        """Note a run's record; without one put the run back, `stopped` if that is because the sweep ends."""
        if record is None:
            self._open = {request.run_id: request, **self._open}  # first again: a plan begins with the longest
            self._looked.pop(request.run_id, None)
            self.listener.put_back(request, stopped=stopped)
        else:
            self.records[request.run_id] = record
            self._open.pop(request.run_id, None)
            self.listener.ended(request, record)

    def settle_lost(
        self, request: RunRequest, error: BaseException, *, steps: int = 0, dead: int | None = None, again: bool = True
    ) -> Record | None:
        """Settle a run that did not report a result; None if it must be started again, or is run elsewhere.

        A record newer than its start is the result; if it is interrupted, the run stopped in good order and must be
        started `again` if it can be. Without a new record the run is lost: `error`, why, becomes its record with the
        `steps` that it had done, unless there is a result to keep. `dead` is the run's process on this host, known to
        have ended.
        """
        lease = take_lease(self.store.folder(*request.place), dead=dead)
        record, before = None, self._before[request.run_id]
        if isinstance(lease, Lease):
            try:
                found = self.store.load(*request.place)
                new = found is not None and (before is None or found.ended != before.ended)
                if found is not None and new and found.status != "interrupted":
                    record = found
                elif not (new and again):
                    record = self.store.keep_failure(request, error, steps=steps)
                    if record.finished:
                        text = "%s: its result is kept, but training it again failed: %s"
                        logger.warning(text, request.title, error)
            finally:
                lease.release(done=record is not None and record.finished)
        self.settle(request, record)
        return record


def run_leased(
    request: RunRequest,
    store: RunStore,
    *,
    listener: Listener,
    earlier: Record | None = None,
    processes: Processes = ALONE,
) -> Record | None:
    """Run a request under its lease, and return its record; None if another worker has it, or took it over.

    `earlier` is the failure that is being retried; the `processes` run it together, this one first. Raises why it
    failed, after its record was written, and a LostLeaseError if a run of several processes was taken over.
    """
    lease = take_lease(store.folder(*request.place), patience=60 * request.config.executor.timeout)
    if isinstance(lease, Owner):
        return None
    try:
        if found := find_record(request, store, earlier=earlier):
            return found
        from glue_bench.runs.experiment import Experiment

        def on_phase(name: str) -> None:
            lease.note_progress(name)
            listener.phase(request, name)

        def on_step(report: StepReport) -> None:
            lease.note_progress("training", report.step, steps=report.steps)
            listener.step(request, report)

        processes.broadcast(request)
        return Experiment(
            request, store, on_phase=on_phase, on_step=on_step, check_owner=lease.check, processes=processes
        ).run()
    except LostLeaseError as error:
        if processes.count > 1:  # the other processes cannot leave in the middle of an update
            raise
        logger.warning("%s", error)
        return None
    finally:
        record = store.load(*request.place)
        lease.release(done=record is not None and record.finished)


def run_serially(
    plan: Plan, store: RunStore, *, listener: Listener, stop_at_failure: bool, processes: Processes = ALONE
) -> dict[str, Record]:
    """Run what is missing, and return every record of the plan, by run id; take over the runs of workers that die.

    `stop_at_failure` raises what a run raises, instead of recording it and starting the next run. The `processes` carry
    out each run together; this is the first. A DiskError if results can no longer be written: those written before are
    intact. Stopped if a signal asked to stop: what ran has kept a snapshot.
    """
    queue = Queue(plan, store, listener=listener)
    while not queue.empty:
        request = queue.next_run()
        if request is None:
            time.sleep(0.2)
            continue
        try:
            earlier = queue.earlier.get(request.run_id)
            record = run_leased(request, store, listener=listener, earlier=earlier, processes=processes)
        except (Exception, SystemExit) as error:
            if stop_at_failure or isinstance(error, DiskError | UsageError | LostLeaseError):
                raise
            logger.debug("%s: %s", request.title, error, exc_info=not isinstance(error, GlueBenchError))
            queue.settle_lost(request, error)
        else:
            queue.settle(request, record)
        SIGNALS.obey()  # a signal that came while the run failed
    return queue.records
