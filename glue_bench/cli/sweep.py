"""`glue-bench sweep`: tasks x seeds x encoders, only what is missing, then the table."""

import argparse
from collections.abc import Iterable
from pathlib import Path

from glue_bench.cli.output import say
from glue_bench.cli.shared import execute_plan, prepare, print_report
from glue_bench.compose import compose_sweep
from glue_bench.identity import make_requests
from glue_bench.processes import Processes
from glue_bench.records import Record, RunStore, outcome_line
from glue_bench.sweep import Plan, plan_runs


def execute(arguments: argparse.Namespace) -> int:
    """Plan, run what is missing, print the table."""
    Processes.from_environment().refuse("sweep")
    configs = compose_sweep(arguments.overrides, config_dir=arguments.config_dir)
    results_dir = Path(configs[0].results_dir)
    store = RunStore(results_dir)
    requests = [request for config in configs for request in make_requests(config, config.seeds)]
    plan = plan_runs(requests, store, retry_failed=arguments.retry_failed)
    if arguments.dry_run:
        say(_summary(plan))
        return _print_plan(plan)
    prepare(plan.missing, store)
    say(_summary(plan))
    records = execute_plan(plan, store)
    print_report(records.values(), results_dir)
    code = exit_code(records.values())
    if code:
        for record in (record for record in records.values() if record.status != "finished"):
            place = f"{record.encoder['name']} {record.task} seed {record.seed}"
            say(f"{place}: {record.status}: {outcome_line(record)}")
        say("--retry-failed runs what failed again")
    elsewhere = "" if str(results_dir) == "results" else f" results_dir={results_dir}"
    say(f"results are in {results_dir}; `glue-bench report{elsewhere}` prints the tables of everything in it")
    return code


def exit_code(records: Iterable[Record]) -> int:
    """0 if every run finished, else 1."""
    return 0 if all(record.status == "finished" for record in records) else 1


def _summary(plan: Plan) -> str:
    done = sum(record.status == "finished" for record in plan.records.values())
    failed = len(plan.records) - done
    parts = [f"{done} done", *([f"{failed} failed before"] if failed else []), f"{len(plan.missing)} to run"]
    nothing = "" if plan.missing else "; nothing to train"
    return f"{len(plan.requests)} {'run' if len(plan.requests) == 1 else 'runs'}: {', '.join(parts)}{nothing}"


def _print_plan(plan: Plan) -> int:
    for request in plan.requests:
        record = plan.records.get(request.run_id)
        print(f"{request.title:<40} {record.status if record else 'missing':<12} {request.run_id}")  # noqa: T201
    return 0
