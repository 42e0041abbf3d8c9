"""The live board: what users see of a running sweep."""

import dataclasses
import io
from pathlib import Path

import pytest
from rich.console import Console

from glue_bench.config.compose import compose_run
from glue_bench.config.task import metric_title
from glue_bench.runs.identity import RunRequest
from glue_bench.runs.lease import Owner
from glue_bench.runs.record import Record, task_of
from glue_bench.runs.store import RunStore
from glue_bench.sweep.board import Board, PlainLines, describe_outcome
from glue_bench.sweep.plan import plan_runs
from glue_bench.text import format_clock
from glue_bench.training.course import StepReport
from tests.support.making import DISTILROBERTA, make_record, make_request, scores_of

RTE = compose_run(["task=rte"])


def request_of(seed: int) -> RunRequest:
    config = dataclasses.replace(RTE, seed=seed)
    return RunRequest(config=config, encoder="tiny", setting_id="000", run_id=f"seed{seed}-000", inputs={})


def console_of(*, terminal: bool, height: int = 40, width: int = 120) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=width, height=height, color_system=None)


def shown(board: Board, console: Console) -> str:
    with console.capture() as capture:
        console.print(board)
    return capture.get()


def step(number: int) -> StepReport:
    return StepReport(
        step=number, steps=100, epoch=1, loss=0.512, learning_rate=1e-5, gradient_norm=1.0, tokens_per_second=1234.0
    )


def test_the_board_shows_each_run_from_waiting_to_its_score() -> None:
    requests, console = [request_of(1), request_of(2), request_of(3)], console_of(terminal=True)
    board = Board(requests, {}, console=console)
    assert "0 of 3 done, 3 waiting" in shown(board, console)
    board.started(requests[0])
    board.phase(requests[0], "tokenising")
    assert "tokenising" in shown(board, console)
    board.phase(requests[0], "training")
    board.step(requests[0], step(24))  # the first report: the run continued from a snapshot
    assert "left" not in shown(board, console)
    board.step(requests[0], step(25))
    running = shown(board, console)
    for word in ("running", "━━━━╌╌╌╌╌╌╌╌╌╌╌╌  25/100", "0.512", "1,234", "left"):
        assert word in running
    board.ended(requests[0], make_record(seed=1, scores=scores_of("rte", 0.678)))
    board.ended(requests[1], make_record(seed=2, status="diverged", error="diverged at update 3 of 9\nmore"))
    ended = shown(board, console)
    for word in ("67.8 accuracy", "diverged at update 3 of 9", "1 of 3 done, 1 failed, 1 waiting"):
        assert word in ended
    assert "more" not in ended


def cells_of(rate: float, seeds: int) -> list[RunRequest]:
    """Make the requests of one cell of a grid, with ids of their own."""
    config = dataclasses.replace(RTE, cell={"learning_rate": rate, "batch_size": 16})
    return [
        RunRequest(
            config=dataclasses.replace(config, seed=seed),
            encoder="tiny",
            setting_id=f"{rate}",
            run_id=f"seed{seed}-{rate}",
            inputs={},
        )
        for seed in range(1, seeds + 1)
    ]


def test_the_board_shows_what_differs_between_runs_and_once_what_they_share() -> None:
    console = console_of(terminal=True, width=80)
    text = shown(Board([*cells_of(1e-5, 2), *cells_of(3e-5, 2)], {}, console=console), console)
    assert "rte seed 1 learning_rate=1e-5  waiting" in text
    assert "rte seed 2 learning_rate=3e-5  waiting" in text
    assert "all runs: tiny, batch_size=16" in text
    assert text.count("tiny") == text.count("batch_size") == 1


