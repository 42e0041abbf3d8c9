"""The chapters on predictions: confusion, calibration, and the dev rows that every seed gets wrong. Knows no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glue_bench.report.page import plots
from glue_bench.report.page.chapters import by_task
from glue_bench.report.page.display import join_words, show_count, show_number, shorten
from glue_bench.report.page.entries import Entry, tell_lacking
from glue_bench.report.page.evidence import Predictions, log_probabilities
from glue_bench.report.page.model import Chapter, Column, Figure, Group, Table
from glue_bench.report.page.rows import DevRows

BINS = 10  # of confidence, of equal width
HARDEST = 5  # rows shown for each task and encoder
_TEXT = 320  # characters of a text
_MOST_CLASSES = 12  # of a matrix that can be drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How far confidence is from accuracy."""

    confidence: NDArray[np.float64]  # (BINS,) mean; NaN for an empty bin
    accuracy: NDArray[np.float64]  # (BINS,) NaN for an empty bin
    count: NDArray[np.int64]  # (BINS,)
    error: float  # expected calibration error, 0 to 1


def write_confusion(entries: Sequence[Entry]) -> Chapter:
    """What was predicted for what."""
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
            "A row of a matrix is a label, a column a prediction; each cell has its share of the row, and below it the "
            "number of predictions, pooled over seeds and validation splits. Two encoders with the same accuracy can err "
            "in opposite directions, which a single score hides. For scores instead of classes, prediction is drawn "
            "against label, and the dashed line is where they agree.",
        ),
        groups=[*groups, Group(notes=tell_lacking(entries))],
        paired=True,
    )


def count_confusion(entry: Entry) -> NDArray[np.int64]:
    """(k, k): label by prediction, over all seeds and splits."""
    k = entry.task.outputs
    counts = np.zeros((k, k), dtype=np.int64)
    for split in _every_split(entry):
        np.add.at(counts, (split.label, split.prediction), 1)
    return counts


def _every_split(entry: Entry) -> list[Predictions]:
    return [split for splits in entry.predictions.values() for split in splits.values()]


def _draw_matrix(entry: Entry, *, id: str) -> Figure:  # noqa: A002
    counts, labels = count_confusion(entry), entry.task.facts.labels
    told = [
        f"Of {total:,} predictions for {label}, "
        + join_words([f"{count:,} are {predicted}" for predicted, count in zip(labels, row, strict=True)])
        for label, row, total in zip(labels, counts, counts.sum(axis=1), strict=True)
    ]
    name = f"{entry.series.label} on {entry.row.title}: labels by predictions"
    svg = plots.draw_confusion(counts, labels, entry.series, id=id, name=name, description=". ".join(told) + ".")
    seeds = show_count(len(entry.predictions), "seed")
    return Figure(title=entry.series.label, caption=f"{seeds} pooled", svg=svg, table=_matrix_table(entry))


def _matrix_table(entry: Entry) -> Table:
    counts, labels = count_confusion(entry), entry.task.facts.labels
    return Table(
        caption=f"{entry.series.label} on {entry.row.title}: predictions for each label",
        columns=[Column(title="label"), *(Column(title=f"predicted {label}", numeric=True) for label in labels)],
        rows=[(label, *(f"{count:,}" for count in row)) for label, row in zip(labels, counts, strict=True)],
    )


