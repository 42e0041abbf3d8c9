"""Join the rows of a report with the files of their runs, under the names on the page. Knows no plots."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glue_bench.config.task import TaskConfig
from glue_bench.errors import GlueBenchError, InputError
from glue_bench.report.columns import name_sections, number_repeats
from glue_bench.report.model import Cell, Report, Row, Section
from glue_bench.report.page import evidence
from glue_bench.runs.record import Record, task_of
from glue_bench.runs.setting import show_words
from glue_bench.runs.store import Predictions, RunStore
from glue_bench.statistics.verdicts import FAILED, Verdict
from glue_bench.text import first_line

HARDEST = 5  # dev rows shown for each row of the report


@dataclass(frozen=True, kw_only=True, eq=False)
class Entry:
    """A row of the report, and everything that the page knows about it."""

    row: Row
    section: Section
    section_label: str
    label: str  # unique among the rows of a task
    place: int  # of the label among all labels: colour, marker and dashes
    predictions: Mapping[int, Mapping[str, Predictions]]  # by seed, then by split
    histories: Mapping[int, evidence.Table]  # by seed
    unreadable: Sequence[str]  # files that could not be read, in words
    texts: evidence.Texts | str  # of the dev rows, or why they cannot be shown

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
    def notes(self) -> list[str]:
        """What a reader must know about the row, without repetition."""
        row, verdict = self.row, self.verdict
        reason = verdict.reason if verdict is not None and verdict.kind != FAILED else ""
        return [*([reason] if reason else []), *row.setting_notes, *row.choice_notes, *row.remarks]

    @property
    def grid_maps(self) -> list[tuple[str, list[Any], list[tuple[Any, list[Cell | None]]]]]:
        """The tried cells: a map of the first key (down) and the second (across) for each combination of the others.

        Of each map: the values of the others in words, the values across, and for each value down its cells, None
        where a cell was not tried.
        """
        down, across, *others = [*self.row.tried[0].values, ""]
        maps, by_others = [], dict[str, list[Cell]]()
        for cell in self.row.tried:
            where = show_words({key: cell.values[key] for key in others if key})
            by_others.setdefault(where, []).append(cell)
        for where, here in by_others.items():
            cells = {(cell.values[down], cell.values.get(across)): cell for cell in here}
            both = zip(*cells, strict=True)
            lines, values = (sorted({*each}, key=lambda value: (value is None, value)) for each in both)
            rows = [(one, [cells.get((one, other)) for other in values]) for one in lines]
            maps.append((where, values, rows))
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
    def calibration(self) -> evidence.Table:
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
    def error_bands(self) -> evidence.Table:
        """The errors of predicted scores by thirds of the labels, over all seeds and splits."""
        return evidence.measure_errors(*self.labels_and_predictions)

    @cached_property
    def hardest(self) -> list[dict[str, Any]]:
        """The HARDEST dev rows with the highest mean loss over the seeds; ties in the split's order.

        Of each: split, its place there, the data set's own idx, label, loss, and the predictions of the seeds.
        """
        found = []
        for split in self.task.validation:
            seeds = [splits[split] for splits in self.predictions.values()]
            losses = np.mean([evidence.row_losses(own) for own in seeds], axis=0)  # (n,)
            for place in np.argsort(-losses, kind="stable")[:HARDEST]:
                about = {"split": split, "place": int(place), "idx": int(seeds[0].idx[place]), "loss": losses[place]}
                predictions = [own.prediction[place] for own in seeds]
                found.append({**about, "label": seeds[0].label[place], "predictions": predictions})
        return sorted(found, key=lambda row: -row["loss"])[:HARDEST]


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
                section=section,
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
) -> tuple[dict[int, dict[str, Predictions]], dict[int, evidence.Table], list[str]]:
    """Read predictions and histories by seed, and list what was missing. Only runs on the same rows are pooled."""
    predictions, histories, unreadable = dict[int, dict[str, Predictions]](), dict[int, evidence.Table](), list[str]()
    for run in row.finished:
        try:
            found = {split: store.read_predictions(run, split) for split in task_of(run).validation}
            first = next(iter(predictions.values()), found)
            for split, own in found.items():
                if not np.isfinite(own.logits).all():
                    raise InputError(f"logits of {split} that are not finite")
                if not (np.array_equal(own.idx, first[split].idx) and np.array_equal(own.label, first[split].label)):
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
