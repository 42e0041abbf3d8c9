"""Write runs with predictions that match their scores, for tests of what is read from predictions."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from glue_bench.runs.record import Record, task_of
from glue_bench.runs.store import Predictions, RunStore, predictions_path
from glue_bench.tasks.metrics import score_predictions
from tests.support.making import DISTILROBERTA, ROBERTA, make_record

SHARES = {"mnli": 0.84, "qqp": 0.90, "qnli": 0.91, "sst2": 0.925, "cola": 0.83, "stsb": 0.88, "mrpc": 0.85, "rte": 0.68}


def keep_predictions(store: RunStore, record: Record, drawn: Mapping[str, tuple[Any, Any, Any]]) -> Record:
    """Save a finished run with its predictions, and with the scores and numbers of rows that follow from them.

    Args:
        drawn: labels (n,), predictions (n,) and logits (n, outputs) of each validation split.
    """
    folder, scores = store.folder(*record.place), {}
    for split, (label, prediction, logits) in drawn.items():
        path, idx = predictions_path(folder, split), np.arange(len(label))
        Predictions(idx=idx, label=label, prediction=prediction, logits=logits).write(path)
        scores[split] = score_predictions(task_of(record).metrics, prediction, labels=label)
    rows = {split: len(label) for split, (label, _, _) in drawn.items()}
    data = {**record.data, "rows": {**record.data["rows"], **rows}}
    record = dataclasses.replace(record, scores=scores, data=data)
    store.save(record)
    return record


def keep_run(
    store: RunStore, *, task: str, seed: int = 1, share: float = 0.8, always: int | None = None, **changes: Any
) -> Record:
    """Write a finished run whose predictions are right on about `share` of official-sized dev splits.

    Rows differ in difficulty, so that seeds and encoders err on much the same ones.

    Args:
        always: the class that is predicted for every row, whatever `share` says.
    """
    record = make_record(task=task, seed=seed, **changes)
    facts = task_of(record)
    drawn = {}
    for place, split in enumerate(facts.validation):
        rows = record.data["rows"][split]
        world = np.random.default_rng([len(facts.name), place, rows])  # of the rows: the same for every run
        own = np.random.default_rng([seed, int(1000 * share), place])
        if facts.kind == "regression":
            labels: Any = np.round(world.random(rows) * 5, 1)
            noise = world.normal(0, 0.8, rows) + own.normal(0, 0.3, rows)
            predictions: Any = labels + noise * (1.7 - share)
            logits = predictions[:, None].astype(np.float32)
        else:
            outputs = len(facts.labels)
            labels = (world.random(rows) ** 1.5 * outputs).astype(np.int64)
            right = world.random(rows) + own.normal(0, 0.05, rows) < share
            predictions = np.where(right, labels, (labels + 1) % outputs)
            if always is not None:
                predictions = np.full(rows, always)
            logits = np.eye(outputs, dtype=np.float32)[predictions] * 2 + own.normal(0, 0.3, (rows, outputs)).astype(
                "f4"
            )
            logits[np.arange(rows), predictions] += 2
        drawn[split] = labels, predictions, logits
    return keep_predictions(store, record, drawn)


def keep_two_encoders(store: RunStore) -> None:
    """Save DistilRoBERTa and roberta-base on the hub's rows: every verdict, a failed and a degenerate run, a subset."""
    small = {**DISTILROBERTA, "parameters": 82_119_938}
    large = {**ROBERTA, "parameters": 124_647_170}
    for seed in (1, 2, 3):
        for task in ("mnli", "cola", "mrpc", "rte"):
            keep_run(store, task=task, seed=seed, share=SHARES[task], encoder=small, device="cpu, 1 thread")
            cost = {"train": 2.0, "eval": 2.0, "total": 4.0}
            share = SHARES[task] + 0.04
            keep_run(store, task=task, seed=seed, share=share, encoder=large, device="cpu, 1 thread", seconds=cost)
    keep_run(store, task="stsb", share=SHARES["stsb"], encoder=small)
    keep_run(store, task="sst2", seed=1, share=SHARES["sst2"], always=1, encoder=small)
    subset = ("train has 100 rows, official 104,743",)
    keep_run(store, task="qnli", seed=1, share=SHARES["qnli"], encoder=small, reasons=subset)
    store.save(make_record(task="qqp", seed=1, status="failed", encoder=small, error="out of memory: <b>&|$x_1$</b>"))


def results_with_two_encoders(folder: Path) -> RunStore:
    """Make a results folder with both encoders."""
    store = RunStore(folder / "results")
    keep_two_encoders(store)
    return store


RATES = {"1e-5": "c", "3e-5": "a", "1e-4": "d", "3e-4": "b"}  # to setting ids, in another order


def rate_run(store: RunStore, rate: str, *, task: str = "rte", seed: int = 1, share: float = 0.7, **more: Any) -> None:
    """Keep a run of the tiny encoder at one of four learning rates."""
    words = (f"trainer.learning_rate={rate}", *more.pop("words", ()))
    keep_run(store, task=task, seed=seed, share=share, setting=f"{task}{RATES[rate]}", words=words, **more)
