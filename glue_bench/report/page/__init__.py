"""The report as one self-contained HTML page. Knows no torch; nothing else loads matplotlib or Jinja."""

from glue_bench.report.page.build import build_page
from glue_bench.report.page.render import render_page

__all__ = ["build_page", "render_page"]
