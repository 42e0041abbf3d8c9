"""`glue-bench run`: one fine-tune, or with -m several."""

import argparse
import logging
from pathlib import Path

from glue_bench.cli.output import say
from glue_bench.cli.shared import execute_plan, in_this_process, prepare, print_report, request_runs
from glue_bench.cli.sweep import exit_code
from glue_bench.config.compose import compose_run
from glue_bench.config.overrides import expand_multirun
from glue_bench.errors import UsageError
from glue_bench.runs.identity import RunRequest
from glue_bench.runs.store import RunStore
from glue_bench.sweep.board import describe_outcome
from glue_bench.sweep.plan import plan_runs
from glue_bench.training.distributed import Processes


def execute(arguments: argparse.Namespace) -> int:
    """Run it, unless its result is there already."""
    processes = Processes.from_environment()
    if arguments.multirun:
        processes.refuse("run -m")
        return _execute_many(arguments)
    with processes:
        return _execute_one(arguments, processes) if processes.leads else _take_part(processes)


def _execute_one(arguments: argparse.Namespace, processes: Processes) -> int:
    request = _request(arguments.overrides, arguments.config_dir)
    results_dir = Path(request.config.results_dir)
    store = RunStore(results_dir)
    plan = plan_runs([request], store, retry_failed=True)
    if not plan.missing:
        say(f"{request.title}: already done, nothing to train: {describe_outcome(plan.records[request.run_id])}")
        print_report(plan.records.values(), results_dir)
        processes.broadcast(None)
        return 0
    executor = in_this_process(request.config.executor)
    prepare(plan.missing, store, executor)
    records = execute_plan(plan, store, executor, stop_at_failure=True, processes=processes)
    record = records[request.run_id]
    processes.broadcast(None)
    print_report([record], results_dir)
    if record.status != "finished":  # another worker ran it meanwhile
        say(f"{request.title}: {record.status}: {record.outcome}")
    say(f"kept in {store.folder(*request.place)}")
    return exit_code(plan, records, store=store)


def _take_part(processes: Processes) -> int:
    """What a process that is not the first does: its share of each run, without a word, until there is none left."""
    logging.getLogger("glue_bench").setLevel(logging.ERROR)
    while (request := _hear_of_run(processes)) is not None:
        from glue_bench.runs.experiment import run_experiment

        run_experiment(request, RunStore(Path(request.config.results_dir)), processes=processes)
    return 0


def _hear_of_run(processes: Processes) -> RunRequest | None:
    """What the first process begins next; None if it is done."""
    request: RunRequest | None = processes.broadcast(None)
    return request


def _execute_many(arguments: argparse.Namespace) -> int:
    jobs = expand_multirun(arguments.overrides, config_dir=arguments.config_dir)
    requested = [_request(job, arguments.config_dir) for job in jobs]
    folders = {request.config.results_dir for request in requested}
    if len(folders) > 1:
        raise UsageError(f"results_dir={','.join(sorted(folders))}: one folder for all runs of a command")
    requests = list({request.run_id: request for request in requested}.values())
    results_dir = Path(folders.pop())
    store = RunStore(results_dir)
    plan = plan_runs(requests, store, retry_failed=True)
    executor = requests[0].config.executor
    prepare(plan.missing, store, executor)
    records = execute_plan(plan, store, executor)
    print_report(records.values(), results_dir)
    return exit_code(plan, records, store=store)


def _request(overrides: list[str], config_dir: Path | None) -> RunRequest:
    config = compose_run(overrides, config_dir=config_dir)
    return request_runs(config, [config.seed], overrides, config_dir=config_dir)[0]
