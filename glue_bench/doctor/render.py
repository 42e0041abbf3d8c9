"""Findings as aligned lines or JSON. Knows no checks; without rich, which a doctor may find missing, as plain lines."""

import io
import json
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from glue_bench.doctor.findings import NOTE, PROBLEM, Finding

DOCTOR_SCHEMA_VERSION = 1
_STYLES = {NOTE: "yellow", PROBLEM: "bold red"}
_STATE, _NAME = 9, 22  # columns of the first two cells


def render_finding(finding: Finding, *, width: int | None, color: bool) -> str:
    """One finding as lines; what to do stands under what was found.

    Args:
        width: columns; None for the terminal's.
        color: escape sequences, which say nothing that the words do not.
    """
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return _render_plain(finding, width or 100)
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=color, no_color=not color, highlight=False)
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(width=_STATE - 1)
    table.add_column(width=_NAME - 1)
    table.add_column(overflow="fold")
    table.add_row(Text(finding.state, style=_STYLES.get(finding.state, "")), Text(finding.name), Text(finding.found))
    if finding.advice:
        table.add_row("", "", Text(f"-> {finding.advice}"))
    console.print(table)
    return "".join(f"{line.rstrip()}\n" for line in stream.getvalue().splitlines())


def _render_plain(finding: Finding, width: int) -> str:
    indent = " " * (_STATE + _NAME)
    first = f"{finding.state:{_STATE}}{finding.name:{_NAME}}{finding.found}"
    lines = textwrap.wrap(first, width, subsequent_indent=indent)
    if finding.advice:
        lines += textwrap.wrap(f"-> {finding.advice}", width, initial_indent=indent, subsequent_indent=indent)
    return "\n".join(lines) + "\n"


def summarise(findings: Sequence[Finding]) -> str:
    """Whether a sweep would run, in one line."""
    counts = Counter(finding.state for finding in findings)
    notes = f"; {counts[NOTE]} {'note' if counts[NOTE] == 1 else 'notes'}" if counts[NOTE] else ""
    if not counts[PROBLEM]:
        return f"nothing found that would stop this sweep{notes}"
    return f"{counts[PROBLEM]} {'problem' if counts[PROBLEM] == 1 else 'problems'} would stop this sweep{notes}"


def to_json(findings: Sequence[Finding]) -> str:
    """One object; `ready` is whether nothing would stop the sweep."""
    content = {
        "schema_version": DOCTOR_SCHEMA_VERSION,
        "ready": all(finding.state != PROBLEM for finding in findings),
        "findings": [asdict(finding) for finding in findings],
    }
    return json.dumps(content, indent=1) + "\n"
