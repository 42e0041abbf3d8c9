"""How a sweep is shown while it goes on: a live board in a terminal, plain lines elsewhere. Writes to stderr only."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from glue_bench.runs.identity import RunRequest
from glue_bench.runs.lease import Owner
from glue_bench.runs.record import Record, task_of
from glue_bench.sweep.listener import Listener
from glue_bench.tasks.adapter import headline, metric_title
from glue_bench.tasks.published import PublishedTable, find_table

if TYPE_CHECKING:
    from glue_bench.training.updates import StepReport

_LINE_EVERY = 30.0  # seconds between two progress lines of a run, where there is no terminal
# The columns, and the width of the terminal below which each is left out.
_COLUMNS = {"run": 0, "state": 0, "progress": 0, "loss": 100, "tokens/s": 110, "time": 70, "score": 0}
_DISPENSABLE = ("tokens/s", "loss", "time", "progress")  # left out in this order where there is no room
_GAP = 2  # between two columns
_STYLES = {"finished": "green", "stopped": "yellow", "running": "bold cyan", "elsewhere": "cyan", "waiting": "dim"}


@dataclass(slots=True, kw_only=True)
class _State:
    """What the board knows of one run."""

    request: RunRequest
    state: str = "waiting"  # waiting, running, elsewhere, or a record's status
    phase: str = ""
    report: "StepReport | None" = None
    started: float = 0.0
    fitting: float = 0.0  # when training began
    first: int = 0  # updates that were done then: a run may go on from a snapshot
    seconds: float = 0.0
    outcomes: Sequence[str] = ()  # from the fullest wording to the shortest
    owner: Owner | None = None  # who has it, elsewhere


class Board(Listener):
    """A table of runs that redraws itself; give its methods the events of a sweep."""

    def __init__(
        self,
        requests: Sequence[RunRequest],
        records: Mapping[str, Record],
        console: Console,
        *,
        published: Sequence[PublishedTable] = (),
    ) -> None:
        """Show `requests`, of which `records` (by run id) are there already, beside the numbers of `published`."""
        self._console, self._published, self._note = console, list(published), ""
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
        if name == "training" and state.report is None:
            state.fitting = time.monotonic()

    def step(self, request: RunRequest, report: "StepReport") -> None:
        """An update was done."""
        state = self._states[request.run_id]
        if state.report is None:
            state.first, state.fitting = report.step, time.monotonic()
        state.report = report

    def elsewhere(self, request: RunRequest, owner: Owner) -> None:
        """Another worker has the run."""
        state = self._states[request.run_id]
        state.state, state.owner = "elsewhere", owner

    def waiting(self, request: RunRequest) -> None:
        """The run is to be done again."""
        self._states[request.run_id] = _State(request=request)

    def stopped(self, request: RunRequest) -> None:
        """The run has stopped in good order."""
        self._states[request.run_id].state = "stopped"

    def ended(self, request: RunRequest, record: Record) -> None:
        """A run has a record now."""
        state = self._states[request.run_id]
        here = state.state == "running"
        self._end(state, record)
        if here:
            state.seconds = time.monotonic() - state.started

    def note(self, text: str) -> None:
        """A remark, under the table."""
        self._note = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        states = list(self._states.values())
        room = max(3, (options.max_height or console.height) - (6 if self._note else 5))
        shown = _window(states, room)
        yield _lay_out(shown, options.max_width)
        yield Text(
            f"{_count(states, hidden=len(states) - len(shown))}; {format_clock(time.monotonic() - self._begun)}", "bold"
        )
        if self._note:
            yield Text(self._note, style="yellow")

    def _end(self, state: _State, record: Record) -> None:
        state.state, state.seconds = record.status, float(record.seconds.get("total", 0.0))
        state.outcomes = _word_outcome(record, self._published)


class PlainLines(Listener):
    """One line per event, for logs and pipes; the same methods as Board."""

    def __init__(
        self,
        requests: Sequence[RunRequest],
        records: Mapping[str, Record],
        console: Console,
        *,
        published: Sequence[PublishedTable] = (),
    ) -> None:
        """Announce `requests`, of which `records` (by run id) are there already."""
        self._console, self._total, self._published = console, len(requests), list(published)
        self._done, self._elsewhere = len(records), set[str]()
        self._begun, self._last = dict[str, float](), dict[str, float]()

    def __enter__(self) -> "PlainLines":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def started(self, request: RunRequest) -> None:
        """A run begins."""
        self._begun[request.run_id] = self._last[request.run_id] = time.monotonic()
        self._say(request, "started")

    def step(self, request: RunRequest, report: "StepReport") -> None:
        """An update was done: a line now and then."""
        now = time.monotonic()
        if now - self._last[request.run_id] >= _LINE_EVERY:
            self._last[request.run_id] = now
            speed = f"{report.tokens_per_second:,.0f} tokens/s"
            self._say(request, f"update {report.step} of {report.steps}, loss {report.loss:.3f}, {speed}")

    def elsewhere(self, request: RunRequest, owner: Owner) -> None:
        """Another worker has the run: a line the first time."""
        if request.run_id not in self._elsewhere:
            self._elsewhere.add(request.run_id)
            self._say(request, f"is being run by {owner.title}; waiting for it")

    def waiting(self, request: RunRequest) -> None:
        """The run is to be done again."""
        self._elsewhere.discard(request.run_id)
        self._begun.pop(request.run_id, None)

    def ended(self, request: RunRequest, record: Record) -> None:
        """A run has a record now."""
        self._done += 1
        begun = self._begun.get(request.run_id)
        after = f" after {format_clock(time.monotonic() - begun)}" if begun else ""
        self._say(request, f"{record.status}{after}: {describe_outcome(record, self._published)}")

    def note(self, text: str) -> None:
        """A remark."""
        if text:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _say(self, request: RunRequest, text: str) -> None:
        line = f"[{self._done}/{self._total}] {request.title}: {text}"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def open_listener(
    requests: Sequence[RunRequest],
    records: Mapping[str, Record],
    console: Console,
    *,
    published: Sequence[PublishedTable] = (),
) -> Board | PlainLines:
    """The board where there is a terminal, plain lines elsewhere."""
    return (Board if console.is_terminal else PlainLines)(requests, records, console, published=published)


def describe_outcome(record: Record, published: Sequence[PublishedTable] = ()) -> str:
    """The score, and the published number under the same convention; or what went wrong, in one line."""
    return _word_outcome(record, published)[0]


def _word_outcome(record: Record, published: Sequence[PublishedTable]) -> list[str]:
    """`describe_outcome`, then the same without the metrics' names, then the score alone."""
    if record.status != "finished":
        return [record.outcome]
    task = task_of(record)
    table = find_table(list(published), record.encoder.get("hub_id"))
    score = table.scores.get(record.task) if table and record.comparable else None
    parts = task.parts(score.convention if score else "card")
    beside = f" (published {score.value:.1f})" if score else ""
    value = f"{100 * headline(parts, record.scores):.1f}"
    return [f"{value} {metric_title(parts)}{beside}", f"{value}{beside}", value]


