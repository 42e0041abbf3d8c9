"""`glue-bench runs`: the runs of a results folder: list them, remove them.

states: a record's status, or running, damaged (its record cannot be read), unfinished (it has no record)

examples:
  glue-bench runs
  glue-bench runs encoder=minilm data!=sample --format csv --out runs.csv
  glue-bench runs rm status=failed
  glue-bench runs rm run_id=seed1-0123456789ab --yes

`runs rm` shows what it would remove, and asks. To move or merge results folders, copy them: cp -rn old/runs results/

exit code: 1 if `runs rm` kept a run that it should remove, or a folder cannot be read; other codes as for every verb
"""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from glue_bench.cli.shared import add_options, read_filters, say, write_rows, write_table
from glue_bench.errors import EXIT_LACKING, GlueBenchError, UsageError
from glue_bench.runs.listing import list_runs, remove_run
from glue_bench.text import format_bytes, plural


def add_arguments(parser: argparse.ArgumentParser) -> None:
    about, formats = "`rm` to remove; which runs", ("console", "csv", "json")
    add_options(parser, about, filters=True, metavar="WORD", formats=formats, out=True)
    parser.add_argument("--yes", action="store_true", help="rm: do not ask")


def execute(arguments: argparse.Namespace) -> int:
    """List the runs, or remove them."""
    removes = arguments.overrides[:1] == ["rm"]
    filters, store = read_filters(arguments.overrides[removes:])
    if removes and not filters:
        example = "as in status=failed; encoder=NAME removes all of an encoder"
        raise UsageError(f"runs rm: name the runs to remove, {example}")
    if arguments.yes and not removes:
        raise UsageError("--yes: only for `runs rm`")
    runs = list_runs(store, filters)
    if not runs and not store.left_out:
        say(f"no runs under {store.root}")
    names = ("encoder", "task", "setting", "seed", "state", "score", "bytes", "setting_id", "run_id", "folder")
    if arguments.format != "console":
        write_rows([asdict(run) for run in runs], arguments.format, like=names, out=arguments.out)
    elif runs:
        cells = list[list[str]]()
        for run in runs:
            score = "" if run.score is None else f"{run.score:.1f}"
            about = [run.encoder, run.task, run.setting, str(run.seed), run.state]
            cells.append([*about, score, format_bytes(run.bytes), run.run_id])
        headers, title = [*names[:6], "size", "folder"], f"Runs in {store.root.parent / 'runs/ENCODER/TASK/FOLDER'}"
        write_table(headers, cells, title=title, out=arguments.out)
    if not removes:
        return EXIT_LACKING if store.left_out else 0
    what = f"{plural(len(runs), 'run')}, {format_bytes(sum(run.bytes for run in runs))}, of {store.root.parent}"
    if not arguments.yes:
        if not (sys.stdin and sys.stdin.isatty()):  # None if it is closed
            raise UsageError(f"runs rm: {what}: cannot ask, since stdin is not a terminal; --yes removes them")
        sys.stderr.write(f"Remove {what}? [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            say("nothing removed")
            return 0
    kept = 0
    for run in runs:
        try:
            remove_run(store, Path(run.folder))
        except GlueBenchError as error:
            say(f"glue-bench: {error}")
            kept += 1
    say(f"removed {plural(len(runs) - kept, 'run')}" + (f", kept {kept}" if kept else ""))
    return EXIT_LACKING if kept or store.left_out else 0
