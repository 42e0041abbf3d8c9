"""Progress of a sweep: callbacks, a live board in a terminal, and plain lines elsewhere. Writes to stderr only."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from glue_bench.config.task import metric_title, undefined_words
from glue_bench.runs.identity import RunRequest
from glue_bench.runs.lease import Owner
from glue_bench.runs.record import Record, task_of
from glue_bench.runs.setting import show_value
from glue_bench.sweep.timing import rough_work, seconds_in_all
from glue_bench.text import format_clock, visible
from glue_bench.training.course import StepReport

_LINE_EVERY = 30.0  # seconds between two progress lines of a run
_COLUMNS = ("run", "state", "bar", "progress", "loss", "tokens/s", "time", "left")  # before the score
_DISPENSABLE = ("tokens/s", "loss", "bar", "time", "left", "progress")  # left out in this order if they do not fit
_GAP, _BAR, _SCORE = 2, 16, 14  # characters: between two columns, of the bar, and of the score at least
_STYLES = {"finished": "green", "stopped": "yellow", "running": "bold cyan", "elsewhere": "cyan", "waiting": "dim"}
_RANKS = {"running": 0, "elsewhere": 1, "failed": 2, "diverged": 2, "waiting": 3}  # what a short screen shows first


@dataclass(slots=True, kw_only=True)
class _Run:
    """What the board knows of one run."""

    request: RunRequest
    title: str
    expected: float | None = None  # seconds, before it has started
    state: str = "waiting"  # waiting, running, elsewhere, stopped, or a record's status
    phase: str = ""
    report: StepReport | None = None
    started: float = 0.0
    first: tuple[int, float] = (0, 0.0)  # updates done when one was first reported, and when that was
    said: float = 0.0  # when a line about its updates was last printed
    seconds: float = 0.0
    outcome: str = ""  # of a run with a record, in words
    owner: Owner | None = None  # of a run elsewhere

    @property
    def left(self) -> float | None:
        """Seconds by the pace of the updates seen here; None before the second, or if it is not training."""
        report, (step, since) = self.report, self.first
        if self.state != "running" or report is None or self.phase != "training" or report.step <= step:
            return None
        return (time.monotonic() - since) / (report.step - step) * (report.steps - report.step)

    @property
    def total(self) -> float | None:
        """Seconds from its start to its end: measured, by its pace, or as expected; None if nothing is known."""
        if self.state == "finished" and self.seconds:
            return self.seconds
        return self.expected if (left := self.left) is None else time.monotonic() - self.started + left

    def settle(self, record: Record) -> None:
        """Note its record."""
        self.seconds = float(record.seconds.get("total", 0.0))
        self.state, self.outcome = record.status, describe_outcome(record)


class Listener:
    """Gets every event of a sweep; keeps what is known of each run, and shows nothing."""

    def __init__(
        self,
        requests: Sequence[RunRequest] = (),
        records: Mapping[str, Record] | None = None,
        *,
        console: Console | None = None,
        expected: Mapping[str, float] | None = None,
    ) -> None:
        """Show runs with the records that exist, and their `expected` seconds as far as known, both by run id."""
        self._console, self._note = console or Console(stderr=True), ""
        self._begun, self._runs = time.monotonic(), dict[str, _Run]()
        cells = [[f"{key}={show_value(value)}" for key, value in each.config.cell.items()] for each in requests]
        words = [[each.encoder, *cell] for each, cell in zip(requests, cells, strict=True)]
        # What several runs have in common is shown once.
        self._shared = [word for word in words[0] if all(word in each for each in words)] if len(words) > 1 else []
        for each, cell in zip(requests, cells, strict=True):
            every = [each.encoder, each.config.task.name, f"seed {each.config.seed}", *cell]
            title = " ".join(word for word in every if word not in self._shared)
            self._runs[each.run_id] = _Run(request=each, title=title, expected=(expected or {}).get(each.run_id))
        for run_id, record in (records or {}).items():
            self._runs[run_id].settle(record)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Handle the end of the sweep, normal or by an error."""

    def started(self, request: RunRequest) -> None:
        """Handle the start of a run here."""
        run, now = self._run(request), time.monotonic()
        run.state, run.phase, run.report, run.started, run.said = "running", "", None, now, now
        self._say(request, "started")

    def phase(self, request: RunRequest, name: str) -> None:
        """Handle a new phase of a run: loading, tokenising, training, selecting, evaluating or writing."""
        self._run(request).phase = name

    def step(self, request: RunRequest, report: StepReport) -> None:
        """Handle an update of a run."""
        run, now = self._run(request), time.monotonic()
        if run.report is None:
            run.first = report.step, now
        run.report = report
        if now - run.said >= _LINE_EVERY:
            run.said, speed = now, f"{report.tokens_per_second:,.0f} tokens/s"
            self._say(request, f"update {report.step} of {report.steps}, loss {report.loss:.3f}, {speed}")

    def elsewhere(self, request: RunRequest, owner: Owner) -> None:
        """Handle a run that another worker has; called again with its progress."""
        run = self._run(request)
        known, run.state, run.owner = run.state == "elsewhere", "elsewhere", owner
        if not known:
            self._say(request, f"is being run by {owner.title}; waiting for it")

    def put_back(self, request: RunRequest, *, stopped: bool = False) -> None:
        """Handle a run that must be started again; `stopped`: by the next sweep, as this one was asked to stop."""
        self._run(request).state = "stopped" if stopped else "waiting"

    def ended(self, request: RunRequest, record: Record) -> None:
        """Handle the record of a run: finished, failed, diverged or interrupted."""
        run = self._run(request)
        here = run.state == "running"
        run.settle(record)
        if here:
            run.seconds = time.monotonic() - run.started
        self._say(request, f"{record.status}{f' after {format_clock(run.seconds)}' if here else ''}: {run.outcome}")

    def note(self, text: str) -> None:
        """Show a remark on the whole sweep."""

    def _say(self, request: RunRequest, text: str) -> None:
        """Show a line about one run."""

    def _run(self, request: RunRequest) -> _Run:
        return self._runs.setdefault(request.run_id, _Run(request=request, title=request.title))


