"""The chapters on scores and training: seeds beside the published number, learning curves, runs without a score."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from glue_bench.report.page import plots
from glue_bench.report.page.display import join_words, shorten, show_count, show_number, show_range
from glue_bench.report.page.entries import Entry, tell_lacking
from glue_bench.report.page.model import Chapter, Column, Figure, Group, ScoreRow, Table

POINTS = 90  # of a curve; longer histories are thinned to means of consecutive lines


def by_task(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """The entries of each task, in the order in which tasks first come."""
    tasks: dict[str, list[Entry]] = {}
    for entry in entries:
        tasks.setdefault(entry.row.task, []).append(entry)
    return tasks


def write_seeds(entries: Sequence[Entry]) -> Chapter:
    """Every seed's score beside the published number."""
    figures = []
    for place, alike in enumerate(by_task(entries).values()):
        rows = [entry.row for entry in alike]
        title, metric = rows[0].title, _tell_metric(rows)
        name = f"{title}, {metric}: seeds, median and published number"
        svg = plots.draw_scores(rows, id=f"seeds-{place}", name=name, description=_describe_scores(rows))
        figures.append(Figure(title=title, caption=metric, svg=svg, table=_score_table(rows)))
    return Chapter(
        id="seeds",
        title="Seeds and published numbers",
        intro=(
            "Every mark is one seed, the upright bar their median, the pale band the 95 % interval where there is "
            "one, and the open diamond the published number. Each task has an axis of its own, and none begins at "
            "zero: compare distances within a plot, not between plots.",
            "A few seeds show how much a score moves when nothing but chance changes. A difference that is smaller "
            "than the spread of the marks is not a difference yet.",
        ),
        groups=[Group(figures=figures)],
    )


def _tell_metric(rows: Sequence[ScoreRow]) -> str:
    """The metric, or each row's own where they are not like for like."""
    metrics = list(dict.fromkeys(row.metric for row in rows))
    if len(metrics) == 1:
        return metrics[0]
    named = [
        f"{join_words(list(dict.fromkeys(row.series.label for row in rows if row.metric == metric)))}: {metric}"
        for metric in metrics
    ]
    return f"not like for like; {'; '.join(named)}"


def _describe_scores(rows: Sequence[ScoreRow]) -> str:
    told = []
    for row in rows:
        if row.median is None:
            told.append(f"{row.series.label}: no score.")
            continue
        seeds = join_words([show_number(value) for value in row.values])
        text = f"{row.series.label}: {show_count(len(row.values), 'seed')} at {seeds}; median {show_number(row.median)}"
        text += f"; 95 % interval {show_range(*row.interval)}" if row.interval else ""
        text += f"; published {show_number(row.published)}" if row.published is not None else "; nothing published"
        told.append(f"{text}.")
    return " ".join(told)


def _score_table(rows: Sequence[ScoreRow]) -> Table:
    columns = ("encoder", "seed", "score", "published")
    cells = [
        (row.series.label, str(seed), show_number(value, digits=2), show_number(row.published))
        for row in rows
        for seed, value in zip(row.seeds, row.values, strict=True)
    ]
    return Table(
        caption=f"{rows[0].title}: the score of every seed",
        columns=[Column(title=title, numeric=title != "encoder") for title in columns],
        rows=cells,
    )


def write_curves(entries: Sequence[Entry]) -> Chapter:
    """Loss and learning rate of every run."""
    figures = []
    for place, alike in enumerate(by_task(entries).values()):
        lines = [_line(entry, seed) for entry in alike for seed in entry.histories]
        if not lines:
            continue
        title = alike[0].row.title
        last = [
            f"{entry.series.label} ends at {join_words([_last_loss(entry, seed) for seed in entry.histories])}"
            for entry in alike
            if entry.histories
        ]
        svg = plots.draw_curves(
            lines,
            id=f"curves-{place}",
            name=f"{title}: training loss and learning rate",
            description=f"{show_count(len(lines), 'run')}. Loss over the last tenth: {'. '.join(last)}.",
        )
        figures.append(Figure(title=title, svg=svg, table=_curve_table(title, alike)))
    return Chapter(
        id="curves",
        title="Learning curves",
        intro=(
            "One line for each seed: the training loss above, the learning rate below it, over the updates. Read "
            "them for what went wrong rather than for what is better: a loss that stays flat, jumps, or differs "
            "wildly between seeds explains a bad score; a lower training loss alone promises nothing on the "
            "dev set.",
            f"Long curves are thinned to at most {POINTS} points, each the mean of as many lines. Where encoders share "
            "a task, colour and dashes tell them apart.",
        ),
        groups=[Group(figures=figures, notes=tell_lacking(entries))],
        key=True,
    )


