"""Build reports from records, of all runs or of the two groups that `compare` means. Knows no output format."""

import dataclasses
import math
import shlex
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from glue_bench.config.schema import TaskConfig
from glue_bench.config.task import headline
from glue_bench.errors import UsageError, did_you_mean
from glue_bench.report.comparison import Side, Sides
from glue_bench.report.model import CARD_TASKS, Group, Line, Report, Row, Section, write_notes
from glue_bench.report.rows import Context, build_row
from glue_bench.runs.listing import KEYS, Filters, facts_of, known_values
from glue_bench.runs.record import Record, task_of
from glue_bench.runs.setting import Setting, short_name, show_value, show_words, sort_place, tell_apart
from glue_bench.runs.store import RunStore
from glue_bench.tasks.published import PublishedTable, find_table, find_tables
from glue_bench.text import plural


def build_report(
    records: Iterable[Record],
    published: list[PublishedTable],
    *,
    store: RunStore | None = None,
    convention: str | None = None,
    expected: Sequence[TaskConfig] = (),
    left_out: Mapping[str, int] | None = None,
    cells: bool = False,
) -> Report:
    """Group records into settings, and settings into sections. Runs are averaged only if they differ in the seed alone.

    Args:
        store: where the records' predictions are; without it there are no intervals.
        convention: card or paper; None for the one that belongs to each encoder's published numbers.
        expected: tasks that get a "not run" row next to real rows of an encoder with published numbers for them.
        left_out: as a store has counted it, for a footnote.
        cells: a row for every cell of a grid, rather than one for the best.
    """
    found, sections = defaultdict[tuple[str, ...], list[Record]](list), defaultdict[tuple[str, ...], list[Group]](list)
    for run in records:
        ran = " ".join(run.ways).strip()
        found[run.encoder["name"], run.task, run.setting_id, run.init_kind, ran].append(run)
    for key in [key for key in found if not key[-1]]:  # how it would have run is not known: join any of the setting's
        if home := next((other for other in found if other[:-1] == key[:-1] and other[-1]), None):
            found[home] += found.pop(key)
    for _, runs in sorted(found.items()):
        runs.sort(key=_seed_place)
        setting = Setting.of(runs[0])
        sections[setting.section].append(Group(setting=setting, runs=runs))
    every = [groups for _, groups in sorted(sections.items())]
    names, built = _name_sections([groups[0].setting for groups in every]), list[Section]()
    for groups, name in zip(every, names, strict=True):
        first = groups[0].setting
        table = find_table(published, first.hub_id, recipe=first.recipe, method=first.method)
        alike = [each for each in find_tables(published, first.hub_id) if each.method == first.method]
        others = [each for each in alike if each is not table]
        context = Context(table=table, convention=convention, store=store, others=others)
        chosen = groups if cells else _choose_cells(groups, context)
        built.append(_build_section(chosen, context, name=name, expected=expected))
    notes = write_notes("footnotes", built) if built else []
    return Report(sections=built, footnotes=[*left_out_note(left_out or {}), *notes])


def left_out_note(*counts: Mapping[str, int]) -> list[str]:
    """Say how many runs and folders were left out of results folders, and why; nothing if none were."""
    found = sum(map(Counter, counts), Counter[str]())
    words = [f"{plural(found[each], each.split()[0])} {each.partition(' ')[2]}" for each in found]
    return [f"Left out: {', '.join(words)}."] if words else []


def _name_sections(settings: Sequence[Setting]) -> list[str]:
    """Name each section briefly: the encoder, and the recipe and data where its sections differ in them."""
    names = []
    for own in settings:
        alike = [other for other in settings if other.encoder == own.encoder]
        differ = [name for name in ("recipe", "data") if len({getattr(other, name) for other in alike}) > 1]
        words = [own.encoder, *(getattr(own, name) for name in differ)]
        names.append(", ".join("hub" if word.endswith(" on the hub") else word for word in words))
    return number_repeats(names, groups=[""] * len(names))


