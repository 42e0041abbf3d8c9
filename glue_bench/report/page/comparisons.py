"""The chapter on two encoders side by side: a plot of the differences, and the tables of `compare`. Knows no runs."""

from collections.abc import Sequence

from glue_bench.report.columns import COMPARISON_RULE, TextTable, comparison_tables
from glue_bench.report.comparison import EncoderComparison
from glue_bench.report.page import plots
from glue_bench.report.page.display import show_number, show_range
from glue_bench.report.page.model import Chapter, Column, Figure, Group, Table


def write_comparisons(comparisons: Sequence[EncoderComparison]) -> Chapter:
    """A group for each pair of encoders."""
    return Chapter(
        id="comparison",
        title="Encoder against encoder",
        intro=(
            "Every bar is the difference of two medians with its 95 % interval, paired by seed and by dev row. An "
            "interval that holds 0 says that these rows and seeds do not tell the two apart, not that they are equal: "
            "the column detectable says how large a difference would have to be.",
            COMPARISON_RULE,
        ),
        groups=[_write_pair(comparison, place) for place, comparison in enumerate(comparisons)],
    )


def _write_pair(comparison: EncoderComparison, place: int) -> Group:
    first, second = comparison.first, comparison.second
    differences = [
        plots.Difference(title=task.title, value=task.difference, low=task.low, high=task.high, sure=bool(task.better))
        for task in comparison.tasks
    ]
    told = [
        f"{task.title}: {show_number(task.difference)}, 95 % interval {show_range(task.low, task.high)}, "
        f"{f'{task.better} is better' if task.better else 'not told apart'}."
        for task in comparison.tasks
    ]
    quality, *costs = comparison_tables(comparison)
    svg = plots.draw_differences(
        differences,
        axis=f"{first} minus {second}, points",
        id=f"comparison-{place}",
        name=f"{first} minus {second}: differences of medians",
        description=" ".join(told),
    )
    caption = "filled: the difference is significant; open: it is not"
    figure = Figure(title="Differences", svg=svg, caption=caption)
    return Group(
        title=quality.title,
        figures=[figure],
        tables=[_as_table(quality, caption="Quality"), *(_as_table(table, caption=table.title) for table in costs)],
        notes=quality.notes,
    )


def _as_table(table: TextTable, *, caption: str) -> Table:
    """The same words for the page, without columns that say nothing."""
    rows = [*table.rows, *([table.total] if table.total else [])]
    kept = [place for place, _ in enumerate(table.headers) if any(row[place] for row in rows)]
    columns = [
        Column(title=name, numeric=table.is_right(place), text=name == "note")
        for place, name in enumerate(table.headers)
        if place in kept
    ]
    return Table(caption=caption, columns=columns, rows=[[row[place] for place in kept] for row in rows])
