"""Records and published numbers to tables. Knows no torch; everything it needs is on disk."""

from glue_bench.report.check import Checked, check_report, read_baseline
from glue_bench.report.comparison import Comparison, Side, Sides, compare, compare_all
from glue_bench.report.formats import FORMATS, render_comparison, render_report
from glue_bench.report.model import CARD_TASKS, Report, Row
from glue_bench.report.paper import render_paper
from glue_bench.report.sides import choose_sides
from glue_bench.report.table import build_report, left_out_note

__all__ = [
    "CARD_TASKS",
    "FORMATS",
    "Checked",
    "Comparison",
    "Report",
    "Row",
    "Side",
    "Sides",
    "build_report",
    "check_report",
    "choose_sides",
    "compare",
    "compare_all",
    "left_out_note",
    "read_baseline",
    "render_comparison",
    "render_paper",
    "render_report",
]
