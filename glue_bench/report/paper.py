"""The report as one table of a paper, in LaTeX: caption, label, a line for each setting, one note."""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from string import ascii_lowercase
from typing import Literal

from glue_bench.errors import UsageError
from glue_bench.report.columns import NOTES, name_sections
from glue_bench.report.model import CARD_TASKS, Line, Report, Row, Section, card_place
from glue_bench.text import escape_latex, plural

Spread = Literal["sd", "range"]
_HEAD = r"% Preamble: \usepackage[T1]{fontenc} \usepackage{booktabs}"
_SHORT = {"accuracy": "acc.", "Matthews correlation": "Matthews"}
_NOTHING = "--"
_WIDEST = 32  # characters of a line's name: what makes one longer is in the note


def render_paper(report: Report, *, spread: Spread = "sd") -> str:
    """Render a float that a paper can input: mean and standard deviation over the seeds, or median and range.

    A UsageError if the rows of a task do not all have one metric.
    """
    rows = dict[str, Row]()
    for row in (row for section in report.sections for row in section.rows if row.seeds):
        if (known := rows.setdefault(row.task, row)).metric != row.metric:
            both = f"{known.metric} of {known.encoder} and {row.metric} of {row.encoder}"
            raise UsageError(f"--style paper: no column for {both} on {row.title}; choose runs, as in encoder=NAME")
    if not rows:
        return "% No finished run yet.\n"
    tasks = {task: rows[task].title for task in sorted(rows, key=card_place)}
    named, explained = list[tuple[str, Line, Section | None]](), list[str]()  # a name; the section after its last line
    for section, name in zip(report.sections, name_sections(report), strict=True):
        own = [line for line in section.lines if any(row.seeds for row in line.rows)]
        for line in own:
            label = f"{name}, {line.words}" if line.words else name
            if line.words and len(label) > _WIDEST:
                turns, letter = divmod(len(explained), 26)
                label = f"{name} ({ascii_lowercase[letter] * (turns + 1)})"
                explained.append(f"{label}: {line.words}.")
            named.append((label, line, section if line is own[-1] else None))
    means = any(line.mean is not None for _, line, _ in named)
    body = list[str]()
    for label, line, ended in named:
        by_task = {row.task: row for row in line.rows}
        scores = [_score(by_task[task], spread) if task in by_task else _NOTHING for task in tasks]
        body.append(_line([escape_latex(label), *scores, *([_number(_mean(line, spread))] * means)]))
        if ended and not {*tasks}.isdisjoint(ended.published):
            numbers = [_number(ended.published.get(task)) for task in tasks]
            body.append(_line([r"\quad published", *numbers, *([_number(ended.shown_published_mean)] * means)]))
    titles = _line(["", *map(escape_latex, tasks.values()), *(["mean"] * means)])
    shown = [rf"{{\footnotesize {escape_latex(_metric(rows[task]))}}}" for task in tasks]
    metrics = _line(["", *shown, *([""] * means)])
    lines = [(label, line) for label, line, _ in named]
    return "\n".join(
        [
            _HEAD,
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape_latex(_caption(lines, tasks, spread=spread))}}}",
            r"\label{tab:glue}",
            r"\small",
            r"\setlength{\tabcolsep}{4pt}",
            rf"\begin{{tabular}}{{l{'c' * (len(tasks) + means)}}}",
            r"\toprule",
            titles,
            metrics,
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            rf"\par\smallskip\footnotesize {escape_latex(' '.join([*explained, _note(report, lines)]))}",
            r"\end{table}",
            "",
        ]
    )


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _score(row: Row, spread: Spread) -> str:
    summary, star = row.summary, "*" * row.doubtful
    if summary is None:
        return _NOTHING
    if spread == "range":
        low, high = map(_number, (summary.minimum, summary.maximum))
        return f"{_number(summary.median)}{star}" + rf"\,{{\scriptsize [{low}, {high}]}}" * (len(row.seeds) > 1)
    deviation = "" if summary.deviation is None else rf"\,{{\scriptsize $\pm$ {summary.deviation:.1f}}}"
    return f"{_number(summary.mean)}{star}{deviation}"


def _mean(line: Line, spread: Spread) -> float | None:
    """Return the mean of the eight tasks, of the numbers that the line shows."""
    if line.mean is None or spread == "range":
        return line.mean
    return fmean(row.summary.mean for row in line.rows if row.summary and row.task in CARD_TASKS)


def _number(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.1f}".replace("-", "$-$")


def _metric(row: Row) -> str:
    """Shorten a row's metric: `mean of accuracy and F1` to `acc./F1`."""
    words = row.metric.removeprefix("mean of ").split(" and ")
    return "/".join(dict.fromkeys(_SHORT.get(word, word.replace("accuracy", "acc.")) for word in words))


def _caption(lines: Sequence[tuple[str, Line]], tasks: Mapping[str, str], *, spread: Spread) -> str:
    what = "median [lowest, highest]" if spread == "range" else "mean and standard deviation"
    finished = [row for _, line in lines for row in line.rows if row.seeds]
    sizes = {task: sorted({row.n for row in finished if row.task == task and row.n}) for task in tasks}
    counts = ", ".join(f"{tasks[task]} {' or '.join(f'{n:,}' for n in ns)}" for task, ns in sizes.items() if ns)
    return f"Development-set scores, times 100: {what} over {_seeds(lines)}. Rows of the development sets: {counts}."


def _seeds(lines: Sequence[tuple[str, Line]]) -> str:
    """Write how many seeds most lines have, and which have others."""
    found = {label: sorted({len(row.seeds) for row in line.rows if row.seeds}) for label, line in lines}
    usual = Counter(count for counts in found.values() for count in counts).most_common(1)[0][0]
    ends = {label: dict.fromkeys((counts[0], counts[-1])) for label, counts in found.items() if counts != [usual]}
    others = [f"{label}: {' to '.join(map(str, counts))}" for label, counts in ends.items()]
    return plural(usual, "seed") + (f" ({'; '.join(others)})" if others else "")


def _note(report: Report, lines: Sequence[tuple[str, Line]]) -> str:
    conditions = dict[str, list[str]]()
    for section, name in zip(report.sections, name_sections(report), strict=True):
        conditions.setdefault(section.conditions, []).append(name)
    several = len(conditions) > 1
    whose = [f"{words} ({', '.join(names)})" if several else words for words, names in conditions.items()]
    parts = [f"Data and recipe: {'; '.join(whose)}."]
    rows = [row for _, line in lines for row in line.rows]
    if not any(row.optimistic or row.setting.selection == "halves" for row in rows):
        parts.append("Nothing was selected on the development sets.")
    if lost := sum(sum(row.unfinished.values()) for row in rows):
        parts.append(f"{plural(lost, 'run')} without a score {'is' if lost == 1 else 'are'} not in the numbers.")
    parts += [NOTES["starred"].partition(": ")[0] + "."] if any(row.doubtful for row in rows) else []
    return " ".join(parts)
