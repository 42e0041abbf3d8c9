"""Records to the rows and sections of the report. Knows no output format."""

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from glue_bench.config.schema import TaskConfig
from glue_bench.report.columns import write_footnotes
from glue_bench.report.model import CARD_TASKS, Report, Row, Section, card_place
from glue_bench.report.rows import Context, Group, build_row, cell_words, count_unfinished, missing_row
from glue_bench.runs.record import Record, task_of
from glue_bench.runs.setting import Setting
from glue_bench.runs.store import RunStore
from glue_bench.tasks.adapter import headline
from glue_bench.tasks.published import PublishedTable, find_table


def build_report(
    records: Iterable[Record],
    published: list[PublishedTable],
    *,
    store: RunStore | None = None,
    convention: str | None = None,
    expected: Sequence[TaskConfig] = (),
) -> Report:
    """Group records into settings, and settings into sections. Runs are averaged only if they differ in the seed alone.

    Args:
        store: where the records' predictions are; without it there are no intervals.
        convention: card or paper; None for the one that belongs to each encoder's published numbers.
        expected: tasks that get a row "not run" beside real rows of an encoder with published numbers for them.
    """
    sections: dict[tuple[str, ...], list[Group]] = defaultdict(list)
    for group in _group_by_setting(records):
        sections[group.setting.section].append(group)
    built = []
    for _, groups in sorted(sections.items()):
        table = find_table(published, groups[0].setting.hub_id)
        context = Context(table=table, convention=convention, store=store)
        built.append(_build_section(groups, context, expected=expected))
    return Report(sections=built, footnotes=write_footnotes(built, published))


def _group_by_setting(records: Iterable[Record]) -> list[Group]:
    found: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for run in records:
        found[run.encoder["name"], run.task, run.setting_id, run.init_kind, run.precision].append(run)
    for key in [key for key in found if not key[-1]]:  # stopped before the precision was known: any of the setting's
        home = next((other for other in found if other[:-1] == key[:-1] and other[-1]), None)
        if home is not None:
            found[home] += found.pop(key)
    return [Group(runs=_in_order(runs)) for _, runs in sorted(found.items())]


def _in_order(runs: Iterable[Record]) -> list[Record]:
    return sorted(runs, key=lambda run: (run.status != "finished", run.seed))


def _build_section(groups: Sequence[Group], context: Context, *, expected: Sequence[TaskConfig]) -> Section:
    chosen = sorted(_choose_cells(groups, lambda run: _selection_score(run, context)), key=_group_order)
    changes = _common_changes([group.setting for group in chosen])
    rows = []
    for group in chosen:
        alike = [other.setting for other in chosen if other.setting.task == group.setting.task and other.finished]
        rows.append(build_row(group, context, setting_notes=_setting_notes(group.setting, alike, changes=changes)))
    first = groups[0].setting
    rows = rows if first.source == "sample" else _add_missing(rows, context, expected=expected)
    pretrained = [row for row in rows if row.setting.init == "pretrained"]
    averaged = rows if _mean_of_eight([(row.task, row.median) for row in pretrained]) is None else pretrained
    published = [(row.task, row.published.value if row.published else None) for row in averaged]
    return Section(
        encoder=first.encoder,
        data=first.data,
        recipe=first.recipe,
        changes=changes,
        rows=rows,
        averaged=averaged,
        mean=_mean_of_eight([(row.task, row.median) for row in averaged]),
        published_mean=_mean_of_eight(published) if all(row.comparable for row in averaged) else None,
        published_title=context.table.title if context.table else None,
    )


def _group_order(group: Group) -> tuple[Any, ...]:
    run = group.runs[0]
    return card_place(run.task), run.init_kind != "pretrained", run.setting_id, run.precision


def _add_missing(rows: list[Row], context: Context, *, expected: Sequence[TaskConfig]) -> list[Row]:
    """The rows, and one for every expected task that has a published number and no row."""
    known = set(context.table.scores if context.table else ()) - {row.task for row in rows}
    missing = [missing_row(task, context, like=rows[0].setting) for task in expected if task.name in known]
    return sorted([*rows, *missing], key=lambda row: card_place(row.task))