def number_repeats(names: Sequence[str], *, groups: Sequence[str]) -> list[str]:
    """Add a number in brackets to names that occur again in their group."""
    every = [*zip(groups, names, strict=True)]
    earlier = [every[:place].count(each) for place, each in enumerate(every)]
    return [f"{name} ({count + 1})" if count else name for name, count in zip(names, earlier, strict=True)]


def _seed_place(run: Record) -> tuple[bool, int]:
    return not run.finished, run.seed


def _build_section(groups: Sequence[Group], context: Context, *, name: str, expected: Sequence[TaskConfig]) -> Section:
    """Build the rows of a section in the order of the tasks, then of what distinguishes their settings."""
    changed = dict.fromkeys(key for group in groups for key in group.setting.recipe_changes)
    values = [{key: str(group.setting.trainer.get(key)) for key in changed} for group in groups]
    changes = values[0] if values.count(values[0]) == len(values) else {}
    by_task, found, rows = defaultdict[str, list[Group]](list), list[tuple[Group, dict[str, Any]]](), list[Row]()
    for group in sorted(groups, key=lambda group: (min(run.ended for run in group.runs), group.setting.id)):
        by_task[group.task].append(group)
    for alike in by_task.values():
        chosen = [group.setting.searched if group.cells else [] for group in alike]
        found += zip(alike, tell_apart([group.setting for group in alike], chosen=chosen), strict=True)
    nothing = {key: "" for _, differs in found for key in differs}
    for group, differs in found:
        facts = nothing | group.setting.facts() | differs
        shown = {key: facts[key] for key in nothing}
        own = {f"trainer.{key}": value for key, value in group.setting.recipe_changes.items() if key not in changes}
        notes = [f"{key}={value}" for key, value in own.items() if key not in shown]
        rows.append(build_row(group, context, task=task_of(group.runs[0]), differs=shown, setting_notes=notes))
    first = min(rows, key=lambda row: (row.order, sort_place(row.differs))).setting
    known = {row.task for row in rows}
    about = {key: getattr(first, key) for key in ("encoder", "data", "recipe")}
    like = {**about, "recipe_changes": first.recipe_changes, "selection": first.selection}
    for task in expected:
        if first.source != "sample" and context.score(task.name) and task.name not in known:
            rows.append(build_row(Group(setting=Setting(task=task.name, **like)), context, task=task))
    rows.sort(key=lambda row: (row.order, sort_place(row.differs)))
    return Section(name=name, **about, recipe_changes=changes, rows=rows, lines=_draw_lines(rows), table=context.table)


def _draw_lines(rows: Sequence[Row]) -> list[Line]:
    """Join the rows of different tasks that have the same values in what distinguishes the section's settings."""
    ours, lines = [row for row in rows if row.runs], list[Line]()
    for words in dict.fromkeys(row.line for row in sorted(ours, key=lambda row: sort_place(row.differs))):
        own = [row for row in ours if row.line == words]
        tasks = {row.task for row in own}
        every = [row for row in rows if (row.line == words if row.runs else row.task not in tasks)]
        comparable = all(row.comparable and (row.difference is not None or row.published is None) for row in own)
        mean = _mean_of_eight((row.task, row.median) for row in own)
        published = _mean_of_eight((row.task, row.published.value) for row in own if row.published)
        lines.append(Line(words=words, rows=every, mean=mean, published_mean=published if comparable else None))
    return lines


def _mean_of_eight(values: Iterable[tuple[str, float | None]]) -> float | None:
    known = [(task, value) for task, value in values if task in CARD_TASKS and value is not None]
    return statistics.fmean(value for _, value in known) if sorted(t for t, _ in known) == sorted(CARD_TASKS) else None


