"""The files beside a run's record, read back and checked: predictions and history. Knows no report."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glue_bench.errors import InputError
from glue_bench.tasks import TaskAdapter


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """What a run predicted, in the order of the split's rows."""

    idx: NDArray[np.int64]  # (n,) the rows' numbers as the source gives them
    label: NDArray[Any]  # (n,) codes 0..k-1, or scores for regression
    prediction: NDArray[Any]  # (n,) of the same kind
    logits: NDArray[np.float64]  # (n, outputs)

    def losses(self) -> NDArray[np.float64]:
        """(n,) the loss of every row: cross-entropy in nats, or the squared error."""
        if self.logits.shape[1] == 1:
            return np.asarray((self.logits[:, 0] - self.label) ** 2, dtype=np.float64)
        return np.asarray(-log_probabilities(self.logits)[np.arange(len(self.label)), self.label], dtype=np.float64)


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


def read_predictions(folder: Path, task: TaskAdapter) -> Mapping[str, Predictions]:
    """The predictions of a finished run, by validation split.

    Raises:
        InputError: a file is missing, damaged, or does not fit the task.
    """
    return {split: _read_split(folder / "predictions" / f"{split}.parquet", task) for split in task.facts.validation}


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


def _read_split(path: Path, task: TaskAdapter) -> Predictions:
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = f"predictions/{path.name}"
    wanted = ["idx", "label", "prediction", *(f"logit_{output}" for output in range(task.outputs))]
    try:
        table = pq.ParquetFile(path).read(columns=wanted)
        columns = [table[column].to_numpy() for column in wanted]
    except FileNotFoundError as error:
        raise InputError(f"no {name}") from error
    except (OSError, pa.ArrowException, KeyError) as error:
        raise InputError(f"a damaged {name} ({type(error).__name__})") from error
    idx, label, prediction, *logits = columns
    stacked = np.stack(logits, axis=1).astype(np.float64)  # (n, outputs)
    codes = np.concatenate([label, prediction])
    fits = len(label) > 0 and bool(np.isfinite(stacked).all()) and bool(np.isfinite(codes.astype(np.float64)).all())
    if not task.regression:
        fits = fits and codes.dtype.kind == "i" and codes.min() >= 0 and codes.max() < task.outputs
    if not fits:
        raise InputError(f"{name} that does not fit the task")
    return Predictions(idx=idx, label=label, prediction=prediction, logits=stacked)
