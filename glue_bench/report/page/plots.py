"""The plots: rows, arrays and points in, SVG inside HTML out; and values as the text that a reader sees.

Every `draw_` function takes the drawing's `name`, from which its ids are made, as its last argument. Each colour of
COLORS becomes one of the page's, light or dark. Text stays text.
"""

import contextlib
import io
import os
import re
import tempfile
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from markupsafe import Markup

from glue_bench.files import cache_folder
from glue_bench.report.comparison import Comparison
from glue_bench.report.page.entries import Entry, thin

with tempfile.TemporaryDirectory() as _empty:
    # Without settings, the user's or the working folder's: that matplotlibrc is read whatever the environment says.
    # MPLCONFIGDIR gets a list of fonts.
    os.environ |= {"MPLCONFIGDIR": str(cache_folder("matplotlib").absolute()), "MATPLOTLIBRC": _empty}
    with contextlib.chdir(_empty):
        import matplotlib as mpl
        from matplotlib.axes import Axes
        from matplotlib.colors import to_rgb
        from matplotlib.figure import Figure
        from matplotlib.ticker import PercentFormatter, StrMethodFormatter

INK, MUTED, RULE, PAPER = "#010001", "#010002", "#010003", "#010004"
SERIES = ("#010011", "#010012", "#010013", "#010014", "#010015", "#010016")
# Colours that nothing else uses; each stands for one of the page's.
COLORS = {INK: "ink", MUTED: "muted", RULE: "rule", PAPER: "paper"}
COLORS |= {color: f"series-{place}" for place, color in enumerate(SERIES)}
# Sizes in a figure, in the units of its viewBox: CSS pixels at its usual size.
WIDTH = 330
PAIRED_WIDTH = 284

_DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (7, 1.5, 1.2, 1.5)), (0, (3, 1)), (0, (9, 2)))
_LOOKS = [*zip(SERIES, "os^DvP", _DASHES, strict=True)]
_STYLE = mpl.rc_params_from_file(Path(__file__).with_name("plots.mplstyle"), use_default_template=False)
_NOT_DRAWN = re.compile(r"<defs>\s*<style.*?</defs>|(?<=>)\s+(?=<)", re.DOTALL)
# What a tag of matplotlib's has, and what the page has instead: the font of text is the page's own.
_TIDY = {r"\s+": " ", r'(?<=[:;]) | (?=")|xlink:|font-family:[^;"]*;?| transform="rotate\(-0 [^"]*"': ""}


def look_of(place: int) -> tuple[str, str, Any]:
    """Choose the colour, marker and dashes of a row of the report in every plot; they repeat after six."""
    return _LOOKS[place % len(_LOOKS)]


@contextlib.contextmanager
def canvas(height: float, *, width: float = WIDTH) -> Iterator[Figure]:
    """Open a figure of `width` by `height` in the page's style, whatever the user's own matplotlib settings are."""
    with mpl.rc_context(), warnings.catch_warnings():
        # The browser's fonts draw the text: a glyph missing from matplotlib's own font does no harm.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield Figure(figsize=(width / 72, height / 72), dpi=72)


def add_axes(
    figure: Figure, *, left: float, right: float, top: float, bottom: float, grid: Literal["x", "y", "both"] = "both"
) -> Axes:
    """Add axes with these margins, in units of the viewBox, and grid lines of the values on one axis or both."""
    width, height = figure.get_size_inches() * 72
    size = ((width - left - right) / width, (height - top - bottom) / height)
    axes = figure.add_axes((left / width, bottom / height, *size))
    axes.locator_params(nbins=5)
    axes.grid(True, axis=grid)
    return axes


