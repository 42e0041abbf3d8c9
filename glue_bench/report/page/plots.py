"""Plots of scores, training and costs. Plain numbers in, an `<svg>` element out. Knows no records."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from numpy.typing import NDArray

from glue_bench.report.page.display import show_number
from glue_bench.report.page.drawing import (
    DASHES,
    INK,
    MARKERS,
    PAPER,
    SERIES,
    canvas,
    name_of,
    place_axes,
    shorten_label,
    to_svg,
    write_label,
    write_title,
)
from glue_bench.report.page.model import ScoreRow, Series


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One run's curve."""

    series: Series
    step: NDArray[np.float64]  # (points,)
    loss: NDArray[np.float64]  # (points,)
    rate: NDArray[np.float64]  # (points,) learning rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What one encoder costs and reaches."""

    series: Series
    cost: float
    quality: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One task of a comparison."""

    title: str
    value: float
    low: float
    high: float
    sure: bool


def draw_scores(rows: Sequence[ScoreRow], **names: str) -> str:
    """A strip for each row: dots of the seeds, the median, the interval and the published diamond."""
    height = 50 * len(rows) + 34
    with canvas(height) as figure:
        axes = place_axes(figure, left=8, right=8, top=4, bottom=26)
        for place, row in enumerate(rows):
            _draw_strip(axes, row, y=len(rows) - 1 - place)
        low, high = _limits(rows)
        axes.set_xlim(low, high)
        axes.set_ylim(-0.45, len(rows) - 0.3)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.grid(True, axis="x")
        axes.set_axisbelow(True)
        return to_svg(figure, **names)


def _draw_strip(axes: Axes, row: ScoreRow, *, y: float) -> None:
    color = SERIES[row.series.place % len(SERIES)]
    if row.interval is not None:
        axes.plot(row.interval, (y, y), color=color, linewidth=5, alpha=0.28, solid_capstyle="butt")
    if row.median is not None:
        axes.plot((row.median, row.median), (y - 0.2, y + 0.2), color=color, linewidth=2.4)
    marker = MARKERS[row.series.place % len(MARKERS)]
    axes.plot(
        row.values,
        [y] * len(row.values),
        linestyle="none",
        marker=marker,
        markersize=6.5,
        markerfacecolor=color,
        markeredgecolor=PAPER,
        markeredgewidth=0.9,
    )
    if row.published is not None:
        axes.plot(
            row.published,
            y,
            marker="D",
            markersize=8,
            markerfacecolor=PAPER,
            markeredgecolor=INK,
            markeredgewidth=1.5,
            linestyle="none",
        )
    value = "not run" if row.median is None else show_number(row.median)
    write_label(axes, (0, y + 0.36), name_of(row.series), color=color, weight="bold")
    write_label(axes, (1, y + 0.36), value, color=INK, ha="right")


def _limits(rows: Sequence[ScoreRow]) -> tuple[float, float]:
    """The range of everything that is drawn, with some room."""
    drawn = [value for row in rows for value in (*row.values, *(row.interval or ()), row.median, row.published)]
    known = [value for value in drawn if value is not None] or [0.0, 100.0]
    room = max(0.06 * (max(known) - min(known)), 0.3)
    return min(known) - room, max(known) + room


def draw_curves(lines: Sequence[Line], **names: str) -> str:
    """The loss of every run over its updates, and below it the learning rate."""
    with canvas(250) as figure:
        loss = place_axes(figure, left=42, right=8, top=18, bottom=98)
        rate = place_axes(figure, left=42, right=8, top=178, bottom=36)
        shown = [value for line in lines for value in line.loss[np.isfinite(line.loss)]]
        for line in lines:
            style: dict[str, Any] = {
                "color": SERIES[line.series.place % len(SERIES)],
                "linestyle": DASHES[line.series.place % len(DASHES)],
            }
            loss.plot(line.step, line.loss, linewidth=1.2, alpha=0.85, **style)
            rate.plot(line.step, line.rate, linewidth=1.4, **style)
        if shown:  # a single spike would press everything else flat
            loss.set_ylim(0, 1.05 * max(float(np.quantile(shown, 0.995)), 1e-3))
        rate.set_ylim(bottom=0)
        rate.ticklabel_format(axis="y", style="sci", scilimits=(0, 0), useMathText=False)
        rate.yaxis.get_offset_text().set_visible(False)
        top = max((float(line.rate.max()) for line in lines if len(line.rate)), default=0.0)
        rate.set_yticks([0, top] if top else [0], ["0", f"{top:.0e}".replace("e-0", "e-")] if top else ["0"])
        for axes, title in ((loss, "training loss"), (rate, "learning rate")):
            write_title(axes, title)
            axes.set_xlim(left=0)
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            axes.grid(True, axis="y")
        rate.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        loss.set_xticklabels([])
        rate.set_xlabel("update")
        return to_svg(figure, **names)


def draw_costs(points: Sequence[Point], *, cost: str, **names: str) -> str:
    """Quality against what it costs."""
    with canvas(210) as figure:
        axes = place_axes(figure, left=46, right=14, top=18, bottom=38)
        for point in points:
            place = point.series.place
            axes.plot(
                point.cost,
                point.quality,
                marker=MARKERS[place % len(MARKERS)],
                markersize=9,
                markerfacecolor=SERIES[place % len(SERIES)],
                markeredgecolor=PAPER,
                linestyle="none",
            )
        costs, qualities = [point.cost for point in points], [point.quality for point in points]
        axes.set_xlim(0, 1.25 * max(costs))
        room = max(0.35 * (max(qualities) - min(qualities)), 1.0)
        axes.set_ylim(min(qualities) - room, max(qualities) + room)
        for point in points:  # the name goes to the side that has room
            left = point.cost > 0.6 * axes.get_xlim()[1]
            axes.annotate(
                name_of(point.series),
                (point.cost, point.quality),
                xytext=(0, 9),
                textcoords="offset points",
                ha="right" if left else "left" if point.cost < 0.25 * axes.get_xlim()[1] else "center",
                color=SERIES[point.series.place % len(SERIES)],
                weight="bold",
                parse_math=False,
            )
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.grid(True)
        axes.set_axisbelow(True)
        axes.set_xlabel(cost)
        write_title(axes, "mean score")
        return to_svg(figure, **names)


def draw_differences(differences: Sequence[Difference], *, axis: str, **names: str) -> str:
    """A line for each task: the difference with its interval, and where 0 is."""
    height = 30 * len(differences) + 48
    with canvas(height) as figure:
        axes = place_axes(figure, left=62, right=12, top=6, bottom=42)
        axes.axvline(0, color=INK, linewidth=1)
        for place, difference in enumerate(reversed(differences)):
            axes.plot((difference.low, difference.high), (place, place), color=SERIES[0], linewidth=2.2)
            axes.plot(
                difference.value,
                place,
                marker="o",
                markersize=8,
                markerfacecolor=SERIES[0] if difference.sure else PAPER,
                markeredgecolor=SERIES[0],
                markeredgewidth=1.6,
                linestyle="none",
            )
        axes.set_yticks(range(len(differences)), [difference.title for difference in reversed(differences)])
        axes.set_ylim(-0.6, len(differences) - 0.4)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.grid(True, axis="x")
        axes.set_axisbelow(True)
        axes.set_xlabel(shorten_label(axis, 52))
        return to_svg(figure, **names)