def _line(entry: Entry, seed: int) -> plots.Line:
    history = entry.histories[seed]
    step, loss, rate = (thin(values) for values in (history.step, history.loss, history.rate))
    return plots.Line(series=entry.series, step=step, loss=loss, rate=rate)


def thin(values: NDArray[np.float64], points: int = POINTS) -> NDArray[np.float64]:
    """At most `points` means, each of as many consecutive values but for the last; NaN where one of them is."""
    if len(values) <= points:
        return values
    size = -(-len(values) // points)  # the same for all points: means of fewer lines would look noisier
    return np.array([values[start : start + size].mean() for start in range(0, len(values), size)])


def _last_loss(entry: Entry, seed: int) -> str:
    """The mean over the last tenth of the history."""
    loss = entry.histories[seed].loss
    return show_number(float(loss[-max(len(loss) // 10, 1) :].mean()), digits=3) if len(loss) else "none"


def _curve_table(title: str, entries: Sequence[Entry]) -> Table:
    columns = ("encoder", "seed", "updates", "first loss", "loss, last tenth", "highest learning rate")
    rows = [
        (
            entry.series.label,
            str(seed),
            f"{int(history.step[-1]):,}",
            show_number(float(history.loss[0]), digits=3),
            _last_loss(entry, seed),
            f"{history.rate.max():.2g}",
        )
        for entry in entries
        for seed, history in entry.histories.items()
        if len(history.step)
    ]
    return Table(
        caption=f"{title}: how the training went",
        columns=[Column(title=name, numeric=name != "encoder") for name in columns],
        rows=rows,
    )


def write_problems(entries: Sequence[Entry]) -> Chapter:
    """Runs without a score, degenerate runs, and what was chosen rather than fixed in advance."""
    unfinished = {run.run_id: (entry, run) for entry in entries for run in entry.unfinished}
    lost = [
        (entry.series.label, entry.row.title, str(run.seed), run.status, shorten(run.outcome, 300), run.run_id)
        for entry, run in unfinished.values()
    ]
    degenerate = [
        (entry.series.label, entry.row.title, str(seed), reason)
        for entry in entries
        for seed, reason in sorted(entry.degenerate.items())
    ]
    chosen = [(entry.series.label, entry.row.title, entry.choice) for entry in entries if entry.choice]
    tables = [
        _words_table("Runs without a score", ("encoder", "task", "seed", "status", "why", "run id"), lost),
        _words_table("Degenerate runs", ("encoder", "task", "seed", "why"), degenerate),
        _words_table("Chosen cells and epochs", ("encoder", "task", "what was chosen, from what"), chosen),
    ]
    notes = [] if lost else ["Every run that is in the folder finished."]
    notes += [] if degenerate else ["No run is known to be degenerate."]
    notes += [] if chosen else ["No row rests on a choice among several cells or epochs."]
    return Chapter(
        id="problems",
        title="Failed, degenerate and chosen",
        intro=(
            "What a table of medians would hide: runs that failed or diverged, which are counted and never "
            "averaged; runs whose predictions are constant, all of one class, or below chance; and rows that stand "
            "for the best of several attempts, which flatters them if the choice was made on the dev set.",
        ),
        groups=[Group(tables=[table for table in tables if table.rows], notes=notes)],
    )


def _words_table(caption: str, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    columns = [Column(title=title, numeric=title == "seed", text=title.startswith(("why", "what"))) for title in titles]
    return Table(caption=caption, columns=columns, rows=rows)
