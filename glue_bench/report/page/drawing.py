"""Turn matplotlib figures into SVG inside HTML, and values into the text that a reader sees.

Knows no records. Each colour of COLORS becomes one of the page's, light or dark. Text stays text.
"""

import io
import re
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

from markupsafe import Markup

from glue_bench.report.page.plain_matplotlib import mpl  # isort: skip - before anything else of it
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK, MUTED, RULE, PAPER = "#010001", "#010002", "#010003", "#010004"
SERIES = ("#010011", "#010012", "#010013", "#010014", "#010015", "#010016")
# Colours that nothing else uses; each stands for one of the page's.
COLORS = {INK: "ink", MUTED: "muted", RULE: "rule", PAPER: "paper"}
COLORS |= {color: f"series-{place}" for place, color in enumerate(SERIES)}
# Sizes in a figure, in the units of its viewBox: CSS pixels at its usual size.
WIDTH = 330
PAIRED_WIDTH = 284

_STYLE = mpl.rc_params_from_file(Path(__file__).with_name("plots.mplstyle"), use_default_template=False)
_NOT_DRAWN = re.compile(r"<defs>\s*<style.*?</defs>|(?<=>)\s+(?=<)", re.DOTALL)
# What a tag of matplotlib's has, and what the page has instead: the font of text is the page's own.
_TIDY = {
    r"\s+": " ",
    r'(?<=[:;]) | (?=")|xlink:|font-family:[^;"]*;?| transform="rotate\(-0 [^"]*"': "",
}


class Drawing(NamedTuple):
    """What an `<svg>` element of the page needs; the page gives it a name and a description."""

    id: str
    box: str  # viewBox
    marks: Markup  # safe markup


class Look(NamedTuple):
    """How one row of the report is drawn in every plot."""

    color: str
    marker: str
    dashes: Any


DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (7, 1.5, 1.2, 1.5)), (0, (3, 1)), (0, (9, 2)))
LOOKS = [Look(*each) for each in zip(SERIES, ("o", "s", "^", "D", "v", "P"), DASHES, strict=True)]


def look_of(place: int) -> Look:
    """Choose the colours, markers and dashes of the rows, which repeat after six."""
    return LOOKS[place % len(LOOKS)]


@contextmanager
def canvas(height: float, *, width: float = WIDTH) -> Iterator[Figure]:
    """Open a figure of `width` by `height` in the page's style, whatever the user's own matplotlib settings are."""
    with mpl.rc_context(), warnings.catch_warnings():
        # The browser's fonts draw the text: a glyph missing from matplotlib's own font does no harm.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        FigureCanvasSVG(figure)
        yield figure


def add_axes(
    figure: Figure,
    *,
    left: float,
    right: float,
    top: float,
    bottom: float,
    grid: Literal["x", "y", "both"] | None = None,
) -> Axes:
    """Add axes with these margins, in the units of the viewBox, with or without grid lines."""
    width, height = figure.get_size_inches() * 72
    size = ((width - left - right) / width, (height - top - bottom) / height)
    axes = figure.add_axes((left / width, bottom / height, *size))
    if grid:
        axes.grid(True, axis=grid)
        axes.set_axisbelow(True)
    return axes


def to_svg(figure: Figure, name: str) -> Drawing:
    """Write the figure as markup; must be called inside the block of `canvas`.

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
    return Drawing(name, f"0 0 {width:g} {height:g}", Markup(marks))  # noqa: S704 - matplotlib has escaped it


def show_text(text: str) -> str:
    """Make control, formatting and unassigned characters in text visible, as in `a⟨U+202E⟩b`.

    A name that reverses the direction of writing, or has characters without width, cannot pass for another name.
    """
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


def show_seconds(seconds: float | None) -> str:
    """Show a duration with about three significant digits, in s, min or h."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def join_words(words: Sequence[str]) -> str:
    """Join words as `a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