def _mean_of_eight(values: Sequence[tuple[str, float | None]]) -> float | None:
    """The mean over the card's tasks, if each has exactly one value."""
    known = [(task, value) for task, value in values if task in CARD_TASKS and value is not None]
    if sorted(task for task, _ in known) != sorted(CARD_TASKS):
        return None
    return statistics.fmean(value for _, value in known)


def _common_changes(settings: Sequence[Setting]) -> dict[str, str]:
    """The changed trainer values if all settings have the same ones; otherwise each row names its own."""
    names = dict.fromkeys(name for setting in settings for name in setting.recipe_changes)
    values = {name: {str(setting.trainer.get(name)) for setting in settings} for name in names}
    return {name: found.pop() for name, found in values.items()} if all(len(v) == 1 for v in values.values()) else {}


def _setting_notes(setting: Setting, alike: Sequence[Setting], *, changes: Mapping[str, str]) -> list[str]:
    """What tells a setting from its recipe and from the finished rows of its task."""
    shown_elsewhere = {"init", "grid", *(f"trainer.{key}" for key in setting.cell)}
    names = alike[0].difference(*alike[1:], but=shown_elsewhere) if alike else {}
    facts = setting.facts()
    notes = {name: facts[name] for name in names if name in facts}
    notes |= {f"trainer.{name}": value for name, value in setting.recipe_changes.items() if name not in changes}
    return [f"{name}={value}" for name, value in notes.items()]


def _choose_cells(groups: Sequence[Group], score: Callable[[Record], float]) -> list[Group]:
    """Settings to rows: the settings that differ in their cell alone become one row, that of the best cell.

    The best cell has the highest median score; a cell with fewer finished seeds than another is not chosen.
    """
    rows, grids = list[Group](), defaultdict[Setting, list[Group]](list)
    for group in groups:
        if group.setting.cell:
            grids[group.setting.without_cell()].append(group)
        else:
            rows.append(group)
    return rows + [_choose_cell(cells, score) for alike in grids.values() for cells in _split_by_inputs(alike)]


def _split_by_inputs(cells: Sequence[Group]) -> list[list[Group]]:
    """Split by what only runs that read their inputs know; cells without such a run stay with the first."""
    split, unknown = defaultdict[tuple[str, ...], list[Group]](list), list[Group]()
    for cell in cells:
        (split[cell.setting.inputs] if cell.finished else unknown).append(cell)
    first, *others = split.values() if split else ([],)
    return [[*first, *unknown], *others]


def _choose_cell(cells: Sequence[Group], score: Callable[[Record], float]) -> Group:
    cells = sorted(cells, key=lambda cell: list(cell.setting.cell.values()))
    most = max(len(cell.finished) for cell in cells)
    if most == 0:
        return Group(runs=_in_order(run for cell in cells for run in cell.runs), cells=len(cells))
    complete = [cell for cell in cells if len(cell.finished) == most]
    incomplete = []
    for cell in cells:
        if (done := len(cell.finished)) < most:
            ended = [f"{count} {status}" for status, count in count_unfinished(cell.runs).items()]
            incomplete.append(f"{cell_words(cell.setting)} ({', '.join([f'{done} of {most} seeds', *ended])})")
    return Group(
        runs=max(complete, key=lambda cell: statistics.median(score(run) for run in cell.finished)).runs,
        cells=len(cells),
        planned=max(math.prod(len(values) for values in cell.setting.grid.values()) for cell in cells),
        incomplete=incomplete,
    )


def _selection_score(run: Record, context: Context) -> float:
    """What cells are chosen by: the selected epoch's score, or the headline where no epoch was selected."""
    if run.selection == "last":
        return headline(context.parts(task_of(run)), run.scores)
    score = run.selected.get("score")
    return float(score) if isinstance(score, int | float) and math.isfinite(score) else -math.inf
