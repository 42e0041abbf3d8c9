"""Turn the runs of one setting, with their stored predictions, into one row: scores, intervals, verdict, notes."""

import contextlib
import dataclasses
import hashlib
import json
import logging
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from glue_bench.config.task import CORRELATIONS, ScorePart, TaskConfig, headline, metric_title, started_from
from glue_bench.errors import DiskError, InputError
from glue_bench.files import cache_folder, read_sealed, write_sealed
from glue_bench.report.model import Group, Row, ScoreSummary, write_notes
from glue_bench.runs.record import Record, task_of
from glue_bench.runs.store import RunStore
from glue_bench.statistics import verdicts
from glue_bench.statistics.intervals import Floats, SplitPredictions, interval_of_mean, resample_scores
from glue_bench.statistics.verdicts import Verdict, describe_degenerate, judge_published
from glue_bench.tasks.published import PublishedScore, PublishedTable

Numbers = list[list[float]]
_KEPT_VERSION = 5  # goes up when the same predictions give other numbers
STREAM = 20240501  # seeds every draw, so that the same records give the same report

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What the rows of a section share."""

    table: PublishedTable | None  # of the encoder
    convention: str | None  # card or paper; None for that of each published number
    store: RunStore | None  # with the predictions
    others: Sequence[PublishedTable] = ()  # the encoder's other published rows, of the same method

    def score(self, task: str) -> PublishedScore | None:
        """Return the published number of a task."""
        return self.table.scores.get(task) if self.table else None

    def convention_of(self, task: TaskConfig) -> str:
        """Return the convention of the task's row."""
        score = self.score(task.name)
        return self.convention or (score.convention if score and task.states(score.convention) else "card")


class Evidence(NamedTuple):
    """The predictions of a row's finished runs; line s of every array belongs to run s."""

    splits: Mapping[str, SplitPredictions]  # empty if some are unread, or each run has its own half of the dev rows
    degenerate: Mapping[str, str]  # seed to the reason
    unread: Sequence[int]  # seeds whose predictions cannot be used: they may be degenerate too


def build_row(group: Group, context: Context, *, task: TaskConfig, known: Evidence | None = None, **about: Any) -> Row:
    """Build the row of one setting, chosen cell, or task without runs; `about`: its `differs` and `setting_notes`.

    `known` is that of a row of the same runs whose predictions were read, if `context` has no store.
    """
    score, convention, plain = context.score(task.name), context.convention_of(task), group
    parts, shown = task.parts(convention), score.under(task, convention) if score else None
    if shown is not None and shown.start == group.setting.init:
        group = dataclasses.replace(group, runs=[_started_alike(run) for run in group.runs])
    finished = group.finished
    values = [100 * headline(parts, run.scores) for run in finished]
    evidence = read_evidence(context.store, finished, parts=parts) if context.store and finished else None
    intervals = _score_intervals(evidence, finished, parts=parts) if evidence and evidence.splits else {}
    known = evidence or known or Evidence({}, {}, [])
    verdict = _judge(group, context, shown=shown, values=values, known=known)
    remarks = write_notes("remarks", group, score, shown, verdict, evidence)
    others = [other for other in context.others if finished and task.name in other.scores]
    beside = {other.name: dataclasses.replace(context, table=other, others=(), store=None) for other in others}
    alike = {"task": task, "known": known, "differs": about.get("differs", {})}
    return Row(
        **{item.name: getattr(group, item.name) for item in dataclasses.fields(group)},
        title=task.title,
        metric=metric_title(parts),
        convention=convention,
        n=sum(finished[0].data["rows"][split] for split in {part.split for part in parts}) if finished else None,
        values=values,
        summary=_summarise(values, intervals.get(None)) if values else None,
        parts={
            str(part): _summarise([100 * run.scores[part.split][part.metric] for run in finished], intervals.get(part))
            for part in task.every_part()
            if finished
        },
        published=shown,
        verdict=verdict,
        remarks=remarks,
        degenerate=known.degenerate,
        others={name: build_row(plain, other, **alike) for name, other in beside.items()},
        **about,
    )


def _started_alike(run: Record) -> Record:
    """Drop the reason that a run started elsewhere, since the published runs started there too."""
    reasons = [reason for reason in run.not_comparable_because if reason != started_from(run.init)]
    same = len(reasons) == len(run.not_comparable_because)
    return run if same else dataclasses.replace(run, comparable=not reasons, not_comparable_because=reasons)


