"""Render a report or a comparison as console table, Markdown, LaTeX, JSON or CSV."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from glue_bench.report.columns import COMPARISON_RULE, TextTable, comparison_tables, headline_table, report_tables
from glue_bench.report.comparison import EncoderComparison, TaskComparison
from glue_bench.report.model import REPORT_SCHEMA_VERSION, Report, Row, Section
from glue_bench.runs.setting import Setting
from glue_bench.text import escape_cell, escape_latex, escape_markdown, visible

TABLE_FORMATS = ("console", "markdown", "latex")
FORMATS = (*TABLE_FORMATS, "json", "csv")

# Columns that may wrap, and their smallest width.
_WRAPPED = {"metric": 14, "verdict": 14, "note": 24, "claim": 12, "the card says": 16, "found": 20}
# Columns that are dropped in a narrow terminal, in this order.
_LEFT_OUT = (
    *("note", "device", "metric", "dev rows", "detectable", "p (Holm)", "seeds", "difference", "kept"),
    *("seconds of training", "95 % interval"),
)
_SENTENCES = ("metric", "note")  # shown below the table if they do not fit into it
_GAP = 3  # characters between two columns

_LATEX_HEAD = r"% Preamble: \usepackage[T1]{fontenc} \usepackage{booktabs}; wide tables may need \small or rotation."


def render_report(report: Report, format_name: str, *, width: int | None = None, color: bool = False) -> str:
    """Render the whole report as text.

    Args:
        format_name: one of FORMATS.
        width: columns of the console table; None for the terminal's.
        color: escape sequences in the console table.
    """
    if format_name == "json":
        sections = [_section_to_json(section) for section in report.sections]
        return _json({"sections": sections, "footnotes": report.footnotes})
    if format_name == "csv":
        return render_csv(
            [row.to_json() for section in report.sections for row in section.rows], like=_EMPTY_ROW.to_json()
        )
    if not report.sections:
        return f"{'% ' if format_name == 'latex' else ''}No runs yet. Start with: glue-bench sweep preset=sample\n"
    tables = report_tables(report)
    if format_name == "latex":
        tables = [headline_table(report.sections), *tables]
    return render_tables(tables, report.footnotes, format_name=format_name, width=width, color=color)


def render_comparison(
    comparison: EncoderComparison, format_name: str, *, width: int | None = None, color: bool = False
) -> str:
    """Render two encoders side by side as text; the arguments are those of `render_report`."""
    # Only the page shows tokens per second.
    content = asdict(comparison, dict_factory=lambda pairs: {k: v for k, v in pairs if k != "tokens_per_second"})
    if format_name == "json":
        return _json(content)
    if format_name == "csv":
        names = {"encoder": comparison.first, "beside": comparison.second}
        rows = [{**names, **task} for task in content["tasks"]]
        return render_csv(rows, like=[*names, *TaskComparison.__dataclass_fields__])
    tables = comparison_tables(comparison)
    return render_tables(tables, [COMPARISON_RULE], format_name=format_name, width=width, color=color)


def render_tables(
    tables: Sequence[TextTable], notes: Sequence[str], *, format_name: str, width: int | None, color: bool
) -> str:
    """Render any tables, with the notes once; the other arguments are those of `render_report`.

    Args:
        format_name: one of TABLE_FORMATS.
    """
    if format_name == "console":
        return _console(tables, notes, width=width, color=color)
    return (_markdown if format_name == "markdown" else _latex)(tables, notes)


def _section_to_json(section: Section) -> dict[str, Any]:
    keys = ("encoder", "data", "recipe", "recipe_changes", "mean", "published_mean")
    return {**{key: getattr(section, key) for key in keys}, "rows": [row.to_json() for row in section.rows]}


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps({"schema_version": REPORT_SCHEMA_VERSION, **content}, indent=1, allow_nan=False) + "\n"


def render_csv(rows: Sequence[Mapping[str, Any]], *, like: Iterable[str]) -> str:
    """Write one line per row, lists and mappings as JSON; `like` names the columns."""
    plain = [
        {key: escape_cell(json.dumps(value) if isinstance(value, list | dict) else value) for key, value in row.items()}
        for row in rows
    ]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(like), extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(plain)
    return stream.getvalue()


def _markdown(tables: Sequence[TextTable], notes: Sequence[str]) -> str:
    lines = list[str]()
    for table in tables:
        rule = ["--:" if table.is_right(place) else "---" for place, _ in enumerate(table.headers)]
        lines += [f"### {escape_markdown(table.title)}", ""]
        rows = [f"| {' | '.join(escape_markdown(cell) for cell in row)} |" for row in (table.headers, *table.lines)]
        lines += [rows[0], f"|{'|'.join(rule)}|", *rows[1:], ""]
        lines += [f"{escape_markdown(note)}\n" for note in table.notes]
    return "\n".join([*lines, *(f"{escape_markdown(note)}\n" for note in notes)]).rstrip() + "\n"


def _console(tables: Sequence[TextTable], notes: Sequence[str], *, width: int | None, color: bool) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=color, no_color=not color, highlight=False, emoji=False)
    for text in tables:
        _print_table(console, text)
    for note in notes:
        console.print(_show(note), style="dim")
    return stream.getvalue()


def _print_table(console: Console, text: TextTable) -> None:
    console.print(_show(text.title), style="bold")
    kept, moved = _fit(text, console.width)
    shown = text.select(kept)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, header in enumerate(shown.headers):
        justify: Literal["left", "right"] = "right" if shown.is_right(place) else "left"
        narrowest = _WRAPPED.get(header)
        table.add_column(_show(header), justify=justify, no_wrap=narrowest is None, min_width=narrowest)
    for line in shown.lines:
        if line is shown.total:
            table.add_section()
        table.add_row(*map(_show, line))
    console.print(table)
    below = [place for place in moved if text.headers[place] in _SENTENCES]
    for line in text.rows:
        if words := "; ".join(line[place] for place in below if line[place]):
            console.print(_show(f"{line[0]}: {words}"))
    if numbers := ", ".join(text.headers[place] for place in moved if place not in below):
        console.print(f"A wider terminal also shows: {numbers}.", style="dim")
    for note in text.notes:
        console.print(_show(note))
    console.print()


def _fit(text: TextTable, width: int) -> tuple[list[int], list[int]]:
    """Find the columns that fit, and the non-empty ones that do not."""
    said = [place for place, _ in enumerate(text.headers) if any(line[place] for line in text.lines)]
    longest = {place: max(len(line[place]) for line in (text.headers, *text.lines)) for place in said}
    narrowest = {place: min(size, _WRAPPED.get(text.headers[place], size)) for place, size in longest.items()}
    for header in _LEFT_OUT:
        if sum(narrowest.values()) + _GAP * (len(narrowest) - 1) + 2 <= width:
            break
        narrowest = {place: size for place, size in narrowest.items() if text.headers[place] != header}
    return list(narrowest), [place for place in said if place not in narrowest]


def _show(text: str) -> str:
    """Show text literally on a terminal: no markup, no escape sequences."""
    return escape(visible(text))


def _latex(tables: Sequence[TextTable], notes: Sequence[str]) -> str:
    return "\n\n".join([_LATEX_HEAD, *map(_latex_table, tables), *map(_paragraph, notes)]) + "\n"


def _latex_table(table: TextTable) -> str:
    shown = table.select([place for place, header in enumerate(table.headers) if header != "note"])
    columns = "".join("r" if shown.is_right(place) else "l" for place, _ in enumerate(shown.headers))
    parts = ["\n".join(map(_line, lines)) for lines in ([shown.headers], shown.rows, shown.lines[len(shown.rows) :])]
    rows = [r"\toprule", "\n\\midrule\n".join(filter(None, parts)), r"\bottomrule"]
    tabular = "\n".join([rf"\begin{{tabular}}{{{columns}}}", *rows, r"\end{tabular}"])
    title = [rf"\noindent\textbf{{{escape_latex(table.title)}}}"] if table.title else []
    places = [place for place, header in enumerate(table.headers) if header == "note"]
    notes = [f"{row[0]}: {row[place]}." for place in places for row in table.rows if row[place]]
    return "\n\n".join([*title, tabular, *map(_paragraph, [*notes, *table.notes])])


def _paragraph(text: str) -> str:
    return rf"\noindent {escape_latex(text)}"


def _line(cells: Sequence[str]) -> str:
    text = " & ".join(escape_latex(cell) for cell in cells) + r" \\"
    return "{}" + text if text.startswith(("[", "*")) else text  # else it is read as an option of the line before


_EMPTY_ROW = Row(setting=Setting(encoder="", task="", recipe="", data=""), title="", metric="", convention="")
