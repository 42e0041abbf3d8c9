"""Texts of the report that Jinja writes: the notes, and tables in Markdown and LaTeX. The HTML page has its own."""

import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING

from glue_bench.statistics.intervals import DRAWS
from glue_bench.statistics.verdicts import FEWEST_SEEDS
from glue_bench.text import escape_latex, escape_markdown, plural

if TYPE_CHECKING:
    import jinja2

_MARKS = ("<%", "%>", "<<", ">>", "<#", "#>")  # around blocks, values and comments: LaTeX needs the braces
_FILTERS = {
    "latex": escape_latex,
    "cell": lambda text: re.sub(r"^-(?=\d)|(?<= to )-", "$-$", escape_latex(text)),
    "markdown": escape_markdown,
    "number": lambda value: "--" if value is None else f"{value:.1f}".replace("-", "$-$"),
    "commas": "{:,}".format,
    "share": "{:.1f} %".format,
    "plural": plural,
}


@functools.cache
def load_template(name: str) -> "jinja2.Template":
    """Load a template of this folder; it escapes values by filters."""
    import jinja2  # imported late: a table on a terminal may have no notes

    environment = jinja2.Environment(  # noqa: S701
        *_MARKS,
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= _FILTERS
    environment.globals |= {"draws": f"{DRAWS:,}", "fewest": FEWEST_SEEDS, "write_notes": write_notes}
    return environment.get_template(name)


def write_notes(place: str, *about: object, **more: object) -> list[str]:
    """Write the notes of one place, which is a macro of notes.txt, about what that takes."""
    text = getattr(load_template("notes.txt").module, place)(*about, **more)
    return [" ".join(note.split()) for note in text.split("\n\n") if note.strip()]
