"""The files of a run, read and checked, and what their arrays show. Knows no report and no network."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Required, TypedDict

import numpy as np
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


class History(NamedTuple):
    """The course of a training, a point for every line of history.jsonl."""

    step: Floats
    loss: Floats
    rate: Floats  # learning rate
    dev: Floats  # the score on the dev set, times 100; NaN in lines without

    def thinned(self) -> "History":
        """Return at most POINTS points."""
        return self._replace(step=thin(self.step, POINTS), loss=thin(self.loss, POINTS), rate=thin(self.rate, POINTS))

    def scored(self) -> tuple[Floats, Floats]:
        """Return the updates after which the dev set was scored, and the scores."""
        known = ~np.isnan(self.dev)
        return self.step[known], self.dev[known]

    @property
    def last_loss(self) -> float:
        """The mean loss over the last tenth."""
        return float(self.loss[-max(len(self.loss) // 10, 1) :].mean())


class Bin(NamedTuple):
    """The predictions with a confidence in one of BINS equal bins from 0 to 1."""

    confidence: float  # mean, 0 to 1
    accuracy: float  # 0 to 1
    low: float  # lower end of the bin
    rows: int
    share: float  # of all predictions


class Calibration(NamedTuple):
    """How far confidence is from accuracy."""

    bins: list[Bin]  # those with predictions
    error: float  # expected calibration error, 0 to 1


def read_history(folder: Path) -> History:
    """Read the steps, losses and learning rates of a run's history.jsonl; an InputError if it is missing or damaged."""
    try:
        lines = [parse_json(line) for line in read_text(folder / "history.jsonl").splitlines()]
        for number, line in enumerate(lines, start=1):
            conform(_Line, line, where=f"line {number}")
        columns = [[line.get(key) for line in lines] for key in _Line.__annotations__]
        step, loss, rate, dev = (np.array(column, dtype=np.float64) for column in columns)
        return History(step=step, loss=loss, rate=rate, dev=100 * dev)
    except FileNotFoundError as error:
        raise InputError("no history.jsonl") from error
    except (OSError, ValueError) as error:
        raise InputError(f"a damaged history.jsonl ({first_line(error)})") from error


class _Line(TypedDict, total=False):
    step: Required[int]
    loss: Required[float]
    learning_rate: Required[float]
    dev: float | None


def read_texts(record: Record) -> Texts:
    """Read the texts of a run's validation splits again from where the run had them, without a network.

    A GlueBenchError if they are missing, or are not those of the run.
    """
    task, given = task_of(record), record.config["data"]
    limits = {key: given.get(key) for key in ("dataset", "path", "max_train_rows", "max_eval_rows")}
    limits["sample"] = given.get("sample", "first")
    revision = record.data.get("revision") or given.get("revision")
    data = DataConfig(source=record.data["source"], revision=revision, **limits)
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


def thin(values: Floats, points: int) -> Floats:
    """Return at most `points` means of equally many consecutive values, except the last; NaN where one is NaN."""
    if len(values) <= points:
        return values
    size = -(-len(values) // points)  # the same for all points: means over fewer lines would look noisier
    return np.array([values[start : start + size].mean() for start in range(0, len(values), size)])


def row_losses(split: Predictions) -> Floats:
    """Compute the (n,) losses of the rows: cross-entropy in nats, or the squared error."""
    if split.logits.shape[1] == 1:
        return np.asarray((split.logits[:, 0] - split.label) ** 2, dtype=np.float64)
    likely = scipy.special.log_softmax(split.logits, axis=1)  # (n, k)
    return np.asarray(-likely[np.arange(len(split.label)), split.label], dtype=np.float64)


def measure_calibration(splits: Sequence[Predictions]) -> Calibration:
    """Measure accuracy by confidence (the highest softmax probability) and the expected calibration error."""
    logits = np.concatenate([split.logits for split in splits])  # (n, k)
    right = np.concatenate([split.label == split.prediction for split in splits])  # (n,)
    confidence = np.exp(scipy.special.log_softmax(logits, axis=1).max(axis=1))  # (n,)
    place = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)  # (n,)
    bins = [
        Bin(
            confidence=float(confidence[place == one].mean()),
            accuracy=float(right[place == one].mean()),
            low=float(one / BINS),
            rows=int((place == one).sum()),
            share=float((place == one).mean()),
        )
        for one in np.unique(place)
    ]
    return Calibration(bins=bins, error=sum(one.share * abs(one.accuracy - one.confidence) for one in bins))
