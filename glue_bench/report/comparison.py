"""Compare two encoders on the tasks they share: quality paired by seed and row, size, speed. Knows no formats."""

import dataclasses
import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from glue_bench.errors import UsageError, did_you_mean
from glue_bench.report.model import Cost, Report, Row, card_place, median
from glue_bench.report.rows import STREAM, read_evidence
from glue_bench.runs.record import Record, task_of
from glue_bench.runs.setting import Setting
from glue_bench.runs.store import RunStore
from glue_bench.statistics.paired import SIGNIFICANCE, PairedSplit, adjust_holm, compare_pairs
from glue_bench.tasks.adapter import headline, metric_title
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
    p_rows: float  # from permuting the two encoders' predictions over rows
    p_value: float  # the larger of p_rows and the level at which the interval touches 0
    p_adjusted: float  # Holm, over the tasks of the comparison
    detectable: float  # smallest difference that would be found with probability 0.8
    better: str | None  # the better encoder by the adjusted p-value
    kept: float | None  # first over second, per cent
    first_cost: Cost
    second_cost: Cost
    alike: bool  # the same training but for the encoder, on the same device: the costs may be divided
    degenerate: Sequence[str]  # compared runs that learned nothing, and why
    not_comparable_because: Sequence[str]  # with published numbers
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderComparison:
    """Two encoders on all tasks for which both have runs."""

    first: str
    second: str
    tasks: Sequence[TaskComparison]
    skipped: Mapping[str, str]  # title of a task to why it was not compared
    several_weights: Sequence[str]  # encoders whose compared runs began with different pretrained weights
    first_mean: float | None  # of the tasks' medians
    second_mean: float | None
    kept: float | None  # the first mean over the second, per cent
    published_kept: float | None  # the same of the published numbers, if all runs are comparable and each task has one
    eval_ratio: float | None  # how many times as fast the first predicts: median over tasks on the same device
    train_ratio: float | None


def compare_encoders(
    report: Report,
    published: Sequence[PublishedTable],
    *,
    store: RunStore,
    first: str,
    second: str,
    convention: str | None = None,
) -> EncoderComparison:
    """Compare the runs that two encoders have with the same seeds on the same rows.

    If an encoder has several settings of a task, the pair that differs least is compared; of equals, the one with most
    seeds in common. Both are scored under one convention, card if none is named.

    Raises:
        UsageError: one of them has no finished run, or both are the same.
    """
    rows = [row for section in report.sections for row in section.rows if row.seeds]
    known = sorted({row.encoder for row in rows})
    if first == second:
        raise UsageError(f"{first}: compared with itself; name two different encoders")
    for name in (first, second):
        if name not in known:
            hint = did_you_mean(name, known) if known else ""
            raise UsageError(f"{name}: there are no finished runs of this encoder in {store.root.parent}{hint}")
    found, skipped, runs = list[TaskComparison](), dict[str, str](), list[Record]()
    stream = np.random.default_rng(STREAM)
    for task, title in {row.task: row.title for row in sorted(rows, key=lambda row: card_place(row.task))}.items():
        ours, theirs = ([row for row in rows if (row.encoder, row.task) == (name, task)] for name in (first, second))
        pair = _choose_pair(ours, theirs)
        if not isinstance(pair, _Pair):
            skipped[title] = pair
            continue
        compared = _compare_task(pair, store=store, convention=convention or "card", stream=stream)
        if isinstance(compared, str):
            skipped[title] = compared
        else:
            found.append(compared)
            runs += itertools.chain(*pair.runs())
    tasks = []
    for one, p in zip(found, adjust_holm([one.p_value for one in found]), strict=True):
        better = None if p >= SIGNIFICANCE or one.difference == 0 else first if one.difference > 0 else second
        tasks.append(dataclasses.replace(one, p_adjusted=p, better=better))
    return _conclude(tasks, runs, names=(first, second), skipped=skipped, published=published)


def compare_all(
    report: Report, published: Sequence[PublishedTable], *, store: RunStore, convention: str | None = None
) -> list[EncoderComparison]:
    """Compare the report's encoders that share a task, at most MOST pairs; the smaller encoder comes first."""
    rows = [row for section in report.sections for row in section.rows if row.seeds]
    sizes = {row.encoder: row.finished[-1].encoder.get("parameters") or 0 for row in rows}
    found = (
        compare_encoders(report, published, store=store, first=first, second=second, convention=convention)
        for first, second in itertools.combinations(sorted(sorted(sizes), key=sizes.__getitem__), 2)
    )
    return list(itertools.islice((compared for compared in found if compared.tasks), MOST))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """A row of each encoder, compared on the seeds that both have."""

    ours: Row
    theirs: Row
    choice: Sequence[str] = ()  # which of several settings were taken

    @property
    def seeds(self) -> list[int]:
        return sorted({*self.ours.seeds} & {*self.theirs.seeds})

    def runs(self) -> tuple[list[Record], list[Record]]:
        """Return each encoder's runs, in the order of the seeds."""
        ours, theirs = ([run for run in row.finished if run.seed in self.seeds] for row in (self.ours, self.theirs))
        return ours, theirs

    def differences(self) -> list[str]:
        """Return what differs between the two settings besides the encoder."""
        found = self.ours.setting.difference(self.theirs.setting, but=_NOT_TRAINING)
        return [f"{name}={ours}, {theirs}" for name, (ours, theirs) in sorted(found.items())]


