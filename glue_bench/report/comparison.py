"""Two encoders on the tasks that both have runs of: quality paired by seed and row, size, speed. Knows no formats."""

import dataclasses
import itertools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from glue_bench.errors import UsageError, did_you_mean
from glue_bench.report.evidence import STREAM, Evidence, read_evidence
from glue_bench.report.model import Cost, Report, Row
from glue_bench.report.table import card_place
from glue_bench.runs.record import Record, task_of
from glue_bench.runs.setting import Setting
from glue_bench.runs.store import RunStore
from glue_bench.statistics.paired import PairedSplit, adjust_holm, compare_pairs
from glue_bench.tasks.adapter import headline, metric_title
from glue_bench.tasks.published import PublishedTable, find_table

SIGNIFICANCE = 0.05  # of the adjusted p-value
# Facts that make no two settings unlike: they are the encoder's, or follow from the same rows and trainer values.
_TOLD_ELSEWHERE = (
    *("encoder", "encoder.hub_id", "encoder.revision", "encoder.weights_sha256"),
    *("data", "data.revision", "recipe", "grid"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskComparison:
    """One task; scores times 100, differences first minus second."""

    task: str
    title: str
    metric: str
    n: int  # dev rows, the same for both
    seeds: Sequence[int]  # that both have
    first: float  # median
    second: float
    difference: float  # of the medians
    low: float  # 95 % interval of the difference
    high: float
    p_rows: float  # permutation of the two encoders over rows
    p_value: float  # the larger of that and of the chance at which the interval touches 0
    p_adjusted: float  # Holm, over the tasks of the comparison
    detectable: float  # smallest difference that would be found with probability 0.8
    better: str | None  # the encoder that is, by the adjusted p-value
    kept: float | None  # first over second, per cent
    first_cost: Cost
    second_cost: Cost
    alike: bool  # the same training but for the encoder, on the same device: the costs may be divided
    degenerate: Sequence[str]  # of the compared runs, those that learned nothing, and why
    not_comparable_because: Sequence[str]  # why these rows say nothing about published numbers
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderComparison:
    """Everything that is known of two encoders side by side."""

    first: str
    second: str
    tasks: Sequence[TaskComparison]
    skipped: Mapping[str, str]  # title of a task to why it was not compared
    several_weights: Sequence[str]  # encoders whose compared runs began with unlike weights
    first_mean: float | None  # of the tasks' medians
    second_mean: float | None
    kept: float | None  # the first mean over the second, per cent
    published_kept: float | None  # the same of the published numbers, each under its own convention, where both have
    # one for every task and all compared runs are comparable with them
    eval_ratio: float | None  # how many times as fast the first predicts: median over tasks on the same device
    train_ratio: float | None


def compare_encoders(
    report: Report,
    records: Iterable[Record],
    published: Sequence[PublishedTable],
    *,
    store: RunStore,
    first: str,
    second: str,
    convention: str | None = None,
) -> EncoderComparison:
    """Compare the runs that two encoders have with the same seeds on the same rows.

    Where an encoder has several settings of a task, the pair that is alike in most is taken, then the one with most
    seeds in common. Both are scored under one convention, card if none is named.

    Raises:
        UsageError: one of them has no finished run, or both are the same.
    """
    by_run = {(record.encoder["name"], record.task, record.run_id): record for record in records}
    rows = [row for section in report.sections for row in section.rows if row.seeds]
    known = sorted({row.encoder for row in rows})
    if first == second:
        raise UsageError(f"{first}: compared with itself; name two different encoders")
    for name in (first, second):
        if not known:
            raise UsageError(f"{name}: there are no finished runs in {store.root.parent}")
        if name not in known:
            raise UsageError(f"{name}: no finished runs of this encoder{did_you_mean(name, known)}")
    found, skipped, compared_runs = list[TaskComparison](), dict[str, str](), list[Record]()
    stream = np.random.default_rng(STREAM)
    for task in dict.fromkeys(row.task for row in sorted(rows, key=lambda row: card_place(row.task))):
        ours = [_runs_of(row, by_run) for row in rows if (row.encoder, row.task) == (first, task)]
        others = [_runs_of(row, by_run) for row in rows if (row.encoder, row.task) == (second, task)]
        title = next(row.title for row in rows if row.task == task)
        pair = _choose_pair(ours, others)
        if isinstance(pair, str):
            skipped[title] = pair
            continue
        chosen = [text for all_of, one in zip((ours, others), pair, strict=True) for text in _tell_choice(all_of, one)]
        compared = _compare_task(*pair, chosen=chosen, store=store, convention=convention or "card", stream=stream)
        if isinstance(compared, str):
            skipped[title] = compared
        else:
            found.append(compared)
            compared_runs += [*pair[0], *pair[1]]
    return _conclude(first, second, _adjust(found, first, second), skipped, compared_runs, published)


def compare_all(
    report: Report,
    records: Sequence[Record],
    published: Sequence[PublishedTable],
    *,
    store: RunStore,
    convention: str | None = None,
    most: int = 3,
) -> list[EncoderComparison]:
    """The comparisons of a report's encoders, at most `most`, that have a task in common.

    The encoder with fewer parameters comes first.
    """
    sizes = {record.encoder["name"]: record.encoder.get("parameters") or 0 for record in records}
    names = sorted({row.encoder for section in report.sections for row in section.rows if row.seeds})
    names.sort(key=lambda name: sizes[name])
    found = list[EncoderComparison]()
    for first, second in itertools.combinations(names, 2):
        if len(found) < most:
            compared = compare_encoders(
                report, records, published, store=store, first=first, second=second, convention=convention
            )
            found += [compared] if compared.tasks else []
    return found


def _runs_of(row: Row, by_run: Mapping[tuple[str, str, str], Record]) -> list[Record]:
    return [by_run[row.encoder, row.task, run_id] for run_id in row.run_ids]


def _choose_pair(ours: list[list[Record]], others: list[list[Record]]) -> tuple[list[Record], list[Record]] | str:
    """The two groups of runs, cut to their common seeds in order; or why there are none."""
    if not ours or not others:
        return f"no finished runs of {'the second' if ours else 'the first'}"
    pairs = [(a, b) for a in ours for b in others if a[0].data.get("fingerprint") == b[0].data.get("fingerprint")]
    if not pairs:
        return "not the same rows"
    pairs = [(a, b) for a, b in pairs if _common_seeds(a, b)]
    if not pairs:
        return "no seed in common"
    a, b = min(pairs, key=lambda pair: (len(_differing(*pair)), -len(_common_seeds(*pair)), pair[0][0].setting_id))
    seeds = _common_seeds(a, b)
    return [run for run in a if run.seed in seeds], [run for run in b if run.seed in seeds]


def _tell_choice(settings: list[list[Record]], chosen: list[Record]) -> list[str]:
    """Which of several settings of an encoder was taken."""
    ours = Setting.of(chosen[0])
    found = ours.difference(*(Setting.of(runs[0]) for runs in settings), but=("init", "grid"))
    told = ", ".join(f"{name}={values[0]}" for name, values in found.items())
    return [f"of {len(settings)} settings of {ours.encoder} the one with {told}"] if told else []


def _common_seeds(a: list[Record], b: list[Record]) -> list[int]:
    return sorted({run.seed for run in a} & {run.seed for run in b})


def _differing(a: list[Record], b: list[Record]) -> list[str]:
    """What else than the encoder tells the settings of two groups of runs apart."""
    found = Setting.of(a[0]).difference(Setting.of(b[0]), but=_TOLD_ELSEWHERE)
    return [f"{name}={ours}, {others}" for name, (ours, others) in sorted(found.items())]


def _compare_task(
    ours: list[Record],
    others: list[Record],
    *,
    chosen: Sequence[str],
    store: RunStore,
    convention: str,
    stream: np.random.Generator,
) -> TaskComparison | str:
    """The comparison, or why there is none."""
    task = task_of(ours[0])
    parts = task.parts(convention)
    left, right = read_evidence(store, ours, task), read_evidence(store, others, task)
    if left is None or right is None:
        return "stored predictions cannot be read"
    if any(not np.array_equal(split.labels, right.splits[name].labels) for name, split in left.splits.items()):
        return "not the same labels"
    splits = {
        name: PairedSplit(labels=split.labels, first=split.predictions, second=right.splits[name].predictions)
        for name, split in left.splits.items()
        if name in {part.split for part in parts}
    }
    result = compare_pairs(splits, parts, stream=stream)
    first = 100 * statistics.median(headline(parts, run.scores) for run in ours)
    second = 100 * statistics.median(headline(parts, run.scores) for run in others)
    rows: Mapping[str, int] = ours[0].data["rows"]
    degenerate = [*_tell_degenerate(ours, left), *_tell_degenerate(others, right)]
    return TaskComparison(
        task=ours[0].task,
        title=task.title,
        metric=metric_title(parts),
        n=sum(rows[split] for split in splits),
        seeds=[run.seed for run in ours],
        first=first,
        second=second,
        difference=100 * result.difference.value,
        low=100 * result.difference.low,
        high=100 * result.difference.high,
        p_rows=result.p_rows,
        p_value=result.p_value,
        p_adjusted=result.p_value,
        detectable=100 * result.detectable,
        better=None,
        kept=_share(first, second),
        first_cost=Cost.of(ours),
        second_cost=Cost.of(others),
        alike=not _differing(ours, others) and _ways(ours) == _ways(others),
        degenerate=degenerate,
        not_comparable_because=list(
            dict.fromkeys(reason for run in (*ours, *others) for reason in run.not_comparable_because)
        ),
        note="; ".join([*chosen, *_differing(ours, others), *degenerate]),
    )


def _tell_degenerate(runs: list[Record], evidence: Evidence) -> list[str]:
    return [f"{runs[0].encoder['name']}: {text}" for text in evidence.tell_degenerate()]


def _ways(runs: list[Record]) -> set[tuple[object, ...]]:
    """How the runs were executed, as far as their clocks depend on it."""
    return {(run.device, run.precision, run.engine, run.processes) for run in runs}


def _adjust(found: list[TaskComparison], first: str, second: str) -> list[TaskComparison]:
    """The same with p-values adjusted over the tasks, and what they say."""
    adjusted = adjust_holm([task.p_value for task in found])
    return [
        dataclasses.replace(task, p_adjusted=p, better=_better(task, p, first, second))
        for task, p in zip(found, adjusted, strict=True)
    ]


def _better(task: TaskComparison, p_adjusted: float, first: str, second: str) -> str | None:
    if p_adjusted >= SIGNIFICANCE or task.difference == 0:
        return None
    return first if task.difference > 0 else second


def _conclude(
    first: str,
    second: str,
    tasks: list[TaskComparison],
    skipped: Mapping[str, str],
    compared_runs: Sequence[Record],
    published: Sequence[PublishedTable],
) -> EncoderComparison:
    first_mean = statistics.fmean(task.first for task in tasks) if tasks else None
    second_mean = statistics.fmean(task.second for task in tasks) if tasks else None
    alike = [(task.first_cost, task.second_cost) for task in tasks if task.alike]
    weights = {
        name: {run.encoder.get("weights_sha256") for run in compared_runs if run.encoder["name"] == name}
        for name in (first, second)
    }
    return EncoderComparison(
        first=first,
        second=second,
        tasks=tasks,
        skipped=skipped,
        several_weights=[name for name, found in weights.items() if len(found) > 1],
        first_mean=first_mean,
        second_mean=second_mean,
        kept=_share(first_mean, second_mean),
        published_kept=_published_kept(first, second, [task.task for task in tasks], compared_runs, published),
        eval_ratio=_ratio([(ours.eval_seconds, others.eval_seconds) for ours, others in alike]),
        train_ratio=_ratio([(ours.train_seconds, others.train_seconds) for ours, others in alike]),
    )


def _share(first: float | None, second: float | None) -> float | None:
    """Per cent; None where a share means nothing."""
    return 100 * first / second if first is not None and second is not None and first >= 0 < second else None


def _ratio(pairs: Sequence[tuple[float | None, float | None]]) -> float | None:
    ratios = [other / own for own, other in pairs if own and other]
    return statistics.median(ratios) if ratios else None


def _published_kept(
    first: str, second: str, tasks: Sequence[str], records: Sequence[Record], published: Sequence[PublishedTable]
) -> float | None:
    """The published means' share over the same tasks, each number under its own convention; of comparable runs only."""
    tables = []
    for name in (first, second):
        ids = {str(record.encoder.get("hub_id") or "") for record in records if record.encoder["name"] == name}
        tables.append(find_table(list(published), ids.pop()) if len(ids) == 1 else None)
    ours, others = tables
    if not all(record.comparable for record in records) or ours is None or others is None:
        return None
    if any(task not in table.scores for table in (ours, others) for task in tasks):
        return None
    return 100 * sum(ours.scores[task].value for task in tasks) / sum(others.scores[task].value for task in tasks)
