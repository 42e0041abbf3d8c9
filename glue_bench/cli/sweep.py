"""`glue-bench sweep`: tasks x seeds x encoders, and the table.

examples:
  glue-bench sweep preset=sample
  glue-bench sweep                                 the eight tasks, five seeds, distilroberta, data from the hub
  glue-bench sweep preset=card encoders=[distilroberta,roberta]
  glue-bench sweep recipe=roberta_paper encoder=roberta tasks=[rte]
  glue-bench sweep protocol=hf_flax encoder=bert_cased
  glue-bench sweep data=local data.path=my_glue encoder=minilm tasks=[cola,mrpc] seeds=[1,2,3]
  glue-bench sweep executor=slurm executor.workers=20 executor.slurm.partition=gpu
  glue-bench sweep --plan plan.jsonl               one run per line; then, in any job array, with N from 0:
  glue-bench sweep --plan plan.jsonl --index N
  glue-bench sweep tasks=[boolq] --config-dir my_conf data=local data.path=my_data

Stop it at any time: the same command runs only what is missing.
"""

import argparse
import dataclasses
import shlex
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from rich.console import Console

from glue_bench.cli.shared import add_options, count_option, describe_keys, path_option, say, style, write_table
from glue_bench.config.schema import SweepConfig
from glue_bench.errors import EXIT_LACKING, UsageError
from glue_bench.files import check_writable
from glue_bench.machine import has_nvidia_gpu, usable_cores
from glue_bench.runs.identity import RunRequest, make_requests
from glue_bench.runs.record import Record
from glue_bench.runs.store import RunStore
from glue_bench.sweep.board import Board, PlainLines, describe_outcome
from glue_bench.sweep.plan import Plan, check_local_rows, fetch_inputs, plan_line, plan_runs, tidy_up, write_plan
from glue_bench.sweep.queue import run_serially
from glue_bench.sweep.timing import Estimate, describe_work, estimate_runs, longest_first, measure_run, seconds_in_all
from glue_bench.tasks.published import load_published
from glue_bench.text import format_clock, plural
from glue_bench.training.distributed import ALONE, Processes
from glue_bench.training.stopping import Stopped

_PRESETS = "  preset=card|sample|smoke        card: the model card's table; sample: offline, minutes; smoke: seconds\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_options(parser, "configuration, as below", keys=describe_keys(SweepConfig) + _PRESETS, config_dir=True)
    parser.add_argument("--dry-run", action="store_true", help="print which runs are missing, done, running, failed")
    parser.add_argument("--measure", action="store_true", help="with --dry-run: time updates of what has no estimate")
    parser.add_argument("--retry-failed", action="store_true", help="rerun what failed or diverged")
    parser.add_argument("--plan", type=path_option, metavar="FILE.jsonl", help="write the plan, one run per line")
    parser.add_argument("--index", type=count_option, metavar="N", help="run line N (from 0) of --plan, nothing else")


def execute(arguments: argparse.Namespace) -> int:
    """Plan, run what is missing, print the table."""
    from glue_bench.config.compose import compose_starts, compose_sweep

    Processes.from_environment().refuse("sweep")
    if arguments.index is not None:
        return _run_line(arguments)
    if arguments.measure and not arguments.dry_run:
        raise UsageError("--measure: only with --dry-run")
    if arguments.plan and arguments.dry_run:
        raise UsageError(f"--plan {arguments.plan} and --dry-run: give one of the two; a dry run writes nothing")
    words, config_dir = arguments.overrides, arguments.config_dir
    sweep = compose_sweep(words, config_dir=config_dir)
    store = RunStore(Path(sweep.configs[0].results_dir))
    requests = list[RunRequest]()
    for config in sweep.configs:
        requests += make_requests(config, sweep.seeds, starts=compose_starts(config, words, config_dir=config_dir))
    plan = plan_runs(requests, store, retry_failed=arguments.retry_failed)
    estimates = estimate_runs(plan.requests, store.load_all()) if plan.missing else {}
    plan = dataclasses.replace(plan, missing=longest_first(plan.missing, estimates))
    if plan.settled:
        why = "diverged, and would do so again with these versions on a CPU: not repeated"
        say(f"{plural(len(plan.settled), 'run')} {why}; other values, say of trainer.learning_rate, make new runs")
    if arguments.plan:
        write_plan(arguments.plan, plan, estimates=estimates)
        say(_summarise(plan))
        say(f"{plural(len(plan.requests), 'line')} written to {arguments.plan}, one per run")
        say(f"`glue-bench sweep --plan {arguments.plan} --index N` runs line N, from 0 to {len(plan.requests) - 1}")
        return 0
    if arguments.dry_run:
        return _print_plan(plan, estimates, measure=arguments.measure)
    expected = {run_id: estimate.seconds for run_id, estimate in estimates.items()}
    return _finish(plan, execute_plan(plan, store, summary=_summarise(plan), expected=expected), store=store)


