"""Texts of the report that Jinja writes: the notes, and tables in Markdown and LaTeX. The HTML page has its own."""

import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glue_bench.config.task import undefined_words
from glue_bench.statistics.intervals import DRAWS
from glue_bench.statistics.verdicts import FEWEST_SEEDS
from glue_bench.text import escape_latex, escape_markdown, plural

if TYPE_CHECKING:
    import jinja2

# Around blocks, values and comments: LaTeX needs the braces.
_MARKS = {"block_start_string": "<%", "block_end_string": "%>", "variable_start_string": "<<"}
_MARKS |= {"variable_end_string": ">>", "comment_start_string": "<#", "comment_end_string": "#>"}
_FILTERS: dict[str, Any] = {"latex": escape_latex, "markdown": escape_markdown, "plural": plural}
_FILTERS |= {"commas": "{:,}".format, "share": "{:.1f} %".format, "undefined": undefined_words}
_FILTERS["cell"] = lambda text: re.sub(r"^-(?=\d)|(?<= to )-", "$-$", escape_latex(text))
_FILTERS["number"] = lambda value: "--" if value is None else f"{value:.1f}".replace("-", "$-$")


def make_environment(folder: Path, **options: Any) -> "jinja2.Environment":
    """Return the environment in which all templates of a folder are read."""
    import jinja2  # imported late: a table on a terminal may have no notes

    usual: dict[str, Any] = {"trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True, **options}
    loader = jinja2.FileSystemLoader(folder)
    return jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined, **usual)  # noqa: S701


@functools.cache
def load_template(name: str) -> "jinja2.Template":
    """Load a template of this folder; it escapes values by filters."""
    environment = make_environment(Path(__file__).parent, **_MARKS)
    environment.filters |= _FILTERS
    environment.globals |= {"draws": f"{DRAWS:,}", "fewest": FEWEST_SEEDS, "write_notes": write_notes}
    return environment.get_template(name)


def write_notes(place: str, *about: object, **more: object) -> list[str]:
    """Write the notes of one place, which is a macro of notes.txt, about what that takes."""
    text = getattr(load_template("notes.txt").module, place)(*about, **more)
    return [" ".join(note.split()) for note in text.split("\n\n") if note.strip()]
