"""`glue-bench report`: the table from what is on disk."""

import argparse
import sys
from pathlib import Path

from glue_bench.atomic import write_text_atomically
from glue_bench.cli.output import PIPE_WIDTH, render_to_stdout
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
    store = RunStore(results_dir)
    records = list(store.load_all())
    report = build_report(records, load_published(results_dir / "published"), convention=arguments.convention)
    if arguments.format == "html":
        from glue_bench.cli.page import render_html  # matplotlib and Jinja: for nobody else

        out = arguments.out or results_dir / "report.html"
        _write(out, render_html(report, records, store))
        sys.stdout.write(f"{out}\n")
    elif arguments.out is not None:
        _write(arguments.out, render_report(report, arguments.format, width=PIPE_WIDTH))
    elif arguments.format == "console":
        sys.stdout.write(render_to_stdout(report))
    else:
        sys.stdout.write(render_report(report, arguments.format))
    return 0


def _write(path: Path, text: str) -> None:
    """A new or regular file is replaced whole; a link, pipe or device is written through."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        path.write_text(text, encoding="utf-8")
    else:
        write_text_atomically(path, text)
