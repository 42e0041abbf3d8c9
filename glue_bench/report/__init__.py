"""Records and published numbers to tables. Knows no torch; everything it needs is on disk."""

from glue_bench.report.comparison import EncoderComparison, TaskComparison, compare_all, compare_encoders
from glue_bench.report.formats import FORMATS, render_comparison, render_report
from glue_bench.report.model import CARD_TASKS, Report, Row, ScoreSummary, Section
from glue_bench.report.table import build_report

__all__ = [
    "CARD_TASKS",
    "FORMATS",
    "EncoderComparison",
    "Report",
    "Row",
    "ScoreSummary",
    "Section",
    "TaskComparison",
    "build_report",
    "compare_all",
    "compare_encoders",
    "render_comparison",
    "render_report",
]
