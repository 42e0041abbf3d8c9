"""Build the report from records, and check it against an earlier one. Knows no output format but JSON's fields."""

import dataclasses
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from glue_bench.config.schema import TaskConfig
from glue_bench.errors import InputError
from glue_bench.reading import conform, read_json
from glue_bench.report.columns import write_footnotes
from glue_bench.report.model import CARD_TASKS, REPORT_SCHEMA_VERSION, Group, Report, Row, Section, card_place
from glue_bench.report.rows import Context, build_row
from glue_bench.runs.record import Record, task_of
from glue_bench.runs.setting import Setting
from glue_bench.runs.store import RunStore
from glue_bench.statistics.paired import SIGNIFICANCE, adjust_holm
from glue_bench.statistics.verdicts import drop_p_value, drop_p_value_of_rows
from glue_bench.tasks.adapter import TaskAdapter, headline
from glue_bench.tasks.published import PublishedTable, find_table
from glue_bench.text import plural

_NORMAL_95 = 1.959964  # half the width of a 95 % interval in standard errors
# The fields of a row of the JSON report that identify its setting.
_SETTING = ("encoder", "data", "task", "recipe", "init", "selection", "recipe_changes", "cell")
_HIGHEST = 100  # scores are times 100

JsonRow = Mapping[str, Any]  # as `Row.to_json` writes it


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One row of the earlier report, compared with the same row now."""

    title: str  # encoder and task
    before: float  # mean over the seeds, times 100
    after: float | None  # None where no finished run is left
    seeds: tuple[int, int]  # before and after
    fault: str  # why the check fails; empty if it does not
    remark: str = ""  # what else to know


def build_report(
    records: Iterable[Record],
    published: list[PublishedTable],
    *,
    store: RunStore | None = None,
    convention: str | None = None,
    expected: Sequence[TaskConfig] = (),
    left_out: int = 0,
) -> Report:
    """Group records into settings, and settings into sections. Runs are averaged only if they differ in the seed alone.

    Args:
        store: where the records' predictions are; without it there are no intervals.
        convention: card or paper; None for the one that belongs to each encoder's published numbers.
        expected: tasks that get a "not run" row next to real rows of an encoder with published numbers for them.
        left_out: damaged records, which a footnote counts.
    """
    sections: dict[tuple[str, ...], list[Group]] = defaultdict(list)
    for group in _group_by_setting(records):
        sections[group.setting.section].append(group)
    built = []
    for _, groups in sorted(sections.items()):
        table = find_table(published, groups[0].setting.hub_id)
        context = Context(table=table, convention=convention, store=store)
        built.append(_build_section(groups, context, expected=expected))
    missing = [f"Left out: {plural(left_out, 'run')} with a damaged record."] if left_out else []
    return Report(sections=built, footnotes=[*missing, *write_footnotes(built, published)])


def _group_by_setting(records: Iterable[Record]) -> list[Group]:
    found: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for run in records:
        found[run.encoder["name"], run.task, run.setting_id, run.init_kind, run.precision].append(run)
    for key in [key for key in found if not key[-1]]:  # precision not known yet: join any of the setting's
        home = next((other for other in found if other[:-1] == key[:-1] and other[-1]), None)
        if home is not None:
            found[home] += found.pop(key)
    return [_group(runs) for _, runs in sorted(found.items())]


def _group(runs: Iterable[Record], *, cells: int = 0) -> Group:
    ordered = sorted(runs, key=lambda run: (not run.finished, run.seed))
    return Group(setting=Setting.of(ordered[0]), runs=ordered, cells=cells)


def _build_section(groups: Sequence[Group], context: Context, *, expected: Sequence[TaskConfig]) -> Section:
    chosen = _choose_cells(groups, lambda run: _selection_score(run, context))
    rest = attrgetter("setting.id", "setting.precision")
    chosen.sort(key=lambda group: (card_place(group.task), group.setting.init != "pretrained", rest(group)))
    changes = _common_changes([group.setting for group in chosen])
    rows = []
    for group in chosen:
        alike = [other.setting for other in chosen if other.setting.task == group.setting.task and other.finished]
        notes = _setting_notes(group.setting, alike, changes=changes)
        rows.append(build_row(group, context, task=task_of(group.runs[0]), setting_notes=notes))
    first = groups[0].setting
    rows = rows if first.source == "sample" else _add_missing(rows, context, expected=expected)
    pretrained = [row for row in rows if row.setting.init == "pretrained"]
    averaged = rows if _mean_of_eight(pretrained, [row.median for row in pretrained]) is None else pretrained
    published = [row.published.value if row.published else None for row in averaged]
    return Section(
        **{key: getattr(first, key) for key in ("encoder", "data", "recipe")},
        recipe_changes=changes,
        rows=rows,
        averaged=averaged,
        mean=_mean_of_eight(averaged, [row.median for row in averaged]),
        published_mean=_mean_of_eight(averaged, published) if all(row.comparable for row in averaged) else None,
        published_title=context.table.title if context.table else None,
    )


def _add_missing(rows: list[Row], context: Context, *, expected: Sequence[TaskConfig]) -> list[Row]:
    """Add a row for every expected task that has a published number and no row."""
    known = set(context.table.scores if context.table else ()) - {row.task for row in rows}
    like = {key: getattr(rows[0].setting, key) for key in ("encoder", "recipe", "data", "recipe_changes", "selection")}
    for task in map(TaskAdapter.of, expected):
        if task.name in known:
            rows.append(build_row(Group(setting=Setting(task=task.name, **like)), context, task=task))
    return sorted(rows, key=lambda row: card_place(row.task))


def _mean_of_eight(rows: Sequence[Row], values: Sequence[float | None]) -> float | None:
    known = [(row.task, v) for row, v in zip(rows, values, strict=True) if row.task in CARD_TASKS and v is not None]
    return statistics.fmean(v for _, v in known) if sorted(task for task, _ in known) == sorted(CARD_TASKS) else None


def _common_changes(settings: Sequence[Setting]) -> dict[str, str]:
    names = dict.fromkeys(name for setting in settings for name in setting.recipe_changes)
    values = {name: {str(setting.trainer.get(name)) for setting in settings} for name in names}
    return {name: found.pop() for name, found in values.items()} if all(len(v) == 1 for v in values.values()) else {}


def _setting_notes(setting: Setting, alike: Sequence[Setting], *, changes: Mapping[str, str]) -> list[str]:
    """Note how a setting differs from its recipe and from the finished rows of its task."""
    shown_elsewhere = {"init", "grid", *(f"trainer.{key}" for key in setting.cell)}
    names = alike[0].difference(*alike[1:], but=shown_elsewhere) if alike else {}
    facts = setting.facts()
    notes = {name: facts[name] for name in names if name in facts}
    notes |= {f"trainer.{name}": value for name, value in setting.recipe_changes.items() if name not in changes}
    return [f"{name}={value}" for name, value in notes.items()]


def _choose_cells(groups: Sequence[Group], score: Callable[[Record], float]) -> list[Group]:
    """Turn settings into rows; those that differ only in their cell become one row, that of the best cell.

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
    """Split by the inputs that finished runs have read; cells without such a run stay with the first."""
    split, unknown = defaultdict[tuple[str, ...], list[Group]](list), list[Group]()
    for cell in cells:
        (split[cell.setting.inputs] if cell.finished else unknown).append(cell)
    first, *others = split.values() if split else ([],)
    return [[*first, *unknown], *others]


