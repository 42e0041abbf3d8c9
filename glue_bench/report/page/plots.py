"""The plots of the page, one function each: plain numbers in, an `<svg>` element out. Knows no records."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from glue_bench.report.page.display import shorten, show_number, show_text
from glue_bench.report.page.drawing import DASHES, INK, MARKERS, MUTED, PAPER, RULE, SERIES, WIDTH, canvas, to_svg
from glue_bench.report.page.model import ScoreRow, Series

_LABEL = 26  # characters of a name in a plot
_SHADE = 0.62  # opacity of a cell of a matrix that holds everything: the text on it stays readable


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One run's curve."""

    series: Series
    step: NDArray[np.float64]  # (points,)
    loss: NDArray[np.float64]  # (points,)
    rate: NDArray[np.float64]  # (points,) learning rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """Bins of predictions by their confidence; bins without rows are left out."""

    series: Series
    confidence: NDArray[np.float64]  # (bins,) mean, 0 to 1
    accuracy: NDArray[np.float64]  # (bins,) 0 to 1
    share: NDArray[np.float64]  # (bins,) of all rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What one encoder costs and reaches."""

    series: Series
    cost: float
    quality: float


def draw_scores(rows: Sequence[ScoreRow], **names: str) -> str:
    """A strip for each row: dots of the seeds, the median, the interval and the published diamond."""
    height = 50 * len(rows) + 34
    with canvas(height) as figure:
        axes = _place(figure, left=8, right=8, top=4, bottom=26)
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
    spread = row.interval or (row.minimum, row.maximum)
    if row.interval is not None:
        axes.plot(spread, (y, y), color=color, linewidth=5, alpha=0.28, solid_capstyle="butt")
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
    _label(axes, 0, y + 0.36, _name(row.series), color=color, weight="bold")
    _label(axes, 1, y + 0.36, value, color=INK, ha="right")


def _limits(rows: Sequence[ScoreRow]) -> tuple[float, float]:
    """The range of everything that is drawn, with some room."""
    drawn = [value for row in rows for value in (*row.values, *(row.interval or ()), row.median, row.published)]
    known = [value for value in drawn if value is not None] or [0.0, 100.0]
    room = max(0.06 * (max(known) - min(known)), 0.3)
    return min(known) - room, max(known) + room


def draw_curves(lines: Sequence[Line], **names: str) -> str:
    """The loss of every run over its updates, and below it the learning rate."""
    with canvas(250) as figure:
        loss = _place(figure, left=42, right=8, top=18, bottom=98)
        rate = _place(figure, left=42, right=8, top=178, bottom=36)
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
            _label(axes, 0, 1, title, color=MUTED, y_of_axes=True)
            axes.set_xlim(left=0)
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            axes.grid(True, axis="y")
        loss.set_xticklabels([])
        rate.set_xlabel("update")
        return to_svg(figure, **names)


