"""`glue-bench report`: the tables again, from what is on disk.

examples:
  glue-bench report
  glue-bench report data!=sample encoders=[minilm,roberta] trainer.epochs=3
  glue-bench report --format markdown --out table.md
  glue-bench report --format html                 one page with plots: results/report.html
  glue-bench report --convention paper
  glue-bench report --format json --out report.json results_dir=other_results
  glue-bench report --format latex --out table.tex
  glue-bench report --format latex --style paper --spread range    one float for a paper: median and range
  glue-bench report --check report.json

exit code: 1 if damaged records were left out of the table, or, with --check, if a score fell significantly or a row is
gone; 0 if not; other codes as for every verb
"""

import argparse
import gc
from collections.abc import Sequence
from typing import TYPE_CHECKING

from glue_bench.cli.shared import TABLE_FORMATS, add_options, path_option, read_filters, say, style, write_output
from glue_bench.config import group_options
from glue_bench.config.schema import CONVENTIONS, TaskConfig
from glue_bench.errors import EXIT_LACKING, UsageError
from glue_bench.runs.finished import Defaults
from glue_bench.runs.listing import Filters
from glue_bench.runs.record import Record, task_of
from glue_bench.runs.store import RunStore
from glue_bench.tasks.published import PublishedTable, find_table, load_published
from glue_bench.text import plural

if TYPE_CHECKING:
    from glue_bench.report.model import Report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_options(parser, "which runs", filters=True, formats=(*TABLE_FORMATS, "html"), out=True)
    parser.add_argument("--convention", choices=CONVENTIONS, help="how a task's metrics become one number")
    parser.add_argument("--style", choices=("plain", "paper"), default="plain", help="paper: with --format latex only")
    about = "with --style paper: mean and standard deviation, or median and range"
    parser.add_argument("--spread", choices=("sd", "range"), default="sd", help=about)
    parser.add_argument("--cells", action="store_true", help="a row for every cell of a grid, not only for the best")
    parser.add_argument("--check", type=path_option, metavar="FILE.json", help="fail if a score fell since that report")


def execute(arguments: argparse.Namespace) -> int:
    """Print or write the report, then check it."""
    from glue_bench.report.formats import check_report, read_baseline, render_paper, render_report
    from glue_bench.report.model import CARD_TASKS
    from glue_bench.report.table import build_report

    paper = arguments.style == "paper"
    if paper and arguments.format != "latex":
        raise UsageError(f"--style paper: needs --format latex, not {arguments.format}")
    baseline = read_baseline(arguments.check) if arguments.check else []
    filters, store = read_filters(arguments.overrides)
    results_dir = store.root.parent
    records = filters.choose_records(store.load_all(), place=results_dir)
    if not records and not store.left_out:
        say(f"no runs under {store.root}")
    published = load_published(results_dir / "published")
    expected = list[TaskConfig]()
    if any(find_table(published, record.encoder.get("hub_id")) for record in records):
        known: dict[str, TaskConfig] = {record.task: task_of(record) for record in records}
        by_task = Filters(each for each in filters if each.key == "task")
        for name in (name for name in CARD_TASKS if by_task.fits({"task": name})):
            if name not in known:
                from glue_bench.config.compose import compose_task  # imports Hydra, slowly

                known[name] = compose_task(name)
            expected.append(known[name])
    about = {"expected": expected, "left_out": store.left_out, "cells": arguments.cells, "store": store}
    report = build_report(records, published, convention=arguments.convention, **about)
    names = {section.table.name if section.table else "" for section in report.sections}
    if paper and not arguments.convention and len(names) > 1:
        report = build_report(records, published, convention="card", **about)  # one metric per column
    out = arguments.out
    if arguments.format == "html":
        text = render_html(report, records, published=published, store=store, convention=arguments.convention)
        out = out or results_dir / "report.html"
    elif paper:
        text = render_paper(report, spread=arguments.spread)
    else:
        text = render_report(report, arguments.format, **style(out))
    write_output(text, out, chosen=arguments.out is not None)
    checked = check_report(report, baseline) if arguments.check is not None else []
    for line, _ in checked:
        say(line)
    faults = sum(failed for _, failed in checked)
    if arguments.check is not None:
        outcome = f"{faults} with a fault" if faults else "none fell significantly"
        say(f"checked {plural(len(checked), 'row')} of the earlier report: {outcome}")
    return EXIT_LACKING if faults or store.left_out else 0


def render_html(
    report: "Report",
    records: Sequence[Record],
    *,
    published: Sequence[PublishedTable],
    store: RunStore,
    convention: str | None = None,
) -> str:
    """Render the report as one self-contained HTML page."""
    from glue_bench.report.comparison import compare_all
    from glue_bench.report.page import Page, render_page  # imports matplotlib and Jinja
    from glue_bench.report.page.entries import join_entries

    gc.freeze()  # matplotlib's many objects live to the end: the collector need not look through them again and again
    entries = join_entries(report, store)  # first: then the comparisons need not read its predictions again
    comparisons = compare_all(report, published, store=store, convention=convention)
    page = Page(report=report, records=records, entries=entries, defaults=read_defaults(), comparisons=comparisons)
    return render_page(page)


def read_defaults() -> Defaults:
    """Read the shipped configuration, which a command need not repeat."""
    from glue_bench.config.compose import compose_run, shipped_encoders

    plain = compose_run(["task=rte"])
    return Defaults(tasks=group_options("task"), encoders=shipped_encoders(), trainer=plain.trainer, data=plain.data)
