"""Turn rows into tables of text with notes, the same in every format that people read. Knows no formats."""

import dataclasses
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from glue_bench.report.comparison import Comparison
from glue_bench.report.model import Line, Report, Row, Section, write_notes
from glue_bench.runs.setting import short_name, show_value
from glue_bench.statistics.verdicts import ABOVE, FAILED, NOT_COMPARABLE, REPRODUCED
from glue_bench.text import plural, three_digits

FEW_SEEDS = "too few seeds"  # for an interval
_SCORES = ("metric", "dev rows", "seeds", "ours", "95 % interval", "published", "difference", "verdict", "note")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
# Columns that count as numbers even if some cells hold words.
_NUMBERS = {
    *("dev rows", "seeds", "ours", "95 % interval", "published", "difference", "p (Holm)", "detectable", "kept"),
    *("seconds per 1,000 dev rows", "seconds of training", "train", "validation"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTable:
    """A table of text cells."""

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    totals: Sequence[Sequence[str]] = ()  # the last lines, set off from the others
    notes: Sequence[str] = ()  # under it
    keys: int = 1  # columns that say which row it is

    @property
    def lines(self) -> list[Sequence[str]]:
        """The rows and the totals."""
        return [*self.rows, *self.totals]

    def is_right(self, place: int) -> bool:
        """Check whether a column holds numbers, which are right-aligned."""
        cells = [row[place] for row in self.rows if row[place]]
        return self.headers[place] in _NUMBERS or (bool(cells) and all(map(_NUMBER.fullmatch, cells)))

    def is_used(self, place: int) -> bool:
        """Check whether a column has a cell that is not empty."""
        return any(line[place] for line in self.lines)

    def sentences(self, names: Collection[str]) -> list[str]:
        """Write the cells of some columns as sentences, one for all rows of a task with the same cells."""
        places = [place for place, name in enumerate(self.headers) if name in names]
        found = dict[str, list[tuple[str, str]]]()  # task to the keys of each row and its words
        for row in self.rows:
            words = "; ".join(row[place] for place in places if row[place])
            found.setdefault(row[0], []).append((" ".join(filter(None, row[: self.keys])), words))
        alike = [task for task, lines in found.items() if len({words for _, words in lines}) == 1]
        found |= {task: [(task, found[task][0][1])] for task in alike}
        return [f"{who}: {words}" for lines in found.values() for who, words in lines if words]

    def without(self, *names: str) -> "TextTable":
        """Return the table without some columns."""
        return self.select([place for place, header in enumerate(self.headers) if header not in names])

    def select(self, places: Iterable[int]) -> "TextTable":
        """Return the table with only these columns."""
        headers, *lines = ([line[place] for place in places] for line in (self.headers, *self.lines))
        count = len(self.rows)
        return dataclasses.replace(self, headers=headers, rows=lines[:count], totals=lines[count:])


def report_tables(report: Report) -> list[TextTable]:
    """Build a table per section, without the columns that are empty in all of them; keys that differ have a column."""
    tables = []
    every = [row for section in report.sections for row in section.rows]
    own = ["init"] if any(row.setting.init != "pretrained" for row in every) else []
    own += ["trained"] if any(trained < parameters for trained, parameters in map(_sizes, every)) else []
    for section in report.sections:
        published = f"; published: {section.table.title}" if section.table else ""
        keys = [*own, *(key for key in section.differs if key != "init")]
        rows = [_cells(row, keys) for row in section.rows]
        totals = [_mean_cells(line, keys) for line in section.lines if line.mean is not None]
        headers = ["task", *map(short_name, keys), *_SCORES]
        title = f"{section.encoder}, {section.conditions}{published}"
        tables.append(TextTable(title=title, headers=headers, rows=rows, totals=totals, keys=1 + len(keys)))
        tables += other_tables(section, keys)
    used = {name for table in tables for place, name in enumerate(table.headers) if table.is_used(place)}
    return [table.without(*{*table.headers} - used) for table in tables]


def other_tables(section: Section, keys: Sequence[str]) -> list[TextTable]:
    """Build the table of the encoder's other published rows, if our runs have their tasks."""
    width, lines = 1 + len(keys), list[list[str]]()
    for name, other in (each for row in section.rows for each in row.others.items()):
        cells = _cells(other, keys)
        lines.append([*cells[:width], name, *cells[width:]])
    title = f"{section.encoder}: other published rows (see `glue-bench published ROW`)"
    headers = ["task", *map(short_name, keys), "published row", *_SCORES]
    table = TextTable(title=title, headers=headers, rows=lines, keys=width + 1)
    return [table.without("dev rows", "seeds", "95 % interval")] if lines else []


def comparison_tables(comparison: Comparison) -> list[TextTable]:
    """Build the tables of scores and of times of two encoders, with notes on the whole comparison."""
    first, second, scores, times = comparison.first, comparison.second, list[list[str]](), list[list[str]]()
    for task in comparison.tasks:
        interval = FEW_SEEDS if task.few_seeds else f"{_signed(task.low)} to {_signed(task.high)}"
        p = f"{task.p_adjusted:.3f}" if task.p_adjusted >= 0.001 else "< 0.001"
        cells = [task.title, task.metric, f"{task.n:,}", str(len(task.seeds))]
        cells += [f"{task.first:.1f}", f"{task.second:.1f}", _signed(task.difference), interval, p]
        judged = [_show("{:.1f}", task.detectable or None), task.better or "", _show("{:.1f} %", task.kept), task.note]
        scores.append([*cells, *judged])
        costs, timed = (task.first_cost, task.second_cost), [task.title]
        for kind in ("eval_seconds", "train_seconds"):
            seconds = [getattr(cost, kind) for cost in costs]
            timed.append("" if None in seconds else " and ".join(map(three_digits, seconds)))
            timed.append(_show("{:.2f}", task.times_as_fast(kind)))
        times.append([*timed, "; ".join(dict.fromkeys(cost.device for cost in costs))])
    means, totals = (comparison.first_mean, comparison.second_mean), list[list[str]]()
    if means[0] is not None and means[1] is not None:
        cells = ["mean", f"of {plural(len(scores), 'task')}", "", "", f"{means[0]:.1f}", f"{means[1]:.1f}"]
        totals = [[*cells, _signed(means[0] - means[1]), *[""] * 4, _show("{:.1f} %", comparison.kept), ""]]
    title = f"{comparison.subject and f'{comparison.subject}: '}{first} compared with {second}"
    headers = ["task", "metric", "dev rows", "seeds", first, second, "difference", "95 % interval", "p (Holm)"]
    headers += ["detectable", "better", "kept", "note"]
    notes = write_notes("comparison", comparison)
    quality = TextTable(title=title, headers=headers, rows=scores, totals=totals, notes=notes)
    title = "Time: medians over the runs, as measured while they ran; other work on the machine slows them"
    speed = ("seconds per 1,000 dev rows", "times as fast predicting", "seconds of training", "times as fast training")
    return [quality, *([TextTable(title=title, headers=["task", *speed, "device"], rows=times)] if times else [])]


def _score_words(row: Row) -> str:
    summary = row.summary
    if summary is None:
        return ", ".join(row.unfinished) or "not run"
    spread = f" [{summary.minimum:.1f}, {summary.maximum:.1f}]" if len(row.seeds) > 1 else ""
    lost = ", ".join(f"{count} of {len(row.runs)} {status}" for status, count in row.unfinished.items())
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


def _cells(row: Row, keys: Sequence[str]) -> list[str]:
    known = {**row.differs, "init": row.setting.init, "trained": f"{_sizes(row)[0]:,}"}
    settings = [show_value(known.get(key, "")) for key in keys]
    within = "{:.1f} to {:.1f}".format(*row.interval) if row.interval else FEW_SEEDS if row.few_seeds else ""
    scores = [row.metric, _show("{:,}", row.n), str(len(row.seeds)), _score_words(row), within]
    published = [_show("{:.1f}", row.published.value if row.published else None), _signed(row.difference)]
    return [row.title, *settings, *scores, *published, _verdict_words(row), row.note]


def _sizes(row: Row) -> tuple[int, int]:
    """Return the parameters that a row's runs trained, and all of them; 0 where a record does not say."""
    encoder = row.finished[0].encoder if row.finished else {}
    parameters = encoder.get("parameters") or 0
    return encoder.get("trained", parameters), parameters


def _mean_cells(line: Line, keys: Sequence[str]) -> list[str]:
    inits = " and ".join(dict.fromkeys(row.setting.init for row in line.rows if row.runs))
    settings = [show_value({**line.values, "init": inits}.get(key, "")) for key in keys]
    mean, published = line.mean or 0.0, line.published_mean
    numbers = [_show("{:.1f}", published), _signed(None if published is None else mean - published)]
    return ["mean", *settings, "of the eight tasks", "", "", f"{mean:.1f}", "", *numbers, "", "; ".join(line.notes)]


def _show(form: str, value: float | None) -> str:
    return "" if value is None else form.format(value)


def _signed(value: float | None) -> str:
    """Show one decimal and a sign, but no sign for 0.0; empty without a value."""
    text = _show("{:+.1f}", value)
    return "0.0" if text in ("+0.0", "-0.0") else text
