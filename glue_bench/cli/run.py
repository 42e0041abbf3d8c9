"""`glue-bench run`: one fine-tuning run.

examples:
  glue-bench run task=rte encoder=minilm data=sample
  glue-bench run task=mrpc seed=3 data=local data.path=my_glue encoder=minilm trainer.epochs=5
  glue-bench run task=rte encoder=google-bert/bert-large-uncased
  glue-bench run -m task=rte,mrpc seed=1,2,3
  torchrun --nproc-per-node 4 -m glue_bench run task=mnli      one run on four GPUs
"""

import argparse
import logging
from pathlib import Path

from glue_bench.cli.shared import add_options, describe_keys, say
from glue_bench.cli.sweep import execute_plan, print_report
from glue_bench.config.schema import RunKeys
from glue_bench.errors import EXIT_LACKING, DivergedError, UsageError
from glue_bench.runs.identity import RunRequest, make_requests
from glue_bench.runs.store import RunStore
from glue_bench.sweep.board import describe_outcome
from glue_bench.sweep.plan import plan_one, plan_runs
from glue_bench.training.distributed import Processes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_options(parser, "configuration, as below", keys=describe_keys(RunKeys), config_dir=True)
    parser.add_argument("-m", "--multirun", action="store_true", help="comma-separated values make several runs")


def execute(arguments: argparse.Namespace) -> int:
    """Do the run, unless it is already done."""
    processes = Processes.from_environment()
    if arguments.multirun:
        processes.refuse("run -m")
        return _execute_many(arguments)
    with processes:
        if processes.leads:
            return _execute_one(arguments, processes)
        from glue_bench.runs.experiment import Experiment

        logging.getLogger("glue_bench").setLevel(logging.ERROR)
        while (request := processes.broadcast(None)) is not None:  # every run, until rank 0 sends None
            Experiment(request, RunStore(Path(request.config.results_dir)), processes=processes).run()
        return 0


def _execute_one(arguments: argparse.Namespace, processes: Processes) -> int:
    plan, request, store = plan_one(_request(arguments.overrides, arguments.config_dir), retry_failed=True)
    records = execute_plan(plan, store, processes=processes, stop_at_failure=True)
    record = records[request.run_id]
    processes.broadcast(None)
    if record.status == "diverged":  # it did before, and would again
        raise DivergedError(record.outcome)
    if not plan.missing or not record.finished:  # it was done before, or another worker ran it in the meantime
        how = record.status if plan.missing else "already done, nothing to train"
        say(f"{request.title}: {how}: {describe_outcome(record)}")
    print_report([record], store)
    say(f"kept in {store.folder(*request.place)}")
    return 0 if plan.is_fulfilled(records, store) else EXIT_LACKING


def _execute_many(arguments: argparse.Namespace) -> int:
    from glue_bench.config.overrides import expand_multirun

    jobs = expand_multirun(arguments.overrides, config_dir=arguments.config_dir)
    requested = [_request(job, arguments.config_dir) for job in jobs]
    folders = {request.config.results_dir for request in requested}
    if len(folders) > 1:
        raise UsageError(f"results_dir={','.join(sorted(folders))}: must be one folder for all runs of a command")
    store = RunStore(Path(folders.pop()))
    plan = plan_runs(list({each.run_id: each for each in requested}.values()), store, retry_failed=True)
    records = execute_plan(plan, store)
    print_report(records.values(), store)
    return 0 if plan.is_fulfilled(records, store) else EXIT_LACKING


def _request(overrides: list[str], config_dir: Path | None) -> RunRequest:
    from glue_bench.config.compose import compose_run, compose_starts

    given = [word.partition("=")[0] for word in overrides]
    for word, key in zip(overrides, given, strict=True):
        one = f"trainer.{key[5:]}" if key.startswith("grid.") else key[:-1]
        # The words that repeat a cell of a grid give both.
        if key in ("tasks", "seeds", "encoders") or (key.startswith("grid.") and one not in given):
            raise UsageError(f"{word}: `run` takes one {one}, with {one}=; `sweep` takes several")
    config = compose_run(overrides, config_dir=config_dir)
    return make_requests(config, [config.seed], starts=compose_starts(config, overrides, config_dir=config_dir))[0]
