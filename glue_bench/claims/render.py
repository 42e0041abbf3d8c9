"""The claims' rows as console table, Markdown, JSON or CSV. Knows no checks."""

import csv
import io
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from glue_bench.claims.rows import CONFIRMED, CONTRADICTED, VERDICTS, ClaimRow, ClaimsReport
from glue_bench.text import escape_cell, escape_markdown

CLAIMS_SCHEMA_VERSION = 1
_HEADERS = ("claim", "the card says", "found", "verdict", "note")
_CSV = ("id", "title", "model", "claimed", "found", "verdict", "why", "basis", "check", "source")
_STYLES = {CONFIRMED: "green", CONTRADICTED: "bold red"}


def render_claims(report: ClaimsReport, format_name: str, *, width: int | None = None, color: bool = False) -> str:
    """The whole table as text.

    Args:
        format_name: one of FORMATS.
        width: columns of the console table; None for the terminal's.
        color: escape sequences in the console table.
    """
    if format_name == "console":
        return _to_console(report, width=width, color=color)
    return _PLAIN[format_name](report)


def summarise(report: ClaimsReport) -> str:
    """How many claims got which verdict."""
    counts = Counter(row.verdict for row in report.rows)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict]) or "no claims"


def _to_console(report: ClaimsReport, *, width: int | None, color: bool) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=color, no_color=not color, highlight=False)
    console.print(escape(f"Claims of {report.title}: {summarise(report)}"), style="bold")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header, share in zip(_HEADERS, (2, 3, 4, 2, 4), strict=True):
        table.add_column(header, ratio=share)
    for row in report.rows:
        cells = [escape(cell) for cell in _cells(row)]
        style = _STYLES.get(row.verdict)
        cells[3] = f"[{style}]{cells[3]}[/]" if style else cells[3]
        table.add_row(*cells)
    console.print(table)
    console.print()
    for note in report.notes:
        console.print(escape(note), style="dim")
    return stream.getvalue()


def _to_markdown(report: ClaimsReport) -> str:
    lines = [f"### {escape_markdown(f'Claims of {report.title}: {summarise(report)}')}", ""]
    lines += ["| " + " | ".join(_HEADERS) + " |", "|" + "---|" * len(_HEADERS)]
    lines += ["| " + " | ".join(escape_markdown(cell) for cell in _cells(row)) + " |" for row in report.rows]
    lines += ["", *(f"- {escape_markdown(note)}" for note in report.notes)]
    return "\n".join(lines) + "\n"


def _to_json(report: ClaimsReport) -> str:
    """One object per claim; docs/claims.md describes the fields."""
    counts = Counter(row.verdict for row in report.rows)
    content = {
        "schema_version": CLAIMS_SCHEMA_VERSION,
        "title": report.title,
        "verdicts": {verdict: counts[verdict] for verdict in VERDICTS},
        "claims": [asdict(row) for row in report.rows],
        "notes": list(report.notes),
        "machine": dict(report.machine),
    }
    return json.dumps(content, indent=1) + "\n"


def _to_csv(report: ClaimsReport) -> str:
    """One line per claim; what a spreadsheet would take for a formula is text."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_CSV)
    for row in report.rows:
        plain = asdict(row)
        writer.writerow([escape_cell(plain[name]) for name in _CSV])
    return stream.getvalue()


def _cells(row: ClaimRow) -> list[str]:
    based = [row.basis] if row.found and row.basis not in row.why else []
    return [row.title, row.claimed, row.found, row.verdict, "; ".join([part for part in [row.why] if part] + based)]


_PLAIN: dict[str, Callable[[ClaimsReport], str]] = {"markdown": _to_markdown, "json": _to_json, "csv": _to_csv}
FORMATS = ("console", *_PLAIN)