def read_evidence(store: RunStore, finished: Sequence[Record], *, parts: Sequence[ScorePart]) -> Evidence:
    """Read the predictions of all runs; log which are missing, or belong to other rows, and read the others.

    A degenerate run is judged by `parts`, the scores whose mean is shown.
    """
    task, splits, degenerate, unread = task_of(finished[0]), dict[str, SplitPredictions](), dict[str, str](), set[int]()
    for split in task.validation:
        metrics = [part.metric for part in parts if part.split == split] or task.metrics
        about: dict[str, Any] = {"names": task.labels, "metrics": metrics}
        labels, predictions = list[Floats](), list[Floats]()
        for run in finished:
            try:
                found = store.read_predictions(run, split)
            except InputError as error:
                if not unread:  # the row's note names the seeds
                    logger.warning("%s: no interval: it has %s", store.folder(*run.place), error)
                unread.add(run.seed)
                continue
            labels.append(found.label.astype(np.float64))
            predictions.append(found.prediction.astype(np.float64))
            if reason := describe_degenerate(labels[-1], predictions[-1], logits=found.logits, **about):
                degenerate.setdefault(str(run.seed), reason)
        if len(finished) > 1 and finished[0].selection == "halves":
            continue  # each seed has its own rows, which are not resampled together
        if any(not np.array_equal(labels[0], other) for other in labels[1:]):
            logger.warning("%s %s: the labels of its runs differ; no interval", task.name, split)
            unread.update(run.seed for run in finished)
        if not unread:
            splits[split] = SplitPredictions(labels=labels[0], predictions=np.vstack(predictions))
    return Evidence({} if unread else splits, degenerate, sorted(unread))


def _score_intervals(
    evidence: Evidence, finished: Sequence[Record], *, parts: Sequence[ScorePart]
) -> dict[ScorePart | None, tuple[float, float]]:
    """Compute each part's interval, and under None that of the mean of `parts`; in natural units."""
    metrics, every = task_of(finished[0]).metrics, task_of(finished[0]).every_part()
    scores = {part: [run.scores[part.split][part.metric] for run in finished] for part in every}
    keys = [*((part, [part]) for part in every), (None, parts)]

    def draw() -> Numbers:
        stream, drawn = np.random.default_rng(STREAM), dict[ScorePart, Floats]()
        for split, predictions in evidence.splits.items():
            values = resample_scores(predictions, metrics, stream=stream)
            drawn |= {ScorePart(split, metric): values[metric] for metric in metrics}
        own = {part: np.array(values) for part, values in scores.items()}
        means = [[np.mean([of[part] for part in shown], axis=0) for of in (own, drawn)] for _, shown in keys]
        return [[found.low, found.high] for found in (interval_of_mean(*pair) for pair in means)]

    known = keep_numbers(draw, splits=evidence.splits, words=["intervals", STREAM, scores, *map(tuple, parts)])
    pairs = zip(keys, known, strict=True)
    limits = {key: (max(low, lowest_of(shown)), min(high, 1.0)) for (key, shown), (low, high) in pairs}
    # Drawing rows shows nothing where all predictions are right, or all wrong.
    return {key: (low, high) for key, (low, high) in limits.items() if low < high}


def keep_numbers(
    compute: Callable[[], Numbers], *, splits: Mapping[str, SplitPredictions], words: Sequence[object]
) -> Numbers:
    """Return what `compute` makes of the predictions of `splits`; call it only if the cache folder has no answer.

    `words` are all else that the numbers depend on, the name of the computation first.
    """
    known = [_KEPT_VERSION, np.__version__, *words]
    known += [(name, split.labels.shape, split.predictions.shape) for name, split in splits.items()]
    digest = hashlib.sha256(repr(known).encode())
    for split in splits.values():
        digest.update(split.labels.tobytes() + split.predictions.tobytes())
    path = cache_folder("report") / digest.hexdigest()[:32]
    with contextlib.suppress(OSError, ValueError):  # not there, or not as it was written
        return [*json.loads(read_sealed(path))]
    numbers = compute()
    with contextlib.suppress(DiskError):  # then it is computed again
        write_sealed(path, json.dumps(numbers).encode())
    return numbers


def lowest_of(parts: Sequence[ScorePart]) -> float:
    """Return the lowest mean that these parts can have, in natural units; the highest is 1."""
    return -1.0 if any(part.metric in CORRELATIONS for part in parts) else 0.0


def _judge(
    group: Group, context: Context, *, shown: PublishedScore | None, values: Sequence[float], known: Evidence
) -> Verdict | None:
    table, score = context.table, context.score(group.task)
    if score is None or table is None:
        return None
    if group.obstacle:
        return group.obstacle
    if shown is None:
        return Verdict(kind=verdicts.NOT_COMPARABLE, reason=f"published {write_notes('convention', score)[0]}")
    if differs := table.differs(shown, init=group.setting.init, method=group.setting.method):
        return Verdict(kind=verdicts.NOT_COMPARABLE, reason="; ".join(differs))
    mean, deviation = table.statistic == "mean", shown.deviation
    verdict = judge_published(
        values, shown.value, rounding=table.rounding, runs=table.runs, mean=mean, deviation=deviation
    )
    if verdict.kind != verdicts.REPRODUCED or not (doubtful := known.degenerate or known.unread):
        return verdict
    what = "degenerate" if known.degenerate else "without usable predictions"
    (reason,) = write_notes("doubtful", doubtful, values, what)
    return dataclasses.replace(verdict, kind=verdicts.INCONCLUSIVE, reason=reason)  # they may widen the interval


def _summarise(values: Sequence[float], interval: tuple[float, float] | None) -> ScoreSummary:
    """Join scores (times 100) and an interval (in natural units) into one summary, times 100."""
    return ScoreSummary(
        median=statistics.median(values),
        minimum=min(values),
        maximum=max(values),
        mean=statistics.fmean(values),
        deviation=statistics.stdev(values) if len(values) > 1 else None,
        low=100 * interval[0] if interval else None,
        high=100 * interval[1] if interval else None,
    )
