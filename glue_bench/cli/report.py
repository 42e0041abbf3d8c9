"""`glue-bench report`: the tables from what is on disk, and the check against an earlier report."""

import argparse
import sys
from collections.abc import Sequence

from glue_bench.cli.output import PIPE_WIDTH, render_to_stdout, say, write_output
from glue_bench.cli.results import open_results, results_of
from glue_bench.config.compose import compose_task
from glue_bench.config.schema import TaskConfig
from glue_bench.report import CARD_TASKS, Checked, build_report, check_report, read_baseline, render_report
from glue_bench.runs.record import Record, task_of
from glue_bench.tasks.published import PublishedTable, find_table, load_published
from glue_bench.text import plural

EXIT_FELL = 1


def execute(arguments: argparse.Namespace) -> int:
    """Print or write the report, then check it."""
    results_dir = results_of(arguments.overrides, verb="report")
    baseline = read_baseline(arguments.check) if arguments.check else []
    store, records = open_results(results_dir)
    if not records:
        say(f"no runs under {store.root}")
    published = load_published(results_dir / "published")
    report = build_report(
        records,
        published,
        store=store,
        convention=arguments.convention,
        expected=_expected_tasks(records, published),
    )
    if arguments.format == "html":
        from glue_bench.cli.page import render_html  # matplotlib and Jinja: for nobody else

        out = arguments.out or results_dir / "report.html"
        write_output(render_html(report, records, published, store=store, convention=arguments.convention), out)
    elif arguments.out is None and arguments.format == "console":
        sys.stdout.write(render_to_stdout(report))
    else:
        write_output(render_report(report, arguments.format, width=PIPE_WIDTH), arguments.out)
    return _conclude(check_report(report, baseline)) if arguments.check else 0


def _expected_tasks(records: Sequence[Record], published: list[PublishedTable]) -> list[TaskConfig]:
    """The card's tasks, where an encoder with published numbers has runs."""
    if not any(find_table(published, record.encoder.get("hub_id")) for record in records):
        return []
    known = {record.task: task_of(record) for record in records}
    return [known.get(name) or compose_task(name) for name in CARD_TASKS]


def _conclude(checked: Sequence[Checked]) -> int:
    """Say what became of every row of the earlier report; the exit code."""
    for row in checked:
        after = "gone" if row.after is None else f"{row.after:.1f} ({plural(row.seeds[1], 'seed')})"
        reason = f": {row.fault or row.remark}" if row.fault or row.remark else ""
        say(f"{row.title}: {row.before:.1f} ({plural(row.seeds[0], 'seed')}), now {after}{reason}")
    faults = sum(bool(row.fault) for row in checked)
    found = f"{faults} with a fault" if faults else "none fell significantly"
    say(f"checked {plural(len(checked), 'row')} of the earlier report: {found}")
    return EXIT_FELL if faults else 0