def _choose_cell(cells: Sequence[Group], score: Callable[[Record], float]) -> Group:
    cells = sorted(cells, key=lambda cell: list(cell.setting.cell.values()))
    most = max(len(cell.finished) for cell in cells)
    if most == 0:
        return _group((run for cell in cells for run in cell.runs), cells=len(cells))
    complete = [cell for cell in cells if len(cell.finished) == most]
    incomplete = []
    for cell in cells:
        if (done := len(cell.finished)) < most:
            ended = [f"{done} of {most} seeds", *(f"{count} {status}" for status, count in cell.unfinished.items())]
            incomplete.append(f"{cell.cell_words} ({', '.join(ended)})")
    return dataclasses.replace(
        max(complete, key=lambda cell: statistics.median(score(run) for run in cell.finished)),
        cells=len(cells),
        planned=max(math.prod(len(values) for values in cell.setting.grid.values()) for cell in cells),
        incomplete=incomplete,
    )


def _selection_score(run: Record, context: Context) -> float:
    """Return the score that cells are chosen by: the selected epoch's, or the headline if none was selected."""
    if run.selection == "last":
        return headline(context.parts(task_of(run)), run.scores)
    score = run.selected.get("score")
    return float(score) if isinstance(score, int | float) and math.isfinite(score) else -math.inf


