"""How a sweep is shown while it goes on: a live board in a terminal, plain lines elsewhere. Writes to stderr only."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from glue_bench.identity import RunRequest
from glue_bench.records import Record, outcome_line, task_of
from glue_bench.tasks import TaskAdapter, headline, metric_title

if TYPE_CHECKING:
    from glue_bench.updates import StepReport

_LINE_EVERY = 30.0  # seconds between two progress lines of a run, where there is no terminal
_STYLES = {"finished": "green", "running": "bold cyan", "waiting": "dim"}


@dataclass(slots=True, kw_only=True)
class _State:
    """What the board knows of one run."""

    request: RunRequest
    state: str = "waiting"  # waiting, running, or a record's status
    phase: str = ""
    report: "StepReport | None" = None
    started: float = 0.0
    fitting: float = 0.0  # when training began
    first: int = 0  # updates that were done then: a run may go on from a snapshot
    seconds: float = 0.0
    outcome: str = ""


class Board:
    """A table of runs that redraws itself; give its methods the events of a sweep (glue_bench.sweep.Listener)."""

    def __init__(self, requests: Sequence[RunRequest], records: Mapping[str, Record], console: Console) -> None:
        """Show `requests`, of which `records` (by run id) are there already."""
        self._console = console
        self._states = {request.run_id: _State(request=request) for request in requests}
        for run_id, record in records.items():
            self._end(self._states[run_id], record)
        self._begun = time.monotonic()
        self._live = Live(self, console=console, refresh_per_second=4)

    def __enter__(self) -> "Board":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def started(self, request: RunRequest) -> None:
        """A run begins."""
        state = self._states[request.run_id]
        state.state, state.started = "running", time.monotonic()

    def phase(self, request: RunRequest, name: str) -> None:
        """A run goes on to loading, tokenising, training or evaluating."""
        state = self._states[request.run_id]
        state.phase = name
        if name == "training":
            state.fitting = time.monotonic()

    def step(self, request: RunRequest, report: "StepReport") -> None:
        """An update was done."""
        state = self._states[request.run_id]
        if state.report is None:
            state.first, state.fitting = report.step, time.monotonic()
        state.report = report

    def ended(self, request: RunRequest, record: Record) -> None:
        """A run has a record now."""
        state = self._states[request.run_id]
        self._end(state, record)
        state.seconds = time.monotonic() - state.started

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        states = list(self._states.values())
        room = max(3, (options.max_height or console.height) - 6)
        shown = _window(states, room)
        table = Table(box=None, pad_edge=False, header_style="dim")
        for header in ("run", "state", "progress", "loss", "tokens/s", "time", "score"):
            right = header in ("loss", "tokens/s", "time")
            table.add_column(header, no_wrap=True, justify="right" if right else "left")
        for state in shown:
            table.add_row(*_board_cells(state))
        yield table
        hidden = len(states) - len(shown)
        done = sum(state.state == "finished" for state in states)
        failed = sum(state.state in ("failed", "diverged") for state in states)
        parts = [f"{done} of {len(states)} done", *([f"{failed} failed"] if failed else [])]
        parts += [f"{hidden} not shown"] if hidden else []
        yield Text(f"{', '.join(parts)}; {_clock(time.monotonic() - self._begun)}", style="bold")

    def _end(self, state: _State, record: Record) -> None:
        state.state, state.seconds = record.status, float(record.seconds.get("total", 0.0))
        state.outcome = describe_outcome(record)


class PlainLines:
    """One line per event, for logs and pipes; the same methods as Board."""

    def __init__(self, requests: Sequence[RunRequest], records: Mapping[str, Record], console: Console) -> None:
        """Announce `requests`, of which `records` (by run id) are there already."""
        self._console, self._total = console, len(requests)
        self._number, self._last, self._begun = len(records), 0.0, 0.0

    def __enter__(self) -> "PlainLines":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def started(self, request: RunRequest) -> None:
        """A run begins."""
        self._number += 1
        self._begun = self._last = time.monotonic()
        self._say(request, "started")

    def phase(self, request: RunRequest, name: str) -> None:
        """A run goes on; too small an event for a line."""

    def step(self, request: RunRequest, report: "StepReport") -> None:
        """An update was done: a line now and then."""
        now = time.monotonic()
        if now - self._last >= _LINE_EVERY:
            self._last = now
            speed = f"{report.tokens_per_second:,.0f} tokens/s"
            self._say(request, f"update {report.step} of {report.steps}, loss {report.loss:.3f}, {speed}")

    def ended(self, request: RunRequest, record: Record) -> None:
        """A run has a record now."""
        self._say(
            request,
            f"{record.status} after {_clock(time.monotonic() - self._begun)}: {describe_outcome(record)}",
        )

    def _say(self, request: RunRequest, text: str) -> None:
        self._console.print(
            f"[{self._number}/{self._total}] {request.title}: {text}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def open_listener(
    requests: Sequence[RunRequest], records: Mapping[str, Record], console: Console
) -> Board | PlainLines:
    """The board where there is a terminal, plain lines elsewhere."""
    return (Board if console.is_terminal else PlainLines)(requests, records, console)


def describe_outcome(record: Record) -> str:
    """The score under the card's convention, or what went wrong, in one line."""
    if record.status != "finished":
        return outcome_line(record)
    task = TaskAdapter(task_of(record))
    parts = task.parts("card")
    return f"{100 * headline(parts, record.scores):.1f} {metric_title(parts)}"


def _window(states: list[_State], room: int) -> list[_State]:
    """At most `room` runs, around the first that is not done."""
    if len(states) <= room:
        return states
    current = next((place for place, state in enumerate(states) if state.state in ("running", "waiting")), len(states))
    start = min(max(0, current - room // 2), len(states) - room)
    return states[start : start + room]


def _board_cells(state: _State) -> list[Text | str]:
    report, running = state.report, state.state == "running"
    style = _STYLES.get(state.state, "red")
    progress = loss = speed = ""
    clock = _clock(state.seconds) if state.seconds else ""
    if running:
        now = time.monotonic()
        clock = _clock(now - state.started)
        progress = state.phase
        if report is not None and state.phase == "training":
            share = report.step / report.steps
            progress = f"{_bar(share)} {report.step}/{report.steps}"
            loss, speed = f"{report.loss:.3f}", f"{report.tokens_per_second:,.0f}"
            if report.step > state.first:
                pace = (now - state.fitting) / (report.step - state.first)
                clock = f"{clock}, {_clock(pace * (report.steps - report.step))} left"
    return [
        Text(state.request.title, style=style if running else ""),
        Text(state.state, style=style),
        progress,
        loss,
        speed,
        clock,
        Text(state.outcome, style="" if state.state == "finished" else "red"),
    ]


def _bar(share: float, width: int = 16) -> str:
    filled = round(share * width)
    return "━" * filled + "╌" * (width - filled)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
