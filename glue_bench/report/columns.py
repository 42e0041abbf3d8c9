"""Turn rows into tables of text with notes, the same in every format that people read. Knows no formats."""

import dataclasses
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from glue_bench.report.comparison import EncoderComparison, TaskComparison
from glue_bench.report.model import Report, Row, Section
from glue_bench.statistics.intervals import DRAWS
from glue_bench.statistics.verdicts import ABOVE, FAILED, FEWEST_SEEDS, NOT_COMPARABLE, REPRODUCED
from glue_bench.tasks.published import PublishedTable
from glue_bench.text import plural

_SCORES = "Scores are on the validation (dev) split, times 100: the median [minimum, maximum] over the seeds"
OURS = f"{_SCORES}, of the last checkpoint; nothing was selected on the dev split."
OURS_SELECTED = (
    f"{_SCORES}. Rows with a note on selection show the selected epoch or grid cell; all others show the last "
    "checkpoint, with nothing selected on the dev split."
)
OPTIMISTIC = (
    '"Selected on the dev split" means that the choice was made on the very rows that are scored, which makes the '
    "score optimistic."
)
INTERVALS = (
    "95 % interval: where the expected score lies with other seeds and other dev rows of the same kind (the rows are "
    f"resampled {DRAWS:,} times, and the spread over the seeds is added). With one seed, it covers the choice of dev "
    "rows but not training noise."
)
DEV_SETS = (
    "The published numbers are dev-set results too. The DistilRoBERTa model card calls its numbers test results, but "
    "its authors' README lists them as dev-set results. Difference: our median minus the published number, given only "
    "where rows and metric are the same."
)
VERDICT_RULE = (
    "Verdict: the published runs were scored on the same dev rows, so only training noise counts. Reproduced: the "
    "published number, within its rounding, lies in the 95 % interval that the mean and spread of our seeds predict "
    "for a run like theirs. Below or above: it lies outside, and our scores are below or above it. Inconclusive: "
    f"fewer than {FEWEST_SEEDS} seeds, or it lies inside only because few seeds or a degenerate run make the interval "
    "wide. There is no p-value, because the noise of a single published number is unknown. A verdict does not say "
    "why: the published runs may have used another recipe or another selection."
)
PAIR_MEANS = (
    "For MNLI, QQP, MRPC and STS-B, the published numbers of DistilRoBERTa are the mean of two metrics or splits, and "
    "those of roberta-base are a single metric. This is inferred, not documented; the two encoders' published numbers "
    "are not like for like. Use --convention card or --convention paper to print one kind for both."
)
COMPARISON_RULE = (
    "Each score is the median over the seeds that both encoders have, times 100. Difference: first minus second, with "
    "a 95 % interval over seeds and dev rows, paired by seed and by row (with one seed, over dev rows only). p: the "
    "larger of two p-values, adjusted over the tasks (Holm). One is from a permutation test that swaps the two "
    "encoders' predictions on randomly chosen dev rows; the other is the level at which the interval touches 0, which "
    "accounts for training noise too. Better: adjusted p below 0.05. Detectable: the smallest true difference that one "
    "such test finds with probability of about 0.8. Kept: the first score as a percentage of the second."
)
STARRED = (
    "* not comparable with published numbers, selected on the dev split, or with a degenerate run: see the notes under "
    "the encoder's own table."
)
_NOTHING = "\u2013"
_NUMBER = re.compile(rf"-?\d+(\.\d+)?\*?|{_NOTHING}")
# Columns that count as numbers even if some cells hold words.
_NUMBERS = {
    *("dev rows", "seeds", "ours", "95 % interval", "published", "difference", "p (Holm)", "detectable", "kept"),
    *("seconds per 1,000 dev rows", "seconds of training"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTable:
    """A table of text cells."""

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    total: Sequence[str] | None = None  # the last line, set off from the others
    notes: Sequence[str] = ()  # under it

    @property
    def lines(self) -> list[Sequence[str]]:
        """The rows and the total."""
        return [*self.rows, *([self.total] if self.total else [])]

    def is_right(self, place: int) -> bool:
        """Check whether a column holds numbers, which are right-aligned."""
        cells = [row[place] for row in self.rows if row[place]]
        return self.headers[place] in _NUMBERS or (bool(cells) and all(map(_NUMBER.fullmatch, cells)))

    def select(self, places: Iterable[int]) -> "TextTable":
        """Return the table with only these columns."""
        headers, *rows = ([line[place] for place in places] for line in (self.headers, *self.lines))
        total = rows.pop() if self.total else None
        return dataclasses.replace(self, headers=headers, rows=rows, total=total)


def report_tables(report: Report) -> list[TextTable]:
    """Build a table per section, without the columns that are empty in all of them."""
    headers = ["task", "init", "metric", "dev rows", "seeds", "ours", "95 % interval", "published", "difference"]
    headers += ["verdict", "note"]
    tables = []
    for section in report.sections:
        published = f"; published: {section.published_title}" if section.published_title else ""
        title, rows = f"{section.encoder}, {section.conditions}{published}", [_cells(row) for row in section.rows]
        tables.append(TextTable(title=title, headers=headers, rows=rows, total=_mean_cells(section)))
    lines = [line for table in tables for line in table.lines]
    used = {"init": {line[1] for line in lines} != {"pretrained"}}
    kept = [place for place, name in enumerate(headers) if used.get(name, any(line[place] for line in lines))]
    return [table.select(kept) for table in tables]


def headline_table(sections: Sequence[Section]) -> TextTable:
    """Put each section's medians in one line, and the published numbers in the line below."""
    titles = {row.task: row.title for section in sections for row in section.rows}
    lines, notes = list[list[str]](), list[str]()
    for number, section in enumerate(sections, start=1):
        rows = {row.task: row for row in reversed(section.rows)}
        medians = [_median(rows.get(task)) for task in titles]
        lines.append([f"{section.encoder} ({number})", *medians, _number(section.mean)])
        notes.append(f"({number}) {section.encoder}: {section.conditions}; medians")
        published = {task: row.published.value for task, row in rows.items() if row.published}
        if published:
            scores = [_number(published.get(task)) for task in titles]
            lines.append([f"published, {section.encoder}", *scores, _number(section.published_mean)])
    notes += [STARRED] if any(cell.endswith("*") for line in lines for cell in line[1:]) else []
    return TextTable(title="", headers=["encoder", *titles.values(), "mean"], rows=lines, notes=notes)


def comparison_tables(comparison: EncoderComparison) -> list[TextTable]:
    """Build the tables of scores and of times of two encoders, with notes on the whole comparison."""
    first, second = comparison.first, comparison.second
    headers = ["task", "metric", "dev rows", "seeds", first, second, "difference", "95 % interval", "p (Holm)"]
    means, total = (comparison.first_mean, comparison.second_mean), None
    if means[0] is not None and means[1] is not None:
        cells = [f"{means[0]:.1f}", f"{means[1]:.1f}", _signed(means[0] - means[1]), *[""] * 4, _share(comparison.kept)]
        total = ["mean", f"of {plural(len(comparison.tasks), 'task')}", "", "", *cells, ""]
    quality = TextTable(
        title=f"{first} compared with {second}",
        headers=[*headers, "detectable", "better", "kept", "note"],
        rows=[_comparison_cells(task) for task in comparison.tasks],
        total=total,
        notes=_comparison_notes(comparison),
    )
    speed = ("seconds per 1,000 dev rows", "times as fast predicting", "seconds of training", "times as fast training")
    cost = TextTable(
        title="Time: medians over the runs, as measured while they ran; other work on the machine slows them",
        headers=["task", *speed, "device"],
        rows=[_cost_cells(task) for task in comparison.tasks],
    )
    return [quality, cost] if comparison.tasks else [quality]


def _score_words(row: Row) -> str:
    summary = row.summary
    if summary is None:
        return ", ".join(row.unfinished) or "not run"
    spread = f" [{summary.minimum:.1f}, {summary.maximum:.1f}]" if len(row.seeds) > 1 else ""
    runs = len(row.seeds) + sum(row.unfinished.values())
    lost = ", ".join(f"{count} of {runs} {status}" for status, count in row.unfinished.items())
    return f"{summary.median:.1f}{spread}{f' ({lost})' if lost else ''}"


def _verdict_words(row: Row) -> str:
    """Show the verdict, and its reason unless the note gives it."""
    if row.verdict is None:
        return ""
    kind, reason = row.verdict.kind, row.verdict.reason
    if kind == FAILED:
        return f"{FAILED} {reason}"
    words = f"{kind}, optimistic" if row.optimistic and kind in (REPRODUCED, ABOVE) else kind
    return f"{words}: {reason}" if reason and kind != NOT_COMPARABLE else words


def write_footnotes(sections: Sequence[Section], published: Sequence[PublishedTable]) -> list[str]:
    """List what a reader of these sections must know, most important first."""
    rows = [row for section in sections for row in section.rows]
    optimistic = any(row.optimistic for row in rows)
    notes = [OURS_SELECTED if optimistic or any(row.setting.selection != "last" for row in rows) else OURS]
    notes += [OPTIMISTIC] if optimistic else []
    notes += [INTERVALS] if any(row.summary is not None and row.summary.interval for row in rows) else []
    if degenerate := sum(len(row.degenerate) for row in rows):
        notes.append(
            f"{plural(degenerate, 'degenerate run')}: finished, but learned nothing (constant or majority-class "
            "predictions, or below chance). The numbers of a row include its degenerate runs."
        )
    titles = {section.published_title for section in sections if any(row.published is not None for row in section.rows)}
    shown = [table for table in published if table.title in titles]
    notes += [DEV_SETS, VERDICT_RULE, PAIR_MEANS] if shown else []
    for table in shown:
        runs = "The number of runs behind a score is not documented; the verdict assumes one."
        if table.runs is not None:
            runs = f"The verdict takes each score as the median of {table.runs} runs."
        notes.append(f"Protocol of {table.title}: {table.protocol} {runs}")
    return notes


def _cells(row: Row) -> list[str]:
    interval = row.summary.interval if row.summary else None
    rows = "" if row.n is None else f"{row.n:,}"
    within = "{:.1f} to {:.1f}".format(*interval) if interval else ""
    published = [f"{row.published.value:.1f}" if row.published else "", _signed(row.difference)]
    scores = [row.metric, rows, str(len(row.seeds)), _score_words(row), within, *published]
    return [row.title, row.setting.init, *scores, _verdict_words(row), row.note]


def _mean_cells(section: Section) -> list[str] | None:
    mean, published = section.mean, section.published_mean
    if mean is None:
        return None
    notes = [] if all(row.comparable for row in section.averaged) else ["not comparable"]
    notes += ["selected on the dev split: optimistic"] if any(row.optimistic for row in section.averaged) else []
    inits = " and ".join(dict.fromkeys(row.setting.init for row in section.averaged))
    numbers = ["", ""] if published is None else [f"{published:.1f}", _signed(mean - published)]
    return ["mean", inits, "of the eight tasks", "", "", f"{mean:.1f}", "", *numbers, "", "; ".join(notes)]


def _comparison_cells(task: TaskComparison) -> list[str]:
    p = f"{task.p_adjusted:.3f}" if task.p_adjusted >= 0.001 else "< 0.001"
    scores = [f"{task.first:.1f}", f"{task.second:.1f}", _signed(task.difference)]
    interval = f"{_signed(task.low)} to {_signed(task.high)}"
    cells = [task.title, task.metric, f"{task.n:,}", str(len(task.seeds)), *scores, interval, p]
    return [*cells, f"{task.detectable:.1f}", task.better or "", _share(task.kept), task.note]


def _cost_cells(task: TaskComparison) -> list[str]:
    first, second = task.first_cost, task.second_cost
    cells = [task.title]
    for ours, theirs in ((first.eval_seconds, second.eval_seconds), (first.train_seconds, second.train_seconds)):
        cells.append("" if ours is None or theirs is None else f"{ours:,.3g} and {theirs:,.3g}")
        cells.append(f"{theirs / ours:.2f}" if task.alike and ours and theirs else "")
    return [*cells, first.device if first.device == second.device else f"{first.device}; {second.device}"]


def _comparison_notes(comparison: EncoderComparison) -> list[str]:
    """List notes on the whole comparison: the share, its limits, size and speed, and what was left out."""
    tasks, first, second, notes = comparison.tasks, comparison.first, comparison.second, list[str]()
    if comparison.kept is not None:
        over = f"these {len(tasks)} tasks" if len(tasks) > 1 else "this task"
        share = _share(comparison.published_kept)
        published = f" (published: {share}, each number under its own convention)" if share else ""
        notes.append(f"{first}'s mean over {over} is {_share(comparison.kept)} of {second}'s{published}.")
    reasons = list(dict.fromkeys(reason for task in tasks for reason in task.not_comparable_because))
    notes += [f"Not comparable with published numbers: {'; '.join(reasons)}."] if reasons else []
    if single := ", ".join(task.title for task in tasks if len(task.seeds) == 1):
        notes.append(f"One seed on {single}: interval and p cover the choice of dev rows but not training noise.")
    notes += [
        f"The compared runs of {name} began with different weights: its tasks are not those of one encoder."
        for name in comparison.several_weights
    ]
    if lost := ", ".join(task.title for task in tasks if task.degenerate):
        notes.append(f"Degenerate runs on {lost}: a run that learned nothing does not show how good its encoder is.")
    sizes = [cost.parameters for task in tasks[:1] for cost in (task.first_cost, task.second_cost) if cost.parameters]
    if len(sizes) == 2:
        notes.append(f"Parameters, with the head: {sizes[0]:,} and {sizes[1]:,} ({sizes[0] / sizes[1]:.2f} to 1).")
    if comparison.eval_ratio is not None and comparison.train_ratio is not None:
        notes.append(
            f"{first} predicts {comparison.eval_ratio:.2f} times as fast as {second}, and trains "
            f"{comparison.train_ratio:.2f} times as fast (medians over the tasks with the same training on the same "
            "device)."
        )
    return notes + [f"{title} is left out: {reason}." for title, reason in comparison.skipped.items()]


def _median(row: Row | None) -> str:
    doubtful = row is not None and row.median is not None and (not row.comparable or row.optimistic or row.degenerate)
    return _number(row.median if row else None) + ("*" if doubtful else "")


def _number(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.1f}"


def _share(kept: float | None) -> str:
    return "" if kept is None else f"{kept:.1f} %"


def _signed(value: float | None) -> str:
    """Show one decimal and a sign, but no sign for 0.0; empty without a value."""
    text = "" if value is None else f"{value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text
