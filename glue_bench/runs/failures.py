"""The record of a run that did not finish: why, and how far it was. Knows no torch, so that it works after a crash."""

import dataclasses
import traceback
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from glue_bench.errors import DivergedError, GlueBenchError, LostError
from glue_bench.files import write_text_atomically
from glue_bench.runs.identity import RunRequest
from glue_bench.runs.provenance import checkout_commit, library_versions
from glue_bench.runs.record import Record
from glue_bench.runs.store import RunStore, write_history
from glue_bench.training.seeds import SeedStreams, holdout_stream


def request_facts(request: RunRequest) -> dict[str, Any]:
    """What a record says before anything is read."""
    config = request.config
    return {
        "run_id": request.run_id,
        "setting_id": request.setting_id,
        "task": config.task.name,
        "encoder": {
            "name": request.encoder,
            "hub_id": config.encoder.hub_id,
            "revision": config.encoder.revision,
        },
        "data": {
            "source": config.data.source,
            "dataset": config.data.dataset,
            "revision": config.data.revision,
        },
        "comparable": False,
        "not_comparable_because": ["the run did not finish"],
        "seed": config.seed,
        "streams": {
            **dataclasses.asdict(SeedStreams.from_seed(config.seed)),
            **({"holdout": holdout_stream(config.seed)} if config.selection == "holdout" else {}),
        },
        "recipe": config.recipe,
        "selection": config.selection,
        "init": request.init,
        "accumulation": config.trainer.accumulation,
        "versions": library_versions(),
        "git": checkout_commit(),
        "config": dataclasses.asdict(config),
    }


def keep_failure(
    request: RunRequest, store: RunStore, error: BaseException, *, facts: Mapping[str, Any], history: Sequence[Any]
) -> Record:
    """Write the record of a run that did not finish, and the traceback of an unforeseen error.

    A result that is there already is never replaced by a failure to make it again: then that is returned.

    Args:
        facts: what is known of the run so far, from `request_facts` on.
        history: its lines so far.
    """
    folder = store.folder(*request.place)
    known = store.load(*request.place)
    if known is not None and known.status == "finished":
        return known
    if history or not (folder / "history.jsonl").exists():  # a run that never went on keeps what it had
        write_history(folder / "history.jsonl", history)
    if isinstance(error, Exception | SystemExit) and not isinstance(error, GlueBenchError):
        write_text_atomically(folder / "error.log", "".join(traceback.format_exception(error)))
    record = Record(**facts, status=_status_of(error), error=_describe(error), ended=now())
    store.save(record)
    if record.status == "diverged":
        store.discard_snapshots(record)
    return record


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _status_of(error: BaseException) -> str:
    if isinstance(error, DivergedError):
        return "diverged"
    return "interrupted" if isinstance(error, KeyboardInterrupt | LostError) else "failed"


def _describe(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"the run called sys.exit({error.code!r})"
    if isinstance(error, GlueBenchError):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