def _draw_scatter(entry: Entry, *, id: str) -> Figure:  # noqa: A002
    splits = _every_split(entry)
    label = np.concatenate([split.label for split in splits]).astype(np.float64)
    prediction = np.concatenate([split.prediction for split in splits]).astype(np.float64)
    edges = np.quantile(label, [0, 1 / 3, 2 / 3, 1])
    rows = []
    for low, high in zip(edges, edges[1:], strict=False):
        inside = (label >= low) & (label <= high if high == edges[-1] else label < high)
        if inside.any():
            error = prediction[inside] - label[inside]
            rows.append((f"{low:.1f} to {high:.1f}", f"{inside.sum():,}", error.mean(), np.abs(error).mean()))
    told = [
        f"for labels {where} the mean prediction is {show_number(abs(bias), digits=2)} too {'high' if bias > 0 else 'low'}"
        for where, _, bias, _ in rows
    ]
    name = f"{entry.series.label} on {entry.row.title}: prediction against label"
    description = f"{len(label):,} predictions: {join_words(told)}."
    columns = ("labels", "predictions", "mean error", "mean absolute error")
    return Figure(
        title=entry.series.label,
        caption=f"{show_count(len(entry.predictions), 'seed')} pooled",
        svg=plots.draw_density(label, prediction, entry.series, id=id, name=name, description=description),
        table=Table(
            caption=f"{entry.series.label} on {entry.row.title}: error by label",
            columns=[Column(title=title, numeric=title != "labels") for title in columns],
            rows=[
                (where, count, show_number(bias, digits=2, sign=True), show_number(size, digits=2))
                for where, count, bias, size in rows
            ],
        ),
    )


def write_calibration(entries: Sequence[Entry]) -> Chapter:
    """Whether a confident prediction is right as often as it claims."""
    figures = []
    for place, alike in enumerate(by_task(entries).values()):
        shown = [entry for entry in alike if entry.predictions and not entry.task.regression]
        if not shown:
            continue
        measured = [(entry, measure_calibration(_every_split(entry))) for entry in shown]
        curves = [_reliability(entry, found) for entry, found in measured]
        errors = [f"{entry.series.label} {show_number(100 * found.error)} %" for entry, found in measured]
        title = shown[0].row.title
        svg = plots.draw_reliability(
            curves,
            id=f"calibration-{place}",
            name=f"{title}: accuracy by confidence",
            description=f"Expected calibration error: {join_words(errors)}.",
        )
        figures.append(
            Figure(title=title, caption=f"ECE: {'; '.join(errors)}", svg=svg, table=_bin_table(title, measured))
        )
    return Chapter(
        id="calibration",
        title="Calibration",
        intro=(
            "How often is a prediction right that the model gives a probability of 80 %? On the dashed line, 80 % of the "
            "time; below it the model is too sure of itself, as fine-tuned encoders usually are. Scores do not depend on "
            "this, but anyone who acts on probabilities does.",
            f"Confidence is the softmax probability of the predicted class, from the stored logits, in {BINS} bins of equal "
            "width from 0 to 1, pooled over seeds and splits; a larger marker holds more rows. ECE, the expected calibration "
            "error, is the mean distance between accuracy and confidence, each bin with the weight of its rows.",
        ),
        groups=[Group(figures=figures)],
        key=True,
    )


def measure_calibration(splits: Sequence[Predictions]) -> Calibration:
    """Reliability in BINS equal bins of the highest softmax probability, and the expected calibration error."""
    logits = np.concatenate([split.logits for split in splits])  # (n, k)
    right = np.concatenate([split.label == split.prediction for split in splits]).astype(np.float64)
    confidence = np.exp(log_probabilities(logits).max(axis=1))
    bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    count = np.bincount(bins, minlength=BINS)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(bins, weights=confidence, minlength=BINS) / count
        accuracy = np.bincount(bins, weights=right, minlength=BINS) / count
    error = float(np.nansum(count * np.abs(accuracy - mean)) / count.sum())
    return Calibration(confidence=mean, accuracy=accuracy, count=count, error=error)


def _reliability(entry: Entry, found: Calibration) -> plots.Reliability:
    full = found.count > 0
    return plots.Reliability(
        series=entry.series,
        confidence=found.confidence[full],
        accuracy=found.accuracy[full],
        share=found.count[full] / found.count.sum(),
    )


