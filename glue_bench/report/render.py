"""A report or a comparison as console table, Markdown, LaTeX, JSON or CSV. Knows no records."""

import io
from collections.abc import Callable, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from glue_bench.escaping import escape_markdown
from glue_bench.report.columns import RIGHT, TextTable, comparison_tables, report_tables
from glue_bench.report.comparison import EncoderComparison
from glue_bench.report.latex import write_latex
from glue_bench.report.model import Report
from glue_bench.report.notes import COMPARISON_RULE
from glue_bench.report.programs import (
    write_comparison_csv,
    write_comparison_json,
    write_report_csv,
    write_report_json,
)

_NONE_YET = "No runs yet."
_WRAPPED = ("metric", "note", "verdict")
_FOLDED = 16  # columns: longer words of wrapped cells are broken


def render_report(report: Report, format_name: str, *, width: int | None = None, color: bool = False) -> str:
    """The whole report as text.

    Args:
        format_name: one of FORMATS.
        width: columns of the console table; None for the terminal's.
        color: escape sequences in the console table.
    """
    tables = report_tables(report)
    if format_name == "console":
        if not tables:
            return f"{_NONE_YET} Start with: glue-bench sweep preset=sample\n"
        return _to_console(tables, report.footnotes, width=width, color=color)
    if format_name == "markdown":
        return _to_markdown(tables, report.footnotes)
    return _REPORTS[format_name](report)


def render_comparison(
    comparison: EncoderComparison, format_name: str, *, width: int | None = None, color: bool = False
) -> str:
    """Two encoders side by side as text; the arguments are those of `render_report`."""
    tables = comparison_tables(comparison)
    if format_name == "console":
        return _to_console(tables, [COMPARISON_RULE], width=width, color=color)
    if format_name == "markdown":
        return _to_markdown(tables, [COMPARISON_RULE])
    if format_name == "latex":
        return write_latex(tables, [COMPARISON_RULE])
    return write_comparison_json(comparison) if format_name == "json" else write_comparison_csv(comparison)


def _to_console(tables: Sequence[TextTable], notes: Sequence[str], *, width: int | None, color: bool) -> str:
    console = Console(
        file=io.StringIO(), width=width, force_terminal=color, no_color=not color, highlight=False, emoji=False
    )
    for text in tables:
        console.print(_show(text.title), style="bold")
        lines = [*text.rows, *([text.total] if text.total else [])]
        # A column that says nothing in this table would only take room from the notes.
        kept = [place for place, _ in enumerate(text.headers) if any(line[place] for line in lines)]
        if _width_needed(text, lines, kept) <= console.width:
            console.print(_make_grid(text, lines, kept))
        else:
            _print_lines(console, text, lines, kept)
        for note in text.notes:
            console.print(_show(note))
        console.print()
    for note in notes:
        console.print(_show(note), style="dim")
    assert isinstance(console.file, io.StringIO)  # noqa: S101 - made above
    return console.file.getvalue()


def _width_needed(text: TextTable, lines: Sequence[Sequence[str]], kept: Sequence[int]) -> int:
    """Columns of the terminal, below which the table would be cut."""
    return sum(2 + _least_width(text.headers[place], [line[place] for line in lines]) for place in kept)


def _least_width(header: str, cells: Sequence[str]) -> int:
    """Of a column: its widest cell; where it is wrapped, its longest word, unless that is folded."""
    if header in _WRAPPED:
        words = [word for cell in (header, *cells) for word in cell.split()]
        return min(_FOLDED, max(cell_len(word) for word in words))
    return max(cell_len(cell) for cell in (header, *cells))


def _make_grid(text: TextTable, lines: Sequence[Sequence[str]], kept: Sequence[int]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place in kept:
        header = text.headers[place]
        table.add_column(
            _show(header),
            justify="right" if header in RIGHT else "left",
            no_wrap=header not in _WRAPPED,
            min_width=_least_width(header, [line[place] for line in lines]),
            overflow="fold",
        )
    for line in text.rows:
        table.add_row(*(_show(line[place]) for place in kept))
    if text.total:
        table.add_section()
        table.add_row(*(_show(text.total[place]) for place in kept))
    return table


def _print_lines(console: Console, text: TextTable, lines: Sequence[Sequence[str]], kept: Sequence[int]) -> None:
    """One cell a line, where the terminal is too narrow for the table."""
    for line in lines:
        console.print(_show(line[kept[0]]), style="bold")
        for place in kept[1:]:
            if line[place]:
                console.print(f"  {_show(text.headers[place])}: {_show(line[place])}")
    console.print()


def _show(text: str) -> str:
    """The text itself on a terminal: no markup, no escape sequences."""
    return escape("".join(char if char.isprintable() else " " for char in text))


def _to_markdown(tables: Sequence[TextTable], notes: Sequence[str]) -> str:
    lines = list[str]()
    for table in tables:
        lines += [f"### {escape_markdown(table.title)}", ""]
        lines.append(f"| {' | '.join(escape_markdown(header) for header in table.headers)} |")
        lines.append("|" + "|".join("--:" if header in RIGHT else "---" for header in table.headers) + "|")
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
FORMATS = ("console", "markdown", *_REPORTS)
