"""Progress of a sweep: callbacks, a live board in a terminal, and plain lines elsewhere. Writes to stderr only."""

import functools
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

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
from glue_bench.training.course import StepReport

_LINE_EVERY = 30.0  # seconds between two progress lines of a run
_COLUMNS = ("run", "state", "bar", "progress", "loss", "tokens/s", "time", "left")  # before the score
_DISPENSABLE = ("tokens/s", "loss", "bar", "time", "left", "progress")  # left out in this order if they do not fit
_GAP, _BAR, _SCORE = 2, 16, 14  # characters: between two columns, of the bar, and of the score at least
_BRIEF = 2  # which wording of a score has it and the published one alone
_STYLES = {"finished": "green", "stopped": "yellow", "running": "bold cyan", "elsewhere": "cyan", "waiting": "dim"}
_RANKS = {"running": 0, "elsewhere": 1, "failed": 2, "diverged": 2, "waiting": 3}  # what a short screen shows first


@dataclass(slots=True, kw_only=True)
class _State:
    """What the board knows of one run."""

    request: RunRequest
    title: str
    state: str = "waiting"  # waiting, running, elsewhere, stopped, or a record's status
    phase: str = ""
    report: StepReport | None = None
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
        cells = [[f"{key}={show_value(value)}" for key, value in each.config.cell.items()] for each in requests]
        every = [[each.encoder, *cell] for each, cell in zip(requests, cells, strict=True)]
        # What several runs have in common is shown once.
        shared = [word for word in every[0] if all(word in words for words in every)] if len(every) > 1 else []
        self._shared, self._states = ", ".join(shared), dict[str, _State]()
        for each, cell in zip(requests, cells, strict=True):
            words = [each.encoder, each.config.task.name, f"seed {each.config.seed}", *cell]
            title = " ".join(word for word in words if word not in shared)
            self._states[each.run_id] = _State(request=each, title=title)
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

    def step(self, request: RunRequest, report: StepReport) -> None:
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
        states, now, known = self._states, time.monotonic(), {**self._expected}
        for run_id, state in states.items():
            if state.state == "finished" and state.seconds:
                known[run_id] = state.seconds
            elif (left := state.seconds_left()) is not None:
                known[run_id] = now - state.started + left
        work = {run_id: rough_work(state.request) for run_id, state in states.items()}
        measured = [run_id for run_id in work if run_id in known]
        busy, waiting = ([each for each in work if states[each].state == kind] for kind in ("running", "waiting"))
        if not measured or not (busy or waiting):
            return None
        rate = sum(known[run_id] for run_id in measured) / sum(work[run_id] for run_id in measured)
        left_of = {run_id: known.get(run_id, rate * work[run_id]) for run_id in (*busy, *waiting)}
        left_of |= {run_id: max(0.0, left_of[run_id] - now + states[run_id].started) for run_id in busy}
        return seconds_in_all(left_of.values(), workers=max(1, len(busy)))


class PlainLines(Listener):
    """One line per event, for logs and pipes."""

    def started(self, request: RunRequest) -> None:
        super().started(request)
        self._say(request, "started")

    def step(self, request: RunRequest, report: StepReport) -> None:
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


def describe_outcome(record: Record, published: Sequence[PublishedTable] = ()) -> str:
    """Describe the score and the published number of the same convention, or what went wrong, in one line."""
    return _word_outcome(record, published)[0]


def _word_outcome(record: Record, published: Sequence[PublishedTable]) -> list[str]:
    """Return `describe_outcome`, then the same without the metrics' names, then the scores alone, then ours."""
    if not record.finished:
        return [record.outcome]
    task, method = task_of(record), Setting.of(record).method
    table = find_table(published, record.encoder.get("hub_id"), recipe=record.recipe, method=method)
    score = table.scores.get(record.task) if table and record.comparable else None
    if table and score and table.differs(score, init=record.init_kind, method=method):
        score = None
    score = score if score and task.states(score.convention) else None
    parts = task.parts(score.convention if score else "card")
    compared = f" (published {score.value:.1f})" if score else ""
    why = f" ({words})" if (words := undefined_words(record.undefined)) else ""
    value = f"{100 * headline(parts, record.scores):.1f}"
    return [f"{value} {metric_title(parts)}{compared}{why}", f"{value}{compared}{why}", f"{value}{compared}", value]


def format_clock(seconds: float) -> str:
    """Format seconds as H:MM:SS, or M:SS below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _lay_out(states: Sequence[_State], width: int) -> Table:
    rows = [_cells(state) for state in states]
    widths = {name: _GAP + max(len(name), *(row[name].cell_len for row in rows)) for name in _COLUMNS}
    least = max(_SCORE, *(len(state.outcomes[_BRIEF]) for state in states if state.state == "finished"), 0)
    for name in _DISPENSABLE:
        if sum(widths.values()) + least > width:
            del widths[name]
    room = width - sum(widths.values())
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in widths:
        header = "" if name in ("bar", "left") else name
        table.add_column(header, no_wrap=True, justify="right" if name in ("loss", "tokens/s", "time") else "left")
    table.add_column("score")  # the only one that is made narrower: its text ends early
    for state, row in zip(states, rows, strict=True):
        if fitting := next((text for text in state.outcomes if len(text) <= room), ""):
            row["score"].plain = visible(fitting)
        table.add_row(*(row[name] for name in (*widths, "score")))
    return table


def _cells(state: _State) -> dict[str, Text]:
    """Return a run's texts by column."""
    report, owner, running = state.report, state.owner, state.state == "running"
    style, clock = _STYLES.get(state.state, "red"), format_clock(state.seconds) if state.seconds else ""
    styles = {"run": style if running else "", "state": style, "score": "" if state.state == "finished" else "red"}
    texts = {"run": state.title, "state": state.state, "time": clock, "score": "".join(state.outcomes[:1])}
    if state.state == "elsewhere" and owner is not None:
        trains = owner.steps and owner.phase == "training"
        texts |= {"progress": f"{owner.step}/{owner.steps}" if trains else owner.phase, "score": owner.title}
        styles["score"] = "dim"
    if running:
        texts |= {"progress": state.phase, "time": format_clock(time.monotonic() - state.started)}
    if report is not None and (state.state == "stopped" or (running and state.phase == "training")):
        filled = round(_BAR * report.step / report.steps)
        texts |= {"bar": "━" * filled + "╌" * (_BAR - filled), "progress": f"{report.step}/{report.steps}"}
        texts |= {"loss": f"{report.loss:.3f}", "tokens/s": f"{report.tokens_per_second:,.0f}"}
    if (left := state.seconds_left()) is not None:
        texts["left"] = f"{format_clock(left)} left"
    cell = functools.partial(Text, no_wrap=True, overflow="ellipsis")
    return {name: cell(visible(texts.get(name, "")), styles.get(name, "")) for name in (*_COLUMNS, "score")}
