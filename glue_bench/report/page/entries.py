"""The rows of a report joined with their runs and the runs' files, and named as plots name them. Knows no plots.

The one place that reads the fields of the report's rows.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from glue_bench.config.schema import TaskConfig
from glue_bench.errors import InputError
from glue_bench.report.model import Report, Row, Section
from glue_bench.report.page.display import show_count
from glue_bench.report.page.evidence import History, read_every_split, read_history
from glue_bench.report.page.model import ScoreRow, Series, Verdict
from glue_bench.runs.record import Record, task_of
from glue_bench.runs.store import Predictions, RunStore
from glue_bench.statistics.verdicts import FAILED, NOT_COMPARABLE, NOT_RUN
from glue_bench.tasks.adapter import TaskAdapter


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A row of the report, and everything that is known of it."""

    section: int  # its place in the report
    section_label: str
    row: ScoreRow
    task: TaskAdapter
    runs: Sequence[Record]  # finished, by seed
    unfinished: Sequence[Record]
    predictions: Mapping[int, Mapping[str, Predictions]]  # by seed, then by split
    histories: Mapping[int, History]  # by seed
    lacking: Sequence[str]  # what of the files could not be read, in words
    degenerate: Mapping[int, str]  # seed to reason
    choice: str  # how one cell of a grid or one epoch was chosen; empty where nothing was

    @property
    def series(self) -> Series:
        """How plots name and draw it."""
        return self.row.series

    @property
    def known(self) -> Record | None:
        """The record that knows most of the row's setting."""
        return next(iter([*self.runs, *self.unfinished]), None)

    def every_split(self) -> list[Predictions]:
        """The predictions of every seed on every split."""
        return [split for splits in self.predictions.values() for split in splits.values()]


def join_entries(report: Report, records: Iterable[Record], store: RunStore) -> list[Entry]:  # noqa: ARG001
    """Every row of the report with its runs, in the report's order."""
    names, labels = name_sections(report), _label_rows(report)
    places = {label: place for place, label in enumerate(dict.fromkeys(labels.values()))}
    entries = []
    for number, section in enumerate(report.sections):
        for row in section.rows:
            label = labels[id(row)]
            series = Series(place=places[label], label=label)
            entries.append(_join(row, store, section=(number, names[number]), series=series))
    return entries


def _join(row: Row, store: RunStore, *, section: tuple[int, str], series: Series) -> Entry:
    finished = [run for run in row.runs if run.status == "finished"]
    unfinished = [run for run in row.runs if run.status != "finished"]
    task = TaskAdapter.of(_facts_of(row, [*finished, *unfinished]))
    predictions, histories, lacking = _read_files(finished, store)
    return Entry(
        section=section[0],
        section_label=section[1],
        row=_score_row(row, series),
        task=task,
        runs=finished,
        unfinished=unfinished,
        predictions=predictions,
        histories=histories,
        lacking=lacking,
        degenerate={int(seed): reason for seed, reason in row.degenerate.items()},
        choice="; ".join(row.choice_notes),
    )


def _facts_of(row: Row, runs: Sequence[Record]) -> TaskConfig:
    """The facts of the row's task; of one that was never run, its names."""
    if runs:
        return task_of(runs[0])
    return TaskConfig(name=row.task, title=row.title, kind="classification", texts=[], metrics=[])


def _score_row(row: Row, series: Series) -> ScoreRow:
    verdict, note, summary = _verdict_of(row), row.note, row.summary
    if verdict is not None and verdict.kind == NOT_COMPARABLE:  # said once is enough
        note = "" if verdict.reason and verdict.reason in note else note.replace("not comparable: ", "", 1)
    return ScoreRow(
        series=series,
        encoder=row.encoder,
        task=row.task,
        title=row.title,
        metric=row.metric,
        n=row.n,
        seeds=row.seeds,
        values=row.values,
        median=row.median,
        minimum=summary.minimum if summary else None,
        maximum=summary.maximum if summary else None,
        mean=summary.mean if summary else None,
        sd=summary.deviation if summary else None,
        interval=summary.interval if summary else None,
        published=row.published.value if row.published else None,
        published_source=row.published.source if row.published else None,
        difference=row.difference,
        verdict=verdict,
        note=note,
        optimistic=row.optimistic,
    )


