"""The chapter on calibration: whether confident predictions are right as often as they claim."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glue_bench.report.page import error_plots
from glue_bench.report.page.chapters import by_task
from glue_bench.report.page.display import join_words, show_number
from glue_bench.report.page.entries import Entry
from glue_bench.report.page.evidence import log_probabilities
from glue_bench.report.page.model import Chapter, Column, Figure, Group, Table
from glue_bench.runs.store import Predictions

BINS = 10  # of confidence, of equal width


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How far confidence is from accuracy."""

    confidence: NDArray[np.float64]  # (BINS,) mean; NaN for an empty bin
    accuracy: NDArray[np.float64]  # (BINS,) NaN for an empty bin
    count: NDArray[np.int64]  # (BINS,)
    error: float  # expected calibration error, 0 to 1


def write_calibration(entries: Sequence[Entry]) -> Chapter:
    """Whether a confident prediction is right as often as it claims."""
    figures = []
    for place, alike in enumerate(by_task(entries).values()):
        shown = [entry for entry in alike if entry.predictions and not entry.task.regression]
        if not shown:
            continue
        measured = [(entry, measure_calibration(entry.every_split())) for entry in shown]
        curves = [_reliability(entry, found) for entry, found in measured]
        errors = [f"{entry.series.label} {show_number(100 * found.error)} %" for entry, found in measured]
        title = shown[0].row.title
        svg = error_plots.draw_reliability(
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
            "How often is a prediction right that the model gives a probability of 80 %? On the dashed line, 80 % "
            "of the time; below it the model is too sure of itself, as fine-tuned encoders usually are. Scores do "
            "not depend on this, but anyone who acts on probabilities does.",
            f"Confidence is the softmax probability of the predicted class, from the stored logits, in {BINS} bins "
            "of equal width from 0 to 1, pooled over seeds and splits; a larger marker holds more rows. ECE, the "
            "expected calibration error, is the mean distance between accuracy and confidence, each bin with the "
            "weight of its rows.",
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


def _reliability(entry: Entry, found: Calibration) -> error_plots.Reliability:
    full = found.count > 0
    return error_plots.Reliability(
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
