"""Make a results folder as sweeps write it, with predictions and histories, without training."""

import dataclasses
import multiprocessing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glue_bench.config.schema import TaskConfig
from glue_bench.runs.record import Record, task_of
from glue_bench.runs.store import RunStore, write_history
from tests.support.making import make_record
from tests.support.scored_runs import keep_predictions


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryLine:
    """The fields of a training step that the page reads."""

    step: int
    loss: float
    learning_rate: float


def write_run(
    results_dir: Path, *, rows: dict[str, int] | None = None, skill: float = 2.0, lines: int = 50, **facts: Any
) -> Record:
    """Save a finished run whose predictions agree with its scores, and return its record.

    Args:
        rows: of each validation split; the official numbers if not given.
        skill: how far right logits are above wrong ones; 0 is chance.
        lines: of the history.
        facts: as for `make_record`.
    """
    record = make_record(**facts)
    task = task_of(record)
    counts = {split: (rows or task.rows)[split] for split in task.validation}
    store, drawn = RunStore(results_dir), {}
    for number, (split, count) in enumerate(counts.items()):
        truth = np.random.default_rng([number, len(task.labels)])  # the same rows for every seed and encoder
        chance = np.random.default_rng([record.seed, number, int(100 * skill)])
        label, logits = _draw(task, count, truth, chance, skill)
        prediction = logits[:, 0].astype(np.float64) if task.kind == "regression" else logits.argmax(axis=1)
        drawn[split] = label, prediction, logits
    decay = np.exp(-np.linspace(0, 3, lines)) + 0.05 * np.random.default_rng(record.seed).random(lines)
    rates = np.concatenate([np.linspace(0, 1, max(lines // 16, 1)), np.linspace(1, 0, lines)])[:lines]
    history = [
        HistoryLine(step=10 * (line + 1), loss=float(decay[line]), learning_rate=float(3e-5 * rates[line]))
        for line in range(lines)
    ]
    write_history(store.folder(*record.place) / "history.jsonl", history)
    return keep_predictions(store, dataclasses.replace(record, steps=10 * lines, tokens=4000 * lines), drawn)


def _draw(
    task: TaskConfig, count: int, truth: np.random.Generator, chance: np.random.Generator, skill: float
) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Draw (n,) labels and (n, outputs) logits; some rows are harder than others for every seed."""
    if task.kind == "regression":
        score = truth.uniform(0, 5, count)
        return score, (score + chance.normal(0, 2 / (1 + skill), count))[:, None].astype(np.float32)
    k = len(task.labels)
    label = truth.integers(0, k, count)
    ease = skill * truth.normal(1, 0.7, count)
    logits = chance.normal(0, 1, (count, k))
    logits[np.arange(count), label] += ease
    return label, logits.astype(np.float32)


def write_at_once(folder: Path, *, writers: int, each: int) -> None:
    """Save `each` records of their own from every one of `writers` processes, all at the same time."""
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_write_many, args=(folder, writer, each)) for writer in range(writers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()


def _write_many(folder: Path, writer: int, each: int) -> None:
    for number in range(each):
        RunStore(folder).save(make_record(seed=writer * 1000 + number))