def _lay_out(states: Sequence[_State], width: int) -> Table:
    """The table of these runs: the score takes the room that the other columns leave, and they are never cut for it."""
    rows = [dict(zip(_COLUMNS, _board_cells(state), strict=True)) for state in states]
    widths = {
        header: max([len(header), *(row[header].cell_len for row in rows)]) for header in _COLUMNS if header != "score"
    }
    headers = [header for header in widths if width >= _COLUMNS[header]]
    least = len("score")
    for header in _DISPENSABLE:
        if sum(widths[kept] + _GAP for kept in headers) + least > width and header in headers:
            headers.remove(header)
    room = max(least, width - sum(widths[header] + _GAP for header in headers))
    table = Table(box=None, pad_edge=False, header_style="dim")
    for header in headers:
        right = header in ("loss", "tokens/s", "time")
        table.add_column(header, no_wrap=True, justify="right" if right else "left")
    table.add_column("score", no_wrap=True, max_width=room)
    for state, row in zip(states, rows, strict=True):
        fitting = next((text for text in state.outcomes if len(text) <= room), None)
        score = row["score"] if fitting is None else Text(fitting, style=row["score"].style)
        table.add_row(*(row[header] for header in headers), score)
    return table


def _window(states: list[_State], room: int) -> list[_State]:
    """At most `room` runs, in their order: those at work, failures, what comes next, and the rest."""
    if len(states) <= room:
        return states
    ranks = {"running": 0, "elsewhere": 1, "failed": 2, "diverged": 2, "waiting": 3}
    by_rank = sorted(range(len(states)), key=lambda place: ranks.get(states[place].state, 4))
    return [states[place] for place in sorted(by_rank[:room])]


def _count(states: Sequence[_State], *, hidden: int) -> str:
    """How many runs are in which state."""
    kinds = {
        "failed": ("failed", "diverged"),
        "running": ("running",),
        "elsewhere": ("elsewhere",),
        "stopped": ("stopped",),
        "waiting": ("waiting",),
    }
    counts = {name: sum(state.state in kind for state in states) for name, kind in kinds.items()}
    done = sum(state.state == "finished" for state in states)
    parts = [f"{done} of {len(states)} done", *(f"{count} {name}" for name, count in counts.items() if count)]
    return ", ".join([*parts, f"{hidden} not shown"] if hidden else parts)


def _board_cells(state: _State) -> list[Text]:
    report, running = state.report, state.state == "running"
    style = _STYLES.get(state.state, "red")
    progress = loss = speed = ""
    if state.state == "elsewhere" and state.owner is not None:
        owner = state.owner
        progress = f"{owner.step}/{owner.steps}" if owner.steps and owner.phase == "training" else owner.phase
        words = (state.request.title, Text(state.state, style=style), progress, "", "", "", Text(owner.title, "dim"))
        return [Text(word) if isinstance(word, str) else word for word in words]
    clock = format_clock(state.seconds) if state.seconds else ""
    if state.state == "stopped" and report is not None:
        progress = f"{_bar(report.step / report.steps)} {report.step}/{report.steps}"
    if running:
        now = time.monotonic()
        clock = format_clock(now - state.started)
        progress = state.phase
        if report is not None and state.phase == "training":
            share = report.step / report.steps
            progress = f"{_bar(share)} {report.step}/{report.steps}"
            loss, speed = f"{report.loss:.3f}", f"{report.tokens_per_second:,.0f}"
            if report.step > state.first:
                pace = (now - state.fitting) / (report.step - state.first)
                clock = f"{clock}, {format_clock(pace * (report.steps - report.step))} left"
    return [
        Text(state.request.title, style=style if running else ""),
        Text(state.state, style=style),
        Text(progress),
        Text(loss),
        Text(speed),
        Text(clock),
        Text(state.outcomes[0] if state.outcomes else "", style="" if state.state == "finished" else "red"),
    ]


def _bar(share: float, width: int = 16) -> str:
    filled = round(share * width)
    return "━" * filled + "╌" * (width - filled)


def format_clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
