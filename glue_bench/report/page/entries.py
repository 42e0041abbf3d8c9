"""The rows of a report, joined with the files of their runs: read, checked and measured. Knows no plots."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Required, TypedDict

import numpy as np
import scipy
from numpy.typing import NDArray

from glue_bench.config.schema import DataConfig
from glue_bench.config.task import TaskConfig
from glue_bench.data.hub import cached_file, is_commit
from glue_bench.data.rows import draw_halves, load_task_data
from glue_bench.data.sources import hub_files, resolve_source
from glue_bench.errors import GlueBenchError, InputError
from glue_bench.reading import conform, parse_json, read_text
from glue_bench.report.model import Group, Report, Row, Section
from glue_bench.report.table import number_repeats
from glue_bench.runs.record import Record, task_of
from glue_bench.runs.setting import show_words
from glue_bench.runs.store import Predictions, RunStore
from glue_bench.statistics.verdicts import Verdict
from glue_bench.text import first_line

HARDEST = 5  # dev rows shown for each row of the report
POINTS = 90  # of a drawn curve
BINS = 10  # of confidence, of equal width

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Table = np.recarray[Any, Any]  # a column is an attribute of it, and of each of its lines
Texts = Mapping[str, Sequence[Sequence[str]]]  # validation split to its text columns


class _Line(TypedDict, total=False):
    step: Required[int]
    loss: Required[float]
    learning_rate: Required[float]
    dev: float | None


def read_history(folder: Path) -> Table:
    """Read a run's history.jsonl: columns step, loss, learning_rate, and dev, the dev set's score times 100 or NaN.

    An InputError if it is missing or damaged.
    """
    try:
        lines = [parse_json(line) for line in read_text(folder / "history.jsonl").splitlines()]
        for number, line in enumerate(lines, start=1):
            conform(_Line, line, where=f"line {number}")
        columns = {name: np.array([line.get(name) for line in lines], np.float64) for name in _Line.__annotations__}
        return table_of(**columns | {"dev": 100 * columns["dev"]})
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


def thin(history: Table, points: int = POINTS) -> Table:
    """Return at most `points` means of equally many consecutive lines, except the last."""
    if len(history) <= points:
        return history
    starts = np.arange(0, len(history), -(-len(history) // points))  # means over fewer lines would look noisier
    sizes = np.diff([*starts, len(history)])
    return table_of(**{name: np.add.reduceat(history[name], starts) / sizes for name in history.dtype.names})


def row_losses(split: Predictions) -> Floats:
    """Compute the (n,) losses of the rows: cross-entropy in nats, or the squared error."""
    if split.logits.shape[1] == 1:
        return np.asarray((split.logits[:, 0] - split.label) ** 2, dtype=np.float64)
    likely = scipy.special.log_softmax(split.logits, axis=1)  # (n, k)
    return np.asarray(-likely[np.arange(len(split.label)), split.label], dtype=np.float64)


def measure_calibration(splits: Sequence[Predictions]) -> Table:
    """Measure accuracy by confidence (the highest softmax probability), in BINS equal bins from 0 to 1.

    Columns: low, the lower end of a bin; means of confidence and accuracy; its rows, and their share of all; error, its
    part of the expected calibration error. All but the rows are from 0 to 1. There is no line for an empty bin.
    """
    logits = np.concatenate([split.logits for split in splits])  # (n, k)
    right = np.concatenate([split.label == split.prediction for split in splits])  # (n,)
    confidence = np.exp(scipy.special.log_softmax(logits, axis=1).max(axis=1))  # (n,)
    place = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)  # (n,)
    bins, rows, (confidence, accuracy) = _mean_by(place, confidence, right)
    share = rows / len(right)
    error = share * abs(accuracy - confidence)
    return table_of(low=bins / BINS, confidence=confidence, accuracy=accuracy, rows=rows, share=share, error=error)


def _mean_by(place: Integers, *values: NDArray[Any]) -> tuple[Integers, Integers, list[Floats]]:
    """Return the (k,) places that occur, their rows, and the means of (n,) values there."""
    places, inverse, rows = np.unique(place, return_inverse=True, return_counts=True)
    return places, rows, [np.bincount(inverse, each) / rows for each in values]


def table_of(**columns: NDArray[Any]) -> Table:
    """Join (n,) columns."""
    return np.rec.fromarrays([*columns.values()], dtype=[(name, column.dtype) for name, column in columns.items()])


@dataclass(kw_only=True, eq=False)
class Entry:
    """A row of the report, and everything that the page knows about it."""

    row: Row
    section: Section
    label: str  # unique among the rows of a task
    place: int  # of the label among all labels: colour, marker and dashes
    predictions: dict[int, Mapping[str, Predictions]] = field(default_factory=dict)  # by seed, then by split
    histories: dict[int, Table] = field(default_factory=dict)  # by seed
    unreadable: list[str] = field(default_factory=list)  # files that could not be read, in words
    texts: Texts | str = "no predictions"  # of the dev rows, or why they cannot be shown

    @property
    def task(self) -> TaskConfig:
        """The task, of a row with runs."""
        return task_of(self.row.runs[0])

    @property
    def published(self) -> float | None:
        """The published number."""
        return self.row.published.value if self.row.published else None

    @property
    def verdict(self) -> Verdict | None:
        """The verdict on the published number; if nothing was published, a verdict that concerns the runs alone."""
        return self.row.verdict or self.row.obstacle

    @property
    def grid_maps(self) -> list[tuple[str, list[Any], list[tuple[Any, list[Group | None]]]]]:
        """The tried cells: a map of the first key (down) and the second (across) for each combination of the others.

        Of each map: the values of the others in words, the values across, and for each value down its cells, None
        where a cell was not tried.
        """
        down, across, *others = [*self.row.tried[0].setting.cell, ""]
        maps, by_others = [], defaultdict[str, list[Group]](list)
        for cell in self.row.tried:
            by_others[show_words({key: cell.setting.cell[key] for key in others if key})].append(cell)
        for where, here in by_others.items():
            cells = {(cell.setting.cell[down], cell.setting.cell.get(across)): cell for cell in here}
            both = zip(*cells, strict=True)
            lines, values = (sorted({*each}, key=lambda value: (value is None, value)) for each in both)
            maps.append((where, values, [(one, [cells.get((one, other)) for other in values]) for one in lines]))
        return maps

    @property
    def dev_scores(self) -> dict[int, float]:
        """Seed to the last score on the dev set in its history, times 100, for the seeds that have one."""
        scored = {seed: history.dev[~np.isnan(history.dev)] for seed, history in self.histories.items()}
        return {seed: float(scores[-1]) for seed, scores in scored.items() if len(scores)}

    @property
    def every_split(self) -> list[Predictions]:
        """The predictions of every seed on every split."""
        return [split for splits in self.predictions.values() for split in splits.values()]

    @cached_property
    def calibration(self) -> Table:
        """Accuracy by confidence, over all seeds and splits."""
        return measure_calibration(self.every_split)

    @cached_property
    def confusion(self) -> Integers:
        """(k, k) numbers of rows, label by prediction, over all seeds and splits."""
        counts = np.zeros((self.task.outputs, self.task.outputs), dtype=np.int64)
        for split in self.every_split:
            np.add.at(counts, (split.label, split.prediction), 1)
        return counts

    @cached_property
    def labels_and_predictions(self) -> tuple[Floats, Floats]:
        """(n,) labels and (n,) predicted scores, over all seeds and splits."""
        label = np.concatenate([split.label for split in self.every_split])
        prediction = np.concatenate([split.prediction for split in self.every_split])
        return label.astype(np.float64), prediction.astype(np.float64)

    @cached_property
    def error_bands(self) -> Table:
        """The errors of predicted scores by thirds of the labels, from low to high, over all seeds and splits.

        Columns: low and high, the ends of a third; its rows; means of the error and of its size.
        """
        label, prediction = self.labels_and_predictions
        edges, error = np.quantile(label, [0, 1 / 3, 2 / 3, 1]), prediction - label
        third, rows, (bias, distance) = _mean_by(np.searchsorted(edges[1:-1], label, side="right"), error, abs(error))
        return table_of(low=edges[third], high=edges[third + 1], rows=rows, bias=bias, distance=distance)

    @cached_property
    def hardest(self) -> list[dict[str, Any]]:
        """The HARDEST dev rows with the highest mean loss over the seeds; ties in the split's order.

        Of each: split, its place there, the data set's own idx, label, loss, and the predictions of the seeds.
        """
        found = []
        for split in self.task.validation:
            seeds = [splits[split] for splits in self.predictions.values()]
            losses = np.mean([row_losses(own) for own in seeds], axis=0)  # (n,)
            for place in np.argsort(-losses, kind="stable")[:HARDEST]:
                about = {"split": split, "place": int(place), "idx": int(seeds[0].idx[place]), "loss": losses[place]}
                predictions = [own.prediction[place] for own in seeds]
                found.append({**about, "label": seeds[0].label[place], "predictions": predictions})
        return sorted(found, key=lambda row: -row["loss"])[:HARDEST]

    def read_files(self, store: RunStore) -> None:
        """Read predictions and histories, and note what was missing. Only runs on the same rows are pooled."""
        for run in self.row.finished:
            try:
                found = {split: store.read_predictions(run, split) for split in task_of(run).validation}
                first = next(iter(self.predictions.values()), found)
                for split, own in found.items():
                    if not np.isfinite(own.logits).all():
                        raise InputError(f"logits of {split} that are not finite")
                    one = first[split]
                    if not (np.array_equal(own.idx, one.idx) and np.array_equal(own.label, one.label)):
                        raise InputError("predictions on other rows than earlier seeds")
                self.predictions[run.seed] = found
            except InputError as error:
                self.unreadable.append(f"{run.run_id} has {error}")
            try:
                self.histories[run.seed] = read_history(store.folder(*run.place))
            except InputError as error:
                self.unreadable.append(f"{run.run_id} has {error}")


def join_entries(report: Report, store: RunStore) -> list[Entry]:
    """Join every row of the report with the files of its runs, in the report's order."""
    entries, places, texts = list[Entry](), dict[str, int](), dict[str, Texts | str]()
    for section in report.sections:
        lines = [", ".join(filter(None, (section.name, row.line))) for row in section.rows]
        labels = number_repeats(lines, groups=[row.task for row in section.rows])
        for row, label in zip(section.rows, labels, strict=True):
            entries.append(Entry(row=row, section=section, label=label, place=places.setdefault(label, len(places))))
            entries[-1].read_files(store)
    for entry in (each for each in entries if each.predictions):
        run = entry.row.runs[0]
        half = run.seed if run.selection == "halves" else None
        data = repr([run.task, run.config["data"], run.data.get("revision"), run.data.get("fingerprint"), half])
        if data not in texts:  # once for all runs on the same data: it may take seconds
            try:
                texts[data] = read_texts(run)
            except GlueBenchError as error:
                texts[data] = first_line(error)
        entry.texts = texts[data]
    return entries
