"""What paper.tex shows: the report as one table of a paper, with caption, label, a line for each setting, one note."""

from collections import Counter
from collections.abc import Sequence
from string import ascii_lowercase
from typing import Literal

from glue_bench.errors import UsageError
from glue_bench.report.model import CARD_TASKS, Line, Report, Row, Section
from glue_bench.report.templates import load_template, write_notes
from glue_bench.text import plural

Spread = Literal["sd", "range"]
_Lines = Sequence[tuple[str, Line, Section | None]]  # a name; the section after its last line
_SHORT = {"accuracy": "acc.", "Matthews correlation": "Matthews"}
_WIDEST = 32  # characters of a line's name: what makes one longer is in the note


def render_paper(report: Report, *, spread: Spread = "sd") -> str:
    """Render a float that a paper can input: mean and standard deviation over the seeds, or median and range.

    A UsageError if the rows of a task do not all have one metric.
    """
    finished = dict[str, Row]()
    for row in (row for section in report.sections for row in section.rows if row.seeds):
        if (known := finished.setdefault(row.task, row)).metric != row.metric:
            both = f"{known.metric} of {known.encoder} and {row.metric} of {row.encoder}"
            raise UsageError(f"--style paper: no column for {both} on {row.title}; choose runs, as in encoder=NAME")
    if not finished:
        return "% No finished run yet.\n"
    lines, explained = list[tuple[str, Line, Section | None]](), list[str]()
    for section in report.sections:
        own = [line for line in section.lines if any(row.seeds for row in line.rows)]
        for line in own:
            label = ", ".join(filter(None, (section.name, line.words)))
            if line.words and len(label) > _WIDEST:
                turns, letter = divmod(len(explained), 26)
                label = f"{section.name} ({ascii_lowercase[letter] * (turns + 1)})"
                explained.append(f"{label}: {line.words}.")
            lines.append((label, line, section if line is own[-1] else None))
    rows = [row for _, line, _ in lines for row in line.rows]
    return load_template("paper.tex").render(
        caption=" ".join(write_notes("caption", rows, spread, _seeds(lines))),
        tasks=sorted(finished.values(), key=lambda row: row.order),
        lines=lines,
        spread=spread,
        short_metric=_metric,
        card_tasks=CARD_TASKS,
        means=any(line.mean is not None for _, line, _ in lines),
        note=" ".join([*explained, *write_notes("paper", rows, report.sections)]),
    )


def _metric(row: Row) -> str:
    """Shorten a row's metric: `mean of accuracy and F1` to `acc./F1`."""
    words = row.metric.removeprefix("mean of ").split(" and ")
    return "/".join(dict.fromkeys(_SHORT.get(word, word.replace("accuracy", "acc.")) for word in words))


def _seeds(lines: _Lines) -> str:
    """Write how many seeds most lines have, and which have others."""
    found = {label: sorted({len(row.seeds) for row in line.rows if row.seeds}) for label, line, _ in lines}
    usual = Counter(count for counts in found.values() for count in counts).most_common(1)[0][0]
    ends = {label: dict.fromkeys((counts[0], counts[-1])) for label, counts in found.items() if counts != [usual]}
    others = [f"{label}: {' to '.join(map(str, counts))}" for label, counts in ends.items()]
    return plural(usual, "seed") + (f" ({'; '.join(others)})" if others else "")
