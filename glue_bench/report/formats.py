"""A report or a comparison as console table, Markdown, LaTeX, JSON or CSV."""

import io
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from glue_bench.report.columns import COMPARISON_RULE, TextTable, comparison_tables, report_tables, section_conditions
from glue_bench.report.comparison import EncoderComparison, TaskComparison
from glue_bench.report.model import REPORT_SCHEMA_VERSION, Report, Row, Section
from glue_bench.runs.setting import Setting
from glue_bench.text import escape_cell, escape_latex, escape_markdown

TABLE_FORMATS = ("console", "markdown", "latex")
FORMATS = (*TABLE_FORMATS, "json", "csv")

_NONE_YET = "No runs yet."
# Columns that may be broken into lines, and their smallest width.
_WRAPPED = {"metric": 14, "verdict": 14, "note": 24, "claim": 12, "the card says": 16, "found": 20}
# The columns that a narrow terminal does without, the first one first.
_LEFT_OUT = (
    *("note", "device", "metric", "dev rows", "detectable", "p (Holm)", "seeds", "difference", "kept"),
    *("seconds of training", "95 % interval"),
)
_SENTENCES = ("metric", "note")  # shown under the table where they do not fit into it
_GAP = 3  # characters between two columns

_LATEX_HEAD = r"% Preamble: \usepackage[T1]{fontenc} \usepackage{booktabs}; wide tables may need \small or rotation."
_NOTHING = "\u2013"
_STARRED = (
    "* not comparable with published numbers, selected on the dev split, or with a degenerate run: see the notes under "
    "the encoder's own table."
)


def render_report(report: Report, format_name: str, *, width: int | None = None, color: bool = False) -> str:
    """The whole report as text.

    Args:
        format_name: one of FORMATS.
        width: columns of the console table; None for the terminal's.
        color: escape sequences in the console table.
    """
    if format_name == "json":
        return _report_json(report)
    if format_name == "csv":
        return render_csv(
            [row.to_json() for section in report.sections for row in section.rows], like=_EMPTY_ROW.to_json()
        )
    tables = report_tables(report)
    if format_name == "console":
        if not tables:
            return f"{_NONE_YET} Start with: glue-bench sweep preset=sample\n"
        return _console(tables, report.footnotes, width=width, color=color)
    if format_name == "markdown":
        return _markdown(tables, report.footnotes)
    return _latex(tables, report.footnotes, sections=report.sections)


def render_comparison(
    comparison: EncoderComparison, format_name: str, *, width: int | None = None, color: bool = False
) -> str:
    """Two encoders side by side as text; the arguments are those of `render_report`."""
    tasks = [_task_to_json(task) for task in comparison.tasks]
    if format_name == "json":
        return _json({**asdict(comparison), "tasks": tasks})
    if format_name == "csv":
        names = {"encoder": comparison.first, "beside": comparison.second}
        return render_csv([{**names, **task} for task in tasks], like=[*names, *TaskComparison.__dataclass_fields__])
    tables = comparison_tables(comparison)
    return render_tables(tables, [COMPARISON_RULE], format_name=format_name, width=width, color=color)


def render_tables(
    tables: Sequence[TextTable], notes: Sequence[str], *, format_name: str, width: int | None, color: bool
) -> str:
    """Any tables, and once the notes; the other arguments are those of `render_report`.

    Args:
        format_name: one of TABLE_FORMATS.
    """
    if format_name == "console":
        return _console(tables, notes, width=width, color=color)
    return (_markdown if format_name == "markdown" else _latex)(tables, notes)


def _report_json(report: Report) -> str:
    sections = [
        {
            **{key: getattr(section, key) for key in ("encoder", "data", "recipe")},
            "recipe_changes": dict(section.changes),
            **{key: getattr(section, key) for key in ("mean", "published_mean")},
            "rows": [row.to_json() for row in section.rows],
        }
        for section in report.sections
    ]
    return _json({"sections": sections, "footnotes": list(report.footnotes)})


