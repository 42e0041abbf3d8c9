"""Plots of predictions: matrices, clouds and reliability. Plain numbers in, an `<svg>` element out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from glue_bench.report.page.drawing import (
    DASHES,
    INK,
    MARKERS,
    MUTED,
    PAIRED_WIDTH,
    PAPER,
    RULE,
    SERIES,
    WIDTH,
    canvas,
    place_axes,
    shorten_label,
    to_svg,
)
from glue_bench.report.page.model import Series

SHADE = 0.45  # opacity of a cell of a matrix that holds a whole row: the text on it stays readable


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """Bins of predictions by their confidence; bins without rows are left out."""

    series: Series
    confidence: NDArray[np.float64]  # (bins,) mean, 0 to 1
    accuracy: NDArray[np.float64]  # (bins,) 0 to 1
    share: NDArray[np.float64]  # (bins,) of all rows


def draw_confusion(counts: NDArray[np.int64], labels: Sequence[str], series: Series, **names: str) -> str:
    """Rows are labels, columns predictions, shades the share of the row.

    Args:
        counts: (k, k), label by prediction.
    """
    k = len(labels)
    tall = min(58.0, 232 / k)
    with canvas(42 + tall * k, width=PAIRED_WIDTH) as figure:
        axes = place_axes(figure, left=96, right=6, top=4, bottom=38)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        for label, prediction in np.ndindex(k, k):
            share, corner = float(shares[label, prediction]), (prediction, k - 1 - label)
            shade = (*to_rgb(SERIES[series.place % len(SERIES)]), SHADE * share)
            axes.add_patch(Rectangle(corner, 1, 1, facecolor=shade, edgecolor=RULE, linewidth=0.8))
            if k <= 4:
                x, y = corner[0] + 0.5, corner[1] + 0.5
                axes.text(x, y + 0.04, f"{100 * share:.0f} %", color=INK, ha="center", va="bottom", fontsize=12.5)
                axes.text(x, y - 0.08, f"{counts[label, prediction]:,}", color=INK, ha="center", va="top", fontsize=10)
        axes.set_xlim(0, k)
        axes.set_ylim(0, k)
        axes.set_yticks(np.arange(k) + 0.5, [shorten_label(label, 14) for label in labels[::-1]])
        # Columns grow narrower with their number; from five on only their order can be told.
        columns = (
            [shorten_label(label, 34 // k) for label in labels] if k <= 4 else [str(place + 1) for place in range(k)]
        )
        axes.set_xticks(np.arange(k) + 0.5, columns)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("predicted" if k <= 4 else "predicted, in the order of the labels")
        return to_svg(figure, **names)


def draw_density(label: NDArray[np.float64], prediction: NDArray[np.float64], series: Series, **names: str) -> str:
    """Prediction against label, a hexagon the darker the more rows lie in it."""
    with canvas(PAIRED_WIDTH * 0.86, width=PAIRED_WIDTH) as figure:
        axes = place_axes(figure, left=40, right=10, top=8, bottom=38)
        low = float(min(label.min(), prediction.min()))
        high = float(max(label.max(), prediction.max()))
        room = 0.03 * (high - low) or 1.0
        extent = (low - room, high + room, low - room, high + room)
        bins = axes.hexbin(label, prediction, gridsize=24, extent=extent, mincnt=1, linewidths=0)
        counts = np.asarray(bins.get_array(), dtype=float)
        depth = 0.12 + 0.88 * np.log1p(counts) / np.log1p(counts.max())
        bins.set_array(None)
        bins.set_facecolor([(*to_rgb(SERIES[series.place % len(SERIES)]), float(alpha)) for alpha in depth])
        bins.set_edgecolor("none")
        axes.plot((low, high), (low, high), color=INK, linewidth=1, linestyle=(0, (4, 3)))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(6))
        axes.set_xlabel("label")
        axes.set_ylabel("prediction")
        return to_svg(figure, **names)


def draw_reliability(curves: Sequence[Reliability], **names: str) -> str:
    """Accuracy against confidence; the larger a marker, the more rows are in its bin."""
    with canvas(WIDTH * 0.86) as figure:
        axes = place_axes(figure, left=46, right=10, top=8, bottom=38)
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
