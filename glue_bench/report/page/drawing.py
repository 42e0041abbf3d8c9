"""A matplotlib figure to SVG inside HTML: colours from the page, ids of its own, a name and a description.

Knows no records. What is drawn in a colour of COLORS follows the page's own, light or dark. Text stays text.
"""

import io
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas

from glue_bench.report.page.display import shorten, show_text
from glue_bench.report.page.model import Series

INK, MUTED, RULE, PAPER = "#010001", "#010002", "#010003", "#010004"
SERIES = ("#010011", "#010012", "#010013", "#010014", "#010015", "#010016")
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (7, 1.5, 1.2, 1.5)), (0, (3, 1)), (0, (9, 2)))
# Colours that nothing else uses, each in the place of one of the page's own.
COLORS = {INK: "ink", MUTED: "muted", RULE: "rule", PAPER: "paper"} | {
    color: f"series-{place}" for place, color in enumerate(SERIES)
}
# Of a figure, in the units of its viewBox: CSS pixels at the size at which it is mostly seen.
WIDTH = 330
PAIRED_WIDTH = 284

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "glue-bench",
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "text.color": INK,
    "text.parse_math": False,
    "axes.facecolor": "none",
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 11,
    "axes.linewidth": 1.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "axes.unicode_minus": True,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 10.5,
    "ytick.labelsize": 10.5,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "lines.linewidth": 1.4,
    "lines.solid_capstyle": "round",
}
_FONT = re.compile(r"^(?:(?P<weight>bold|[1-9]00) )?(?P<size>[\d.]+px) ")
_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_LINK = re.compile(r"(?:^|url\()#([^)]+)")


@contextmanager
def canvas(height: float, *, width: float = WIDTH) -> Iterator[Canvas]:
    """A figure of `width` by `height` in the page's style, whatever the reader's own settings of matplotlib say."""
    with mpl.rc_context(), warnings.catch_warnings():
        # The reader's fonts draw the text: a glyph that matplotlib's own lacks is no matter.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        figure = Canvas(figsize=(width / 72, height / 72), dpi=72)
        FigureCanvasSVG(figure)
        yield figure


def place_axes(figure: Canvas, *, left: float, right: float, top: float, bottom: float) -> Axes:
    """Axes with these margins, in the units of the viewBox."""
    width, height = figure.get_size_inches() * 72
    box = (left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height)
    return figure.add_axes(box)


def write_label(
    axes: Axes, at: tuple[float, float], text: str, *, color: str, weight: str = "normal", ha: str = "left"
) -> None:
    """A word at a share of the width, 0 to 1, and a value of the axis of `y`."""
    axes.text(*at, text, transform=axes.get_yaxis_transform(), ha=ha, va="center", color=color, weight=weight)


def write_title(axes: Axes, text: str) -> None:
    """What the axis of `y` shows, above its upper end."""
    axes.annotate(
        text,
        (0, 1),
        xycoords="axes fraction",
        xytext=(0, 5),
        textcoords="offset points",
        color=MUTED,
        annotation_clip=False,
    )


def name_of(series: Series) -> str:
    """A series' name, as short as a plot needs it."""
    return shorten_label(series.label, 26)


def shorten_label(text: str, limit: int) -> str:
    """A name of at most `limit` characters, its invisible ones shown."""
    return show_text(shorten(text, limit))


def to_svg(figure: Canvas, *, id: str, name: str, description: str) -> str:  # noqa: A002 - the attribute's name
    """The figure as an `<svg>` element.

    Must be called inside the block of `canvas`.

    Args:
        id: a letter, then letters, digits and hyphens; unique in the page, as are then all ids in the figure.
        name: what a screen reader calls it.
        description: what it shows, with the numbers.
    """
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    root = ET.fromstring(stream.getvalue())  # noqa: S314 - made in the line above
    for parent in list(root.iter()):
        parent.tag = parent.tag.rpartition("}")[2]
        parent.tail = None
        parent.text = parent.text if parent.tag == "text" else None
        for child in [child for child in parent if child.tag.endswith(("}metadata", "}style"))]:
            parent.remove(child)
    linked = {link for element in root.iter() for value in element.attrib.values() for link in _LINK.findall(value)}
    for element in root.iter():
        _rewrite(element, prefix=id, linked=linked)
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "class": "plot",
        "role": "img",
        "aria-labelledby": f"{id}-name",
        "aria-describedby": f"{id}-about",
    }
    for place, (tag, text) in enumerate((("title", name), ("desc", description))):
        child = ET.Element(tag, id=f"{id}-{'name' if tag == 'title' else 'about'}")
        child.text = show_text(text)
        root.insert(place, child)
    return ET.tostring(root, encoding="unicode")


def _rewrite(element: ET.Element, *, prefix: str, linked: set[str]) -> None:
    """Ids with a prefix, where something links to them; short numbers; colours of the page."""
    found = dict(element.attrib)
    element.attrib.clear()
    for key, value in found.items():
        key = key.rpartition("}")[2]
        value = _LINK.sub(lambda match: match[0].replace("#", f"#{prefix}-"), value)
        if key == "id":
            if value in linked:
                element.set("id", f"{prefix}-{value}")
        elif key == "style":
            element.set("style", _restyle(value))
        elif not value.startswith("rotate(-0 "):
            element.set(key, _NUMBER.sub(_round, " ".join(value.split())) if "#" not in value else value)


def _restyle(style: str) -> str:
    kept = []
    for part in style.split(";"):
        key, _, value = part.strip().partition(": ")
        if key == "font" and (match := _FONT.match(value)):
            kept.append(f"font-size:{match['size']}")
            kept += [f"font-weight:{match['weight']}"] if match["weight"] else []
        elif key and key != "font-family":
            kept.append(f"{key}:{f'var(--{COLORS[value]})' if value in COLORS else value}")
    return ";".join(kept)


def _round(match: re.Match[str]) -> str:
    return f"{float(match[0]):.2f}".rstrip("0").rstrip(".")
