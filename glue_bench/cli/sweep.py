"""`glue-bench sweep`: tasks x seeds x encoders, only what is missing, then the table."""

import argparse
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from glue_bench.cli.output import PIPE_WIDTH, say
from glue_bench.cli.shared import execute_plan, in_this_process, prepare, print_report, request_runs
from glue_bench.config.compose import compose_sweep
from glue_bench.config.schema import ExecutorConfig
from glue_bench.errors import UsageError
from glue_bench.runs.identity import RunRequest
from glue_bench.runs.lease import is_beating
from glue_bench.runs.record import Record
from glue_bench.runs.store import RunStore
from glue_bench.sweep.board import describe_outcome, format_clock
from glue_bench.sweep.plan import (
    Estimate,
    Plan,
    estimate_runs,
    longest_first,
    plan_runs,
    read_plan,
    seconds_in_all,
    write_plan,
)
from glue_bench.training.distributed import Processes


def execute(arguments: argparse.Namespace) -> int:
    """Plan, run what is missing, print the table."""
    Processes.from_environment().refuse("sweep")
    if arguments.index is not None:
        return _run_line(arguments)
    if arguments.plan and arguments.dry_run:
        raise UsageError(f"--plan {arguments.plan} and --dry-run: give one of the two; a dry run writes nothing")
    configs = compose_sweep(arguments.overrides, config_dir=arguments.config_dir)
    executor = configs[0].executor
    results_dir = Path(configs[0].results_dir)
    store = RunStore(results_dir)
    requests = [
        request
        for config in configs
        for request in request_runs(config, config.seeds, arguments.overrides, config_dir=arguments.config_dir)
    ]
    plan = plan_runs(requests, store, retry_failed=arguments.retry_failed)
    estimates = estimate_runs(plan.requests, store.load_all()) if plan.missing else {}
    plan = plan.in_order(longest_first(plan.missing, estimates))
    if arguments.plan:
        write_plan(arguments.plan, plan, estimates=estimates)
        say(f"{summarise(plan)}")
        say(f"{len(plan.requests)} lines written to {arguments.plan}, one a run")
        say(f"`glue-bench sweep --plan {arguments.plan} --index N` runs line N, from 0 to {len(plan.requests) - 1}")
        return 0
    if arguments.dry_run:
        return _print_plan(plan, estimates, executor)
    prepare(plan.missing, store, executor)
    say(summarise(plan))
    records = execute_plan(plan, store, executor)
    return tell_end(plan, records, store=store)


def tell_end(plan: Plan, records: Mapping[str, Record], *, store: RunStore) -> int:
    """The table, what failed, where everything is; and the exit code."""
    results_dir = store.root.parent
    print_report(records.values(), results_dir)
    failed = [record for record in records.values() if not record.finished]
    if failed:
        for line in _tell_failures(failed):
            say(line)
        say("the same command with --retry-failed runs these again; other data or settings are other runs")
    elsewhere = "" if str(results_dir) == "results" else f" results_dir={results_dir}"
    say(f"results are in {results_dir}; `glue-bench report{elsewhere}` prints the tables of everything in it")
    return exit_code(plan, records, store=store)


def _tell_failures(failed: Iterable[Record]) -> list[str]:
    """A line for each reason, with the seeds that it ended."""
    seeds: dict[tuple[str, str, str], list[str]] = {}
    for record in failed:
        reason = record.outcome.removeprefix(record.status).strip(" :")
        place = f"{record.encoder['name']} {record.task}", record.status, reason
        seeds.setdefault(place, []).append(str(record.seed))
    return [
        f"{run} seed{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}: {status}: {reason}"
        for (run, status, reason), numbers in seeds.items()
    ]


def exit_code(plan: Plan, records: Mapping[str, Record], *, store: RunStore) -> int:
    """0 if every run finished and kept what it was asked to keep, else 1."""
    return 0 if plan.is_fulfilled(records, store) else 1


def summarise(plan: Plan) -> str:
    """How many runs are done, failed, running elsewhere and missing, in one line."""
    done = sum(record.status == "finished" for record in plan.records.values())
    failed = len(plan.records) - done
    parts = [f"{done} done", *([f"{failed} failed before"] if failed else []), f"{len(plan.missing)} to run"]
    parts += [f"{len(plan.running)} of them running now"] if plan.running else []
    nothing = "" if plan.missing else "; nothing to train"
    count = len(plan.concerned)
    return f"{count} {'run' if count == 1 else 'runs'}: {', '.join(parts)}{nothing}"


