"""Progress of a sweep: callbacks, a live board in a terminal, and plain lines elsewhere. Writes to stderr only."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from glue_bench.config.task import headline, metric_title, undefined_words
from glue_bench.runs.identity import RunRequest
from glue_bench.runs.lease import Owner
from glue_bench.runs.record import Record, task_of
from glue_bench.runs.setting import Setting, show_value
from glue_bench.sweep.timing import rough_work, seconds_in_all
from glue_bench.tasks.published import PublishedTable, find_table
from glue_bench.text import visible

if TYPE_CHECKING:
    from glue_bench.training.updates import StepReport

_LINE_EVERY = 30.0  # seconds between two progress lines of a run
# The columns, and the width of the terminal below which each is left out.
_COLUMNS = {"run": 0, "state": 0, "progress": 0, "loss": 100, "tokens/s": 110, "time": 70, "score": 0}
_DISPENSABLE = ("tokens/s", "loss", "time", "progress")  # left out in this order if the rest does not fit
_GAP = 2  # between two columns
_BAR = 16
_STYLES = {"finished": "green", "stopped": "yellow", "running": "bold cyan", "elsewhere": "cyan", "waiting": "dim"}
_RANKS = {"running": 0, "elsewhere": 1, "failed": 2, "diverged": 2, "waiting": 3}  # what a short screen shows first


@dataclass(slots=True, kw_only=True)
class _State:
    """What the board knows of one run."""

    request: RunRequest
    title: str
    state: str = "waiting"  # waiting, running, elsewhere, stopped, or a record's status
    phase: str = ""
    report: "StepReport | None" = None
    started: float = 0.0
    fitting: float = 0.0  # when the first update was reported
    first: int = 0  # updates done at that time, also by an earlier process
    said: float = 0.0  # when a line about its updates was last printed
    seconds: float = 0.0
    outcomes: Sequence[str] = ()  # from the longest wording to the shortest
    owner: Owner | None = None  # of a run elsewhere

    def seconds_left(self) -> float | None:
        """Extrapolate from the updates that were seen here; None before the second, or if it is not training."""
        report = self.report
        if self.state != "running" or report is None or self.phase != "training" or report.step <= self.first:
            return None
        pace = (time.monotonic() - self.fitting) / (report.step - self.first)
        return pace * (report.steps - report.step)


class Listener:
    """Told of every event of a sweep; keeps what is known of each run, and shows nothing."""

    def __init__(
        self,
        requests: Sequence[RunRequest] = (),
        records: Mapping[str, Record] | None = None,
        *,
        console: Console | None = None,
        published: Sequence[PublishedTable] = (),
        expected: Mapping[str, float] | None = None,
    ) -> None:
        """Show runs with the records that exist, and their `expected` seconds as far as known, both by run id."""
        self._expected, self._published = expected or {}, published
        self._console, self._note, self._begun = console or Console(stderr=True), "", time.monotonic()
        titles, self._shared = split_titles(requests)
        self._states = {request.run_id: _State(request=request, title=titles[request.run_id]) for request in requests}
        for run_id, record in (records or {}).items():
            Listener.ended(self, self._states[run_id].request, record)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Handle the end of the sweep, normal or by an error."""

    def started(self, request: RunRequest) -> None:
        """Handle the start of a run here."""
        state, now = self._state(request), time.monotonic()
        state.state, state.started, state.said = "running", now, now

    def phase(self, request: RunRequest, name: str) -> None:
        """Handle a new phase of a run: loading, tokenising, training, selecting, evaluating or writing."""
        self._state(request).phase = name

    def step(self, request: RunRequest, report: "StepReport") -> None:
        """Handle an update of a run."""
        state = self._state(request)
        if state.report is None:
            state.first, state.fitting = report.step, time.monotonic()
        state.report = report

    def elsewhere(self, request: RunRequest, owner: Owner) -> None:
        """Handle a run that another worker has; called again with its progress."""
        state = self._state(request)
        state.state, state.owner = "elsewhere", owner

    def waiting(self, request: RunRequest) -> None:
        """Handle a run that must be started again: its worker stopped or lost it."""
        self._states[request.run_id] = _State(request=request, title=self._state(request).title)

    def stopped(self, request: RunRequest) -> None:
        """Handle a run that was asked to stop and has kept a snapshot."""
        self._state(request).state = "stopped"

    def ended(self, request: RunRequest, record: Record) -> None:
        """Handle the record of a run: finished, failed, diverged or interrupted."""
        state = self._state(request)
        state.seconds = float(record.seconds.get("total", 0.0))
        if state.state == "running":
            state.seconds = time.monotonic() - state.started
        state.state, state.outcomes = record.status, _word_outcome(record, self._published)

    def note(self, text: str) -> None:
        """Show a remark on the whole sweep."""

    def _state(self, request: RunRequest) -> _State:
        return self._states.setdefault(request.run_id, _State(request=request, title=request.title))


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
        states = list(self._states.values())
        room = max(3, (options.max_height or console.height) - 5 - bool(self._note) - bool(self._shared))
        by_rank = sorted(range(len(states)), key=lambda place: _RANKS.get(states[place].state, 4))
        yield _lay_out([states[place] for place in sorted(by_rank[:room])], options.max_width)
        counts = Counter("failed" if state.state == "diverged" else state.state for state in states)
        names = [name for name in ("failed", "running", "elsewhere", "stopped", "waiting") if counts[name]]
        parts = [f"{counts['finished']} of {len(states)} done", *(f"{counts[name]} {name}" for name in names)]
        clock, left = format_clock(time.monotonic() - self._begun), self._seconds_left()
        clock += f", about {format_clock(left)} left" if left is not None else ""
        hidden = f", {len(states) - room} not shown" if len(states) > room else ""
        # One line, or the board is too high: what is last gives way.
        yield Text(f"{', '.join(parts)}; {clock}{hidden}", "bold", no_wrap=True, overflow="ellipsis")
        if self._shared:
            yield Text(f"all runs: {visible(self._shared)}", "dim", no_wrap=True, overflow="ellipsis")
        if self._note:
            yield Text(visible(self._note), style="yellow")

    def _seconds_left(self) -> float | None:
        """Estimate when the last run ends, if each worker takes the next one when it is free; None if nothing is known.

        A run takes what was expected, else what its work takes at the rate of the others.
        """
        states, totals = list(self._states.values()), dict[str, float]()
        for state in states:
            if state.state == "finished" and state.seconds:
                totals[state.request.run_id] = state.seconds
            elif (left := state.seconds_left()) is not None:
                totals[state.request.run_id] = time.monotonic() - state.started + left
        known = {**self._expected, **totals}
        work = sum(rough_work(state.request) for state in states if state.request.run_id in known)
        if not work:
            return None
        rate = sum(known[state.request.run_id] for state in states if state.request.run_id in known) / work
        busy, waiting = list[float](), list[float]()
        for state in states:
            total = known.get(state.request.run_id, rate * rough_work(state.request))
            if state.state == "running":
                left = state.seconds_left()
                busy.append(max(0.0, total - time.monotonic() + state.started) if left is None else left)
            elif state.state == "waiting":
                waiting.append(total)
        return seconds_in_all([*busy, *waiting], workers=max(1, len(busy))) if busy or waiting else None


