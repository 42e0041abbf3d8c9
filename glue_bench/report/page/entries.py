"""Join the rows of a report with the files of their runs, under the names on the page. Knows no plots."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from glue_bench.errors import GlueBenchError, InputError
from glue_bench.report.columns import name_sections, number_repeats
from glue_bench.report.model import Cell, Report, Row
from glue_bench.report.page import evidence
from glue_bench.runs.record import Record, task_of
from glue_bench.runs.setting import show_words
from glue_bench.runs.store import Predictions, RunStore
from glue_bench.statistics.verdicts import FAILED, NOT_COMPARABLE, NOT_RUN, Verdict
from glue_bench.tasks.adapter import TaskAdapter
from glue_bench.text import first_line

HARDEST = 5  # dev rows shown for each row of the report


class HardRow(NamedTuple):
    """One dev row with a high loss."""

    split: str
    place: int  # in the split
    idx: int  # the data set's own number
    loss: float  # mean over the seeds
    label: float  # or class code
    predictions: Sequence[float]  # of each seed, or class codes


class ErrorBand(NamedTuple):
    """Regression errors on a range of labels."""

    low: float
    high: float
    rows: int
    bias: float  # mean error
    size: float  # mean absolute error


class GridMap(NamedTuple):
    """Cells of a grid in two dimensions: a score, or None, for each value of one key (down) and another (across)."""

    where: str  # the values of further keys, in words
    down: str
    across: str  # empty if the grid has one key
    values: Sequence[Any]  # of the key across
    rows: Sequence[tuple[Any, Sequence[Cell | None]]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Entry:
    """A row of the report, and everything that the page knows about it."""

    row: Row
    section_label: str
    label: str  # unique among the rows of a task
    place: int  # of the label among all labels: colour, marker and dashes
    predictions: Mapping[int, Mapping[str, Predictions]]  # by seed, then by split
    histories: Mapping[int, evidence.History]  # by seed
    unreadable: Sequence[str]  # files that could not be read, in words
    texts: evidence.Texts | str  # of the dev rows, or why they cannot be shown

    @property
    def task(self) -> TaskAdapter:
        """The task, of a row with runs."""
        return task_of(self.row.runs[0])

    @property
    def published(self) -> float | None:
        """The published number."""
        return self.row.published.value if self.row.published else None

    @property
    def verdict(self) -> Verdict | None:
        """The verdict on the published number; if nothing was published, a verdict that concerns the runs alone."""
        row = self.row
        if row.verdict is not None or row.comparable:
            return row.verdict
        if row.summary is not None:
            return Verdict(kind=NOT_COMPARABLE, reason="; ".join(row.not_comparable_because))
        lost = sum(run.status != "interrupted" for run in row.runs)
        return Verdict(kind=FAILED, reason=f"{lost} of {len(row.runs)}") if lost else Verdict(kind=NOT_RUN, reason="")

    @property
    def notes(self) -> list[str]:
        """What a reader must know about the row, without repetition."""
        row, verdict = self.row, self.verdict
        reason = verdict.reason if verdict is not None and verdict.kind != FAILED else ""
        return [*([reason] if reason else []), *row.setting_notes, *row.choice_notes, *row.remarks]

    @property
    def scores(self) -> dict[int, float]:
        """Seed to score."""
        return dict(zip(self.row.seeds, self.row.values, strict=True))

    @property
    def grid_maps(self) -> list[GridMap]:
        """The tried cells: a map for each combination of values of the third and further keys."""
        down, *more = keys = [*self.row.tried[0].values]
        across, others = (more[0] if more else ""), keys[2:]
        maps = list[GridMap]()
        for rest in dict.fromkeys(tuple(cell.values[key] for key in others) for cell in self.row.tried):
            here = [cell for cell in self.row.tried if tuple(cell.values[key] for key in others) == rest]
            cells = {(cell.values[down], cell.values.get(across)): cell for cell in here}
            both = zip(*cells, strict=True)
            lines, values = (sorted({*each}, key=lambda value: (value is None, value)) for each in both)
            rows = [(one, [cells.get((one, other)) for other in values]) for one in lines]
            maps.append(GridMap(show_words(dict(zip(others, rest, strict=True))), down, across, values, rows))
        return maps

    def shade(self, cell: Cell) -> float:
        """Return where a cell's score lies between the grid's worst (0) and best (1)."""
        scores = [each.score for each in self.row.tried if each.score is not None]
        spread = max(scores, default=0.0) - min(scores, default=0.0)
        return 0.0 if cell.score is None or not spread else (cell.score - min(scores)) / spread

    @property
    def final_losses(self) -> list[float]:
        """The training loss of every seed at the end."""
        return [history.last_loss() for history in self.histories.values() if len(history.loss)]

    @property
    def dev_scores(self) -> dict[int, float]:
        """Seed to the last score on the dev set in its history, times 100, for the seeds that have one."""
        scored = {seed: history.scored()[1] for seed, history in self.histories.items()}
        return {seed: float(scores[-1]) for seed, scores in scored.items() if len(scores)}

    @property
    def every_split(self) -> list[Predictions]:
        """The predictions of every seed on every split."""
        return [split for splits in self.predictions.values() for split in splits.values()]

    @cached_property
    def calibration(self) -> evidence.Calibration:
        """Accuracy by confidence, over all seeds and splits."""
        return evidence.measure_calibration(self.every_split)

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """(k, k) numbers of rows, label by prediction, over all seeds and splits."""
        counts = np.zeros((self.task.outputs, self.task.outputs), dtype=np.int64)
        for split in self.every_split:
            np.add.at(counts, (split.label, split.prediction), 1)
        return counts

    @cached_property
    def labels_and_predictions(self) -> tuple[evidence.Floats, evidence.Floats]:
        """(n,) labels and (n,) predicted scores, over all seeds and splits."""
        label = np.concatenate([split.label for split in self.every_split])
        prediction = np.concatenate([split.prediction for split in self.every_split])
        return label.astype(np.float64), prediction.astype(np.float64)

    @cached_property
    def error_bands(self) -> list[ErrorBand]:
        """The errors of predicted scores, by thirds of the labels."""
        label, prediction = self.labels_and_predictions
        edges = [float(edge) for edge in np.quantile(label, [0, 1 / 3, 2 / 3, 1])]
        bands = []
        for place, (low, high) in enumerate(itertools.pairwise(edges)):
            inside = np.searchsorted(edges[1:-1], label, side="right") == place  # edges may be equal
            if inside.any():
                error = prediction[inside] - label[inside]
                bands.append(ErrorBand(low, high, len(error), float(error.mean()), float(np.abs(error).mean())))
        return bands

    @cached_property
    def hardest(self) -> list[HardRow]:
        """The HARDEST dev rows with the highest mean loss over the seeds; ties in the split's order."""
        ranked = []
        for split in self.task.validation:
            seeds = [splits[split] for splits in self.predictions.values()]
            losses = np.mean([evidence.row_losses(found) for found in seeds], axis=0)  # (n,)
            for place in np.argsort(-losses, kind="stable")[:HARDEST]:
                predictions = [found.prediction[place] for found in seeds]
                idx, label = int(seeds[0].idx[place]), seeds[0].label[place]
                ranked.append(HardRow(split, int(place), idx, float(losses[place]), label, predictions))
        return sorted(ranked, key=lambda found: -found.loss)[:HARDEST]