def _run_line(arguments: argparse.Namespace) -> int:
    """One line of a plan, in this process."""
    if arguments.plan is None:
        raise UsageError(f"--index {arguments.index}: of which plan? Give --plan FILE.jsonl")
    if arguments.dry_run:
        raise UsageError(f"--index {arguments.index}: runs a line; --dry-run goes with a whole sweep")
    if arguments.overrides:
        raise UsageError(f"{arguments.overrides[0]}: a plan's lines hold their whole configuration; allowed is none")
    request = read_plan(arguments.plan, arguments.index)
    results_dir = Path(request.config.results_dir)
    store = RunStore(results_dir)
    plan = plan_runs([request], store, retry_failed=arguments.retry_failed)
    owner = plan.running.get(request.run_id)
    if owner and is_beating(store.folder(*request.place)):  # an array is to go on with its next line, not to wait
        say(f"{request.title}: is being run by {owner.title}; nothing to do here")
        return 0
    serial = in_this_process(request.config.executor)
    prepare(plan.missing, store, serial)
    records = execute_plan(plan, store, serial)
    record = records[request.run_id]
    say(f"{request.title}: {record.status}: {describe_outcome(record)}")
    return exit_code(plan, records, store=store)


def _print_plan(plan: Plan, estimates: Mapping[str, Estimate], executor: ExecutorConfig) -> int:
    """The plan as a table; what it would take, on stderr."""
    terminal = sys.stdout.isatty()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in ("run", "state", "time", "what is known", "run id"):
        table.add_column(header, justify="right" if header == "time" else "left", no_wrap=header != "what is known")
    for request in plan.requests:
        table.add_row(*(Text(cell) for cell in _plan_cells(request, plan, estimates)))
    Console(force_terminal=terminal, width=None if terminal else PIPE_WIDTH).print(table)
    say(summarise(plan))
    if plan.missing:
        say(_describe_time(plan, estimates, executor))
    return 0


def _plan_cells(request: RunRequest, plan: Plan, estimates: Mapping[str, Estimate]) -> tuple[str, ...]:
    state, record, known = plan.state(request), plan.records.get(request.run_id), ""
    estimate = estimates.get(request.run_id)
    time = f"~{format_clock(estimate.seconds)}" if estimate else ""
    if owner := plan.running.get(request.run_id):
        known = f"by {owner.title}" + (f", update {owner.step} of {owner.steps}" if owner.steps else "")
    elif record is not None:
        known = describe_outcome(record)
        time = format_clock(record.seconds["total"]) if "total" in record.seconds else ""
    elif request.run_id in plan.earlier:
        known = f"again: {plan.earlier[request.run_id].outcome}"
    elif request.run_id in plan.snapshots:
        known = f"goes on from its snapshot after update {plan.snapshots[request.run_id]}"
    elif estimate:
        known = f"estimated from {estimate.basis}"
    return request.title, state, time, known, request.run_id


def _describe_time(plan: Plan, estimates: Mapping[str, Estimate], executor: ExecutorConfig) -> str:
    """How long the missing runs will take, and what that is based on."""
    from glue_bench.sweep.local import deal_out

    known = [estimates[request.run_id].seconds for request in plan.missing if request.run_id in estimates]
    unknown = len(plan.missing) - len(known)
    if not known:
        return "no estimate of the time: nothing like these runs has finished in this folder yet"
    no_gpu = plan.missing[0].config.trainer.device == "cpu" or not any(Path("/dev").glob("nvidia[0-9]*"))
    on_cpu = executor.kind == "local" and no_gpu
    workers = len(deal_out(executor, runs=len(plan.requests), gpus=[])) if on_cpu else 1
    at_once = f"with {workers} at a time" if workers > 1 else "one after another"
    text = f"about {format_clock(seconds_in_all(known, workers=workers))} {at_once}"
    basis = "from the times of finished runs in this folder, which may have had other threads or another device"
    return f"{text}, {basis}" + (f"; {unknown} more without an estimate" if unknown else "")