def test_the_board_estimates_when_the_last_run_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    now = {"is": 1000.0}
    monkeypatch.setattr("glue_bench.sweep.board.time.monotonic", lambda: now["is"])
    requests, console = cells_of(1e-5, 6), console_of(terminal=True)
    board = Board(requests, {}, console=console)
    assert "left" not in shown(board, console)  # nothing is known yet
    for request in requests[:2]:
        board.started(request)
        board.phase(request, "training")
        board.step(request, step(1))
    now["is"] += 30
    for request in requests[:2]:
        board.step(request, step(51))
    # Each run takes 30 s + 49 updates at 0.6 s: two are at it, and two rounds follow.
    left = 29.4 + 2 * 59.4
    assert f"; 0:30, about {format_clock(left)} left" in shown(board, console)
    known = Board(requests, {}, console=console, expected={request.run_id: 100.0 for request in requests})
    assert f"; 0:00, about {format_clock(600)} left" in shown(known, console)
    known.started(requests[0])
    known.started(requests[1])
    now["is"] += 20
    assert f"; 0:20, about {format_clock(280)} left" in shown(known, console)


def test_two_hundred_runs_fit_the_screen_around_the_one_that_runs() -> None:
    requests, console = [request_of(seed) for seed in range(1, 201)], console_of(terminal=True, height=30)
    records: dict[str, Record] = {
        request.run_id: make_record(seed=seed, scores=scores_of("rte", 0.5))
        for seed, request in enumerate(requests[:120], start=1)
    }
    board = Board(requests, records, console=console)
    board.started(requests[120])
    text = shown(board, console)
    assert len(text.splitlines()) <= 30
    assert "running" in text
    assert "120 of 200 done" in text
    assert "not shown" in text


def test_the_board_never_outgrows_the_screen() -> None:
    requests, console = [*cells_of(1e-5, 12), *cells_of(3e-5, 12)], console_of(terminal=True, width=80, height=24)
    failed = {request.run_id: make_record(seed=1, status="failed", error="a reason " * 9) for request in requests[:9]}
    board = Board(requests, failed, console=console, expected=dict.fromkeys((each.run_id for each in requests), 4e5))
    for request in requests[9:11]:
        board.started(request)
    board.note("starting: loading PyTorch")
    lines = shown(board, console).splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert "0 of 24 done, 9 failed, 2 running, 13 waiting; 0:00, about" in lines[-3]


def test_a_narrow_terminal_keeps_run_state_progress_and_score_whole() -> None:
    console = console_of(terminal=True, width=80)
    board = Board([request_of(1)], {}, console=console)
    board.started(request_of(1))
    board.phase(request_of(1), "training")
    board.step(request_of(1), step(25))
    text = shown(board, console)
    assert "tiny rte seed 1  running  ━━━━╌╌╌╌╌╌╌╌╌╌╌╌  25/100" in text
    assert "loss" not in text
    assert "…" not in text


@pytest.mark.parametrize(
    ("width", "score"),
    [
        (160, "71.7 mean of matched accuracy and mismatched accuracy"),
        (100, "71.7"),
        (80, "71.7"),
    ],
)
def test_a_long_score_is_shortened_before_any_other_column_is_cut(width: int, score: str) -> None:
    console = console_of(terminal=True, width=width)
    requests = [request_of(1), request_of(2)]
    scores = {split: {"accuracy": 0.717} for split in ("validation_matched", "validation_mismatched")}
    record = make_record(task="mnli", encoder=DISTILROBERTA, scores=scores)
    board = Board(requests, {requests[0].run_id: record}, console=console)
    board.started(requests[1])
    board.phase(requests[1], "training")
    board.step(requests[1], step(24))
    board.step(requests[1], step(25))
    finished, running = (line for line in shown(board, console).splitlines() if line.startswith("rte seed"))
    assert finished.startswith("rte seed 1  finished")
    assert finished.rstrip().endswith(score)
    for word in ("rte seed 2  running", "25/100", "left"):
        assert word in running
    assert "…" not in finished + running