class PlainLines(Listener):
    """One line per event, for logs and pipes."""

    def started(self, request: RunRequest) -> None:
        super().started(request)
        self._say(request, "started")

    def step(self, request: RunRequest, report: "StepReport") -> None:
        state, now = self._state(request), time.monotonic()
        if now - state.said >= _LINE_EVERY:
            state.said = now
            speed = f"{report.tokens_per_second:,.0f} tokens/s"
            self._say(request, f"update {report.step} of {report.steps}, loss {report.loss:.3f}, {speed}")

    def elsewhere(self, request: RunRequest, owner: Owner) -> None:
        if self._state(request).state != "elsewhere":
            self._say(request, f"is being run by {owner.title}; waiting for it")
        super().elsewhere(request, owner)

    def ended(self, request: RunRequest, record: Record) -> None:
        state = self._state(request)
        here = state.state == "running"
        super().ended(request, record)
        after = f" after {format_clock(state.seconds)}" if here else ""
        self._say(request, f"{record.status}{after}: {state.outcomes[0]}")

    def note(self, text: str) -> None:
        if text:
            self._console.print(visible(text), markup=False, highlight=False, soft_wrap=True)

    def _say(self, request: RunRequest, text: str) -> None:
        done = sum(bool(state.outcomes) for state in self._states.values())
        self.note(f"[{done}/{len(self._states)}] {request.title}: {text}")


def listener_for(console: Console) -> type[Board] | type[PlainLines]:
    """Return the board for a terminal, plain lines for anything else."""
    return Board if console.is_terminal else PlainLines