def join_entries(report: Report, store: RunStore) -> list[Entry]:
    """Join every row of the report with the files of its runs, in the report's order."""
    entries, places, texts = list[Entry](), dict[str, int](), dict[str, evidence.Texts | str]()
    for section, name in zip(report.sections, name_sections(report), strict=True):
        lines = [f"{name}, {row.line}" if row.line else name for row in section.rows]
        labels = number_repeats(lines, groups=[row.task for row in section.rows])
        for row, label in zip(section.rows, labels, strict=True):
            predictions, histories, unreadable = _read_files(row, store)
            entry = Entry(
                row=row,
                section_label=name,
                label=label,
                place=places.setdefault(label, len(places)),
                predictions=predictions,
                histories=histories,
                unreadable=unreadable,
                texts=_recall_texts(row.runs[0], texts) if predictions else "no predictions",
            )
            entries.append(entry)
    return entries


def _read_files(
    row: Row, store: RunStore
) -> tuple[dict[int, dict[str, Predictions]], dict[int, evidence.History], list[str]]:
    """Read predictions and histories by seed, and list what was missing. Only runs on the same rows are pooled."""
    predictions, histories, unreadable = dict[int, dict[str, Predictions]](), dict[int, evidence.History](), list[str]()
    for run in row.finished:
        try:
            found = evidence.read_every_split(store, run)
            first = next(iter(predictions.values()), found)
            if not all(
                np.array_equal(found[split].idx, first[split].idx)
                and np.array_equal(found[split].label, first[split].label)
                for split in found
            ):
                raise InputError("predictions on other rows than earlier seeds")
            predictions[run.seed] = found
        except InputError as error:
            unreadable.append(f"{run.run_id} has {error}")
        try:
            histories[run.seed] = evidence.read_history(store.folder(*run.place))
        except InputError as error:
            unreadable.append(f"{run.run_id} has {error}")
    return predictions, histories, unreadable


def _recall_texts(run: Record, known: dict[str, evidence.Texts | str]) -> evidence.Texts | str:
    """Read the texts of a run's dev rows, once for all runs on the same data; a line says why there are none."""
    facts = [run.task, run.config["data"], run.data.get("revision"), run.data.get("fingerprint")]
    facts += [run.seed] if run.selection == "halves" else []
    key = json.dumps(facts, sort_keys=True, default=str)
    if key not in known:
        try:
            known[key] = evidence.read_texts(run)
        except GlueBenchError as error:
            known[key] = first_line(error)
    return known[key]
