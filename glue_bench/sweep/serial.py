"""One run after another in this process. A run that fails is recorded and the next one goes on."""

import logging
import time

from glue_bench.errors import DiskError, GlueBenchError, UsageError
from glue_bench.runs.identity import RunRequest
from glue_bench.runs.lease import LostLeaseError
from glue_bench.runs.record import Record
from glue_bench.runs.store import RunStore
from glue_bench.sweep.claimed import run_claimed
from glue_bench.sweep.listener import Listener
from glue_bench.sweep.plan import Plan
from glue_bench.sweep.queue import Queue
from glue_bench.training.distributed import ALONE, Processes
from glue_bench.training.stopping import SIGNALS

logger = logging.getLogger(__name__)


def run_serially(
    plan: Plan, store: RunStore, listener: Listener, *, stop_at_failure: bool, processes: Processes = ALONE
) -> dict[str, Record]:
    """Run what is missing; wait for what other workers have, and take it over if they die.

    Args:
        stop_at_failure: raise what a run raises; else it is recorded and the next one goes on.
        processes: which run each run together with this one, the first of them.

    Returns:
        Every record of the plan, by run id.

    Raises:
        DiskError: results can no longer be written; what was finished before is intact.
        Stopped: a signal asked to.
    """
    queue = Queue(plan, store, listener)
    while not queue.empty:
        request = queue.next_run()
        if request is None:
            time.sleep(0.2)
            continue
        listener.started(request)
        try:
            outcome = run_claimed(request, store, listener, earlier=queue.earlier(request), processes=processes)
        except LostLeaseError as error:
            if processes.count > 1:  # the others cannot be told in the middle of an update
                raise
            logger.warning("%s", error)
            outcome = None
        except (DiskError, UsageError):
            raise
        except (Exception, SystemExit) as error:
            if stop_at_failure:
                raise
            outcome = _kept(request, store, error)
        if isinstance(outcome, Record):
            queue.settle(request, outcome)
        else:
            queue.put_back(request)
        SIGNALS.obey()  # one that came while the run failed
    return queue.records


def _kept(request: RunRequest, store: RunStore, error: Exception | SystemExit) -> Record:
    """The record of a run that failed: its failure, or the result that was there before."""
    logger.debug("%s: %s", request.title, error, exc_info=not isinstance(error, GlueBenchError))
    found = store.load(*request.place)
    if found is None:
        raise error
    if found.status == "finished":
        logger.warning("%s: its result is kept, but making it again failed: %s", request.title, error)
    return found
