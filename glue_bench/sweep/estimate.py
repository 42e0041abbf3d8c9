"""How long runs will take, from what finished runs of this results folder took. Runs nothing; knows no torch."""

import heapq
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from glue_bench.runs.identity import RunRequest
from glue_bench.runs.record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What one run will probably take."""

    seconds: float
    basis: str  # what it was measured on


def estimate_runs(requests: Sequence[RunRequest], records: Iterable[Record]) -> dict[str, Estimate]:
    """The runs of which something is known, by run id.

    Best are finished runs that differ in the seed only; then runs of the same encoder, task and data, by their epochs.
    Nothing is guessed beyond that.
    """
    finished = [record for record in records if record.status == "finished"]
    estimates = {}
    for request in requests:
        same = [record for record in finished if record.setting_id == request.setting_id]
        if same:
            seconds = statistics.median(record.seconds["total"] for record in same)
            basis = f"{_count(same)} of this setting, {_median(same)}"
        else:
            same = [record for record in finished if _is_alike(record, request)]
            if not same:
                continue
            epochs = request.config.trainer.epochs
            seconds = statistics.median(record.seconds["total"] / record.epochs for record in same) * epochs
            basis = f"{_count(same)} of this encoder and task, by epochs"
        estimates[request.run_id] = Estimate(seconds=seconds, basis=basis)
    return estimates


def rough_work(request: RunRequest) -> float:
    """A number that is larger for longer runs: rows that go through the model, times texts of a row."""
    config = request.config
    rows = config.task.rows.get(config.task.train, 10_000)
    rows = min(rows, config.data.max_train_rows or rows)
    return rows * len(config.task.texts) * config.trainer.epochs


def longest_first(requests: Sequence[RunRequest], estimates: Mapping[str, Estimate]) -> list[RunRequest]:
    """The order that keeps workers busy to the end; by rough work where times are not known for all.

    A parent counts with the runs that wait for it, and so stands before them.
    """
    known = all(request.run_id in estimates for request in requests)
    work = {request.run_id: estimates[request.run_id].seconds if known else rough_work(request) for request in requests}
    weights = dict(work)
    for request in requests:
        if request.parent and request.parent.run_id in weights:
            weights[request.parent.run_id] += work[request.run_id]
    return sorted(requests, key=lambda request: -weights[request.run_id])


def seconds_in_all(seconds: Iterable[float], *, workers: int) -> float:
    """Until the last of `workers` is done, if each takes the next run whenever it is free."""
    free_at = [0.0] * workers
    for each in seconds:
        heapq.heappush(free_at, heapq.heappop(free_at) + each)
    return max(free_at)


def _is_alike(record: Record, request: RunRequest) -> bool:
    config = request.config
    return (
        record.task == config.task.name
        and record.encoder["name"] == request.encoder
        and record.data["source"] == config.data.source
        and record.config["data"].get("max_train_rows") == config.data.max_train_rows
        and record.epochs > 0
    )


def _count(records: Sequence[Record]) -> str:
    return f"{len(records)} finished {'run' if len(records) == 1 else 'runs'}"


def _median(records: Sequence[Record]) -> str:
    return "its time" if len(records) == 1 else "median time"