def test_a_narrow_terminal_with_scores_shows_updates_and_time_left_without_a_bar() -> None:
    console, requests = console_of(terminal=True, width=80), [*cells_of(1e-5, 2), *cells_of(3e-5, 2)]
    done = make_record(seed=1, scores=scores_of("rte", 0.678))
    board = Board(requests, {requests[0].run_id: done}, console=console)
    board.started(requests[1])
    board.phase(requests[1], "training")
    for number in (24, 25):
        board.step(requests[1], step(number))
    finished, running, *_ = (line for line in shown(board, console).splitlines() if line.startswith("rte seed"))
    assert finished.rstrip().endswith("67.8 accuracy")
    assert "running   25/100" in running
    assert running.rstrip().endswith("left")
    assert "━" not in running


@pytest.mark.parametrize("width", range(60, 130, 5))
def test_run_and_state_stay_whole_at_any_usual_width(width: int) -> None:
    console, request = console_of(terminal=True, width=width), request_of(1)
    board = Board([request, request_of(2)], {}, console=console)
    board.started(request)
    board.phase(request, "training")
    board.step(request, step(25))
    board.ended(request_of(2), make_record(seed=2, status="failed", error="a long story " * 30))
    text = shown(board, console)
    assert "\nrte seed 1  running" in text
    assert "\nrte seed 2  failed " in text
    assert max(len(line) for line in text.splitlines()) <= width


def test_runs_of_other_workers_are_shown_with_their_progress_until_they_end() -> None:
    console = console_of(terminal=True)
    board = Board([request_of(1), request_of(2)], {}, console=console)
    owner = Owner(
        host="node7",
        process=12,
        machine="m",
        started="1",
        nonce="n",
        phase="training",
        step=30,
        steps=90,
    )
    board.elsewhere(request_of(1), owner)
    for word in ("elsewhere", "30/90", "node7 process 12", "0 of 2 done, 1 elsewhere, 1 waiting"):
        assert word in shown(board, console)
    board.put_back(request_of(1))
    assert "2 waiting" in shown(board, console)
    board.note("stopping")
    assert "stopping" in shown(board, console)


def test_a_finished_parent_of_a_missing_run_is_on_the_board(tmp_path: Path) -> None:
    parent = make_request(task="mnli", seed=1, setting="m")
    child = make_request(task="rte", seed=1, setting="r", starts=(parent,))
    RunStore(tmp_path).save(make_record(task="mnli", setting="m"))
    plan = plan_runs([child], RunStore(tmp_path), retry_failed=False)
    board = Board(plan.concerned, plan.records, console=console_of(terminal=True))
    assert "1 of 2 done, 1 waiting" in shown(board, console_of(terminal=True))


def test_a_pipe_gets_plain_lines_and_no_escapes() -> None:
    requests, console = [request_of(1), request_of(2)], console_of(terminal=False)
    with PlainLines(requests, {requests[0].run_id: make_record()}, console=console) as listener:
        listener.started(requests[1])
        listener.step(requests[1], step(1))  # sooner than a line is due
        listener.ended(requests[1], make_record(seed=2, scores=scores_of("rte", 0.5)))
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines() == [
        "[1/2] tiny rte seed 2: started",
        "[2/2] tiny rte seed 2: finished after 0:00: 50.0 accuracy",
    ]


@pytest.mark.parametrize(
    ("task", "undefined", "words"),
    [
        (
            "cola",
            {"validation.matthews_correlation": "all 9 labels are 1"},
            "Matthews correlation undefined, so 0: all 9",
        ),
        (
            "stsb",
            dict.fromkeys(("validation.pearson", "validation.spearman"), "all 9 predictions are 2.5"),
            "Pearson and Spearman undefined, so 0: all 9 predictions are 2.5",
        ),
    ],
)
def test_the_reason_of_an_undefined_score_is_shown_with_it(task: str, undefined: dict[str, str], words: str) -> None:
    record = make_record(task=task, scores=scores_of(task, 0.0), undefined=undefined)
    assert f"0.0 {metric_title(task_of(record).every_part())} ({words}" in describe_outcome(record)
    assert "(" not in describe_outcome(make_record(task=task, scores=scores_of(task, 0.0), reasons=("few rows",)))