def execute_plan(
    plan: Plan,
    store: RunStore,
    *,
    summary: str = "",
    expected: Mapping[str, float] | None = None,
    processes: Processes | None = None,
    stop_at_failure: bool = False,
) -> Mapping[str, Record]:
    """Run what is missing, and return every record of the plan; `summary` is printed when nothing more can stop it.

    With `processes`, these carry out each run together, one run after another, and `stop_at_failure` applies, as in
    `run_serially`; otherwise the configuration says who runs it. `expected`: seconds by run id, as far as known. A
    GlueBenchError before the first run if files or the hub are out of reach, or results or device cannot be used.
    """
    executor = plan.requests[0].config.executor
    kind, processes = ("serial", processes) if processes else (executor.kind, ALONE)
    if plan.missing:
        fetch_inputs(plan.missing)
        check_writable(store.root)
    for trainer in [request.config.trainer for request in plan.missing]:
        if trainer.device not in ("auto", "cpu") and kind != "slurm":  # a login node has no GPU
            from glue_bench.models.placement import choose_placement

            choose_placement(trainer.device, trainer.precision)
    if summary:
        say(summary)
    tidy_up(plan, store)
    if not plan.missing:
        return plan.records
    # A terminal if stderr is one, whatever FORCE_COLOR says: escapes in a log help nobody.
    console = Console(stderr=True, force_terminal=sys.stderr.isatty())
    show = Board if console.is_terminal else PlainLines
    try:
        with show(plan.concerned, plan.records, console=console, expected=expected) as listener:
            if kind == "local":
                from glue_bench.sweep.local import run_in_workers

                return run_in_workers(plan, store, listener=listener, executor=executor)
            if kind == "slurm":
                from glue_bench.sweep.slurm import Watch

                return Watch(plan, store, listener=listener, executor=executor).until_done()
            return run_serially(plan, store, listener=listener, stop_at_failure=stop_at_failure, processes=processes)
    except Stopped as stop:
        if len(plan.requests) > 1:
            program = "python -m glue_bench" if sys.argv[0].endswith("__main__.py") else Path(sys.argv[0]).name
            left = _summarise(plan_runs(plan.requests, store, retry_failed=False))
            stop.remark = f"{left}; continue with: {program} {shlex.join(sys.argv[1:])}"
        raise


def print_report(records: Iterable[Record], store: RunStore) -> None:
    """Print the table of these runs on stdout."""
    from glue_bench.report.formats import render_report
    from glue_bench.report.table import build_report

    report = build_report(records, load_published(store.root.parent / "published"), store=store)
    sys.stdout.write(render_report(report, "console", **style()))


def _finish(plan: Plan, records: Mapping[str, Record], *, store: RunStore) -> int:
    print_report(records.values(), store)
    folder = store.root.parent
    if failed := [record for record in records.values() if not record.finished]:
        seeds = defaultdict[tuple[str, str], list[str]](list)
        for record in failed:
            reason = record.outcome.removeprefix(record.status).strip(" :")
            seeds[f"{record.encoder['name']} {record.task}", f"{record.status}: {reason}"].append(str(record.seed))
        for (run, ending), numbers in seeds.items():
            say(f"{run} {'seeds' if len(numbers) > 1 else 'seed'} {', '.join(numbers)}: {ending}")
        if lacking := [record.lack for record in failed if record.lack]:
            again = f"repeats {plural(len(lacking), 'run')} that failed for lack of {' and '.join(sorted({*lacking}))}"
            say(f"once there is room: the same command {again}")
        if len(lacking) + len(plan.settled) < len(failed):
            say("the same command with --retry-failed runs these again; other data or settings make new runs")
    elsewhere = "" if str(folder) == "results" else f" results_dir={folder}"
    say(f"results are in {folder}; `glue-bench report{elsewhere}` prints the tables of everything in it")
    return 0 if plan.is_fulfilled(records, store) else EXIT_LACKING


