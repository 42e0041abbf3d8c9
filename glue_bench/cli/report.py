"""`glue-bench report`: the table from what is on disk."""

import argparse
import sys
from pathlib import Path

from glue_bench.cli.output import PIPE_WIDTH, render_to_stdout, write_out
from glue_bench.compose import compose_run
from glue_bench.errors import UsageError
from glue_bench.published import load_published
from glue_bench.records import RunStore
from glue_bench.report import build_report, render_report


def execute(arguments: argparse.Namespace) -> int:
    """Print or write the report."""
    for word in arguments.overrides:
        if not word.startswith("results_dir="):
            raise UsageError(f"{word}: `report` takes results_dir=FOLDER only")
    # Composed only to learn the default of results_dir, which lives in conf/.
    results_dir = Path(compose_run([*arguments.overrides, "task=rte"]).results_dir)
    if arguments.overrides and not results_dir.is_dir():
        raise UsageError(f"results_dir={results_dir}: no such folder")
    records = RunStore(results_dir).load_all()
    report = build_report(records, load_published(results_dir / "published"), convention=arguments.convention)
    if arguments.out is not None:
        write_out(arguments.out, render_report(report, arguments.format, width=PIPE_WIDTH))
    elif arguments.format == "console":
        sys.stdout.write(render_to_stdout(report))
    else:
        sys.stdout.write(render_report(report, arguments.format))
    return 0
