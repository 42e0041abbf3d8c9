"""How long runs will take: by finished runs, by a few updates, or at least how much work they are; their order."""

import heapq
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from glue_bench.config.schema import TrainerConfig
from glue_bench.data.rows import load_split, load_task_data
from glue_bench.data.sources import resolve_source
from glue_bench.runs.identity import RunRequest, identify
from glue_bench.runs.record import Record
from glue_bench.runs.store import RunStore
from glue_bench.text import plural

_CHARACTERS = 4.5  # of a token, in English
_MEASURED, _UNEVEN = 10, 3  # updates that are timed, after the first few, which are slower


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """How long one run will probably take."""

    seconds: float
    basis: str  # what it was measured on


def estimate_runs(requests: Sequence[RunRequest], records: Iterable[Record]) -> dict[str, Estimate]:
    """Estimate the time of runs, by run id, from finished runs of this results folder.

    The best basis is finished runs that differ in the seed only; the second best is runs of the same encoder, task and
    kind of data, by the number of rows that they train on. A run without either has no estimate.
    """
    totals = [(record, record.seconds.get("total")) for record in records if record.finished]
    timed = [(record, seconds) for record, seconds in totals if isinstance(seconds, int | float) and seconds > 0]
    estimates = {}
    for request in requests:
        same = [seconds for record, seconds in timed if record.setting_id == request.setting_id]
        basis = f"of this setting, {'its time' if len(same) == 1 else 'median time'}"
        if not same:
            same = [seconds * scale for record, seconds in timed if (scale := _scale(record, request))]
            basis = "of this encoder and task, by training rows"
        if same:
            basis = f"{plural(len(same), 'finished run')} {basis}"
            estimates[request.run_id] = Estimate(seconds=statistics.median(same), basis=basis)
    return estimates


def longest_first(requests: Sequence[RunRequest], estimates: Mapping[str, Estimate]) -> list[RunRequest]:
    """Sort runs so that workers are busy to the end; by rows times texts if some run has no estimate.

    A parent counts with the runs that wait for it, and so comes before them.
    """
    known = all(request.run_id in estimates for request in requests)
    weights = defaultdict[str, float](float)
    for request in requests:
        work = estimates[request.run_id].seconds if known else rough_work(request)
        for run_id in {request.run_id, *request.ancestors}:
            weights[run_id] += work
    return sorted(requests, key=lambda request: -weights[request.run_id])


def seconds_in_all(seconds: Iterable[float], *, workers: int) -> float:
    """Return the time until the last of `workers` is done, if each takes the next run whenever it is free."""
    free_at = [0.0] * workers
    for each in seconds:
        heapq.heappush(free_at, heapq.heappop(free_at) + each)
    return max(free_at)


def describe_work(request: RunRequest) -> str:
    """Say how many updates a run has, and roughly how many tokens if its rows are at hand; empty if that is not known.

    Makes no request to the hub. Local rows that cannot be read are an InputError.
    """
    config, trainer, tokens = request.config, request.config.trainer, ""
    rows = config.task.rows.get(config.task.train)
    if config.data.source != "hub":
        files = resolve_source(config.data, config.task).files[config.task.train]
        texts = load_split(files, config.task).sample(config.data.max_train_rows, how="first", seed=0).texts
        rows, characters = len(texts[0]), sum(len(text) for column in texts for text in column)
        found = _rows_seen(trainer, rows) / rows * (characters / _CHARACTERS + 2 * rows)
        tokens = f", roughly {float(f'{found:.1e}'):,.0f} tokens"
    if rows is None:
        return ""
    return plural(_updates(trainer, min(rows, config.data.max_train_rows or rows)), "update") + tokens


def measure_run(request: RunRequest, *, threads: int) -> Estimate:
    """Time a few updates on some of the run's rows, in this process, and extrapolate to the whole run.

    On a CPU it will have `threads`. A GlueBenchError if encoder or rows cannot be had, or the updates diverge.
    """
    import torch

    from glue_bench.runs.experiment import Experiment

    config, times = request.config, list[float]()
    torch.set_num_threads(threads)
    data = load_task_data(resolve_source(config.data, config.task), config.data, task=config.task, seed=config.seed)
    began = time.perf_counter()  # the short run reads the rows again
    train, size = data.rows[config.task.train], config.trainer.batch_size
    trainer = replace(config.trainer, updates=_MEASURED, log_every=1, snapshot_minutes=0, eval_every=None)
    few = replace(config.data, max_train_rows=min(train, _MEASURED * size), max_eval_rows=size, sample="random")
    short = replace(config, trainer=trainer, data=few, selection="last", save_model=False)
    inputs = {**request.inputs, "data": dict(resolve_source(few, config.task).identity)}
    with tempfile.TemporaryDirectory() as folder:
        run, store = identify(short, inputs), RunStore(Path(folder))
        Experiment(run, store, on_step=lambda _: times.append(time.perf_counter())).run()
    each = (times[-1] - times[_UNEVEN - 1]) / (_MEASURED - _UNEVEN)  # seconds of an update
    start = times[0] - began - each  # reading, tokenising, loading
    work = _updates(config.trainer, train) + sum(data.rows[name] for name in config.task.validation) / size / 3
    return Estimate(seconds=start + each * work, basis=f"{_MEASURED} updates, timed now")


def rough_work(request: RunRequest) -> float:
    """Return how much work a run is, in rows times texts, as far as its configuration says."""
    config = request.config
    rows = config.task.rows.get(config.task.train, 10_000)
    return _rows_seen(config.trainer, min(rows, config.data.max_train_rows or rows)) * len(config.task.texts)


def _updates(trainer: TrainerConfig, rows: int) -> int:
    return trainer.updates or trainer.epochs * -(-rows // trainer.batch_size)


def _rows_seen(trainer: TrainerConfig, rows: int) -> int:
    """Return how many rows a training goes through, those of every epoch counted."""
    return trainer.epochs * rows if trainer.updates is None else trainer.updates * trainer.batch_size


def _scale(record: Record, request: RunRequest) -> float | None:
    """Return how many times as many rows a run trains on as a finished one did; None if the two do not compare."""
    data, task, trainer = request.config.data, request.config.task, record.config["trainer"]
    asked = (task.name, request.encoder, data.source)
    done = record.data.get("rows", {}).get(task.train)
    if (record.task, record.encoder["name"], record.data["source"]) != asked or not done:
        return None
    alike = record.config["data"].get("max_train_rows") == data.max_train_rows
    rows = done if alike else data.max_train_rows or task.rows.get(task.train)
    seen = record.epochs * done if trainer.get("updates") is None else trainer["updates"] * trainer.get("batch_size", 0)
    return _rows_seen(request.config.trainer, rows) / seen if rows and seen else None
