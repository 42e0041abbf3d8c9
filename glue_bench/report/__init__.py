"""Records and published numbers to tables. Knows no torch; everything it needs is on disk."""

from glue_bench.report.comparison import EncoderComparison, compare_all, compare_encoders
from glue_bench.report.formats import FORMATS, render_comparison, render_report
from glue_bench.report.model import CARD_TASKS, Report, Row
from glue_bench.report.table import Checked, build_report, check_report, read_baseline

__all__ = [
    "CARD_TASKS",
    "FORMATS",
    "Checked",
    "EncoderComparison",
    "Report",
    "Row",
    "build_report",
    "check_report",
    "compare_all",
    "compare_encoders",
    "read_baseline",
    "render_comparison",
    "render_report",
]
