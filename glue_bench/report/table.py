"""Records and published numbers to the rows of the table. Knows no output format."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from glue_bench.published import PublishedScore, PublishedTable, find_table
from glue_bench.records import Record, outcome_line, task_of
from glue_bench.report.cells import EXECUTION, RowRuns, choose_cells, count_unfinished, selection_score
from glue_bench.tasks import TaskAdapter, headline, metric_title

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

OURS = (
    "Every score is on a validation (dev) split, times 100: median [min, max] over the seeds, last checkpoint, nothing "
    "selected on the dev split."
)
OURS_SELECTED = (
    "Every score is on a validation (dev) split, times 100: median [min, max] over the seeds. Where a note says "
    "selected, of that epoch's weights or that cell of a grid; else last checkpoint, nothing selected on the dev split."
)
OPTIMISTIC = "Selected on the dev split: the choice was made on the very rows of the score, which makes it optimistic."
DEV_SETS = (
    "The published numbers are dev-set results too: what the DistilRoBERTa card calls test results stands as dev-set "
    "results in its authors' own README. Difference: our median minus the published number; given only where rows and "
    "metric are the same."
)
PAIR_MEANS = (
    "Published numbers of DistilRoBERTa are means of metric pairs (MNLI, QQP, MRPC, STS-B), those of roberta-base "
    "single metrics; this is inferred, not documented, and makes the two rows not like for like. "
    "--convention card or paper prints one kind for both."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One task of one encoder under one setting. Scores are times 100."""

    encoder: str
    data: str  # where the rows came from
    recipe: str
    recipe_changes: Mapping[str, str]  # trainer values that are not the recipe's
    task: str
    title: str
    metric: str
    convention: str
    n: int | None  # validation rows
    seeds: Sequence[int]  # of the finished runs
    median: float | None
    minimum: float | None
    maximum: float | None
    published: float | None
    published_source: str | None
    difference: float | None
    comparable: bool
    note: str
    unfinished: Mapping[str, int]  # status to number of runs: failed, diverged, interrupted
    parts: Mapping[str, float]  # SPLIT.METRIC to its median over the seeds
    setting_id: str
    init: str  # pretrained, or mnli: from a run on MNLI
    selection: str  # last, best or holdout
    optimistic: bool  # the epoch or the cell was selected on the rows of the score
    cell: Mapping[str, Any]  # the chosen trainer values of a grid; empty without one
    cells: int  # of the grid that were tried; 0 without one


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """The rows of one encoder on one data source with one recipe, and their mean if all eight tasks are there."""

    encoder: str
    data: str
    recipe: str
    changes: Mapping[str, str]  # of the recipe, common to all rows
    rows: Sequence[Row]
    averaged: Sequence[Row]  # of the mean: those that begin with pretrained weights, if they cover the eight tasks
    mean: float | None
    published_mean: float | None  # of the same eight tasks, where the row shows published numbers
    published_title: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What every output format is made from."""

    sections: Sequence[Section]
    footnotes: Sequence[str]


def build_report(
    records: Iterable[Record], published: list[PublishedTable], *, convention: str | None = None
) -> Report:
    """Group records into settings, and settings into sections.

    Runs are averaged only with runs that differ from them in nothing but the seed.

    Args:
        convention: card or paper; None for the one that belongs to each encoder's published numbers.
    """
    settings: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for record in records:
        settings[record.encoder["name"], record.task, record.setting_id, _init(record), record.precision].append(record)
    _join_unfinished(settings)
    sections: dict[tuple[str, ...], list[list[Record]]] = defaultdict(list)
    for _, runs in sorted(settings.items()):
        sections[_section_key(_representative(runs))].append(runs)
    built = [_build_section(groups, published, convention) for _, groups in sorted(sections.items())]
    every = [row for section in built for row in section.rows]
    selected = any(row.selection != "last" or row.optimistic for row in every)
    ours = [OURS_SELECTED if selected else OURS, *([OPTIMISTIC] if any(row.optimistic for row in every) else [])]
    shown = {section.published_title for section in built if any(row.published is not None for row in section.rows)}
    protocols = [f"Protocol of {table.title}: {table.protocol}" for table in published if table.title in shown]
    return Report(sections=built, footnotes=[*ours, *([DEV_SETS, PAIR_MEANS] if shown else []), *protocols])


def _join_unfinished(settings: dict[tuple[str, ...], list[Record]]) -> None:
    """Runs that stopped before their precision was known belong to any precision of their setting."""
    for key in [key for key in settings if key[-1] == ""]:
        home = next((other for other in settings if other[:-1] == key[:-1] and other[-1]), None)
        if home is not None:
            settings[home] += settings.pop(key)


def _representative(runs: list[Record]) -> Record:
    """A finished run, if there is one: it knows most."""
    return next((run for run in runs if run.status == "finished"), runs[0])


def _section_key(record: Record) -> tuple[str, ...]:
    encoder, data = record.encoder, record.data
    return (
        encoder["name"],
        str(encoder.get("hub_id") or ""),
        str(encoder.get("revision") or ""),
        data["source"],
        str(data.get("revision") or ""),
        record.recipe,
    )


def _build_section(groups: list[list[Record]], published: list[PublishedTable], convention: str | None) -> Section:
    first = _representative(groups[0])
    table = find_table(published, first.encoder.get("hub_id"))

    def score(run: Record) -> float:
        return selection_score(run, headline(_shown_parts(run, table, convention), run.scores))

    chosen = choose_cells(groups, score)
    groups = [row.runs for row in chosen]
    differing, changes = _differing_facts(groups), _common_changes(groups)
    rows = [
        _build_row(row, table, convention, differing.get(row.runs[0].task, []), changes)
        for row in sorted(chosen, key=lambda row: _row_order(row.runs[0]))
    ]
    pretrained = [row for row in rows if row.init == "pretrained"]
    averaged = rows if _mean_of_eight([(row.task, row.median) for row in pretrained]) is None else pretrained
    comparable = all(row.comparable for row in averaged)
    return Section(
        encoder=first.encoder["name"],
        data=_describe_data(first),
        recipe=first.recipe,
        changes=changes,
        rows=rows,
        averaged=averaged,
        mean=_mean_of_eight([(row.task, row.median) for row in averaged]),
        published_mean=_mean_of_eight([(row.task, row.published) for row in averaged]) if comparable else None,
        published_title=table.title if table else None,
    )


def _row_order(record: Record) -> tuple[Any, ...]:
    return (_place(record.task), _init(record) != "pretrained", record.setting_id, record.precision)


def _shown_parts(record: Record, table: PublishedTable | None, convention: str | None) -> list[str]:
    """The scores whose mean the row shows."""
    score = table.scores.get(record.task) if table else None
    return TaskAdapter(task_of(record)).parts(convention or (score.convention if score else "card"))


def _build_row(
    row: RowRuns,
    table: PublishedTable | None,
    convention: str | None,
    differing: list[str],
    changes: Mapping[str, str],
) -> Row:
    runs = row.runs
    first = _representative(runs)
    task = TaskAdapter(task_of(first))
    score = table.scores.get(first.task) if table else None
    chosen = convention or (score.convention if score else "card")
    parts = _shown_parts(first, table, convention)
    finished = sorted((run for run in runs if run.status == "finished"), key=lambda run: run.seed)
    values = [100 * headline(parts, run.scores) for run in finished]
    # Conventions agree on tasks with one metric: what counts is that the same scores are averaged.
    shown = score if score is not None and task.parts(score.convention) == parts else None
    median = statistics.median(values) if values else None
    comparable = bool(finished) and all(run.comparable for run in finished)
    return Row(
        encoder=first.encoder["name"],
        data=_describe_data(first),
        recipe=first.recipe,
        recipe_changes=_changes(first),
        task=first.task,
        title=task.facts.title,
        metric=metric_title(parts),
        convention=chosen,
        n=_validation_rows(finished, parts),
        seeds=[run.seed for run in finished],
        median=median,
        minimum=min(values, default=None),
        maximum=max(values, default=None),
        published=shown.value if shown else None,
        published_source=shown.source if shown else None,
        difference=median - shown.value if shown and median is not None and comparable else None,
        comparable=comparable,
        note=_note(
            finished, shown, score, _tell_unfinished(runs), [*_setting_notes(first, differing, changes), *row.notes()]
        ),
        unfinished=count_unfinished(runs),
        parts=_part_medians(finished, task),
        setting_id=first.setting_id,
        init=_init(first),
        selection=first.selection,
        optimistic=row.optimistic,
        cell=row.cell,
        cells=row.cells,
    )


def _note(
    finished: list[Record],
    shown: PublishedScore | None,
    score: PublishedScore | None,
    unfinished: list[str],
    setting: list[str],
) -> str:
    """What a reader must know before comparing."""
    notes = list(setting)
    reasons = list(dict.fromkeys(reason for run in finished for reason in run.not_comparable_because))
    if reasons:
        notes.append(f"not comparable: {'; '.join(reasons)}")
    elif finished and shown is None:
        other = f"the published number is under the convention {score.convention}" if score else "nothing published"
        notes.append(other)
    if shown is not None and shown.note:
        notes.append(shown.note)
    return "; ".join([*notes, *unfinished])


def _tell_unfinished(runs: list[Record]) -> list[str]:
    """How many runs did not finish, and why the first of them did not."""
    told = []
    for status, count in count_unfinished(runs).items():
        reason = outcome_line(next(run for run in runs if run.status == status))
        told.append(f"{count} {status}" + ("" if reason == status else f": {_shorten(reason.removeprefix(status))}"))
    return told


def _shorten(text: str, limit: int = 100) -> str:
    text = text.strip(" :")
    return text if len(text) <= limit else f"{text[: limit - 1].rstrip()}…"


def _part_medians(finished: list[Record], task: TaskAdapter) -> dict[str, float]:
    """Every single score, whatever the convention, times 100."""
    if not finished:
        return {}
    every = [(split, metric) for split in task.facts.validation for metric in task.facts.metrics]
    return {
        f"{split}.{metric}": 100 * statistics.median(run.scores[split][metric] for run in finished)
        for split, metric in every
    }


def _validation_rows(finished: list[Record], parts: list[str]) -> int | None:
    if not finished:
        return None
    rows: Mapping[str, int] = finished[0].data["rows"]
    return sum(rows[split] for split in {part.rsplit(".", 1)[0] for part in parts})


def _changes(record: Record) -> dict[str, str]:
    return dict(record.config.get("recipe_changes") or {})


def _common_changes(groups: list[list[Record]]) -> dict[str, str]:
    """The changed trainer values, if every row of the section has the same ones; else each row tells its own."""
    configs = [_representative(runs).config for runs in groups]
    names = dict.fromkeys(name for config in configs for name in config.get("recipe_changes") or {})
    values = {name: {str(config["trainer"].get(name)) for config in configs} for name in names}
    return {name: found.pop() for name, found in values.items()} if all(len(v) == 1 for v in values.values()) else {}


def _setting_notes(record: Record, differing: list[str], changes: Mapping[str, str]) -> list[str]:
    """What tells this row's setting from the recipe and from its neighbours."""
    facts = _facts(record)
    told = {f"trainer.{name}": value for name, value in _changes(record).items() if name not in changes}
    differing = [key for key in differing if key in facts]  # the values of a cell are told with its grid
    return [f"{key}={value}" for key, value in ({key: facts[key] for key in differing} | told).items()]


