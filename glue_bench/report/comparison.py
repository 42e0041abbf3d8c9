"""Compare two groups of runs on the tasks they share: quality paired by seed and row, size, speed. Knows no formats."""

import dataclasses
import itertools
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from glue_bench.config.task import ScorePart, headline, metric_title
from glue_bench.errors import InputError
from glue_bench.report.model import Cost, Report, Row, median, write_notes
from glue_bench.report.rows import STREAM, Numbers, keep_numbers, lowest_of, read_evidence
from glue_bench.runs.record import Record, task_of
from glue_bench.runs.setting import Setting, show_value
from glue_bench.runs.store import RunStore
from glue_bench.statistics.intervals import Interval
from glue_bench.statistics.verdicts import SIGNIFICANCE, PairedScores, adjust_holm, compare_pairs
from glue_bench.tasks.published import PublishedTable, find_table

MOST = 3  # comparisons on the page
# Facts ignored when two trainings are compared: the encoder's own, and those implied by rows or trainer values.
_NOT_TRAINING = (
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
    few_seeds: bool  # two seeds whose interval exceeds the possible differences: too few to judge training noise
    p_rows: float  # from permuting the two encoders' predictions over rows
    p_value: float  # the larger of p_rows and the level at which the interval touches 0
    p_adjusted: float  # Holm, over the tasks of the comparison
    detectable: float  # smallest difference that would be found with probability 0.8
    better: str | None  # the name of the better side by the adjusted p-value
    kept: float | None  # first over second, per cent
    first_cost: Cost
    second_cost: Cost
    alike: bool  # the same training but for what is compared, on the same device
    degenerate: Sequence[str]  # compared runs that learned nothing, and why
    not_comparable_because: Sequence[str]  # with published numbers
    note: str

    def times_as_fast(self, kind: Literal["eval_seconds", "train_seconds"]) -> float | None:
        """Return how many times as fast the first is; None where that means nothing, as within one architecture."""
        ours, theirs = (getattr(cost, kind) for cost in (self.first_cost, self.second_cost))
        sizes = {self.first_cost.parameters, self.second_cost.parameters}
        return theirs / ours if self.alike and (len(sizes) > 1 or None in sizes) and ours and theirs else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of two groups of runs: an encoder, a setting, or what a results folder holds."""

    name: str
    store: RunStore
    records: Sequence[Record] = ()  # finished ones that a word of the command names
    rows: Sequence[Row] = ()  # of a report, with finished runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """Two groups of runs, and how a title names them."""

    first: Side
    second: Side
    subject: str = ""  # what both have in common, if their names do not say it
    named: Collection[str] = ()  # facts that their names give: they are what is compared


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two groups of runs on all tasks for which both have some."""

    first: str
    second: str
    subject: str  # what they have in common, if that is not in their names; may be empty
    tasks: Sequence[TaskComparison]
    skipped: Mapping[str, str]  # title of a task to why it was not compared
    several_weights: Sequence[str]  # sides whose compared runs began with different pretrained weights
    first_mean: float | None  # of the tasks' medians
    second_mean: float | None
    kept: float | None  # the first mean over the second, per cent
    published_kept: float | None  # the same of published numbers, if all runs are comparable and all tasks have one
    eval_ratio: float | None  # how many times as fast the first predicts: median over tasks on the same device
    train_ratio: float | None


def compare(sides: Sides, published: Sequence[PublishedTable], *, convention: str | None = None) -> Comparison:
    """Compare the runs that two groups have with the same seeds on the same rows.

    If a group has several settings of a task, the pair that differs least is compared; of equals, the one with most
    seeds in common, then the first in the report's order. Both are scored under one convention, card if none is named.
    """
    rows = sorted([*sides.first.rows, *sides.second.rows], key=lambda row: row.order)
    found, skipped = list[tuple[_Pair, TaskComparison]](), dict[str, str]()
    for task, title in {row.task: row.title for row in rows}.items():
        try:
            pair = _choose_pair(sides, task, convention=convention or "card")
            found.append((pair, _compare_task(pair, sides)))
        except InputError as why:
            skipped[title] = str(why)
    tasks, names = list[TaskComparison](), (sides.first.name, sides.second.name)
    for (_, one), p in zip(found, adjust_holm([one.p_value for _, one in found]), strict=True):
        better = None if p >= SIGNIFICANCE or one.difference == 0 else names[one.difference < 0]
        tasks.append(dataclasses.replace(one, p_adjusted=p, better=better))
    runs = [[run for pair, _ in found for run in pair.runs[place]] for place in (0, 1)]
    settings = [[Setting.of(run) for run in own] for own in runs]
    (first_table, first_sum), (second_table, second_sum) = (_sum_published(own, published) for own in settings)
    both = first_table is not second_table and all(run.comparable for own in runs for run in own)
    scores = [task.first for task in tasks], [task.second for task in tasks]
    first_mean, second_mean = (statistics.fmean(own) if own else None for own in scores)
    ratios = [[task.times_as_fast(kind) for task in tasks] for kind in ("eval_seconds", "train_seconds")]
    eval_ratio, train_ratio = (median([ratio for ratio in own if ratio is not None]) for own in ratios)
    named = zip(names, settings, strict=True)
    return Comparison(
        first=names[0],
        second=names[1],
        subject=sides.subject,
        tasks=tasks,
        skipped=skipped,
        several_weights=[name for name, own in named if len({setting.weights for setting in own} - {""}) > 1],
        first_mean=first_mean,
        second_mean=second_mean,
        kept=_share(first_mean, second_mean),
        published_kept=_share(first_sum, second_sum) if both else None,
        eval_ratio=eval_ratio,
        train_ratio=train_ratio,
    )


def compare_all(
    report: Report, published: Sequence[PublishedTable], *, store: RunStore, convention: str | None = None
) -> list[Comparison]:
    """Compare the report's encoders that share a task, at most MOST pairs; the smaller encoder comes first."""
    sizes = {row.setting.encoder: row.finished[-1].encoder.get("parameters") or 0 for row in report.finished}
    rows = {name: [row for row in report.finished if row.setting.encoder == name] for name in sorted(sizes)}
    sides = [Side(name=name, store=store, rows=rows[name]) for name in sorted(rows, key=sizes.__getitem__)]
    pairs = itertools.combinations(sides, 2)
    found = (compare(Sides(first=a, second=b), published, convention=convention) for a, b in pairs)
    return list(itertools.islice((compared for compared in found if compared.tasks), MOST))


class _Pair(NamedTuple):
    """A row of each group, and the runs of the seeds that both have."""

    rows: tuple[Row, Row]
    runs: Sequence[Sequence[Record]]  # of each row, in the order of the seeds
    parts: Sequence[ScorePart]  # compared in both; none if an own task's file has changed too much for it
    differences: Sequence[str]  # between the two settings, besides what is compared
    choice: Sequence[str] = ()  # which of several settings were taken


def _dev_rows(run: Record) -> object:
    """Return what identifies a run's dev rows: of older records, all of its rows."""
    prints = run.data.get("fingerprints") or {}
    splits, half = task_of(run).validation, run.seed if run.selection == "halves" else None
    known = [prints[split] for split in splits] if all(split in prints for split in splits) else run.data["fingerprint"]
    return known, half


def _choose_pair(sides: Sides, name: str, *, convention: str) -> _Pair:
    ours, theirs = ([row for row in side.rows if row.task == name] for side in (sides.first, sides.second))
    if not ours or not theirs:
        raise InputError(f"no finished runs of {'the second' if ours else 'the first'}")
    pairs = list[_Pair]()
    for rows in itertools.product(ours, theirs):
        seeds, tasks = {*rows[0].seeds} & {*rows[1].seeds}, [task_of(row.finished[0]) for row in rows]
        runs = [[run for run in row.finished if run.seed in seeds] for row in rows]
        couples = zip(*(runs if seeds else [row.finished[:1] for row in rows]), strict=True)
        if any(_dev_rows(first) != _dev_rows(second) for first, second in couples):
            continue
        both = {*tasks[0].every_part()} & {*tasks[1].every_part()} if tasks[0].validation == tasks[1].validation else ()
        parts = next((parts for task in tasks if {*(parts := task.parts(convention))} <= {*both}), [])
        found = rows[0].setting.difference(rows[1].setting, but=(*_NOT_TRAINING, *sides.named))
        differences = [f"{key}={', '.join(map(show_value, values))}" for key, values in sorted(found.items())]
        pairs.append(_Pair(rows, runs=runs, parts=parts, differences=differences))
    paired = [pair for pair in pairs if pair.runs[0]]
    if not paired:
        left, right = (" or ".join(f"{n:,}" for n in sorted({row.n or 0 for row in own})) for own in (ours, theirs))
        sizes = f": {left} against {right}" if left != right else ""
        raise InputError("no seed in common" if pairs else f"not the same dev rows{sizes}")
    if not (alike := [pair for pair in paired if pair.parts]):
        raise InputError("no metric on the same splits in common")
    best = min(alike, key=lambda pair: (len(pair.differences), -len(pair.runs[0])))
    choice = []
    for chosen, every in zip(best.rows, (ours, theirs), strict=True):
        found = chosen.setting.difference(*(row.setting for row in every), but=("init", "grid"))
        if words := ", ".join(f"{key}={show_value(values[0])}" for key, values in found.items()):
            choice.append(f"one of {len(every)} settings of {chosen.setting.encoder}: {words}")
    return best._replace(choice=list(dict.fromkeys(choice)))


def _compare_task(pair: _Pair, sides: Sides) -> TaskComparison:
    (ours, theirs), parts, both = pair.runs, pair.parts, (sides.first, sides.second)
    task = task_of(ours[0])
    left, right = (read_evidence(side.store, runs, parts=parts) for side, runs in zip(both, pair.runs, strict=True))
    if left.unread or right.unread:
        raise InputError("stored predictions cannot be used")
    if not left.splits:
        raise InputError("each seed is scored on its own half of the dev rows")
    if any(not np.array_equal(split.labels, right.splits[name].labels) for name, split in left.splits.items()):
        raise InputError("not the same labels")
    splits = {
        name: dataclasses.replace(split, predictions=np.vstack([split.predictions, right.splits[name].predictions]))
        for name, split in left.splits.items()
        if name in {part.split for part in parts}
    }

    def pair_up() -> Numbers:
        found = compare_pairs(splits, parts, stream=np.random.default_rng(STREAM))
        return [[*dataclasses.astuple(found.difference)], [found.p_rows]]

    numbers, (p_rows,) = keep_numbers(pair_up, splits=splits, words=["pairs", STREAM, *map(tuple, parts)])
    scores = PairedScores(difference := Interval(*numbers), p_rows)
    first, second = (100 * statistics.median(headline(parts, run.scores) for run in runs) for runs in (ours, theirs))
    read = zip(both, (left.degenerate, right.degenerate), strict=True)
    degenerate = [f"{side.name}: {text}" for side, found in read for text in write_notes("degenerate", found)]
    reasons = (reason for run in (*ours, *theirs) for reason in run.not_comparable_because)
    bound = 100 * (1.0 - lowest_of(parts))
    ways = [{(run.device, *run.ways, run.processes) for run in runs} for runs in (ours, theirs)]
    return TaskComparison(
        task=task.name,
        title=task.title,
        metric=metric_title(parts),
        n=sum(ours[0].data["rows"][split] for split in splits),
        seeds=[run.seed for run in ours],
        first=first,
        second=second,
        difference=100 * difference.value,
        low=max(100 * difference.low, -bound),
        high=min(100 * difference.high, bound),
        few_seeds=len(ours) == 2 and 100 * max(-difference.low, difference.high) > bound,
        p_rows=p_rows,
        p_value=scores.p_value,
        p_adjusted=scores.p_value,
        detectable=100 * scores.detectable,
        better=None,
        kept=_share(first, second),
        first_cost=Cost.of(ours),
        second_cost=Cost.of(theirs),
        alike=not pair.differences and ways[0] == ways[1],
        degenerate=degenerate,
        not_comparable_because=list(dict.fromkeys(reasons)),
        note="; ".join([*pair.choice, *pair.differences, *degenerate]),
    )


def _sum_published(
    settings: Sequence[Setting], published: Sequence[PublishedTable]
) -> tuple[PublishedTable | None, float | None]:
    """Find the published numbers that runs compare with; their sum if there is one for every task, of the same kind."""
    followed = {(setting.hub_id, setting.recipe, setting.method) for setting in settings}
    hub_id, recipe, method = followed.pop() if len(followed) == 1 else (None, None, "full")
    table = find_table(published, hub_id, recipe=recipe, method=method)
    starts = {setting.task: setting.init for setting in settings}
    if table is None or not starts.keys() <= table.scores.keys():
        return table, None
    scores = [table.scores[task] for task in starts]
    unlike = any(table.differs(score, init=starts[score.task], method=method) for score in scores)
    return table, None if unlike else sum(score.value for score in scores)


def _share(first: float | None, second: float | None) -> float | None:
    return 100 * first / second if first is not None and second is not None and first >= 0 < second else None