def _task_to_json(task: TaskComparison) -> dict[str, Any]:
    content = asdict(task)
    for cost in (content["first_cost"], content["second_cost"]):
        del cost["tokens_per_second"]  # only the page shows it
    return content


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps({"schema_version": REPORT_SCHEMA_VERSION, **content}, indent=1, allow_nan=False) + "\n"


def render_csv(rows: Sequence[Mapping[str, Any]], *, like: Collection[str]) -> str:
    """One line per row, lists and mappings as JSON; `like` names the columns."""
    import pandas as pd  # half a second that the other formats need not pay for

    plain = [
        {key: escape_cell(json.dumps(value) if isinstance(value, list | dict) else value) for key, value in row.items()}
        for row in rows
    ]
    # As objects: whole numbers beside empty cells would become fractions.
    return str(pd.DataFrame(plain, columns=list(like), dtype=object).to_csv(index=False, lineterminator="\n"))


def _markdown(tables: Sequence[TextTable], notes: Sequence[str]) -> str:
    lines = list[str]()
    for table in tables:
        rule = ["--:" if table.is_right(place) else "---" for place, _ in enumerate(table.headers)]
        lines += [f"### {escape_markdown(table.title)}", ""]
        rows = [f"| {' | '.join(escape_markdown(cell) for cell in row)} |" for row in (table.headers, *table.lines)]
        lines += [rows[0], f"|{'|'.join(rule)}|", *rows[1:], ""]
        lines += [f"{escape_markdown(note)}\n" for note in table.notes]
    lines += [f"{escape_markdown(note)}\n" for note in notes] if tables else [_NONE_YET]
    return "\n".join(lines).rstrip() + "\n"


def _console(tables: Sequence[TextTable], notes: Sequence[str], *, width: int | None, color: bool) -> str:
    console = Console(
        file=io.StringIO(), width=width, force_terminal=color, no_color=not color, highlight=False, emoji=False
    )
    for text in tables:
        _print_table(console, text)
    for note in notes:
        console.print(_show(note), style="dim")
    assert isinstance(console.file, io.StringIO)  # noqa: S101 - made above
    return console.file.getvalue()


def _print_table(console: Console, text: TextTable) -> None:
    console.print(_show(text.title), style="bold")
    kept, moved = _fit(text, console.width)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place in kept:
        header, narrowest = text.headers[place], _WRAPPED.get(text.headers[place])
        table.add_column(
            _show(header),
            justify="right" if text.is_right(place) else "left",
            no_wrap=narrowest is None,
            min_width=narrowest,
        )
    for line in text.rows:
        table.add_row(*(_show(line[place]) for place in kept))
    if text.total:
        table.add_section()
        table.add_row(*(_show(text.total[place]) for place in kept))
    console.print(table)
    below = [place for place in moved if text.headers[place] in _SENTENCES]
    for line in text.rows:
        words = [line[place] for place in below if line[place]]
        if words:
            console.print(_show(f"{line[0]}: {'; '.join(words)}"))
    numbers = [text.headers[place] for place in moved if place not in below]
    if numbers:
        console.print(f"In a wider terminal also: {', '.join(numbers)}.", style="dim")
    for note in text.notes:
        console.print(_show(note))
    console.print()


def _fit(text: TextTable, width: int) -> tuple[list[int], list[int]]:
    """The places of the columns that are shown, and of those that say something but do not fit."""
    kept = [place for place, _ in enumerate(text.headers) if any(line[place] for line in text.lines)]
    moved = list[int]()
    for header in _LEFT_OUT:
        needed = sum(_narrowest(text, place) for place in kept) + _GAP * (len(kept) - 1) + 2
        if needed <= width:
            break
        moved += [place for place in kept if text.headers[place] == header]
        kept = [place for place in kept if text.headers[place] != header]
    return kept, sorted(moved)


