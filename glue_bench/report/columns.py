"""Rows to the words of their cells, the same in every table that people read. Knows no formats."""

from collections.abc import Sequence
from dataclasses import dataclass

from glue_bench.report.comparison import EncoderComparison, TaskComparison
from glue_bench.report.model import Report, Row, Section
from glue_bench.statistics.verdicts import ABOVE, FAILED, NOT_COMPARABLE, REPRODUCED

_RIGHT = {
    "dev rows",
    "seeds",
    "ours",
    "95 % interval",
    "published",
    "difference",
    "p (Holm)",
    "detectable",
    "kept",
    "seconds per 1,000 dev rows",
    "seconds of training",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTable:
    """A table of words."""

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    total: Sequence[str] | None  # the last line, set apart
    notes: Sequence[str] = ()  # under it

    def is_right(self, place: int) -> bool:
        """Whether a column holds numbers, which stand at the right."""
        cells = [row[place] for row in self.rows]
        numbers = all(cell.replace(".", "", 1).lstrip("-").isdecimal() for cell in cells if cell)
        return self.headers[place] in _RIGHT or (any(cells) and numbers)


def report_tables(report: Report) -> list[TextTable]:
    """A table per section. Columns in which no row of any section says something are left out."""
    made = [_section_table(section) for section in report.sections]
    lines = [line for table in made for line in (*table.rows, *([table.total] if table.total else []))]
    named = [line for table in made for line in table.rows]
    kept = []
    for place, header in enumerate(made[0].headers if made else ()):
        told = {line[place] for line in (named if header == "init" else lines)}
        if told - ({"", "pretrained"} if header == "init" else {""}):
            kept.append(place)
    return [
        TextTable(
            title=table.title,
            headers=[table.headers[place] for place in kept],
            rows=[[line[place] for place in kept] for line in table.rows],
            total=[table.total[place] for place in kept] if table.total else None,
        )
        for table in made
    ]


def comparison_tables(comparison: EncoderComparison) -> list[TextTable]:
    """What two encoders score on the same tasks, what that took, and sentences on the whole."""
    first, second = comparison.first, comparison.second
    headers = ["task", "metric", "dev rows", "seeds", first, second, "difference", "95 % interval", "p (Holm)"]
    total = None
    if comparison.first_mean is not None and comparison.second_mean is not None:
        count = len(comparison.tasks)
        total = ["mean", f"of {count} {'task' if count == 1 else 'tasks'}", "", "", f"{comparison.first_mean:.1f}"]
        total += [f"{comparison.second_mean:.1f}", _signed(comparison.first_mean - comparison.second_mean)]
        total += ["", "", "", "", _share(comparison.kept), ""]
    quality = TextTable(
        title=f"{first} compared with {second}",
        headers=[*headers, "detectable", "better", "kept", "note"],
        rows=[_comparison_cells(task) for task in comparison.tasks],
        total=total,
        notes=_comparison_notes(comparison),
    )
    speed = ("seconds per 1,000 dev rows", "times as fast predicting", "seconds of training", "times as fast training")
    cost = TextTable(
        title="What it took: medians of the runs' own clocks, whatever else ran beside them",
        headers=["task", *speed, "device"],
        rows=[_cost_cells(task) for task in comparison.tasks],
        total=None,
    )
    return [quality, cost] if comparison.tasks else [quality]


def score_words(row: Row) -> str:
    """Median and range, or what happened instead."""
    summary = row.summary
    if summary is None:
        return ", ".join(row.unfinished) or "not run"
    spread = f" [{summary.minimum:.1f}, {summary.maximum:.1f}]" if len(row.seeds) > 1 else ""
    runs = len(row.seeds) + sum(row.unfinished.values())
    lost = ", ".join(f"{count} of {runs} {status}" for status, count in row.unfinished.items())
    return f"{summary.median:.1f}{spread}{f' ({lost})' if lost else ''}"


def verdict_words(row: Row) -> str:
    """The verdict with what a reader needs beside it; a reason that the note gives anyway is left out."""
    if row.verdict is None:
        return ""
    kind = row.verdict.kind
    if kind == FAILED:
        return f"{FAILED} {row.verdict.reason}"
    reason = "" if kind == NOT_COMPARABLE else row.verdict.reason
    words = f"{kind}, optimistic" if row.optimistic and kind in (REPRODUCED, ABOVE) else kind
    return f"{words}: {reason}" if reason else words


def section_title(section: Section) -> str:
    """What the rows of a section have in common."""
    title = f"{section.encoder}, {section.data}, recipe {section.recipe}"
    if section.changes:
        title += " with " + ", ".join(f"{name}={value}" for name, value in section.changes.items())
    return f"{title}; published: {section.published_title}" if section.published_title else title


def _section_table(section: Section) -> TextTable:
    headers = ["task", "init", "metric", "dev rows", "seeds", "ours", "95 % interval", "published", "difference"]
    return TextTable(
        title=section_title(section),
        headers=[*headers, "verdict", "note"],
        rows=[_cells(row) for row in section.rows],
        total=_mean_cells(section) if section.mean is not None else None,
    )


def _cells(row: Row) -> list[str]:
    interval = row.summary.interval if row.summary else None
    return [
        row.title,
        row.setting.init,
        row.metric,
        "" if row.n is None else f"{row.n:,}",
        str(len(row.seeds)),
        score_words(row),
        "{:.1f} to {:.1f}".format(*interval) if interval else "",
        "" if row.published is None else f"{row.published.value:.1f}",
        "" if row.difference is None else _signed(row.difference),
        verdict_words(row),
        row.note,
    ]


def _mean_cells(section: Section) -> list[str]:
    mean, published = section.mean or 0.0, section.published_mean
    optimistic = any(row.optimistic for row in section.averaged)
    notes = [] if all(row.comparable for row in section.averaged) else ["not comparable"]
    return [
        "mean",
        " and ".join(dict.fromkeys(row.setting.init for row in section.averaged)),
        "of the eight tasks",
        "",
        "",
        f"{mean:.1f}",
        "",
        "" if published is None else f"{published:.1f}",
        "" if published is None else _signed(mean - published),
        "",
        "; ".join([*notes, *(["selected on the dev split: optimistic"] if optimistic else [])]),
    ]


def _comparison_cells(task: TaskComparison) -> list[str]:
    return [
        task.title,
        task.metric,
        f"{task.n:,}",
        str(len(task.seeds)),
        f"{task.first:.1f}",
        f"{task.second:.1f}",
        _signed(task.difference),
        f"{_signed(task.low)} to {_signed(task.high)}",
        f"{task.p_adjusted:.3f}" if task.p_adjusted >= 0.001 else "< 0.001",
        f"{task.detectable:.1f}",
        task.better or "",
        _share(task.kept),
        task.note,
    ]


def _cost_cells(task: TaskComparison) -> list[str]:
    first, second = task.first_cost, task.second_cost
    alike = first.device == second.device
    return [
        task.title,
        _pair(first.eval_seconds, second.eval_seconds),
        _ratio(first.eval_seconds, second.eval_seconds) if task.alike else "",
        _pair(first.train_seconds, second.train_seconds),
        _ratio(first.train_seconds, second.train_seconds) if task.alike else "",
        first.device if alike else f"{first.device}; {second.device}",
    ]


def _comparison_notes(comparison: EncoderComparison) -> list[str]:
    notes = []
    costs = [cost for task in comparison.tasks[:1] for cost in (task.first_cost, task.second_cost)]
    sizes = [cost.parameters for cost in costs if cost.parameters]
    if comparison.kept is not None:
        published, count = "", len(comparison.tasks)
        if comparison.published_kept is not None:
            published = f" (published: {comparison.published_kept:.1f} %, each number under its own convention)"
        notes.append(
            f"{comparison.first}'s mean over {f'these {count} tasks' if count > 1 else 'this task'} is "
            f"{comparison.kept:.1f} % of {comparison.second}'s{published}."
        )
    notes += _comparison_caveats(comparison)
    if len(sizes) == 2:
        notes.append(f"Parameters, with the head: {sizes[0]:,} and {sizes[1]:,} ({sizes[0] / sizes[1]:.2f} to 1).")
    if comparison.eval_ratio is not None and comparison.train_ratio is not None:
        notes.append(
            f"{comparison.first} predicts {comparison.eval_ratio:.2f} times and trains {comparison.train_ratio:.2f} "
            "times as fast (median over the tasks that both ran in the same way on the same device)."
        )
    notes += [f"{title} is left out: {reason}." for title, reason in comparison.skipped.items()]
    return notes


def _comparison_caveats(comparison: EncoderComparison) -> list[str]:
    """What makes the whole of it worth less."""
    tasks, notes = comparison.tasks, list[str]()
    reasons = list(dict.fromkeys(reason for task in tasks for reason in task.not_comparable_because))
    if reasons:
        notes.append(f"Says nothing about published numbers: {'; '.join(reasons)}.")
    single = [task.title for task in tasks if len(task.seeds) == 1]
    if single:
        notes.append(
            f"One seed on {', '.join(single)}: interval and p hold for other dev rows, not for other trainings."
        )
    notes += [
        f"{name} stands for several sets of weights here: its tasks are not those of one encoder."
        for name in comparison.several_weights
    ]
    lost = [task.title for task in tasks if task.degenerate]
    if lost:
        notes.append(f"Degenerate runs on {', '.join(lost)}: who learned nothing says little about an encoder.")
    return notes


def _share(kept: float | None) -> str:
    return "" if kept is None else f"{kept:.1f} %"


def _pair(first: float | None, second: float | None) -> str:
    return "" if first is None or second is None else f"{first:,.3g} and {second:,.3g}"


def _ratio(first: float | None, second: float | None) -> str:
    return f"{second / first:.2f}" if first and second else ""


def _signed(value: float) -> str:
    """One decimal and a sign, without a sign where it is 0.0."""
    text = f"{value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text
