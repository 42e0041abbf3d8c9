"""The report as one self-contained HTML page. The only package that loads matplotlib and Jinja.

The templates hold all sentences, tables and attributes; this package gives them rows, arrays and drawings.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import jinja2
from markupsafe import Markup

from glue_bench import __version__
from glue_bench.report.columns import NOTES, comparison_tables, other_tables
from glue_bench.report.comparison import Comparison
from glue_bench.report.model import Cost, Line, Report, Section, card_place
from glue_bench.report.page import drawing, plots
from glue_bench.report.page.entries import HARDEST, Entry
from glue_bench.report.page.evidence import BINS, POINTS
from glue_bench.runs.finished import Defaults, join_command, sweep_words
from glue_bench.runs.record import Record
from glue_bench.runs.setting import short_name, show_value
from glue_bench.statistics.verdicts import NOT_COMPARABLE, NOT_RUN, VERDICTS
from glue_bench.text import plural, three_digits

_TEMPLATES = Path(__file__).resolve().parent / "templates"
_MOST_CLASSES = 12  # of a matrix that can be drawn
_FILTERS = {
    "number": drawing.show_number,
    "numbers": drawing.show_numbers,
    "range": drawing.show_range,
    "seconds": drawing.show_seconds,
    "plural": plural,
    "digits": three_digits,
    "and": drawing.join_words,
    "shorten": drawing.shorten,
    "label": drawing.shorten_label,
    "short": short_name,
    "value": show_value,
}


@dataclass(frozen=True, kw_only=True)
class Task:
    """The rows of one task, from all sections."""

    title: str
    entries: Sequence[Entry]

    @property
    def metrics(self) -> dict[str, list[str]]:
        """Metric to the names of the rows that it belongs to."""
        metrics: dict[str, list[str]] = {}
        for entry in self.entries:
            metrics.setdefault(entry.row.metric, []).append(entry.label)
        return metrics

    @property
    def predicted(self) -> list[Entry]:
        """The rows with the predictions of a run."""
        return [entry for entry in self.entries if entry.predictions]

    @property
    def drawn(self) -> list[Entry]:
        """The rows with predictions that can be drawn: scores, and matrices of few classes."""
        return [entry for entry in self.predicted if entry.task.outputs <= _MOST_CLASSES]


@dataclass(frozen=True, kw_only=True)
class SectionRows:
    """A section of the report with its rows."""

    section: Section
    label: str
    entries: Sequence[Entry]
    defaults: Defaults

    def lines(self, tasks: Sequence[Task]) -> list[tuple[Line, str, list[Entry | None]]]:
        """Return each setting's line, its name, and its row of each task."""
        found = []
        for line in self.section.lines:
            own = [entry for entry in self.entries if any(entry.row is row for row in line.rows)]
            label = f"{self.label}, {line.words}" if line.words else self.label
            found.append((line, label, [next((e for e in own if e in task.entries), None) for task in tasks]))
        return found

    def published(self, tasks: Sequence[Task]) -> list[float | None]:
        """Return the published number of each task."""
        known = [[entry.published for entry in task.entries if entry in self.entries] for task in tasks]
        return [next((score for score in scores if score is not None), None) for scores in known]

    @property
    def origins(self) -> list[Entry]:
        """The rows with a run."""
        return [entry for entry in self.entries if entry.row.runs]

    def is_own_task(self, entry: Entry) -> bool:
        """Check whether the task is one that does not ship with glue-bench."""
        return entry.row.task not in self.defaults.tasks

    def command(self, entry: Entry) -> str:
        """Write the command that repeats all runs of a row."""
        return join_command(self._words(entry), own_task=self.is_own_task(entry))

    def common_command(self) -> str | None:
        """Write the command that repeats all rows, if they differ only in the task."""
        tasks, words = [entry.row.task for entry in self.origins], [self._words(entry) for entry in self.origins]
        if len(tasks) < 2 or len(set(tasks)) < len(tasks) or any(other[1:] != words[0][1:] for other in words):
            return None
        own_task = any(self.is_own_task(entry) for entry in self.origins)
        return join_command([f"tasks=[{','.join(tasks)}]", *words[0][1:]], own_task=own_task)

    def _words(self, entry: Entry) -> list[str]:
        seeds = sorted({run.seed for run in entry.row.runs})
        return sweep_words(entry.row.runs[0], self.defaults, seeds=seeds)