def _bin_table(title: str, measured: Sequence[tuple[Entry, Calibration]]) -> Table:
    columns = ("encoder", "confidence from, %", "predictions", "mean confidence, %", "accuracy, %")
    rows = [
        (
            entry.series.label,
            f"{100 * place // BINS}",
            f"{found.count[place]:,}",
            show_number(100 * float(found.confidence[place])),
            show_number(100 * float(found.accuracy[place])),
        )
        for entry, found in measured
        for place in range(BINS)
        if found.count[place]
    ]
    return Table(
        caption=f"{title}: bins of confidence",
        columns=[Column(title=name, numeric=name != "encoder") for name in columns],
        rows=rows,
    )


def write_hardest(entries: Sequence[Entry], dev_rows: DevRows) -> Chapter:
    """The dev rows with the highest loss, and their texts."""
    groups, hidden = [], dict[str, list[str]]()
    for alike in by_task(entries).values():
        tables = []
        for entry in alike:
            if not entry.predictions or entry.known is None:
                continue
            texts, reason = dev_rows.texts_of(entry.known)
            tables.append(_hardest_table(entry, texts))
            if reason:
                hidden.setdefault(reason, []).append(f"{entry.series.label} on {entry.row.title}")
        if tables:
            groups.append(Group(title=alike[0].row.title, tables=tables))
    notes = [f"The texts of {join_words(names)} are not shown: {reason}" for reason, names in hidden.items()]
    return Chapter(
        id="hardest",
        title="The hardest dev rows",
        intro=(
            f"The {HARDEST} dev rows of each task with the highest loss (cross-entropy; squared error for scores), averaged over "
            "the seeds. A row that all seeds get wrong with confidence is often mislabelled or ambiguous: worth a look before "
            "anything is blamed on a model. The texts are read again from where the runs had them, and shown only if their "
            "fingerprint is still the recorded one.",
        ),
        groups=[Group(notes=notes), *groups] if notes else groups,
    )


def find_hardest(entry: Entry, count: int = HARDEST) -> list[tuple[str, int, float]]:
    """The rows with the highest mean loss over seeds: split, place in the split, loss; ties in the split's order."""
    ranked = []
    for split in entry.task.facts.validation:
        losses = np.mean([splits[split].losses() for splits in entry.predictions.values()], axis=0)  # (n,)
        best = np.argsort(-losses, kind="stable")[:count]
        ranked += [(split, int(place), float(losses[place])) for place in best]
    return sorted(ranked, key=lambda found: -found[2])[:count]


def _hardest_table(entry: Entry, texts: Mapping[str, Sequence[Sequence[str]]] | None) -> Table:
    facts = entry.task.facts
    columns = [Column(title="row", numeric=True)]
    columns += [Column(title=name, text=True) for name in facts.texts] if texts else []
    columns += [Column(title="label"), Column(title="predicted"), Column(title="mean loss", numeric=True)]
    rows = []
    for split, place, loss in find_hardest(entry):
        seeds = [splits[split] for splits in entry.predictions.values()]
        name = f"{seeds[0].idx[place]}"
        if len(facts.validation) > 1:
            name += f" {split.removeprefix('validation_')}"
        shown = [shorten(column[place], _TEXT) for column in texts[split]] if texts else []
        label, predicted = _tell_outcome(entry, [(one.label[place], one.prediction[place]) for one in seeds])
        rows.append((name, *shown, label, predicted, show_number(loss, digits=2)))
    return Table(caption=f"{entry.series.label} on {entry.row.title}", columns=columns, rows=rows)


def _tell_outcome(entry: Entry, pairs: Sequence[tuple[float, float]]) -> tuple[str, str]:
    """The label, and what the seeds predicted, in words."""
    if entry.task.regression:
        low, high = min(found for _, found in pairs), max(found for _, found in pairs)
        return f"{pairs[0][0]:.2f}", f"{low:.2f} to {high:.2f}" if len(pairs) > 1 else f"{low:.2f}"
    labels = entry.task.facts.labels
    found = [labels[int(code)] for _, code in pairs]
    told = [f"{name} ({found.count(name)} of {len(found)})" for name in dict.fromkeys(found)]
    return labels[int(pairs[0][0])], join_words(told) if len(pairs) > 1 else found[0]
