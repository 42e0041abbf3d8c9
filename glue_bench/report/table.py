"""Records and published numbers to the rows of the table. Knows no output format."""

import dataclasses
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from glue_bench.config import TaskConfig
from glue_bench.published import PublishedScore, PublishedTable, find_table
from glue_bench.records import Record
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

FOOTNOTES = (
    "Every score is on a validation (dev) split, times 100. The published numbers are dev-set results too: what the "
    "DistilRoBERTa card calls test results stands as dev-set results in its authors' own README.",
    "Ours: median [min, max] over the seeds, last checkpoint, nothing selected on the dev split. "
    "Difference: our median minus the published number; given only where rows and metric are the same.",
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """The rows of one encoder on one data source with one recipe, and their mean if all eight tasks are there."""

    encoder: str
    data: str
    recipe: str
    rows: Sequence[Row]
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
    groups: dict[tuple[str, ...], dict[tuple[str, str], list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        groups[_section_key(record)][record.task, record.setting_id].append(record)
    sections = [_build_section(settings, published, convention) for _, settings in sorted(groups.items())]
    shown = any(row.published is not None for section in sections for row in section.rows)
    return Report(sections=sections, footnotes=[*FOOTNOTES, *([PAIR_MEANS] if shown else [])])


def _section_key(record: Record) -> tuple[str, ...]:
    encoder, data = record.encoder, record.data
    identity = encoder.get("hub_id") or encoder.get("weights_sha256") or ""
    return (
        encoder["name"],
        str(identity),
        str(encoder.get("revision")),
        data["source"],
        str(data.get("revision")),
        record.recipe,
    )


def _build_section(
    settings: Mapping[tuple[str, str], list[Record]], published: list[PublishedTable], convention: str | None
) -> Section:
    first = next(iter(settings.values()))[0]
    table = find_table(published, first.encoder.get("hub_id"))
    differing = _differing_keys(settings)
    rows = [
        _build_row(runs, table, convention, differing.get(task, []))
        for (task, _), runs in sorted(settings.items(), key=lambda item: (_place(item[0][0]), item[0][1]))
    ]
    mean = _mean_of_eight([(row.task, row.median) for row in rows])
    published_mean = _mean_of_eight([(row.task, row.published) for row in rows])
    return Section(
        encoder=first.encoder["name"],
        data=_describe_data(first),
        recipe=first.recipe,
        rows=rows,
        mean=mean,
        published_mean=published_mean,
        published_title=table.title if table else None,
    )


def _build_row(runs: list[Record], table: PublishedTable | None, convention: str | None, differing: list[str]) -> Row:
    first = runs[0]
    task = TaskAdapter(TaskConfig(**first.config["task"]))
    score = table.scores.get(first.task) if table else None
    chosen = convention or (score.convention if score else "card")
    parts = task.parts(chosen)
    finished = sorted((run for run in runs if run.status == "finished"), key=lambda run: run.seed)
    values = [100 * headline(parts, run.scores) for run in finished]
    shown = score if score is not None and score.convention == chosen else None
    median = statistics.median(values) if values else None
    comparable = bool(finished) and all(run.comparable for run in finished)
    counted = shown is not None and median is not None and comparable
    unfinished = {
        status: count
        for status in ("failed", "diverged", "interrupted")
        if (count := sum(run.status == status for run in runs))
    }
    return Row(
        encoder=first.encoder["name"],
        data=_describe_data(first),
        recipe=first.recipe,
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
        difference=median - shown.value if counted and shown and median is not None else None,
        comparable=comparable,
        note=_note(finished, shown, score, unfinished, first, differing),
        unfinished=unfinished,
        parts=_part_medians(finished, task),
        setting_id=first.setting_id,
    )


def _note(
    finished: list[Record],
    shown: PublishedScore | None,
    score: PublishedScore | None,
    unfinished: Mapping[str, int],
    first: Record,
    differing: list[str],
) -> str:
    """What a reader must know before comparing."""
    notes = [f"{key}={_lookup(first.config, key)}" for key in differing]
    reasons = list(dict.fromkeys(reason for run in finished for reason in run.not_comparable_because))
    if reasons:
        notes.append(f"not comparable: {'; '.join(reasons)}")
    elif finished and shown is None:
        other = f"the published number is under the convention {score.convention}" if score else "nothing published"
        notes.append(other)
    if shown is not None and shown.note:
        notes.append(shown.note)
    notes += [f"{count} {status}" for status, count in unfinished.items()]
    return "; ".join(notes)


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


def _differing_keys(settings: Mapping[tuple[str, str], list[Record]]) -> dict[str, list[str]]:
    """For a task with several settings, the keys in which they differ."""
    by_task: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for (task, _), runs in settings.items():
        by_task[task].append(runs[0].config)
    found = {}
    for task, configs in by_task.items():
        names = [f"{part}.{key}" for part in ("trainer", "data") for key in configs[0][part]]
        found[task] = [name for name in names if len({str(_lookup(config, name)) for config in configs}) > 1]
    return found


def _lookup(config: Mapping[str, Any], key: str) -> Any:
    part, name = key.split(".")
    return config[part].get(name)


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
    return statistics.fmean(value for _, value in known if value is not None)


def row_to_dict(row: Row) -> dict[str, Any]:
    """Plain data for JSON and CSV."""
    return dataclasses.asdict(row)
