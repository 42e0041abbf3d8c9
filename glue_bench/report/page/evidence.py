"""The files of a run, read and checked, and what their arrays show. Knows no report and no network."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Required, TypedDict

import numpy as np
import pandas as pd
import scipy
from numpy.typing import NDArray

from glue_bench.config.schema import DataConfig
from glue_bench.data.hub import cached_file, is_commit
from glue_bench.data.rows import draw_halves, load_task_data
from glue_bench.data.sources import hub_files, resolve_source
from glue_bench.errors import InputError
from glue_bench.reading import conform, parse_json, read_text
from glue_bench.runs.record import Record, task_of
from glue_bench.runs.store import Predictions
from glue_bench.text import first_line

POINTS = 90  # of a drawn curve
BINS = 10  # of confidence, of equal width

Floats = NDArray[np.float64]
Texts = Mapping[str, Sequence[Sequence[str]]]  # validation split to its text columns


class _Line(TypedDict, total=False):
    step: Required[int]
    loss: Required[float]
    learning_rate: Required[float]
    dev: float | None


def read_history(folder: Path) -> pd.DataFrame:
    """Read a run's history.jsonl: columns step, loss, learning_rate, and dev, the dev set's score times 100 or NaN.

    An InputError if it is missing or damaged.
    """
    try:
        lines = [parse_json(line) for line in read_text(folder / "history.jsonl").splitlines()]
        for number, line in enumerate(lines, start=1):
            conform(_Line, line, where=f"line {number}")
        history = pd.DataFrame(lines, columns=[*_Line.__annotations__], dtype=np.float64)
        return history.assign(dev=100 * history.dev)
    except FileNotFoundError as error:
        raise InputError("no history.jsonl") from error
    except (OSError, ValueError) as error:
        raise InputError(f"a damaged history.jsonl ({first_line(error)})") from error


def read_texts(record: Record) -> Texts:
    """Read the texts of a run's validation splits again from where the run had them, without a network.

    A GlueBenchError if they are missing, or are not those of the run.
    """
    task, given = task_of(record), record.config["data"]
    revision = record.data.get("revision") or given.get("revision")
    own = {key: given[key] for key in DataConfig.__dataclass_fields__ if key in given}
    data = DataConfig(**{**own, "source": record.data["source"], "revision": revision})
    place = {"revision": revision or "", "repo_type": "dataset"}
    known = (cached_file(data.dataset or "", name, **place) for name in hub_files(task).values())
    if data.source == "hub" and not (is_commit(place["revision"]) and all(known)):
        raise InputError(f"{data.dataset} at {revision} is not in the hub client's cache here")
    loaded = load_task_data(resolve_source(data, task), data, task=task, seed=record.seed)
    if loaded.fingerprint != record.data.get("fingerprint"):
        raise InputError("the rows there are no longer those of the runs (their fingerprint differs)")
    splits = {split: loaded.splits[split] for split in task.validation}
    if record.selection == "halves":
        splits = {split: rows.take(draw_halves(len(rows), seed=record.seed)[1]) for split, rows in splits.items()}
    return {split: rows.texts for split, rows in splits.items()}


def thin(history: pd.DataFrame, points: int = POINTS) -> pd.DataFrame:
    """Return at most `points` means of equally many consecutive lines, except the last."""
    return history.groupby(np.arange(len(history)) // max(1, -(-len(history) // points))).mean()


def row_losses(split: Predictions) -> Floats:
    """Compute the (n,) losses of the rows: cross-entropy in nats, or the squared error."""
    if split.logits.shape[1] == 1:
        return np.asarray((split.logits[:, 0] - split.label) ** 2, dtype=np.float64)
    likely = scipy.special.log_softmax(split.logits, axis=1)  # (n, k)
    return np.asarray(-likely[np.arange(len(split.label)), split.label], dtype=np.float64)


def measure_calibration(splits: Sequence[Predictions]) -> pd.DataFrame:
    """Measure accuracy by confidence (the highest softmax probability), in BINS equal bins from 0 to 1.

    Columns: low, the lower end of a bin; means of confidence and accuracy; its rows, and their share of all; error, its
    part of the expected calibration error. All but the rows are from 0 to 1. There is no line for an empty bin.
    """
    logits = np.concatenate([split.logits for split in splits])  # (n, k)
    accuracy = np.concatenate([split.label == split.prediction for split in splits])  # (n,)
    confidence = np.exp(scipy.special.log_softmax(logits, axis=1).max(axis=1))  # (n,)
    place = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)  # (n,)
    bins = _mean_by(place, confidence=confidence, accuracy=accuracy)
    share = bins.rows / len(place)
    return bins.assign(low=bins.index / BINS, share=share, error=share * (bins.accuracy - bins.confidence).abs())


def measure_errors(label: Floats, prediction: Floats) -> pd.DataFrame:
    """Measure the errors of (n,) predicted scores by thirds of the labels, from low to high.

    Columns: low and high, the ends of a third; its rows; means of the error and of its size.
    """
    edges = np.quantile(label, [0, 1 / 3, 2 / 3, 1])
    error = prediction - label
    thirds = _mean_by(np.searchsorted(edges[1:-1], label, side="right"), bias=error, distance=abs(error))
    return thirds.assign(low=edges[thirds.index], high=edges[thirds.index + 1])


def _mean_by(place: NDArray[np.int64], **columns: NDArray[Any]) -> pd.DataFrame:
    """Return the means of (n,) columns at each place that occurs, and its number of rows."""
    groups = pd.DataFrame(columns).groupby(place)
    return groups.mean().assign(rows=groups.size())