def check_report(report: Report, baseline: Sequence[JsonRow]) -> list[Checked]:
    """Compare every row of the earlier report, as `read_baseline` reads it, with the row of the same setting now."""
    now = [row.to_json() for section in report.sections for row in section.rows if row.seeds]
    found = [_find(earlier, [row for row in now if row["metric"] == earlier["metric"]]) for earlier in baseline]
    raw = [None if row is None else _p_value(earlier, row) for earlier, row in zip(baseline, found, strict=True)]
    adjusted = iter(adjust_holm([p for p in raw if p is not None]))
    checked = []
    for earlier, row, p in zip(baseline, found, raw, strict=True):
        p_value = None if p is None else next(adjusted)
        before, after = statistics.fmean(earlier["values"]), statistics.fmean(row["values"]) if row else None
        if row is not None:
            fault = _find_fault(earlier, row, p_value=p_value)
        elif (other := _find(earlier, now)) is not None:
            fault = f"now shown as {other['metric']}, before as {earlier['metric']}: use the same --convention"
        else:
            fault = "this setting no longer has a finished run"
        unknown = p is None and after is not None and after < before and not fault
        seeds = (len(earlier["seeds"]), len(row["seeds"]) if row else 0)
        remark = "lower, but the noise of these runs is unknown" if unknown else ""
        title = f"{earlier['encoder']} {earlier['title']}"
        checked.append(Checked(title=title, before=before, after=after, seeds=seeds, fault=fault, remark=remark))
    return checked


def read_baseline(path: Path) -> list[JsonRow]:
    """Read the rows with finished runs from a file that `report --format json` wrote.

    Raises:
        InputError: the file cannot be read or is not such a report.
    """
    try:
        content = read_json(path)
        version = content["schema_version"]
        if version != REPORT_SCHEMA_VERSION:
            raise ValueError(f"schema_version is {version!r}; this glue-bench writes {REPORT_SCHEMA_VERSION}")
        rows = [_read_row(row) for section in content["sections"] for row in section["rows"] if row["seeds"]]
        if not rows:
            raise ValueError("it has no row with finished runs, so there is nothing to check")
    except OSError as error:
        raise InputError(f"--check {path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise InputError(f"--check {path}: not a report of `report --format json` ({reason})") from error
    return rows


class _Row(TypedDict):
    encoder: str
    data: str
    task: str
    recipe: str
    init: str
    selection: str
    recipe_changes: Mapping[str, str]
    cell: Mapping[str, Any]
    title: str
    metric: str
    n: int | None
    fingerprint: str | None
    setting_id: str
    seeds: list[int]
    run_ids: list[str]
    values: list[float]
    low: float | None
    high: float | None


def _read_row(content: JsonRow) -> JsonRow:
    """Return the fields of a row that are compared; raise an error if one is missing or impossible."""
    conform(_Row, content, where="a row")
    row = {key: content[key] for key in _Row.__annotations__}
    if not len(row["values"]) == len(row["seeds"]) == len(row["run_ids"]):
        raise ValueError("the values or run_ids of a row do not belong to its seeds")
    if not all(-_HIGHEST <= number <= _HIGHEST for number in (*row["values"], row["low"] or 0, row["high"] or 0)):
        raise ValueError(f"a value or the interval of a row is not between -{_HIGHEST} and {_HIGHEST}")
    return row


def _find(earlier: JsonRow, now: Sequence[JsonRow]) -> JsonRow | None:
    """Find the row of the same setting as far as JSON shows it; of several, the one most like the earlier row."""

    def likeness(row: JsonRow) -> tuple[bool, int, bool]:
        # A setting has two rows if its runs differ in precision: then the shared runs decide.
        shared = len({*row["run_ids"]} & {*earlier["run_ids"]})
        return row["setting_id"] == earlier["setting_id"], shared, row["fingerprint"] == earlier["fingerprint"]

    return max((row for row in now if all(row[key] == earlier[key] for key in _SETTING)), key=likeness, default=None)


def _p_value(earlier: JsonRow, row: JsonRow) -> float | None:
    """Return the p-value of a drop; None where the noise of single runs, or of seeds with equal scores, is unknown."""
    before, after = earlier["values"], row["values"]
    if min(len(before), len(after)) > 1 and np.ptp(before) + np.ptp(after) > 0:
        return drop_p_value(before, after)
    if any(each[end] is None for each in (earlier, row) for end in ("low", "high")):
        return None
    first, second = (
        (statistics.fmean(each["values"]), (each["high"] - each["low"]) / (2 * _NORMAL_95)) for each in (earlier, row)
    )
    return drop_p_value_of_rows(first, second)


def _find_fault(earlier: JsonRow, row: JsonRow, *, p_value: float | None) -> str:
    if row["n"] != earlier["n"]:
        return f"{row['n']} dev rows, {earlier['n']} before: not the same test"
    if row["fingerprint"] and earlier["fingerprint"] and row["fingerprint"] != earlier["fingerprint"]:
        return "other texts or labels than before: not the same test"
    drop = statistics.fmean(earlier["values"]) - statistics.fmean(row["values"])
    fell = p_value is not None and p_value < SIGNIFICANCE and drop > 0
    return f"fell by {drop:.1f} (adjusted p {p_value:.3f})" if fell else ""
