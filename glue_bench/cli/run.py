"""`glue-bench run`: one fine-tune, or with -m several."""

import argparse
import logging
from pathlib import Path

from glue_bench.board import describe_outcome, open_listener
from glue_bench.cli.output import say
from glue_bench.cli.shared import execute_plan, prepare, print_report, stderr_console
from glue_bench.cli.sweep import exit_code
from glue_bench.compose import compose_run, expand_multirun
from glue_bench.errors import UsageError
from glue_bench.identity import RunRequest, make_requests
from glue_bench.processes import Processes
from glue_bench.records import RunStore
from glue_bench.sweep import plan_runs, run_request


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
    prepare(plan.missing, store)
    processes.broadcast(request)
    with open_listener([request], {}, stderr_console()) as listener:
        listener.started(request)
        record = run_request(request, store, listener, processes=processes)
        listener.ended(request, record)
    print_report([record], results_dir)
    say(f"kept in {store.folder(request.encoder, record.task, request.run_id)}")
    return 0


def _take_part(processes: Processes) -> int:
    """What a process that is not the first does: its share of the run, without a word, if there is one to do."""
    logging.getLogger("glue_bench").setLevel(logging.ERROR)
    request: RunRequest | None = processes.broadcast(None)
    if request is not None:
        from glue_bench.experiment import run_experiment

        run_experiment(request, RunStore(Path(request.config.results_dir)), processes=processes)
    return 0


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
    prepare(plan.missing, store)
    records = execute_plan(plan, store)
    print_report(records.values(), results_dir)
    return exit_code(records.values())


def _request(overrides: list[str], config_dir: Path | None) -> RunRequest:
    config = compose_run(overrides, config_dir=config_dir)
    return make_requests(config, [config.seed])[0]