@dataclass(frozen=True, kw_only=True)
class Device:
    """The rows with runs on one device, and their costs there."""

    name: str
    costs: Sequence[tuple[Entry, Cost]]

    @cached_property
    def encoders(self) -> dict[str, dict[str, tuple[Entry, Cost]]]:
        """Section to task to its first row; later rows of a task are other settings of it."""
        found: dict[str, dict[str, tuple[Entry, Cost]]] = {}
        for entry, cost in self.costs:
            found.setdefault(entry.section_label, {}).setdefault(entry.row.title, (entry, cost))
        return found

    @property
    def shared(self) -> list[str]:
        """The tasks that every section has."""
        titles = dict.fromkeys(entry.row.title for entry, _ in self.costs)
        return [title for title in titles if all(title in rows for rows in self.encoders.values())]

    def points(self, kind: Literal["parameters", "eval_seconds"]) -> list[plots.Point]:
        """Pair mean scores over the shared tasks with millions of parameters or seconds; needs two sections."""
        points = []
        for label, rows in self.encoders.items():
            alike = [rows[title] for title in self.shared]
            costs = [value for _, cost in alike if (value := getattr(cost, kind)) is not None]
            if alike and len(costs) == len(alike):
                amount = max(costs) / 1e6 if kind == "parameters" else statistics.fmean(costs)
                score = statistics.fmean(entry.row.median or 0.0 for entry, _ in alike)
                points.append(plots.Point(next(iter(rows.values()))[0].place, label, amount, score))
        return points if len(points) > 1 else []


@dataclass(frozen=True, kw_only=True)
class Page:
    """Everything that the templates show, without a network. Missing and damaged files are named on the page."""

    report: Report
    records: Sequence[Record]  # of the report
    entries: Sequence[Entry]  # of all rows, in the report's order
    defaults: Defaults
    comparisons: Sequence[Comparison] = ()  # of two encoders each

    @cached_property
    def tasks(self) -> list[Task]:
        """The tasks in the order of the model card, others after them."""
        names = sorted({entry.row.task for entry in self.entries}, key=card_place)
        alike = [[entry for entry in self.entries if entry.row.task == name] for name in names]
        return [Task(title=entries[0].row.title, entries=entries) for entries in alike]

    @cached_property
    def sections(self) -> list[SectionRows]:
        """The sections of the report."""
        rest, found = iter(self.entries), []
        for section in self.report.sections:
            own = [next(rest) for _ in section.rows]
            found.append(SectionRows(section=section, label=own[0].section_label, entries=own, defaults=self.defaults))
        return found

    @property
    def has_means(self) -> bool:
        """Whether some setting has a score for each of the eight tasks."""
        return any(line.mean is not None for section in self.report.sections for line in section.lines)

    @property
    def in_order(self) -> list[Entry]:
        """The rows, task by task."""
        return [entry for task in self.tasks for entry in task.entries]

    @property
    def series(self) -> dict[str, int]:
        """The names of rows in the plots, with the place of their colour, marker and dashes."""
        return {entry.label: entry.place for entry in self.entries}

    @property
    def verdicts(self) -> list[str]:
        """The kinds of verdicts on the page."""
        kinds = {entry.verdict.kind for entry in self.entries if entry.verdict}
        return [kind for kind in VERDICTS if kind in kinds]

    @property
    def scored(self) -> list[Entry]:
        """The rows with a score."""
        return [entry for entry in self.entries if entry.row.summary]

    @property
    def gridded(self) -> list[Entry]:
        """The rows that show the best of several cells."""
        return [entry for entry in self.in_order if len(entry.row.tried) > 1]

    @property
    def compared(self) -> list[Entry]:
        """The rows that are comparable with a published number."""
        rows = [(entry, entry.row.verdict) for entry in self.scored if entry.row.published]
        return [entry for entry, verdict in rows if verdict and verdict.kind not in (NOT_COMPARABLE, NOT_RUN)]

    @cached_property
    def devices(self) -> list[Device]:
        """The devices that runs with a score were timed on, each with its precision, engine and processes."""
        found: dict[str, list[tuple[Entry, Cost]]] = {}
        for entry in self.in_order:
            runs: dict[str, list[Record]] = {}
            for run in entry.row.finished:
                runs.setdefault(_describe_device(run), []).append(run)
            for name, alike in runs.items():
                found.setdefault(name, []).append((entry, Cost.of(alike)))
        return [Device(name=name, costs=costs) for name, costs in sorted(found.items())]


def render_page(page: Page) -> str:
    """Render the HTML file; all but our own plots and styles is escaped, and the same page gives the same text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        extensions=["jinja2.ext.do"],
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_show,
    )
    environment.filters |= _FILTERS
    environment.globals |= {
        "plots": plots,
        "comparison_tables": comparison_tables,
        "other_tables": other_tables,
        "comparison_rule": NOTES["comparison"],
        "hardest": HARDEST,
        "curve_points": POINTS,
        "bins": BINS,
        "version": __version__,
        "style": Markup((_TEMPLATES / "page.css").read_text(encoding="utf-8")),  # noqa: S704 - our own file
    }
    return environment.get_template("page.html").render(page=page).lstrip()


def _show(value: Any) -> Any:
    """Make invisible characters in text visible; leave our own markup as it is."""
    return drawing.show_text(value) if type(value) is str else value


def _describe_device(run: Record) -> str:
    by = ["oneDNN's products"] if "onednn" in run.ways else []
    name = ", ".join(part for part in (run.device or "unnamed device", run.precision, run.engine, *by) if part)
    return f"{name}, {run.processes} processes" if run.processes > 1 else name
