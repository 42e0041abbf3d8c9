"""The report as one self-contained HTML page. The only package that loads matplotlib.

The templates hold all sentences, tables and attributes; this package gives them rows, arrays and drawings.
"""

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from glue_bench import __version__
from glue_bench.report.columns import comparison_tables, other_tables
from glue_bench.report.comparison import Comparison
from glue_bench.report.model import Cost, Report, make_environment, write_notes
from glue_bench.report.page import plots
from glue_bench.report.page.entries import BINS, HARDEST, POINTS, Entry
from glue_bench.runs.finished import Defaults, join_command, sweep_words
from glue_bench.runs.record import Record
from glue_bench.runs.setting import short_name, show_value
from glue_bench.text import plural, three_digits

_FILTERS: dict[str, Any] = {"number": plots.show_number, "range": plots.show_range}
_FILTERS |= {"plural": plural, "digits": three_digits, "short": short_name, "value": show_value}
_FILTERS |= {"and": plots.join_words, "label": plots.shorten_label}


@dataclass(frozen=True, kw_only=True)
class Device:
    """The rows with runs on one device, and their costs there."""

    name: str
    costs: Sequence[tuple[Entry, Cost]]

    @cached_property
    def _first(self) -> dict[str, dict[str, tuple[Entry, Cost]]]:
        """Section to task to its first row; later rows of a task are other settings of it."""
        found: dict[str, dict[str, tuple[Entry, Cost]]] = {}
        for entry, cost in self.costs:
            found.setdefault(entry.section.name, {}).setdefault(entry.row.title, (entry, cost))
        return found

    @property
    def shared(self) -> list[str]:
        """The tasks that every section has."""
        first, *others = self._first.values()
        return [title for title in first if all(title in rows for rows in others)]

    def points(self, kind: Literal["parameters", "eval_seconds"]) -> list[plots.Point]:
        """Pair mean scores over the shared tasks with millions of parameters or seconds; needs two sections."""
        points = []
        for label, rows in self._first.items():
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

    def command(self, entries: Sequence[Entry]) -> str | None:
        """Write the command that repeats all runs of rows with runs; None if they differ in more than the task."""
        seeds = [sorted({run.seed for run in entry.row.runs}) for entry in entries]
        every = zip(entries, seeds, strict=True)
        words = [sweep_words(entry.row.runs[0], self.defaults, seeds=own)[1:] for entry, own in every]
        tasks = [entry.row.task for entry in entries]
        if len(set(tasks)) < len(tasks) or any(other != words[0] for other in words):
            return None
        return join_command([f"tasks=[{','.join(tasks)}]", *words[0]], own_task=not {*tasks} <= {*self.defaults.tasks})

    @property
    def devices(self) -> list[Device]:
        """The devices that runs with a score were timed on, each with its precision, engine and processes."""
        found: dict[str, list[tuple[Entry, Cost]]] = {}
        for entry in sorted(self.entries, key=lambda entry: entry.row.order):
            for name, runs in itertools.groupby(sorted(entry.row.finished, key=_describe_device), _describe_device):
                found.setdefault(name, []).append((entry, Cost.of([*runs])))
        return [Device(name=name, costs=costs) for name, costs in sorted(found.items())]


def render_page(page: Page) -> str:
    """Render the HTML file; all but our own plots and styles is escaped, and the same page gives the same text."""
    environment = make_environment(
        Path(__file__).parent / "templates",
        autoescape=True,
        extensions=["jinja2.ext.do"],
        finalize=lambda value: plots.show_text(value) if type(value) is str else value,  # but not our own markup
    )
    environment.filters |= _FILTERS
    environment.globals |= {"hardest": HARDEST, "curve_points": POINTS, "bins": BINS, "write_notes": write_notes}
    environment.globals |= {"comparison_tables": comparison_tables, "other_tables": other_tables}
    return environment.get_template("page.html").render(page=page, plots=plots, version=__version__).lstrip()


def _describe_device(run: Record) -> str:
    by = ["oneDNN's products"] if "onednn" in run.ways else []
    name = ", ".join(part for part in (run.device or "unnamed device", run.precision, run.engine, *by) if part)
    return f"{name}, {run.processes} processes" if run.processes > 1 else name
