"""A report or a comparison as console table, Markdown, LaTeX, JSON or CSV. Knows no records."""

from collections.abc import Callable, Sequence

from glue_bench.report.columns import TextTable, comparison_tables, report_tables
from glue_bench.report.comparison import EncoderComparison
from glue_bench.report.console import write_console
from glue_bench.report.latex import write_latex
from glue_bench.report.model import Report
from glue_bench.report.notes import COMPARISON_RULE
from glue_bench.report.programs import (
    write_comparison_csv,
    write_comparison_json,
    write_report_csv,
    write_report_json,
)
from glue_bench.text import escape_markdown

_NONE_YET = "No runs yet."


def render_report(report: Report, format_name: str, *, width: int | None = None, color: bool = False) -> str:
    """The whole report as text.

    Args:
        format_name: one of FORMATS.
        width: columns of the console table; None for the terminal's.
        color: escape sequences in the console table.
    """
    tables = report_tables(report)
    if format_name == "console" and not tables:
        return f"{_NONE_YET} Start with: glue-bench sweep preset=sample\n"
    if format_name in _REPORTS:
        return _REPORTS[format_name](report)
    return render_tables(tables, report.footnotes, format_name=format_name, width=width, color=color)


def render_comparison(
    comparison: EncoderComparison, format_name: str, *, width: int | None = None, color: bool = False
) -> str:
    """Two encoders side by side as text; the arguments are those of `render_report`."""
    if format_name in ("json", "csv"):
        return write_comparison_json(comparison) if format_name == "json" else write_comparison_csv(comparison)
    tables = comparison_tables(comparison)
    return render_tables(tables, [COMPARISON_RULE], format_name=format_name, width=width, color=color)


def render_tables(
    tables: Sequence[TextTable],
    notes: Sequence[str],
    *,
    format_name: str,
    width: int | None = None,
    color: bool = False,
) -> str:
    """Any tables, and once the notes, as text; the arguments are those of `render_report`.

    Args:
        format_name: one of TABLE_FORMATS.
    """
    if format_name == "console":
        return write_console(tables, notes, width=width, color=color)
    return _to_markdown(tables, notes) if format_name == "markdown" else write_latex(tables, notes)


def _to_markdown(tables: Sequence[TextTable], notes: Sequence[str]) -> str:
    lines = list[str]()
    for table in tables:
        lines += [f"### {escape_markdown(table.title)}", ""]
        lines.append(f"| {' | '.join(escape_markdown(header) for header in table.headers)} |")
        lines.append(
            "|" + "|".join("--:" if table.is_right(place) else "---" for place, _ in enumerate(table.headers)) + "|"
        )
        rows = [*table.rows, *([table.total] if table.total else [])]
        lines += [f"| {' | '.join(escape_markdown(cell) for cell in row)} |" for row in rows]
        lines += ["", *(f"{escape_markdown(note)}\n" for note in table.notes)]
    lines += [f"{escape_markdown(note)}\n" for note in notes] if tables else [_NONE_YET]
    return "\n".join(lines).rstrip() + "\n"


def _report_latex(report: Report) -> str:
    return write_latex(report_tables(report), report.footnotes, headline=report.sections)


_REPORTS: dict[str, Callable[[Report], str]] = {
    "latex": _report_latex,
    "json": write_report_json,
    "csv": write_report_csv,
}
TABLE_FORMATS = ("console", "markdown", "latex")
FORMATS = ("console", "markdown", *_REPORTS)
