"""A report as console table, Markdown, JSON or CSV. Knows no records."""

import io
import json
from collections.abc import Callable
from dataclasses import asdict

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from glue_bench.escaping import escape_cell, escape_markdown
from glue_bench.report.table import Report, Row, Section

REPORT_SCHEMA_VERSION = 1
_HEADERS = ("task", "init", "metric", "dev rows", "seeds", "ours", "published", "difference", "note")
_RIGHT = ("dev rows", "seeds", "ours", "published", "difference")


def render_report(report: Report, format_name: str, *, width: int | None = None, color: bool = False) -> str:
    """The whole report as text.

    Args:
        format_name: one of FORMATS.
        width: columns of the console table; None for the terminal's.
        color: escape sequences in the console table.
    """
    if format_name == "console":
        return _to_console(report, width=width, color=color)
    return _PLAIN[format_name](report)


def _to_console(report: Report, *, width: int | None, color: bool) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=color, no_color=not color, highlight=False)
    columns = _columns(report)
    for section in report.sections:
        console.print(escape(_title(section)), style="bold")
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        # Where nothing was published, its two columns would only take room from the notes.
        published = any(row.published is not None for row in section.rows)
        kept = [place for place in columns if published or _HEADERS[place] not in ("published", "difference")]
        for header in (_HEADERS[place] for place in kept):
            right = header in _RIGHT
            table.add_column(header, justify="right" if right else "left", no_wrap=header not in ("metric", "note"))
        for row in section.rows:
            cells = _cells(row)
            table.add_row(*(escape(cells[place]) for place in kept))
        if section.mean is not None:
            cells = _mean_cells(section)
            table.add_section()
            table.add_row(*(escape(cells[place]) for place in kept))
        console.print(table)
        console.print()
    if not report.sections:
        console.print("No runs yet. Start with: glue-bench sweep preset=sample")
    else:
        for note in report.footnotes:
            console.print(escape(note), style="dim")
    assert isinstance(console.file, io.StringIO)  # noqa: S101 - made above
    return console.file.getvalue()


def _to_markdown(report: Report) -> str:
    lines, columns = list[str](), _columns(report)
    for section in report.sections:
        lines += [f"### {escape_markdown(_title(section))}", ""]
        headers = [_HEADERS[place] for place in columns]
        lines.append("| " + " | ".join(headers) + " |")
        lines.append("|" + "|".join("--:" if header in _RIGHT else "---" for header in headers) + "|")
        rows = [_cells(row) for row in section.rows]
        rows += [_mean_cells(section)] if section.mean is not None else []
        lines += ["| " + " | ".join(escape_markdown(cells[place]) for place in columns) + " |" for cells in rows]
        lines.append("")
    lines += [f"{escape_markdown(note)}\n" for note in report.footnotes] if report.sections else ["No runs yet."]
    return "\n".join(lines).rstrip() + "\n"


def _to_json(report: Report) -> str:
    """One object per row; scores times 100; `parts` holds every single metric's median."""
    sections = [
        {
            "encoder": section.encoder,
            "data": section.data,
            "recipe": section.recipe,
            "recipe_changes": dict(section.changes),
            "mean": section.mean,
            "published_mean": section.published_mean,
            "rows": [asdict(row) for row in section.rows],
        }
        for section in report.sections
    ]
    content = {
        "schema_version": REPORT_SCHEMA_VERSION,
        "sections": sections,
        "footnotes": list(report.footnotes),
    }
    return json.dumps(content, indent=1) + "\n"


def _to_csv(report: Report) -> str:
    """One line per row, the columns of `Row`; lists and mappings as JSON."""
    import pandas as pd  # half a second that the other formats need not pay for

    rows = []
    for section in report.sections:
        for row in section.rows:
            plain = asdict(row)
            rows.append(
                {key: json.dumps(value) if isinstance(value, list | dict) else value for key, value in plain.items()}
            )
    frame = pd.DataFrame(rows, columns=list(Row.__dataclass_fields__))
    return str(frame.map(escape_cell).to_csv(index=False, lineterminator="\n"))


def _columns(report: Report) -> list[int]:
    """The places of the columns that tell the reader something."""
    told = any(row.init != "pretrained" for section in report.sections for row in section.rows)
    return [place for place, name in enumerate(_HEADERS) if told or name != "init"]


def _title(section: Section) -> str:
    title = f"{section.encoder}, {section.data}, recipe {section.recipe}"
    if section.changes:
        title += " with " + ", ".join(f"{name}={value}" for name, value in section.changes.items())
    return f"{title}; published: {section.published_title}" if section.published_title else title


def _cells(row: Row) -> list[str]:
    return [
        row.title,
        row.init,
        row.metric,
        "" if row.n is None else f"{row.n:,}",
        str(len(row.seeds)),
        _ours(row),
        "" if row.published is None else f"{row.published:.1f}",
        "" if row.difference is None else f"{row.difference:+.1f}",
        row.note,
    ]


def _ours(row: Row) -> str:
    if row.median is None or row.minimum is None or row.maximum is None:
        return ", ".join(row.unfinished) or "not run"
    spread = f" [{row.minimum:.1f}, {row.maximum:.1f}]" if len(row.seeds) > 1 else ""
    runs = len(row.seeds) + sum(row.unfinished.values())
    lost = ", ".join(f"{count} of {runs} {status}" for status, count in row.unfinished.items())
    return f"{row.median:.1f}{spread}{f' ({lost})' if lost else ''}"


def _mean_cells(section: Section) -> list[str]:
    mean, published = section.mean or 0.0, section.published_mean
    return [
        "mean",
        " and ".join(dict.fromkeys(row.init for row in section.averaged)),
        "of the eight tasks",
        "",
        "",
        f"{mean:.1f}",
        "" if published is None else f"{published:.1f}",
        "" if published is None else f"{mean - published:+.1f}",
        "; ".join(
            [
                *([] if all(row.comparable for row in section.averaged) else ["not comparable"]),
                *(["selected on the dev split: optimistic"] if any(row.optimistic for row in section.averaged) else []),
            ]
        ),
    ]


_PLAIN: dict[str, Callable[[Report], str]] = {"markdown": _to_markdown, "json": _to_json, "csv": _to_csv}
FORMATS = ("console", *_PLAIN)
