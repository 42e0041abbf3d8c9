"""What `run` and `sweep` share: runs from configurations, a plan under the board, and the table in the end."""

import dataclasses
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from glue_bench.cli.output import render_to_stdout
from glue_bench.config.compose import compose_parent
from glue_bench.config.schema import ExecutorConfig, RunConfig
from glue_bench.report import build_report
from glue_bench.runs.identity import RunRequest, make_requests
from glue_bench.runs.record import Record
from glue_bench.runs.store import RunStore
from glue_bench.sweep.board import open_listener
from glue_bench.sweep.plan import Plan, fetch_inputs, plan_runs, tidy_up
from glue_bench.sweep.serial import run_serially
from glue_bench.tasks.published import load_published
from glue_bench.training.distributed import ALONE, Processes
from glue_bench.training.stopping import Stopped


def request_runs(
    config: RunConfig, seeds: list[int], overrides: Sequence[str], *, config_dir: Path | None
) -> list[RunRequest]:
    """The runs of one encoder and task, with the runs that they start from."""
    return make_requests(config, seeds, parent=compose_parent(config, overrides, config_dir=config_dir))


def in_this_process(executor: ExecutorConfig) -> ExecutorConfig:
    """The same executor, but serial."""
    return dataclasses.replace(executor, kind="serial")


def execute_plan(
    plan: Plan,
    store: RunStore,
    executor: ExecutorConfig,
    *,
    stop_at_failure: bool = False,
    processes: Processes = ALONE,
) -> Mapping[str, Record]:
    """Run what is missing, after `prepare`, and return every record of the plan.

    Args:
        stop_at_failure: raise what a run raised (in this process only), rather than go on with the next one.
        processes: which run each run together (in these processes only).
    """
    tidy_up(plan, store)
    if not plan.missing:
        return plan.records
    published = load_published(store.root.parent / "published")
    try:
        with open_listener(plan.concerned, plan.records, console=stderr_console(), published=published) as listener:
            if executor.kind == "local":
                from glue_bench.sweep.local import run_in_workers

                return run_in_workers(plan, store, listener=listener, executor=executor)
            if executor.kind == "slurm":
                from glue_bench.sweep.slurm import run_on_slurm

                return run_on_slurm(plan, store, listener=listener, executor=executor)
            return run_serially(plan, store, listener=listener, stop_at_failure=stop_at_failure, processes=processes)
    except Stopped as stop:
        stop.remark = _what_is_left(plan, store) if len(plan.requests) > 1 else ""
        raise


def prepare(missing: Sequence[RunRequest], store: RunStore, executor: ExecutorConfig) -> None:
    """Fetch what the runs need, and find everything that would stop them, before the first one starts.

    Raises:
        GlueBenchError: files or the hub are out of reach, results cannot be written, or the device is not there.
    """
    if not missing:
        return
    fetch_inputs(missing)
    store.check_writable()
    named = [request.config.trainer for request in missing if request.config.trainer.device not in ("auto", "cpu")]
    if named and executor.kind != "slurm":  # a login node has no GPU
        from glue_bench.models.placement import choose_placement

        for trainer in named:
            choose_placement(trainer.device, trainer.precision)


def stderr_console() -> Console:
    """A terminal if stderr is one, whatever FORCE_COLOR says: escapes in a log help nobody."""
    return Console(stderr=True, force_terminal=sys.stderr.isatty())


def print_report(records: Iterable[Record], results_dir: Path) -> None:
    """The table of these runs, on stdout."""
    report = build_report(records, load_published(results_dir / "published"), store=RunStore(results_dir))
    sys.stdout.write(render_to_stdout(report))


def _what_is_left(plan: Plan, store: RunStore) -> str:
    """Done and missing after a stop, and the command that goes on."""
    now = plan_runs(plan.requests, store, retry_failed=False)
    done = sum(record.status == "finished" for record in now.records.values())
    failed = len(now.records) - done
    parts = [f"{done} of {len(now.concerned)} runs done", *([f"{failed} failed"] if failed else [])]
    parts.append(f"{len(now.missing)} missing" + (f" ({len(now.snapshots)} with a snapshot)" if now.snapshots else ""))
    words = [
        Path(sys.argv[0]).name if not sys.argv[0].endswith("__main__.py") else "python -m glue_bench",
        *sys.argv[1:],
    ]
    return f"{', '.join(parts)}; go on with: {words[0]} {shlex.join(words[1:])}"