def to_svg(figure: Figure, name: str) -> dict[str, str]:
    """Write the figure as its id, the viewBox and safe marks, for the page's `<svg>`; inside the block of `canvas`.

    `name`, which is unique in the page, makes all ids of the figure unique: a letter, then letters, digits and hyphens.
    """
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = _NOT_DRAWN.sub("", stream.getvalue())
    marks = text[text.index(">", text.index("<svg")) + 1 : text.rindex("</svg>")]
    linked = {*re.findall(r'["(]#([^")]+)', marks)}

    def rewrite(tag: re.Match[str]) -> str:
        """Prefix the ids that something links to, leave out the others, and tidy a tag."""
        words = re.sub(r' id="([^"]*)"', lambda found: f' id="{name}-{found[1]}"' * (found[1] in linked), tag[0])
        for pattern, new in ((r'(?<=["(]#)', f"{name}-"), *_TIDY.items()):
            words = re.sub(pattern, new, words)
        words = re.sub(r"-?\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), words)
        return re.sub("|".join(COLORS), lambda found: f"var(--{COLORS[found[0]]})", words)

    width, height = figure.get_size_inches() * 72
    marks = re.sub("<[^>]+>", rewrite, marks)  # but not the text between tags
    box = f"0 0 {width:g} {height:g}"
    return {"id": name, "box": box, "marks": Markup(marks)}  # noqa: S704 - matplotlib has escaped it


def show_text(text: str) -> str:
    """Make control, formatting and unassigned characters visible, as in `a⟨U+202E⟩b`: no name can pass for another."""
    hidden = {c for c in text if c not in "\n\t" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Cn", "Zl", "Zp")}
    return "".join(f"⟨U+{ord(char):04X}⟩" if char in hidden else char for char in text)


def shorten_label(text: str, limit: int = 26) -> str:
    """Shorten a name for a plot in its middle, for settings differ at the end; invisible characters are shown."""
    text = " ".join(text.split())
    begin, end = text[: limit // 2], text[len(text) - (limit - limit // 2 - 1) :]
    return show_text(text if len(text) <= limit else f"{begin.rstrip()}…{end.lstrip()}")


def show_number(value: float | None, digits: int = 1, *, sign: bool = False) -> str:
    """Show a number with a true minus sign and commas between thousands; empty for None."""
    return "" if value is None else f"{value:{'+' if sign else ''},.{digits}f}".replace("-", "\u2212")


def show_range(low: float | None, high: float | None) -> str:
    """Show `[low, high]`; empty if one is missing."""
    return "" if low is None or high is None else f"[{show_number(low)}, {show_number(high)}]"


def join_words(words: Sequence[str]) -> str:
    """Join words as `a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


SHADE = 0.45  # opacity of a matrix cell that holds a whole row: the text on it stays readable


class Point(NamedTuple):
    """What one encoder costs and how well it scores."""

    place: int
    label: str
    cost: float
    score: float


def draw_scores(entries: Sequence[Entry], *, name: str) -> dict[str, str]:
    """Draw a strip for each row: markers for the seeds, a bar for the median, the interval, the published diamond."""
    with canvas(50 * len(entries) + 34) as figure:
        axes = add_axes(figure, left=8, right=8, top=4, bottom=26, grid="x")
        common: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "va": "center"}
        for y, entry in zip(reversed(range(len(entries))), entries, strict=True):
            row, (color, _, _) = entry.row, look_of(entry.place)
            if row.interval:
                axes.plot(row.interval, (y, y), color=color, linewidth=5, alpha=0.28, solid_capstyle="butt")
            if row.median is not None:
                axes.plot((row.median, row.median), (y - 0.2, y + 0.2), color=color, linewidth=2.4)
            _mark(axes, (row.values, [y] * len(row.values)), place=entry.place, markersize=6.5, markeredgewidth=0.9)
            if entry.published is not None:
                edge = {"markerfacecolor": PAPER, "markeredgecolor": INK, "markeredgewidth": 1.5}
                _mark(axes, (entry.published, y), place=0, marker="D", markersize=8, **edge)
            score = "not run" if row.median is None else show_number(row.median)
            axes.text(0, y + 0.36, shorten_label(entry.label), ha="left", color=color, weight="bold", **common)
            axes.text(1, y + 0.36, score, ha="right", color=INK, **common)
        drawn = [x for e in entries for x in (*e.row.values, *(e.row.interval or ()), e.row.median, e.published)]
        known = [x for x in drawn if x is not None] or [0.0, 100.0]
        room = max(0.06 * (max(known) - min(known)), 0.3)
        axes.set(xlim=(min(known) - room, max(known) + room), ylim=(-0.45, len(entries) - 0.3), yticks=[])
        axes.spines["left"].set_visible(False)
        return to_svg(figure, name)


def _mark(axes: Axes, at: tuple[Any, Any], *, place: int, **style: Any) -> None:
    color, marker, _ = look_of(place)
    usual = {"marker": marker, "markerfacecolor": color, "markeredgecolor": PAPER, "linestyle": "none"}
    axes.plot(*at, **usual | style)


def draw_curves(entries: Sequence[Entry], *, name: str) -> dict[str, str]:
    """Draw the loss of every run over its updates, below it the learning rate, and the dev scores if there are any."""
    more = 96 if any(entry.dev_scores for entry in entries) else 0
    with canvas(250 + more) as figure:
        loss = add_axes(figure, left=42, right=8, top=18, bottom=98 + more, grid="y")
        rate = add_axes(figure, left=42, right=8, top=178, bottom=36 + more, grid="y")
        dev = add_axes(figure, left=42, right=8, top=242, bottom=36, grid="y") if more else None
        curves = [(look_of(each.place), thin(run), run) for each in entries for run in each.histories.values()]
        for (color, _, dashes), curve, whole in curves:
            style: dict[str, Any] = {"color": color, "linestyle": dashes}
            loss.plot(curve.step, curve.loss, linewidth=1.2, alpha=0.85, **style)
            rate.plot(curve.step, curve.learning_rate, linewidth=1.4, **style)
            if dev:
                scored = whole[~np.isnan(whole.dev)]
                dev.plot(scored.step, scored.dev, linewidth=1.2, marker="o", markersize=2.5, **style)
        losses = np.concatenate([curve.loss[np.isfinite(curve.loss)] for _, curve, _ in curves])
        if len(losses):  # a single spike would flatten everything else
            loss.set_ylim(0, 1.05 * max(float(np.quantile(losses, 0.995)), 1e-3))
        rate.set_ylim(bottom=0)
        top = max(0.0, *(float(curve.learning_rate.max(initial=0)) for _, curve, _ in curves))
        ticks = {top: f"{top:.0e}".replace("e-0", "e-"), 0.0: "0"}
        rate.set_yticks([*ticks], [*ticks.values()])
        drawn = [(loss, "training loss"), (rate, "learning rate"), *([(dev, "score on the dev set")] if dev else [])]
        for axes, title in drawn:
            axes.set(title=title, xlim=(0, loss.get_xlim()[1]))
            axes.locator_params(axis="x", integer=True)
        *upper, (lowest, _) = drawn
        lowest.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        for axes, _ in upper:
            axes.set_xticklabels([])
        lowest.set_xlabel("update")
        return to_svg(figure, name)


def draw_costs(points: Sequence[Point], *, unit: str, name: str) -> dict[str, str]:
    """Draw scores against costs; each name is written where there is room for it."""
    with canvas(210) as figure:
        axes = add_axes(figure, left=46, right=14, top=18, bottom=38)
        scores = [point.score for point in points]
        room = max(0.35 * (max(scores) - min(scores)), 1.0)
        width = 1.25 * max(point.cost for point in points)
        axes.set(xlim=(0, width), ylim=(min(scores) - room, max(scores) + room), title="mean score", xlabel=unit)
        for point in points:
            _mark(axes, (point.cost, point.score), place=point.place, markersize=9)
            side = "right" if point.cost > 0.6 * width else "left" if point.cost < 0.25 * width else "center"
            above: dict[str, Any] = {"xytext": (0, 9), "textcoords": "offset points", "ha": side, "weight": "bold"}
            above |= {"color": look_of(point.place)[0], "parse_math": False}
            axes.annotate(shorten_label(point.label), (point.cost, point.score), **above)
        return to_svg(figure, name)


def draw_differences(comparison: Comparison, *, name: str) -> dict[str, str]:
    """Draw a line for each task: the difference with its interval, and where 0 is."""
    tasks, (color, _, _) = list(reversed(comparison.tasks)), look_of(0)
    with canvas(30 * len(tasks) + 48) as figure:
        axes = add_axes(figure, left=62, right=12, top=6, bottom=42, grid="x")
        axes.axvline(0, color=INK, linewidth=1)
        for y, task in enumerate(tasks):
            axes.plot((task.low, task.high), (y, y), color=color, linewidth=2.2)
            style = {"markerfacecolor": color if task.better else PAPER, "markeredgecolor": color}
            _mark(axes, (task.difference, y), place=0, markersize=8, markeredgewidth=1.6, **style)
        axes.set_yticks(range(len(tasks)), [shorten_label(task.title, 10) for task in tasks])
        label = shorten_label(f"{comparison.first} minus {comparison.second}, points", 52)
        axes.set(ylim=(-0.6, len(tasks) - 0.4), xlabel=label)
        return to_svg(figure, name)


def draw_density(entry: Entry, *, name: str) -> dict[str, str]:
    """Draw predictions against labels: the more rows a hexagon holds, the darker it is."""
    label, prediction = entry.labels_and_predictions
    with canvas(PAIRED_WIDTH * 0.86, width=PAIRED_WIDTH) as figure:
        axes = add_axes(figure, left=40, right=10, top=8, bottom=38)
        low, high = float(min(label.min(), prediction.min())), float(max(label.max(), prediction.max()))
        room = 0.03 * (high - low) or 1.0
        extent = (low - room, high + room, low - room, high + room)
        bins = axes.hexbin(label, prediction, gridsize=24, extent=extent, mincnt=1, linewidths=0)
        counts = np.asarray(bins.get_array(), dtype=float)
        depth = 0.12 + 0.88 * np.log1p(counts) / np.log1p(counts.max())
        shades = [(*to_rgb(look_of(entry.place)[0]), float(alpha)) for alpha in depth]
        bins.set(array=None, facecolor=shades, edgecolor="none")
        axes.plot((low, high), (low, high), color=INK, linewidth=1, linestyle=(0, (4, 3)))
        axes.set(xlabel="label", ylabel="prediction")
        return to_svg(figure, name)


def draw_reliability(entries: Sequence[Entry], *, name: str) -> dict[str, str]:
    """Draw accuracy against confidence: the more rows a bin holds, the larger its marker."""
    with canvas(WIDTH * 0.86) as figure:
        axes = add_axes(figure, left=46, right=10, top=8, bottom=38)
        axes.plot((0, 1), (0, 1), color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        for entry in entries:
            (color, _, dashes), bins = look_of(entry.place), entry.calibration
            axes.plot(bins.confidence, bins.accuracy, color=color, linestyle=dashes, linewidth=1.2)
            for each in bins:
                size = 4 + 11 * each.share**0.5
                _mark(axes, (each.confidence, each.accuracy), place=entry.place, markersize=size, alpha=0.9)
        lowest = min(min(*entry.calibration.confidence, *entry.calibration.accuracy) for entry in entries)
        ends = (max(0.0, lowest - 0.06), 1.03)
        axes.set(xlim=ends, ylim=ends, xlabel="confidence", ylabel="accuracy")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
        return to_svg(figure, name)
