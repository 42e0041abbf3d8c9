"""The chapter on mistakes: labels against predictions, in counts or, for scores, as a cloud. Knows no texts."""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from glue_bench.report.page import error_plots
from glue_bench.report.page.chapters import by_task
from glue_bench.report.page.display import join_words, show_count, show_number
from glue_bench.report.page.entries import Entry, tell_lacking
from glue_bench.report.page.model import Chapter, Column, Figure, Group, Table

_MOST_CLASSES = 12  # of a matrix that can be drawn


def write_confusion(entries: Sequence[Entry]) -> Chapter:
    """What was predicted for what."""
    lacking = tell_lacking(entries)
    groups = []
    for place, alike in enumerate(by_task(entries).values()):
        figures = [
            _draw_matrix(entry, id=f"errors-{place}-{number}")
            if not entry.task.regression
            else _draw_scatter(entry, id=f"errors-{place}-{number}")
            for number, entry in enumerate(alike)
            if entry.predictions and (entry.task.regression or entry.task.outputs <= _MOST_CLASSES)
        ]
        tables = [
            _matrix_table(entry)
            for entry in alike
            if entry.predictions and not entry.task.regression and entry.task.outputs > _MOST_CLASSES
        ]
        if figures or tables:
            groups.append(Group(title=alike[0].row.title, figures=figures, tables=tables))
    return Chapter(
        id="errors",
        title="What is mistaken for what",
        intro=(
            "A row of a matrix is a label, a column a prediction; each cell has its share of the row, and below it "
            "the number of predictions, pooled over seeds and validation splits. Two encoders with the same "
            "accuracy can err in opposite directions, which a single score hides. For scores instead of classes, "
            "prediction is drawn against label, and the dashed line is where they agree.",
        ),
        groups=[*_join_single(groups), *([Group(notes=lacking)] if lacking else [])],
        paired=any(len(group.figures) > 1 for group in groups),
    )


def _join_single(groups: Sequence[Group]) -> Sequence[Group]:
    """One group of all figures, each with the name of its task, where no task has two of them."""
    if any(len(group.figures) != 1 or group.tables for group in groups):
        return groups
    figures = [
        dataclasses.replace(figure, title=group.title, caption=f"{figure.title}, {figure.caption}")
        for group in groups
        for figure in group.figures
    ]
    return [Group(figures=figures)] if figures else []


def count_confusion(entry: Entry) -> NDArray[np.int64]:
    """(k, k): label by prediction, over all seeds and splits."""
    k = entry.task.outputs
    counts = np.zeros((k, k), dtype=np.int64)
    for split in entry.every_split():
        np.add.at(counts, (split.label, split.prediction), 1)
    return counts


def _draw_matrix(entry: Entry, *, id: str) -> Figure:  # noqa: A002
    counts, labels = count_confusion(entry), entry.task.labels
    told = [
        f"Of {total:,} predictions for {label}, "
        + join_words([f"{count:,} are {predicted}" for predicted, count in zip(labels, row, strict=True)])
        for label, row, total in zip(labels, counts, counts.sum(axis=1), strict=True)
    ]
    name = f"{entry.series.label} on {entry.row.title}: labels by predictions"
    svg = error_plots.draw_confusion(counts, labels, entry.series, id=id, name=name, description=". ".join(told) + ".")
    seeds = show_count(len(entry.predictions), "seed")
    return Figure(title=entry.series.label, caption=f"{seeds} pooled", svg=svg, table=_matrix_table(entry))


def _matrix_table(entry: Entry) -> Table:
    counts, labels = count_confusion(entry), entry.task.labels
    return Table(
        caption=f"{entry.series.label} on {entry.row.title}: predictions for each label",
        columns=[Column(title="label"), *(Column(title=f"predicted {label}", numeric=True) for label in labels)],
        rows=[(label, *(f"{count:,}" for count in row)) for label, row in zip(labels, counts, strict=True)],
    )


def _draw_scatter(entry: Entry, *, id: str) -> Figure:  # noqa: A002
    splits = entry.every_split()
    label = np.concatenate([split.label for split in splits]).astype(np.float64)
    prediction = np.concatenate([split.prediction for split in splits]).astype(np.float64)
    edges = np.quantile(label, [0, 1 / 3, 2 / 3, 1])
    rows = []
    for low, high in itertools.pairwise(edges):
        inside = (label >= low) & (label <= high if high == edges[-1] else label < high)
        if inside.any():
            error = prediction[inside] - label[inside]
            rows.append((f"{low:.1f} to {high:.1f}", f"{inside.sum():,}", error.mean(), np.abs(error).mean()))
    told = [
        f"for labels {where} the mean prediction is {show_number(abs(bias), digits=2)} "
        f"too {'high' if bias > 0 else 'low'}"
        for where, _, bias, _ in rows
    ]
    name = f"{entry.series.label} on {entry.row.title}: prediction against label"
    description = f"{len(label):,} predictions: {join_words(told)}."
    columns = ("labels", "predictions", "mean error", "mean absolute error")
    return Figure(
        title=entry.series.label,
        caption=f"{show_count(len(entry.predictions), 'seed')} pooled",
        svg=error_plots.draw_density(label, prediction, entry.series, id=id, name=name, description=description),
        table=Table(
            caption=f"{entry.series.label} on {entry.row.title}: error by label",
            columns=[Column(title=title, numeric=title != "labels") for title in columns],
            rows=[
                (where, count, show_number(bias, digits=2, sign=True), show_number(size, digits=2))
                for where, count, bias, size in rows
            ],
        ),
    )