def _differing_facts(groups: list[list[Record]]) -> dict[str, list[str]]:
    """For a task with several settings, the names of the facts in which they differ."""
    by_task: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for runs in groups:
        if any(run.status == "finished" for run in runs):  # of others too little is known
            by_task[runs[0].task].append(_facts(_representative(runs)))
    return {
        task: [name for name in facts[0] if len({str(other.get(name)) for other in facts}) > 1]
        for task, facts in by_task.items()
    }


def _facts(record: Record) -> dict[str, Any]:
    """What can tell two settings apart, by the name that a reader knows."""
    config = record.config
    apart = {*EXECUTION, *(config.get("cell") or {})}
    facts = {f"trainer.{key}": value for key, value in config["trainer"].items() if key not in apart}
    facts["selection"] = record.selection
    if record.selection == "holdout":
        facts["holdout"] = config.get("holdout")
    facts |= {f"data.{key}": config["data"].get(key) for key in ("max_train_rows", "max_eval_rows")}
    facts |= {"data.fingerprint": record.data.get("fingerprint"), "precision": record.precision}
    facts["encoder.weights_sha256"] = str(record.encoder.get("weights_sha256"))[:12]
    return facts


def _init(record: Record) -> str:
    """Which kind of weights the run began with; the run that they may come from is in the record."""
    return record.init.partition(":")[0]


def _describe_data(record: Record) -> str:
    source = record.data["source"]
    return {
        "hub": f"{record.data.get('dataset')} on the hub",
        "local": "local files",
        "sample": "sample data",
    }[source]


def _place(task: str) -> tuple[int, str]:
    return (CARD_TASKS.index(task) if task in CARD_TASKS else len(CARD_TASKS), task)


def _mean_of_eight(values: list[tuple[str, float | None]]) -> float | None:
    """The mean over the card's tasks, if each is there exactly once."""
    known = [(task, value) for task, value in values if task in CARD_TASKS and value is not None]
    if sorted(task for task, _ in known) != sorted(CARD_TASKS):
        return None
    return statistics.fmean(value for _, value in known)