def split_titles(requests: Sequence[RunRequest]) -> tuple[dict[str, str], str]:
    """Return the titles of runs, by run id, without what several runs have in common; and that, in words."""
    cells = [[f"{key}={show_value(value)}" for key, value in request.config.cell.items()] for request in requests]
    every = [{request.encoder, *cell} for request, cell in zip(requests, cells, strict=True)]
    first = [requests[0].encoder, *cells[0]] if len(requests) > 1 else []
    shared = [word for word in first if all(word in words for words in every)]
    titles = dict[str, str]()
    for request, cell in zip(requests, cells, strict=True):
        words = [request.encoder, request.config.task.name, f"seed {request.config.seed}", *cell]
        titles[request.run_id] = " ".join(word for word in words if word not in shared)
    return titles, ", ".join(shared)


def describe_outcome(record: Record, published: Sequence[PublishedTable] = ()) -> str:
    """Describe the score and the published number of the same convention, or what went wrong, in one line."""
    return _word_outcome(record, published)[0]


def format_clock(seconds: float) -> str:
    """Format seconds as H:MM:SS, or M:SS below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _word_outcome(record: Record, published: Sequence[PublishedTable]) -> list[str]:
    """Return `describe_outcome`, then the same without the metrics' names, then the score alone."""
    if not record.finished:
        return [record.outcome]
    task = task_of(record)
    method = Setting.of(record).method
    table = find_table(published, record.encoder.get("hub_id"), recipe=record.recipe, method=method)
    score = table.scores.get(record.task) if table and record.comparable else None
    if table and score and table.differs(score, init=record.init_kind, method=method):
        score = None
    score = score if score and task.states(score.convention) else None
    parts = task.parts(score.convention if score else "card")
    compared = f" (published {score.value:.1f})" if score else ""
    value = f"{100 * headline(parts, record.scores):.1f}"
    why = f" ({words})" if (words := undefined_words(record.undefined)) else ""
    return [f"{value} {metric_title(parts)}{compared}{why}", f"{value}{compared}{why}", f"{value}{compared}", value]


def _lay_out(states: Sequence[_State], width: int) -> Table:
    shown = [name for name in _COLUMNS if width >= _COLUMNS[name] and name != "score"]
    for brief in (False, True):
        rows = [dict(zip(_COLUMNS, _cells(state, brief=brief), strict=True)) for state in states]
        widths = {name: max(len(name), *(row[name].cell_len for row in rows)) for name in shown}
        scores = [min(map(len, state.outcomes)) for state in states if state.state == "finished"]
        least = max(len("score"), *scores, 0)
        if (room := width - sum(widths.values()) - _GAP * len(widths)) >= least:
            break
    for name in _DISPENSABLE:
        if room < least and name in widths:
            room += widths.pop(name) + _GAP
    room = max(least, room)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in widths:
        table.add_column(name, no_wrap=True, justify="right" if name in ("loss", "tokens/s", "time") else "left")
    table.add_column("score", no_wrap=True, max_width=room)
    for state, row in zip(states, rows, strict=True):
        fitting = next((text for text in state.outcomes if len(text) <= room), None)
        score = row["score"] if fitting is None else Text(fitting, style=row["score"].style)
        table.add_row(*(row[name] for name in widths), score)
    return table


def _cells(state: _State, *, brief: bool) -> list[Text]:
    """Return a run's texts by column; `brief`: no bar, and only the time left."""
    report, running, owner = state.report, state.state == "running", state.owner
    style, title = _STYLES.get(state.state, "red"), visible(state.title)
    progress = loss = speed = ""
    bar = 0 if brief else _BAR
    clock = format_clock(state.seconds) if state.seconds else ""
    score = Text(visible(state.outcomes[0]) if state.outcomes else "", style="" if state.state == "finished" else "red")
    if state.state == "elsewhere" and owner is not None:
        progress = f"{owner.step}/{owner.steps}" if owner.steps and owner.phase == "training" else owner.phase
        score = Text(visible(owner.title), "dim")
    elif state.state == "stopped" and report is not None:
        progress = _bar(report, width=bar)
    elif running:
        now, progress = time.monotonic(), state.phase
        clock = format_clock(now - state.started)
        if report is not None and state.phase == "training":
            progress, loss, speed = _bar(report, width=bar), f"{report.loss:.3f}", f"{report.tokens_per_second:,.0f}"
            if (left := state.seconds_left()) is not None:
                clock = f"{format_clock(left)} left" if brief else f"{clock}, {format_clock(left)} left"
    cells = [Text(progress), Text(loss), Text(speed), Text(clock), score]
    return [Text(title, style=style if running else ""), Text(state.state, style=style), *cells]


def _bar(report: "StepReport", *, width: int) -> str:
    filled = round(width * report.step / report.steps)
    return f"{'━' * filled}{'╌' * (width - filled)} {report.step}/{report.steps}".lstrip()