def _choose_pair(ours: Sequence[Row], theirs: Sequence[Row]) -> _Pair | str:
    if not ours or not theirs:
        return f"no finished runs of {'the second' if ours else 'the first'}"
    pairs = [_Pair(ours=a, theirs=b) for a in ours for b in theirs if a.setting.fingerprint == b.setting.fingerprint]
    paired = [pair for pair in pairs if pair.seeds]
    if not paired:
        return "no seed in common" if pairs else "not the same rows"
    best = min(paired, key=lambda pair: (len(pair.differences()), -len(pair.seeds), pair.ours.setting.id))
    choice = []
    for chosen, rows in ((best.ours, ours), (best.theirs, theirs)):
        found = chosen.setting.difference(*(row.setting for row in rows), but=("init", "grid"))
        if words := ", ".join(f"{name}={values[0]}" for name, values in found.items()):
            choice.append(f"one of {len(rows)} settings of {chosen.encoder}: {words}")
    return dataclasses.replace(best, choice=choice)


def _compare_task(
    pair: _Pair, *, store: RunStore, convention: str, stream: np.random.Generator
) -> TaskComparison | str:
    ours, theirs = pair.runs()
    task = task_of(ours[0])
    parts = task.parts(convention)
    left, right = read_evidence(store, ours), read_evidence(store, theirs)
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
    first, second = (100 * statistics.median(headline(parts, run.scores) for run in runs) for runs in (ours, theirs))
    sides = ((pair.ours, left), (pair.theirs, right))
    degenerate = [f"{row.encoder}: {text}" for row, evidence in sides for text in evidence.degenerate_notes()]
    reasons = (reason for run in (*ours, *theirs) for reason in run.not_comparable_because)
    differences = pair.differences()
    ways = [{(run.device, run.precision, run.engine, run.processes) for run in runs} for runs in (ours, theirs)]
    return TaskComparison(
        task=task.name,
        title=task.title,
        metric=metric_title(parts),
        n=sum(ours[0].data["rows"][split] for split in splits),
        seeds=pair.seeds,
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
        second_cost=Cost.of(theirs),
        alike=not differences and ways[0] == ways[1],
        degenerate=degenerate,
        not_comparable_because=list(dict.fromkeys(reasons)),
        note="; ".join([*pair.choice, *differences, *degenerate]),
    )


def _conclude(
    tasks: Sequence[TaskComparison],
    runs: Sequence[Record],
    *,
    names: tuple[str, str],
    skipped: Mapping[str, str],
    published: Sequence[PublishedTable],
) -> EncoderComparison:
    first_mean = statistics.fmean(task.first for task in tasks) if tasks else None
    second_mean = statistics.fmean(task.second for task in tasks) if tasks else None
    costs = [(task.first_cost, task.second_cost) for task in tasks if task.alike]
    several, sums = list[str](), list[float | None]()
    for name in names:
        settings = [Setting.of(run) for run in runs if run.encoder["name"] == name]
        several += [name] if len({setting.weights for setting in settings} - {""}) > 1 else []
        ids = {setting.hub_id for setting in settings}
        table = find_table(list(published), ids.pop()) if len(ids) == 1 else None
        scores = [table.scores[task.task].value for task in tasks if table and task.task in table.scores]
        sums.append(sum(scores) if len(scores) == len(tasks) else None)
    return EncoderComparison(
        first=names[0],
        second=names[1],
        tasks=tasks,
        skipped=skipped,
        several_weights=several,
        first_mean=first_mean,
        second_mean=second_mean,
        kept=_share(first_mean, second_mean),
        published_kept=_share(*sums) if all(run.comparable for run in runs) else None,
        eval_ratio=_ratio([(ours.eval_seconds, theirs.eval_seconds) for ours, theirs in costs]),
        train_ratio=_ratio([(ours.train_seconds, theirs.train_seconds) for ours, theirs in costs]),
    )


def _share(first: float | None, second: float | None) -> float | None:
    return 100 * first / second if first is not None and second is not None and first >= 0 < second else None


def _ratio(pairs: Sequence[tuple[float | None, float | None]]) -> float | None:
    return median([theirs / ours for ours, theirs in pairs if ours and theirs])
