"""What `run` and `sweep` share: running a plan under the board, and the table that ends it."""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from rich.console import Console

from glue_bench.board import open_listener
from glue_bench.published import load_published
from glue_bench.records import Record, RunStore
from glue_bench.report import build_report, render_report
from glue_bench.sweep import Plan, fetch_inputs, run_missing

PIPE_WIDTH = 160  # columns of a table that does not go to a terminal


def execute_plan(plan: Plan, store: RunStore) -> Mapping[str, Record]:
    """Fetch what the missing runs need, run them, and return every record of the plan."""
    fetch_inputs(plan.missing)
    if not plan.missing:
        return plan.records
    with open_listener(plan.requests, plan.records, Console(stderr=True)) as listener:
        return run_missing(plan, store, listener)


def print_report(records: Iterable[Record], results_dir: Path) -> None:
    """The table of these runs, on stdout."""
    report = build_report(records, load_published(results_dir / "published"))
    sys.stdout.write(render_to_stdout(report))


def render_to_stdout(report: object) -> str:
    """The console table in the width and colours of stdout."""
    terminal = sys.stdout.isatty()
    return render_report(report, "console", width=None if terminal else PIPE_WIDTH, color=terminal)  # type: ignore[arg-type]


def say(text: str) -> None:
    """One line to the person at the terminal."""
    sys.stderr.write(f"{text}\n")