def _choose_cells(groups: Sequence[Group], context: Context) -> list[Group]:
    """Turn settings into rows; those that differ only in their cell become one row, that of the highest median score.

    A cell with fewer finished seeds than another is not chosen. A run that was asked for outside of a grid has its own
    row, and counts as a cell as well if the grid has its values.
    """
    rows = [group for group in groups if not all(run.config.get("cell") for run in group.runs)]
    grids, plain = defaultdict[Setting, list[Group]](list), [*rows]
    for group in groups:
        for setting in (Setting.of(run) for run in group.runs if run.config.get("cell")):
            own = {name: getattr(setting, name) for name in ("cell", "grid", "recipe_changes")}
            cell = dataclasses.replace(group, setting=dataclasses.replace(group.setting, **own))
            grids[setting.without_cell()].append(cell)
    for base, cells in grids.items():
        every = [cell.setting for cell in cells]
        grid = {key: [v for of in every for v in (*of.grid.get(key, ()), of.cell[key])] for key in every[0].cell}
        for group in plain:
            setting = group.setting.as_cell(grid)
            if setting.without_cell() == base and all(value in grid[key] for key, value in setting.cell.items()):
                cells.append(dataclasses.replace(group, setting=setting))
        rows += [_choose_cell(alike, context) for alike in _join_cells(cells)]
    return rows


def _join_cells(groups: Sequence[Group]) -> list[list[Group]]:
    """Join the groups of one cell, whose ids may differ; split cells by the inputs that their finished runs have read.

    Cells without such a run stay with the first.
    """
    found = defaultdict[tuple[str, ...], dict[object, Group]](dict)  # inputs, if known, to values to the cell
    for group in groups:
        cells, values = found[group.setting.inputs if group.finished else ()], (*map(str, group.setting.cell.values()),)
        known = cells.get(values, group)
        runs = {run.seed: run for run in (*group.runs, *known.runs)}.values()
        cells[values] = dataclasses.replace(known, runs=sorted(runs, key=_seed_place))
    unknown = found.pop((), {})
    first, *others = [[*cells.values()] for cells in found.values()] or [[]]
    return [[*first, *unknown.values()], *others]


def _choose_cell(cells: Sequence[Group], context: Context) -> Group:
    cells = sorted(cells, key=lambda cell: sort_place(cell.setting.cell))
    counts = [[bool(run.config.get("cell")) for run in cell.finished] for cell in cells]
    most = max(map(sum, counts)) or max(map(len, counts))  # seeds of the grid's own runs: others may have had more
    if most == 0:
        every = sorted((run for cell in cells for run in cell.runs), key=_seed_place)
        return dataclasses.replace(cells[0], runs=every, cells=len(cells))
    tried, incomplete = list[Group](), list[str]()
    for cell in cells:
        score = statistics.median([_selection_score(run, context) for run in cell.finished] or [-math.inf])
        tried.append(dataclasses.replace(cell, score=None if math.isinf(score) else 100 * score))
        if (done := len(cell.finished)) < most:
            ended = [f"{done} of {most} seeds", *(f"{count} {status}" for status, count in cell.unfinished.items())]
            incomplete.append(f"{cell.cell_words} ({', '.join(ended)})")
    whole = [cell for cell in tried if len(cell.finished) >= most]
    best = max(whole, key=lambda cell: -math.inf if cell.score is None else cell.score)
    planned = max(math.prod(map(len, cell.setting.grid.values())) for cell in cells)
    return dataclasses.replace(best, cells=len(cells), tried=tried, planned=planned, incomplete=incomplete)


def _selection_score(run: Record, context: Context) -> float:
    """Return the score that cells are chosen by: the selected epoch's, or the headline if none was selected."""
    if run.selection == "last":
        return headline((task := task_of(run)).parts(context.convention_of(task)), run.scores)
    score = run.selected.get("score")
    return -math.inf if score is None else float(score)