def draw_confusion(counts: NDArray[np.int64], labels: Sequence[str], series: Series, **names: str) -> str:
    """Rows are labels, columns predictions, shades the share of the row.

    Args:
        counts: (k, k), label by prediction.
    """
    k = len(labels)
    tall = min(58.0, 232 / k)
    with canvas(42 + tall * k) as figure:
        axes = _place(figure, left=96, right=6, top=4, bottom=38)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        for label, prediction in np.ndindex(k, k):
            share, corner = float(shares[label, prediction]), (prediction, k - 1 - label)
            axes.add_patch(_cell(corner, color=SERIES[series.place % len(SERIES)], opacity=_SHADE * share))
            if k <= 4:
                x, y = corner[0] + 0.5, corner[1] + 0.5
                axes.text(x, y + 0.04, f"{100 * share:.0f} %", color=INK, ha="center", va="bottom", fontsize=12.5)
                axes.text(x, y - 0.08, f"{counts[label, prediction]:,}", color=INK, ha="center", va="top", fontsize=10)
        axes.set_xlim(0, k)
        axes.set_ylim(0, k)
        axes.set_yticks(np.arange(k) + 0.5, [_short(label, 14) for label in labels[::-1]])
        # Columns grow narrower with their number; from five on only their order can be told.
        columns = [_short(label, 34 // k) for label in labels] if k <= 4 else [str(place + 1) for place in range(k)]
        axes.set_xticks(np.arange(k) + 0.5, columns)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("predicted" if k <= 4 else "predicted, in the order of the labels")
        return to_svg(figure, **names)


def draw_density(label: NDArray[np.float64], prediction: NDArray[np.float64], series: Series, **names: str) -> str:
    """Prediction against label, a hexagon the darker the more rows lie in it."""
    with canvas(WIDTH * 0.86) as figure:
        axes = _place(figure, left=40, right=10, top=8, bottom=38)
        low = float(min(label.min(), prediction.min()))
        high = float(max(label.max(), prediction.max()))
        room = 0.03 * (high - low) or 1.0
        extent = (low - room, high + room, low - room, high + room)
        bins = axes.hexbin(label, prediction, gridsize=24, extent=extent, mincnt=1, linewidths=0)
        counts = np.asarray(bins.get_array(), dtype=float)
        depth = 0.12 + 0.88 * np.log1p(counts) / np.log1p(counts.max())
        bins.set_array(None)
        bins.set_facecolor([(*_rgb(SERIES[series.place % len(SERIES)]), float(alpha)) for alpha in depth])
        bins.set_edgecolor("none")
        axes.plot((low, high), (low, high), color=INK, linewidth=1, linestyle=(0, (4, 3)))
        axes.set_xlabel("label")
        axes.set_ylabel("prediction")
        return to_svg(figure, **names)


def draw_reliability(curves: Sequence[Reliability], **names: str) -> str:
    """Accuracy against confidence; the larger a marker, the more rows are in its bin."""
    with canvas(WIDTH * 0.86) as figure:
        axes = _place(figure, left=46, right=10, top=8, bottom=38)
        axes.plot((0, 1), (0, 1), color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        for curve in curves:
            color = SERIES[curve.series.place % len(SERIES)]
            dashes = DASHES[curve.series.place % len(DASHES)]
            axes.plot(curve.confidence, curve.accuracy, color=color, linestyle=dashes, linewidth=1.2)
            for confidence, accuracy, share in zip(curve.confidence, curve.accuracy, curve.share, strict=True):
                axes.plot(
                    confidence,
                    accuracy,
                    marker=MARKERS[curve.series.place % len(MARKERS)],
                    markersize=4 + 11 * float(share) ** 0.5,
                    markerfacecolor=color,
                    markeredgecolor=PAPER,
                    linestyle="none",
                    alpha=0.9,
                )
        lowest = min((float(value) for curve in curves for value in (*curve.confidence, *curve.accuracy)), default=0.0)
        axes.set_xlim(max(0.0, lowest - 0.06), 1.03)
        axes.set_ylim(max(0.0, lowest - 0.06), 1.03)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(5))
            axis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
        axes.grid(True)
        axes.set_axisbelow(True)
        axes.set_xlabel("confidence")
        axes.set_ylabel("accuracy")
        return to_svg(figure, **names)


def draw_costs(points: Sequence[Point], *, cost: str, **names: str) -> str:
    """Quality against what it costs."""
    with canvas(210) as figure:
        axes = _place(figure, left=46, right=14, top=18, bottom=38)
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
                _name(point.series),
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
        _label(axes, 0, 1, "mean score", color=MUTED, y_of_axes=True)
        return to_svg(figure, **names)


def _place(figure: Any, *, left: float, right: float, top: float, bottom: float) -> Axes:
    """Axes with these margins, in the units of the viewBox."""
    width, height = figure.get_size_inches() * 72
    box = (left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height)
    axes = figure.add_axes(box)
    assert isinstance(axes, Axes)  # noqa: S101 - what was asked for
    return axes


def _label(
    axes: Axes,
    x: float,
    y: float,
    text: str,
    *,
    color: str,
    weight: str = "normal",
    ha: str = "left",
    y_of_axes: bool = False,
) -> None:
    """A word at `x` of the width, 0 to 1; at `y` of the axis, or of the height with `y_of_axes`."""
    transform = axes.transAxes if y_of_axes else axes.get_yaxis_transform()
    nudge = {"xytext": (0, 5 if y_of_axes else 0), "textcoords": "offset points"}
    axes.annotate(
        text,
        (x, y),
        xycoords=transform,
        ha=ha,
        va="baseline" if y_of_axes else "center",
        color=color,
        weight=weight,
        parse_math=False,
        annotation_clip=False,
        **nudge,
    )


def _cell(corner: tuple[float, float], *, color: str, opacity: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle(corner, 1, 1, facecolor=(*_rgb(color), opacity), edgecolor=RULE, linewidth=0.8)


def _rgb(color: str) -> tuple[float, float, float]:
    from matplotlib.colors import to_rgb

    return to_rgb(color)


def _name(series: Series) -> str:
    return _short(series.label, _LABEL)


def _short(text: str, limit: int) -> str:
    return show_text(shorten(text, limit))