def _verdict_of(row: Row) -> Verdict | None:
    """The verdict on the published number; where nothing is published, what a reader must know all the same."""
    if row.verdict is not None and row.verdict.kind == FAILED:
        return Verdict(kind=FAILED, words=f"{FAILED} {row.verdict.reason}")
    if row.verdict is not None:
        return Verdict(kind=row.verdict.kind, words=row.verdict.kind, reason=row.verdict.reason)
    if row.median is None:
        runs = sum(row.unfinished.values())
        lost = runs - row.unfinished.get("interrupted", 0)
        return (
            Verdict(kind=FAILED, words=f"{FAILED} {lost} of {runs}") if lost else Verdict(kind=NOT_RUN, words=NOT_RUN)
        )
    return None if row.comparable else Verdict(kind=NOT_COMPARABLE, words=NOT_COMPARABLE)


def _read_files(
    runs: Sequence[Record], store: RunStore
) -> tuple[dict[int, Mapping[str, Predictions]], dict[int, History], list[str]]:
    """Predictions and histories by seed, and what was lacking. Only runs on the same rows are pooled."""
    predictions, histories, lacking = dict[int, Mapping[str, Predictions]](), dict[int, History](), list[str]()
    for run in runs:
        folder = store.folder(*run.place)
        try:
            found = read_every_split(store, run)
            if predictions and not _on_the_same_rows(found, next(iter(predictions.values()))):
                raise InputError("predictions on other rows than the seeds before it")
            predictions[run.seed] = found
        except InputError as error:
            lacking.append(f"{run.run_id} has {error}")
        try:
            histories[run.seed] = read_history(folder / "history.jsonl")
        except InputError as error:
            lacking.append(f"{run.run_id} has {error}")
    return predictions, histories, lacking


def _on_the_same_rows(found: Mapping[str, Predictions], other: Mapping[str, Predictions]) -> bool:
    return all(
        np.array_equal(found[split].idx, other[split].idx) and np.array_equal(found[split].label, other[split].label)
        for split in found
    )


def _label_rows(report: Report) -> dict[int, str]:
    """The identity of every row to its name: no two rows of a task are named alike."""
    labels = dict[int, str]()
    for section, name in zip(report.sections, name_sections(report), strict=True):
        for alike in _by_task(section.rows):
            words = [_setting_words(row) for row in alike]
            told = [f"{name}, {word}" if word and len(alike) > 1 else name for word in words]
            for place, row in enumerate(alike):
                again = told[: place + 1].count(told[place])
                labels[id(row)] = told[place] if again == 1 else f"{told[place]} ({again})"
    return labels


def _by_task(rows: Iterable[Row]) -> list[list[Row]]:
    tasks: dict[str, list[Row]] = {}
    for row in rows:
        tasks.setdefault(row.task, []).append(row)
    return list(tasks.values())


def name_sections(report: Report) -> list[str]:
    """A short name for each section: the encoder, and what tells it from other sections of that encoder."""
    names = [section.encoder for section in report.sections]
    for tell in (_recipe_words, lambda section: section.data):
        for encoder in {section.encoder for section in report.sections}:
            alike = [place for place, section in enumerate(report.sections) if section.encoder == encoder]
            if len({tell(report.sections[place]) for place in alike}) > 1:
                for place in alike:
                    names[place] += f", {tell(report.sections[place])}"
    taken = Counter(names)
    numbers = Counter[str]()
    for place, name in enumerate(names):
        if taken[name] > 1:
            numbers[name] += 1
            names[place] += f" ({numbers[name]})"
    return names


def _recipe_words(section: Section) -> str:
    return section.recipe


def _setting_words(row: Row) -> str:
    """What the row itself says of its setting."""
    setting = row.setting
    words = [f"from {setting.init}"] if setting.init != "pretrained" else []
    words += [setting.selection] if setting.selection != "last" else []
    words += [f"{key}={value}" for key, value in setting.recipe_changes.items()]
    return " ".join(words)


def tell_lacking(entries: Iterable[Entry]) -> list[str]:
    """A line on files that could not be read, if there are any."""
    lacking = [text for entry in entries for text in entry.lacking]
    if not lacking:
        return []
    shown = "; ".join(lacking[:5]) + (f"; and {len(lacking) - 5} more" if len(lacking) > 5 else "")
    return [f"Left out, because files are missing or damaged ({show_count(len(lacking), 'file')}): {shown}."]
