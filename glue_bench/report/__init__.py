"""Records and published numbers to tables. Knows no torch; everything it needs is in the records."""

from glue_bench.report.render import FORMATS, render_report
from glue_bench.report.table import Report, build_report

__all__ = ["FORMATS", "Report", "build_report", "render_report"]