def _summarise(plan: Plan) -> str:
    done = sum(record.finished for record in plan.records.values())
    failed = len(plan.records) - done
    parts = [f"{done} done", *([f"{failed} failed before"] if failed else []), f"{len(plan.missing)} to run"]
    some = {"running now": len(plan.running), "with a snapshot": len(plan.snapshots)}
    parts += [f"{count} of them {state}" for state, count in some.items() if count]
    return f"{plural(len(plan.concerned), 'run')}: {', '.join(parts)}{'' if plan.missing else '; nothing to train'}"


def _run_line(arguments: argparse.Namespace) -> int:
    if arguments.plan is None:
        raise UsageError(f"--index {arguments.index}: needs a plan; give --plan FILE.jsonl")
    if arguments.dry_run:
        raise UsageError(f"--index {arguments.index} and --dry-run: give one of the two")
    if arguments.overrides:
        raise UsageError(f"{arguments.overrides[0]}: a plan's lines hold their whole configuration; give no KEY=VALUE")
    plan, request, store, owner = plan_line(arguments.plan, arguments.index, retry_failed=arguments.retry_failed)
    if owner:
        say(f"{request.title}: is being run by {owner.title}; nothing to do here")
        return 0
    records = execute_plan(plan, store, processes=ALONE)
    record = records[request.run_id]
    say(f"{request.title}: {record.status}: {describe_outcome(record)}")
    return 0 if plan.is_fulfilled(records, store) else EXIT_LACKING


def _print_plan(plan: Plan, estimates: Mapping[str, Estimate], *, measure: bool) -> int:
    check_local_rows(plan.missing)
    if any(not request.config.save_model for request in plan.missing):
        say("weights will not be kept, and predict, card and submit need them: save_model=true keeps them")
    unknown = {request.setting_id: request for request in plan.missing if request.run_id not in estimates}
    works, timed = dict[str, str](), dict[str, Estimate]()  # by setting
    for setting, request in unknown.items():
        if measure:
            say(f"timing a few updates of {request.title}")
            timed[setting] = measure_run(request, threads=max(1, len(usable_cores()) // _workers(plan)))
        else:
            works[setting] = describe_work(request)
    found = {request.run_id: timed[request.setting_id] for request in plan.missing if request.setting_id in timed}
    estimates = {**found, **estimates}
    rows = list[list[str]]()
    for request in plan.requests:
        record, estimate, text = plan.records.get(request.run_id), estimates.get(request.run_id), ""
        time = f"~{format_clock(estimate.seconds)}" if estimate else ""
        if owner := plan.running.get(request.run_id):
            text = f"by {owner.title}" + (f", update {owner.step} of {owner.steps}" if owner.steps else "")
        elif record is not None:
            text = describe_outcome(record)
            time = format_clock(record.seconds["total"]) if "total" in record.seconds else ""
        elif request.run_id in plan.earlier:
            text = f"again: {plan.earlier[request.run_id].outcome}"
        elif request.run_id in plan.snapshots:
            text = f"continues from its snapshot after update {plan.snapshots[request.run_id]}"
        elif estimate:
            text = f"estimated from {estimate.basis}"
        elif request in plan.missing:
            text = works[request.setting_id]
        rows.append([request.title, plan.state(request), time, text, request.run_id])
    write_table(["run", "state", "time", "what is known", "run id"], rows, title="Plan")
    say(_summarise(plan))
    known = [estimates[request.run_id] for request in plan.missing if request.run_id in estimates]
    if known:
        workers, others = _workers(plan), len(plan.missing) - len(known)
        clock = format_clock(seconds_in_all([each.seconds for each in known], workers=workers))
        at_once = f"with {workers} at a time" if workers > 1 else "one after another"
        more = f"; {others} more without an estimate" if others else ""
        say(f"about {clock} {at_once}, if threads and device are those of the runs in these estimates{more}")
    elif plan.missing:
        say("no estimate of the time: nothing like these runs has finished here yet; --measure times a few updates")
    return 0


def _workers(plan: Plan) -> int:
    """Return how many runs will execute at a time; 1 where only the cluster or the GPUs decide."""
    from glue_bench.sweep.local import deal_out

    no_gpu = plan.missing[0].config.trainer.device == "cpu" or not has_nvidia_gpu()
    executor = plan.requests[0].config.executor
    return len(deal_out(executor, runs=len(plan.requests), gpus=[])) if executor.kind == "local" and no_gpu else 1
