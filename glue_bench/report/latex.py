r"""Tables as LaTeX for \input in a paper: booktabs, nothing else is needed. Knows no records."""

from collections.abc import Sequence

from glue_bench.report.columns import TextTable
from glue_bench.report.model import Row, Section
from glue_bench.text import escape_latex

_HEAD = r"% Preamble: \usepackage[T1]{fontenc} \usepackage{booktabs}; wide tables may need \small or rotation."
_NOTHING = "\u2013"
_STARRED = (
    "* not comparable with published numbers, selected on the dev split, or with a degenerate run: the notes under the "
    "encoder's own table tell."
)
_LEFT_OUT = ("note",)  # sentences: they go under the table


def write_latex(tables: Sequence[TextTable], notes: Sequence[str], *, headline: Sequence[Section] = ()) -> str:
    """Every table with its notes; before them, where there are sections, all encoders in the card's order of tasks."""
    blocks = [_HEAD, *([_headline_table(headline)] if headline else [])]
    blocks += [_detail_table(table) for table in tables]
    blocks += [_paragraph(note) for note in notes]
    return "\n\n".join(blocks) + "\n"


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
    told = [f"({number}) {_conditions(section)}" for number, section in enumerate(sections, start=1)]
    told += [_STARRED] if any("* &" in line for line in lines) else []
    return "\n\n".join([_tabular("l" + "r" * (len(titles) + 1), heads, body), *(_paragraph(text) for text in told)])


def _conditions(section: Section) -> str:
    changes = ", ".join(f"{name}={value}" for name, value in section.changes.items())
    return f"{section.encoder}: {section.data}, recipe {section.recipe}{f' with {changes}' if changes else ''}; medians"


def _detail_table(table: TextTable) -> str:
    kept = [place for place, header in enumerate(table.headers) if header not in _LEFT_OUT]
    columns = "".join("r" if table.is_right(place) else "l" for place in kept)
    body = "\n".join(_line([row[place] for place in kept]) for row in table.rows)
    if table.total:
        body += "\n\\midrule\n" + _line([table.total[place] for place in kept])
    notes = list(table.notes)
    if "note" in table.headers:
        place = table.headers.index("note")
        notes = [f"{row[0]}: {row[place]}." for row in table.rows if row[place]] + notes
    title = rf"\noindent\textbf{{{escape_latex(table.title)}}}"
    head = _line([table.headers[place] for place in kept])
    return "\n\n".join([title, _tabular(columns, head, body), *(_paragraph(note) for note in notes)])


def _tabular(columns: str, head: str, body: str) -> str:
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", head, r"\midrule", body, r"\bottomrule", r"\end{tabular}"]
    return "\n".join(lines)


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