class Board(Listener):
    """A table of runs that redraws itself."""

    def __enter__(self) -> Self:
        self._live = Live(self, console=self._console, refresh_per_second=4)
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def note(self, text: str) -> None:
        self._note = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        runs = list(self._runs.values())
        room = max(3, (options.max_height or console.height) - 5 - bool(self._note) - bool(self._shared))
        by_rank = sorted(range(len(runs)), key=lambda place: _RANKS.get(runs[place].state, 4))
        rows = {place: _cells(runs[place]) for place in sorted(by_rank[:room])}
        widths = {name: _GAP + max(len(name), *(row[name].cell_len for row in rows.values())) for name in _COLUMNS}
        for name in _DISPENSABLE:
            if sum(widths.values()) + _SCORE > options.max_width:
                del widths[name]
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in widths:
            header = "" if name in ("bar", "left") else name
            table.add_column(header, no_wrap=True, justify="right" if name in ("loss", "tokens/s", "time") else "left")
        table.add_column("score")  # the only one that is made narrower: its text ends early
        for place, row in rows.items():
            if runs[place].state == "finished" and row["score"].cell_len > options.max_width - sum(widths.values()):
                row["score"].plain = runs[place].outcome.partition(" ")[0]
            table.add_row(*(row[name] for name in (*widths, "score")))
        yield table
        counts = Counter("failed" if run.state == "diverged" else run.state for run in runs)
        names = [name for name in ("failed", "running", "elsewhere", "stopped", "waiting") if counts[name]]
        parts = [f"{counts['finished']} of {len(runs)} done", *(f"{counts[name]} {name}" for name in names)]
        clock, left = format_clock(time.monotonic() - self._begun), self._seconds_left()
        clock += f", about {format_clock(left)} left" if left is not None else ""
        hidden = f", {len(runs) - room} not shown" if len(runs) > room else ""
        # One line each, or the board is too high: what is last gives way.
        yield Text(f"{', '.join(parts)}; {clock}{hidden}", "bold", no_wrap=True, overflow="ellipsis")
        if self._shared:
            yield Text(f"all runs: {visible(', '.join(self._shared))}", "dim", no_wrap=True, overflow="ellipsis")
        if self._note:
            yield Text(visible(self._note), style="yellow")

    def _seconds_left(self) -> float | None:
        """Estimate when the last run ends, if each worker takes the next one when it is free; None if nothing is known.

        A run of which nothing is known takes what its work takes at the rate of the others.
        """
        runs, now = self._runs.values(), time.monotonic()
        known = [(total, rough_work(run.request)) for run in runs if (total := run.total) is not None]
        busy, waiting = ([run for run in runs if run.state == state] for state in ("running", "waiting"))
        if not known or not (busy or waiting):
            return None
        rate = sum(total for total, _ in known) / sum(work for _, work in known)
        totals = [rate * rough_work(run.request) if run.total is None else run.total for run in (*busy, *waiting)]
        spent = [*(now - run.started for run in busy), *(0.0 for _ in waiting)]
        left = [max(0.0, total - gone) for total, gone in zip(totals, spent, strict=True)]
        return seconds_in_all(left, workers=max(1, len(busy)))


class PlainLines(Listener):
    """One line per event, for logs and pipes."""

    def note(self, text: str) -> None:
        if text:
            self._console.print(visible(text), markup=False, highlight=False, soft_wrap=True)

    def _say(self, request: RunRequest, text: str) -> None:
        done = sum(bool(run.outcome) for run in self._runs.values())
        self.note(f"[{done}/{len(self._runs)}] {request.title}: {text}")


def describe_outcome(record: Record) -> str:
    """Describe the score, or what went wrong, in one line."""
    if not record.finished:
        return record.outcome
    parts, words = task_of(record).parts("card"), undefined_words(record.undefined)
    return f"{100 * record.score:.1f} {metric_title(parts)}{f' ({words})' if words else ''}"


def _cells(run: _Run) -> dict[str, Text]:
    """Return a run's texts by column."""
    report, owner, style, running = run.report, run.owner, _STYLES.get(run.state, "red"), run.state == "running"
    seconds = time.monotonic() - run.started if running else run.seconds
    styles = {"run": style if running else "", "state": style, "score": "" if run.state == "finished" else "red"}
    texts = {"run": run.title, "state": run.state, "progress": run.phase if running else ""}
    texts |= {"time": format_clock(seconds) if running or seconds else "", "score": run.outcome}
    if run.state == "elsewhere" and owner is not None:
        trains, styles["score"] = owner.steps and owner.phase == "training", "dim"
        texts |= {"progress": f"{owner.step}/{owner.steps}" if trains else owner.phase, "score": owner.title}
    if report is not None and (run.state == "stopped" or (running and run.phase == "training")):
        filled = round(_BAR * report.step / report.steps)
        texts |= {"bar": "━" * filled + "╌" * (_BAR - filled), "progress": f"{report.step}/{report.steps}"}
        texts |= {"loss": f"{report.loss:.3f}", "tokens/s": f"{report.tokens_per_second:,.0f}"}
    if (left := run.left) is not None:
        texts["left"] = f"{format_clock(left)} left"
    return {
        name: Text(visible(texts.get(name, "")), styles.get(name, ""), no_wrap=True, overflow="ellipsis")
        for name in (*_COLUMNS, "score")
    }