def choose_sides(
    words: Sequence[str], store: RunStore, *, published: list[PublishedTable], filters: Filters, by: str | None = None
) -> Sides:
    """Find the groups that two words name, or one word with two values of a key.

    `words` are one or two of an encoder, a setting id, or a results folder; `by` is KEY, or KEY=VALUE,VALUE if its runs
    have more than two values of it. A UsageError if a word names nothing, or it is not clear what is compared.
    """
    own = [record for record in store.load_all() if record.finished]
    left, right = (_find(word, store, own=own, filters=filters) for word in (words[0], words[-1]))
    subject, named = "", list[str]()
    if by is not None:
        subject, named = left.name if left.name == right.name else "", [by.partition("=")[0]]
        left, right = _split(left, right, by=by)
    elif words[0] == words[-1]:
        way, settings = "its runs have one setting; name two different encoders, settings or folders", defaultdict(list)
        for record in left.records:
            settings[record.task].append(Setting.of(record))
        differ = (key for own in settings.values() for key in own[0].difference(*own[1:], but=("grid",)))
        if keys := [*dict.fromkeys(key for key in differ if key in KEYS)]:
            way = f"its runs differ in {', '.join(keys)}: add --by {keys[0]}"
        raise UsageError(f"{left.name}: compared with itself; {way}")
    both = {run.place for run in left.records} & {run.place for run in right.records}
    if both and left.store.root.samefile(right.store.root):
        common = f"have {plural(len(both), 'run')} in common; name two groups that share none"
        raise UsageError(f"{left.name} and {right.name}: {common}")
    encoders = {str(group.records[0].encoder["name"]) for group in (left, right)}
    if by is None and len(encoders) == 1 and left.store is right.store:  # two settings
        found = tell_apart([Setting.of(group.records[0]) for group in (left, right)])
        subject, named, pairs = encoders.pop(), list(found[0]), zip((left, right), found, strict=True)
        left, right = (dataclasses.replace(group, name=show_words(differs)) for group, differs in pairs)
    reports = [(side, build_report(side.records, published)) for side in (left, right)]
    first, second = (dataclasses.replace(side, rows=report.finished) for side, report in reports)
    return Sides(first=first, second=second, subject=subject, named=named)


def _find(word: str, store: RunStore, *, own: Sequence[Record], filters: Filters) -> Side:
    """Find a group of the `own` runs of the store, or else of another folder."""
    found = [record for record in own if word in (record.encoder["name"], record.setting_id)]
    if not found and (Path(word) / "runs").is_dir():
        store = RunStore(Path(word))
        found = [record for record in store.load_all() if record.finished]
        if not found:
            raise UsageError(f"{word}: no finished run in this results folder")
    place = store.root.parent
    if not found:
        known = sorted({record.encoder["name"] for record in own})
        hint = f"; nor is it a setting_id or a results folder{did_you_mean(word, known)}" if known else ""
        raise UsageError(f"{word}: there are no finished runs of this encoder in {place}{hint}")
    records = filters.choose_records(found, place=place)
    encoders = sorted({record.encoder["name"] for record in records})
    if len(encoders) > 1:
        raise UsageError(f"{word}: has runs of {', '.join(encoders)}; choose one, as in encoder={encoders[0]}")
    return Side(name=word, store=store, records=records)


def _split(left: Side, right: Side, *, by: str) -> list[Side]:
    key, _, chosen = by.partition("=")
    if key not in KEYS:
        names = [name for name in KEYS if short_name(name) == key]
        raise UsageError(f"--by {by}: no such key{did_you_mean(key, names or KEYS)}")
    values = known_values([facts_of(record) for record in (*left.records, *right.records)], key)
    asked = values
    if chosen:  # values may have commas themselves: the comma that counts is between two known ones
        ways = ([chosen[:at], chosen[at + 1 :]] for at, char in enumerate(chosen) if char == ",")
        asked = next((way for way in ways if {*way} <= {*values}), chosen.strip("[]").split(","))
    who = left.name if left.name == right.name else f"{left.name} and {right.name}"
    if len(asked) != 2 or asked[0] == asked[1]:
        has = f"the finished runs of {who} have {plural(len(values), 'value')} of {key}: {', '.join(values) or 'none'}"
        more = f"; choose two: --by {shlex.quote(f'{key}={values[0]},{values[-1]}')}" if len(values) > 2 else ""
        raise UsageError(f"--by {by}: {has}{more}")
    groups = list[Side]()
    for group, value in zip((left, right), asked, strict=True):
        own = [run for run in group.records if show_value(facts_of(run).get(key, "")) == value != ""]
        own = own or Filters.read([f"{key}={value}"]).choose_records(group.records, place=group.store.root.parent)
        word = f"{short_name(key)}={value}"
        name = word if left.name == right.name else f"{group.name} {word}"
        groups.append(dataclasses.replace(group, name=name, records=own))
    return groups
