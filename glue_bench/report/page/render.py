"""The page's content to one self-contained HTML file. Knows no records; everything but its own plots is escaped."""

from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from glue_bench import __version__
from glue_bench.report.page.display import show_number, show_range, show_text
from glue_bench.report.page.model import Page

_TEMPLATES = Path(__file__).resolve().parent / "templates"


def render_page(page: Page) -> str:
    """The whole file; the same content gives the same text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_finalize,
    )
    environment.filters |= {"number": show_number, "range": show_range, "ours": Markup}
    style = Markup((_TEMPLATES / "page.css").read_text(encoding="utf-8"))  # noqa: S704 - our own file
    return environment.get_template("page.html").render(page=page, style=style, version=__version__).lstrip()


def _finalize(value: Any) -> Any:
    """Plain text with its invisible characters made visible; markup of our own as it is."""
    return show_text(value) if type(value) is str else value
