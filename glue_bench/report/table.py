"""Records and published numbers to the sections of the report. Knows no output format."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from glue_bench.config.schema import TaskConfig
from glue_bench.report.cells import choose_cells, selection_score
from glue_bench.report.model import Report, Row, Section
from glue_bench.report.notes import write_footnotes
from glue_bench.report.rows import Context, build_row, missing_row, shown_parts
from glue_bench.report.settings import common_changes, differing_facts, representative
from glue_bench.runs.record import Record, task_of
from glue_bench.runs.setting import Setting
from glue_bench.runs.store import RunStore
from glue_bench.tasks.adapter import headline
from glue_bench.tasks.published import PublishedTable, find_table

CARD_TASKS = (
    "mnli",
    "qqp",
    "qnli",
    "sst2",
    "cola",
    "stsb",
    "mrpc",
    "rte",
)  # the card's columns, in its order


def build_report(
    records: Iterable[Record],
    published: list[PublishedTable],
    *,
    store: RunStore | None = None,
    convention: str | None = None,
    expected: Sequence[TaskConfig] = (),
) -> Report:
    """Group records into settings, and settings into sections.

    Runs are averaged only with runs that differ from them in nothing but the seed.

    Args:
        store: where the records' predictions lie; without it there are no intervals.
        convention: card or paper; None for the one that belongs to each encoder's published numbers.
        expected: tasks that get a row "not run" beside real rows of an encoder with published numbers for them.
    """
    settings: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for record in records:
        settings[record.encoder["name"], record.task, record.setting_id, record.init_kind, record.precision].append(
            record
        )
    _join_unfinished(settings)
    sections: dict[tuple[str, ...], list[list[Record]]] = defaultdict(list)
    for _, runs in sorted(settings.items()):
        sections[Setting.of(representative(runs)).section].append(runs)
    built = [_build_section(groups, published, convention, store, expected) for _, groups in sorted(sections.items())]
    return Report(sections=built, footnotes=write_footnotes(built, published))


def _join_unfinished(settings: dict[tuple[str, ...], list[Record]]) -> None:
    """Runs that stopped before their precision was known belong to any precision of their setting."""
    for key in [key for key in settings if key[-1] == ""]:
        home = next((other for other in settings if other[:-1] == key[:-1] and other[-1]), None)
        if home is not None:
            settings[home] += settings.pop(key)


def _build_section(
    groups: list[list[Record]],
    published: list[PublishedTable],
    convention: str | None,
    store: RunStore | None,
    expected: Sequence[TaskConfig],
) -> Section:
    first = representative(groups[0])
    table = find_table(published, first.encoder.get("hub_id"))

    def score(run: Record) -> float:
        return selection_score(run, headline(shown_parts(task_of(run), table, convention), run.scores))

    chosen = choose_cells(groups, score)
    groups = [row.runs for row in chosen]
    context = Context(
        table=table,
        convention=convention,
        differing=differing_facts(groups),
        changes=common_changes([Setting.of(representative(runs)) for runs in groups]),
        store=store,
    )
    rows = [build_row(row, context) for row in sorted(chosen, key=lambda row: _row_order(row.runs[0]))]
    rows = _add_missing(rows, table, convention, expected) if first.data["source"] != "sample" else rows
    pretrained = [row for row in rows if row.setting.init == "pretrained"]
    averaged = rows if _mean_of_eight([(row.task, row.median) for row in pretrained]) is None else pretrained
    comparable = all(row.comparable for row in averaged)
    return Section(
        encoder=first.encoder["name"],
        data=Setting.of(first).data,
        recipe=first.recipe,
        changes=context.changes,
        rows=rows,
        averaged=averaged,
        mean=_mean_of_eight([(row.task, row.median) for row in averaged]),
        published_mean=_mean_of_eight([(row.task, row.published.value if row.published else None) for row in averaged])
        if comparable
        else None,
        published_title=table.title if table else None,
    )


def _add_missing(
    rows: list[Row], table: PublishedTable | None, convention: str | None, expected: Sequence[TaskConfig]
) -> list[Row]:
    """The rows, and one for every expected task that has a published number and no row."""
    there = {row.task for row in rows}
    missing = [
        missing_row(task, rows[0], table, convention)
        for task in expected
        if table is not None and task.name in table.scores and task.name not in there
    ]
    return sorted([*rows, *missing], key=lambda row: card_place(row.task))


def _row_order(record: Record) -> tuple[Any, ...]:
    return (card_place(record.task), record.init_kind != "pretrained", record.setting_id, record.precision)


def card_place(task: str) -> tuple[int, str]:
    """What sorts tasks in the card's order, others after them."""
    return (CARD_TASKS.index(task) if task in CARD_TASKS else len(CARD_TASKS), task)


def _mean_of_eight(values: list[tuple[str, float | None]]) -> float | None:
    """The mean over the card's tasks, if each is there exactly once."""
    known = [(task, value) for task, value in values if task in CARD_TASKS and value is not None]
    if sorted(task for task, _ in known) != sorted(CARD_TASKS):
        return None
    return statistics.fmean(value for _, value in known)
