"""What is left of a plan: which run may start next, which are at work elsewhere, which have their record."""

import logging
import time

from glue_bench.errors import InputError
from glue_bench.runs.identity import RunRequest
from glue_bench.runs.lease import owner_of
from glue_bench.runs.record import Record
from glue_bench.runs.store import RunStore
from glue_bench.sweep.listener import Listener
from glue_bench.sweep.plan import Plan, find_record

logger = logging.getLogger(__name__)

_LOOK_AGAIN = 1.0  # seconds between two looks at a run that another worker has


class Queue:
    """The runs of a plan that have no record yet and are not at work here."""

    def __init__(self, plan: Plan, store: RunStore, listener: Listener) -> None:
        """Begin with everything that is missing, in the plan's order."""
        self.records = dict(plan.records)  # by run id
        self._waiting = {request.run_id: request for request in plan.missing}
        self._order = list(self._waiting)
        self._looked = dict[str, float]()  # by run id: when a run elsewhere was last looked at
        self._earlier, self._store, self._listener = plan.earlier, store, listener

    @property
    def empty(self) -> bool:
        """Whether nothing is left to start or to wait for."""
        return not self._waiting

    def earlier(self, request: RunRequest) -> Record | None:
        """The failure because of which a request is run again."""
        return self._earlier.get(request.run_id)

    def next_run(self) -> RunRequest | None:
        """Take the first run that may start now; None if each waits for a parent or for another worker."""
        for request in list(self._waiting.values()):
            if self._may_start(request):
                del self._waiting[request.run_id]
                return request
        return None

    def put_back(self, request: RunRequest, *, stopped: bool = False) -> None:
        """A run that could not be done here after all.

        Args:
            stopped: because the sweep is to end.
        """
        waiting = {**self._waiting, request.run_id: request}
        self._waiting = {run_id: waiting[run_id] for run_id in self._order if run_id in waiting}
        self._looked.pop(request.run_id, None)
        (self._listener.stopped if stopped else self._listener.waiting)(request)

    def settle(self, request: RunRequest, record: Record) -> None:
        """A run has its record."""
        self._waiting.pop(request.run_id, None)
        self.records[request.run_id] = record
        self._listener.ended(request, record)

    def _may_start(self, request: RunRequest) -> bool:
        if not self._parent_is_ready(request):
            return False
        looked, now = self._looked.get(request.run_id), time.monotonic()
        if looked is not None and now - looked < _LOOK_AGAIN:
            return False
        try:
            owner = owner_of(self._store.folder(*request.place))
        except OSError as error:  # a file server that is away for a moment
            logger.warning("%s: %s; looking again", request.title, error)
            self._looked[request.run_id] = now
            return False
        if owner is not None:
            self._looked[request.run_id] = now
            self._listener.elsewhere(request, owner)
            return False
        found, earlier = find_record(request, self._store), self.earlier(request)
        if found is not None and (earlier is None or found.ended != earlier.ended):
            self.settle(request, found)
            return False
        if looked is not None:  # it was elsewhere, and has come to nothing there
            del self._looked[request.run_id]
            self._listener.waiting(request)
        return True

    def _parent_is_ready(self, request: RunRequest) -> bool:
        if request.parent is None:
            return True
        parent = self.records.get(request.parent.run_id)
        if parent is None:
            return False
        if parent.status != "finished":
            reason = f"the run that it starts from, {request.parent.title}, has {parent.status}: {parent.outcome}"
            self.settle(
                request,
                self._store.keep_failure(request, InputError(reason)),
            )
            return False
        return True
