"""What `glue-bench report --format html` writes: the page, and what the command line means by default."""

from collections.abc import Sequence

from glue_bench.config.compose import compose_run
from glue_bench.config.overrides import group_options
from glue_bench.report import Report, compare_all
from glue_bench.report.page import build_page, render_page
from glue_bench.runs.finished import Defaults
from glue_bench.runs.record import Record
from glue_bench.runs.store import RunStore
from glue_bench.tasks.published import PublishedTable


def render_html(
    report: Report,
    records: Sequence[Record],
    published: Sequence[PublishedTable],
    *,
    store: RunStore,
    convention: str | None = None,
) -> str:
    """The report as one self-contained HTML page."""
    comparisons = compare_all(report, published, store=store, convention=convention)
    return render_page(build_page(report, records, store=store, defaults=read_defaults(), comparisons=comparisons))


def read_defaults() -> Defaults:
    """What the shipped configuration says where a command says nothing."""
    plain = compose_run(["task=rte"])
    names = [name for name in group_options("encoder") if name != "custom"]
    return Defaults(
        tasks=group_options("task"),
        encoders={name: compose_run(["task=rte", f"encoder={name}"]).encoder for name in names},
        trainer=plain.trainer,
        data=plain.data,
    )
