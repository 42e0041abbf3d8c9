"""The files beside a run's record, read back and checked: predictions and history. Knows no report."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glue_bench.errors import InputError
from glue_bench.runs.record import Record, task_of
from glue_bench.runs.store import Predictions, RunStore


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The course of a training, a point for every line of history.jsonl."""

    step: NDArray[np.float64]
    loss: NDArray[np.float64]
    rate: NDArray[np.float64]  # learning rate


def log_probabilities(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, k) logits to (n, k) natural logarithms of the softmax."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), dtype=np.float64)


def row_losses(split: Predictions) -> NDArray[np.float64]:
    """(n,) the loss of every row: cross-entropy in nats, or the squared error."""
    if split.logits.shape[1] == 1:
        return np.asarray((split.logits[:, 0] - split.label) ** 2, dtype=np.float64)
    return np.asarray(-log_probabilities(split.logits)[np.arange(len(split.label)), split.label], dtype=np.float64)


def read_every_split(store: RunStore, run: Record) -> Mapping[str, Predictions]:
    """The predictions of a finished run, by validation split.

    Raises:
        InputError: a file is missing, damaged, or does not fit the task or the record.
    """
    splits = {split: store.read_predictions(run, split) for split in task_of(run).validation}
    for split, found in splits.items():
        if not np.isfinite(found.logits).all():
            raise InputError(f"logits of {split} that are no numbers")
    return splits


def read_history(path: Path) -> History:
    """The lines of a history that have a step, a loss and a learning rate.

    Raises:
        InputError: it is missing or damaged.
    """
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        columns = {
            key: np.array([float(line[key]) for line in lines], dtype=np.float64)
            for key in ("step", "loss", "learning_rate")
        }
    except FileNotFoundError as error:
        raise InputError("no history.jsonl") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"a damaged history.jsonl ({type(error).__name__})") from error
    return History(step=columns["step"], loss=columns["loss"], rate=columns["learning_rate"])
