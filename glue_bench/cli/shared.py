"""What `run` and `sweep` share: running a plan under the board, and the table that ends it."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from glue_bench.board import open_listener
from glue_bench.cli.output import render_to_stdout
from glue_bench.identity import RunRequest
from glue_bench.published import load_published
from glue_bench.records import Record, RunStore
from glue_bench.report import build_report
from glue_bench.sweep import Plan, discard_leftovers, fetch_inputs, run_missing


def execute_plan(plan: Plan, store: RunStore) -> Mapping[str, Record]:
    """Run what is missing, after `prepare`, and return every record of the plan."""
    discard_leftovers(plan, store)
    if not plan.missing:
        return plan.records
    with open_listener(plan.requests, plan.records, stderr_console()) as listener:
        return run_missing(plan, store, listener)


def prepare(missing: Sequence[RunRequest], store: RunStore) -> None:
    """Fetch what the runs need, and find everything that would stop them, before the first one starts.

    Raises:
        GlueBenchError: files or the hub are out of reach, results cannot be written, or the device is not there.
    """
    if not missing:
        return
    fetch_inputs(missing)
    store.check_writable()
    from glue_bench.placement import choose_placement

    for trainer in (request.config.trainer for request in missing):
        choose_placement(trainer.device, trainer.precision)


def stderr_console() -> Console:
    """A terminal if stderr is one, whatever FORCE_COLOR says: escapes in a log help nobody."""
    return Console(stderr=True, force_terminal=sys.stderr.isatty())


def print_report(records: Iterable[Record], results_dir: Path) -> None:
    """The table of these runs, on stdout."""
    report = build_report(records, load_published(results_dir / "published"))
    sys.stdout.write(render_to_stdout(report))
