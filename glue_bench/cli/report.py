"""`glue-bench report`: the tables from what is on disk, and the check against an earlier report."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from glue_bench.cli.shared import TABLE_FORMATS, add_options, path_option, read_words, say, style, write_output
from glue_bench.config import group_options
from glue_bench.config.schema import CONVENTIONS, TaskConfig
from glue_bench.runs.finished import Defaults
from glue_bench.runs.record import Record, task_of
from glue_bench.runs.store import RunStore
from glue_bench.tasks.published import PublishedTable, find_table, load_published
from glue_bench.text import plural

if TYPE_CHECKING:
    from glue_bench.report import Checked, Report

EXIT_FELL = EXIT_LEFT_OUT = 1
EPILOG = """\
examples:
  glue-bench report
  glue-bench report --format markdown --out table.md
  glue-bench report --format html                 one page with plots: results/report.html
  glue-bench report --convention paper
  glue-bench report --format json --out report.json results_dir=other_results
  glue-bench report --format latex --out table.tex
  glue-bench report --check report.json

exit code: 1 if damaged records were left out of the table, or, with --check, if a score fell significantly or a row is
gone; 0 if not; else as for every verb
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_options(parser, "results_dir=FOLDER", formats=(*TABLE_FORMATS, "html"), out=True)
    parser.add_argument("--convention", choices=CONVENTIONS, help="how a task's metrics become one number")
    parser.add_argument("--check", type=path_option, metavar="FILE.json", help="fail if a score fell since that report")


def execute(arguments: argparse.Namespace) -> int:
    """Print or write the report, then check it."""
    from glue_bench.config.compose import compose_task
    from glue_bench.report import CARD_TASKS, build_report, check_report, read_baseline, render_report

    baseline = read_baseline(arguments.check) if arguments.check else []
    _, _, store = read_words(arguments.overrides, "report")
    results_dir, records = store.root.parent, list(store.load_all())
    if not records:
        say(f"no runs under {store.root}")
    published = load_published(results_dir / "published")
    convention = arguments.convention
    expected = list[TaskConfig]()
    if any(find_table(published, record.encoder.get("hub_id")) for record in records):
        known: dict[str, TaskConfig] = {record.task: task_of(record) for record in records}
        expected = [known.get(name) or compose_task(name) for name in CARD_TASKS]
    left_out = store.left_out
    report = build_report(records, published, store=store, convention=convention, expected=expected, left_out=left_out)
    if arguments.format == "html":
        page = render_html(report, records, published=published, store=store, convention=convention)
        write_output(page, arguments.out or results_dir / "report.html", chosen=arguments.out is not None)
    else:
        width, color = style(arguments.out)
        write_output(render_report(report, arguments.format, width=width, color=color), arguments.out)
    code = _conclude(check_report(report, baseline)) if arguments.check else 0
    return code or (EXIT_LEFT_OUT if left_out else 0)


def render_html(
    report: "Report",
    records: Sequence[Record],
    *,
    published: Sequence[PublishedTable],
    store: RunStore,
    convention: str | None = None,
) -> str:
    """Render the report as one self-contained HTML page."""
    from glue_bench.report import compare_all
    from glue_bench.report.page import build_page, render_page  # imports matplotlib and Jinja

    comparisons = compare_all(report, published, store=store, convention=convention)
    return render_page(build_page(report, records, store=store, defaults=read_defaults(), comparisons=comparisons))


def read_defaults() -> Defaults:
    """Read the shipped configuration, which a command need not repeat."""
    from glue_bench.config.compose import compose_run, shipped_encoders

    plain = compose_run(["task=rte"])
    return Defaults(tasks=group_options("task"), encoders=shipped_encoders(), trainer=plain.trainer, data=plain.data)


def _conclude(checked: "Sequence[Checked]") -> int:
    for row in checked:
        after = "gone" if row.after is None else f"{row.after:.1f} ({plural(row.seeds[1], 'seed')})"
        note = f": {row.fault or row.remark}" if row.fault or row.remark else ""
        say(f"{row.title}: {row.before:.1f} ({plural(row.seeds[0], 'seed')}), now {after}{note}")
    faults = sum(bool(row.fault) for row in checked)
    outcome = f"{faults} with a fault" if faults else "none fell significantly"
    say(f"checked {plural(len(checked), 'row')} of the earlier report: {outcome}")
    return EXIT_FELL if faults else 0
