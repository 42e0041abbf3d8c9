"""The chapter on speed and size against quality. Never puts two devices on one axis."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from glue_bench.report.page import plots
from glue_bench.report.page.display import join_words, show_number, show_seconds
from glue_bench.report.page.entries import Entry
from glue_bench.report.page.model import Chapter, Column, Figure, Group, Series, Table
from glue_bench.runs.record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one row took on one device: medians over the seeds."""

    series: Series
    group: str  # the section of the report that the row is of
    task: str
    title: str
    quality: float  # median score, times 100
    parameters: float | None  # with the head
    train_seconds: float | None
    tokens_per_second: float | None  # of training
    eval_seconds: float | None  # for 1,000 dev rows


def write_costs(entries: Sequence[Entry]) -> Chapter:
    """One group for each device and precision."""
    devices = sorted({_device(run) for entry in entries for run in entry.runs})
    groups = []
    for place, device in enumerate(devices):
        costs = [cost for entry in entries if (cost := _measure(entry, device)) is not None]
        groups.append(_write_device(device, costs, place=place, alone=len(devices) == 1))
    return Chapter(
        id="costs",
        title="Speed and size against quality",
        intro=(
            "Up and to the left is better. Parameters are a property of the model (the head included); seconds are "
            "one of the machine, and of what else it was doing: runs that shared it with other workers look slower "
            "than they are. Times are medians over seeds, without loading and tokenising, and must not be compared "
            "across devices, precisions or numbers of threads, which is why each of them has plots of its own.",
        ),
        groups=groups,
    )


def _device(run: Record) -> str:
    name = ", ".join(part for part in (run.device or "unnamed device", run.precision, run.engine) if part)
    return f"{name}, {run.processes} processes" if run.processes > 1 else name


def _measure(entry: Entry, device: str) -> Cost | None:
    runs = [run for run in entry.runs if _device(run) == device]
    if not runs or entry.row.median is None:
        return None
    rows = sum(int(runs[0].data["rows"][split]) for split in entry.task.validation)
    trained = [run.tokens / run.seconds["train"] for run in runs if run.tokens and run.seconds.get("train")]
    return Cost(
        series=entry.series,
        group=entry.section_label,
        task=entry.row.task,
        title=entry.row.title,
        quality=entry.row.median,
        parameters=_median([run.encoder["parameters"] for run in runs if run.encoder.get("parameters")]),
        train_seconds=_median([run.seconds["train"] for run in runs if "train" in run.seconds]),
        tokens_per_second=_median(trained),
        eval_seconds=_median([1000 * run.seconds["eval"] / rows for run in runs if "eval" in run.seconds]),
    )


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def _write_device(device: str, costs: Sequence[Cost], *, place: int, alone: bool) -> Group:
    by_series = _by_section(costs)
    tasks = [{cost.task for cost in found} for found in by_series.values()]
    shared = set.intersection(*tasks) if tasks else set()
    titles = list(dict.fromkeys(cost.title for cost in costs if cost.task in shared))
    figures = [
        figure
        for number, kind in enumerate(("parameters", "eval_seconds"))
        if (figure := _draw(by_series, kind, shared, titles, id=f"costs-{place}-{number}")) is not None
    ]
    notes = []
    if figures:
        notes.append(f"The mean score of the plots is over the tasks that all of them have: {join_words(titles)}.")
    elif len(by_series) > 1:
        notes.append("No plot: fewer than two encoders were timed on the same tasks.")
    return Group(title="" if alone else device, figures=figures, tables=[_cost_table(device, costs)], notes=notes)


def _by_section(costs: Sequence[Cost]) -> dict[Series, list[Cost]]:
    """The first row of every task of each section: the others are further settings of the same."""
    found: dict[str, dict[str, Cost]] = {}
    for cost in costs:
        found.setdefault(cost.group, {}).setdefault(cost.task, cost)
    return {
        Series(place=next(iter(tasks.values())).series.place, label=group): list(tasks.values())
        for group, tasks in found.items()
    }


def _draw(
    by_series: dict[Series, list[Cost]],
    kind: str,
    shared: set[str],
    titles: Sequence[str],
    *,
    id: str,  # noqa: A002
) -> Figure | None:
    """Mean quality over the shared tasks against parameters (millions) or seconds for 1,000 dev rows."""
    points = []
    for series, found in by_series.items():
        alike = [cost for cost in found if cost.task in shared]
        costs = [value for cost in alike if (value := getattr(cost, kind)) is not None]
        if alike and len(costs) == len(alike):
            amount = max(costs) / 1e6 if kind == "parameters" else statistics.fmean(costs)
            quality = statistics.fmean(cost.quality for cost in alike)
            points.append(plots.Point(series=series, cost=amount, quality=quality))
    if len(points) < 2:
        return None
    unit = "million parameters" if kind == "parameters" else "seconds for 1,000 dev rows"
    told = [f"{point.series.label} {show_number(point.quality)} at {point.cost:.3g}" for point in points]
    title = f"Mean score and {unit}"
    description = f"Over {join_words(list(titles))}: {join_words(told)} {unit}."
    return Figure(title=title, svg=plots.draw_costs(points, cost=unit, id=id, name=title, description=description))


def _cost_table(device: str, costs: Sequence[Cost]) -> Table:
    order = list(dict.fromkeys(cost.task for cost in costs))
    columns = ("task", "encoder", "score", "parameters", "s for 1,000 dev rows", "training", "tokens/s")
    rows = [
        (
            cost.title,
            cost.series.label,
            show_number(cost.quality),
            "" if cost.parameters is None else f"{cost.parameters / 1e6:.1f} M",
            "" if cost.eval_seconds is None else f"{cost.eval_seconds:.3g}",
            show_seconds(cost.train_seconds),
            "" if cost.tokens_per_second is None else f"{cost.tokens_per_second:,.0f}",
        )
        for cost in sorted(costs, key=lambda cost: order.index(cost.task))
    ]
    return Table(
        caption=f"On {device}",
        columns=[Column(title=title, numeric=title not in ("task", "encoder")) for title in columns],
        rows=rows,
    )