def _narrowest(text: TextTable, place: int) -> int:
    """The columns of a terminal that a column of the table takes at least."""
    longest = max(len(line[place]) for line in (text.headers, *text.lines))
    return min(longest, _WRAPPED.get(text.headers[place], longest))


def _show(text: str) -> str:
    """The text itself on a terminal: no markup, no escape sequences."""
    return escape("".join(char if char.isprintable() else " " for char in text))


def _latex(tables: Sequence[TextTable], notes: Sequence[str], *, sections: Sequence[Section] = ()) -> str:
    """Every table with its notes; before them, where there are sections, all encoders in the card's order of tasks."""
    blocks = [_LATEX_HEAD, *([_headline_table(sections)] if sections else [])]
    return "\n\n".join([*blocks, *map(_detail_table, tables), *map(_paragraph, notes)]) + "\n"


def _headline_table(sections: Sequence[Section]) -> str:
    """Medians of every section's rows in one line, and the published numbers in the line under it."""
    titles = dict[str, str]()
    for section in sections:
        titles |= {row.task: row.title for row in section.rows}
    lines = []
    for number, section in enumerate(sections, start=1):
        rows = {row.task: row for row in reversed(section.rows)}
        cells = [_median(rows.get(task)) for task in titles]
        lines.append(_line([f"{section.encoder} ({number})", *cells, _number(section.mean)]))
        if any(row.published is not None for row in rows.values()):
            scores = [rows[task].published if task in rows else None for task in titles]
            published = [_number(score.value if score else None) for score in scores]
            lines.append(_line([f"published, {section.encoder}", *published, _number(section.published_mean)]))
    heads = _line(["encoder", *titles.values(), "mean"])
    body = "\n".join(lines)
    notes = [
        f"({number}) {section.encoder}: {section_conditions(section)}; medians"
        for number, section in enumerate(sections, start=1)
    ]
    notes += [_STARRED] if any("* &" in line for line in lines) else []
    return "\n\n".join([_tabular("l" + "r" * (len(titles) + 1), [heads, body]), *map(_paragraph, notes)])


def _detail_table(table: TextTable) -> str:
    kept = [place for place, header in enumerate(table.headers) if header != "note"]
    columns = "".join("r" if table.is_right(place) else "l" for place in kept)
    parts = ["\n".join(_line([row[place] for place in kept]) for row in rows) for rows in ([table.headers], table.rows)]
    parts += [_line([table.total[place] for place in kept])] if table.total else []
    notes = list(table.notes)
    if "note" in table.headers:
        place = table.headers.index("note")
        notes = [f"{row[0]}: {row[place]}." for row in table.rows if row[place]] + notes
    title = rf"\noindent\textbf{{{escape_latex(table.title)}}}"
    return "\n\n".join([title, _tabular(columns, parts), *map(_paragraph, notes)])


def _tabular(columns: str, parts: Sequence[str]) -> str:
    """A table of a head and a body, with rules around them."""
    rows = [r"\toprule", "\n\\midrule\n".join(parts), r"\bottomrule"]
    return "\n".join([rf"\begin{{tabular}}{{{columns}}}", *rows, r"\end{tabular}"])


def _paragraph(text: str) -> str:
    return rf"\noindent {escape_latex(text)}"


def _line(cells: Sequence[str]) -> str:
    text = " & ".join(escape_latex(cell) for cell in cells) + r" \\"
    return "{}" + text if text.startswith(("[", "*")) else text  # the rule or line before would take it for its option


def _median(row: Row | None) -> str:
    doubtful = row is not None and row.median is not None and (not row.comparable or row.optimistic or row.degenerate)
    return (_number(row.median) if row else _NOTHING) + ("*" if doubtful else "")


def _number(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.1f}"


_EMPTY_ROW = Row(setting=Setting(encoder="", task="", recipe="", data=""), title="", metric="", convention="")
