"""Turn the runs of one setting, with their stored predictions, into one row: scores, intervals, verdict, notes."""

import dataclasses
import logging
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from glue_bench.config.schema import TaskConfig
from glue_bench.config.task import CORRELATIONS, ScorePart, headline, metric_title, started_from, undefined_words
from glue_bench.errors import InputError
from glue_bench.report.kept import Numbers, keep_numbers
from glue_bench.report.model import Group, Row, ScoreSummary
from glue_bench.runs.record import Record, task_of
from glue_bench.runs.store import RunStore
from glue_bench.statistics import verdicts
from glue_bench.statistics.intervals import Floats, Interval, SplitPredictions, interval_of_mean, resample_scores
from glue_bench.statistics.verdicts import Verdict, describe_degenerate, judge_published
from glue_bench.tasks.published import NOT_STATED, PublishedScore, PublishedTable
from glue_bench.text import plural

STREAM = 20240501  # seeds every draw, so that the same records give the same report
_LONGEST = 100  # characters of a run's error in a note

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What the rows of a section share."""

    table: PublishedTable | None  # of the encoder
    convention: str | None  # card or paper; None for that of each published number
    store: RunStore | None  # with the predictions

    def score(self, task: str) -> PublishedScore | None:
        """Return the published number of a task."""
        return self.table.scores.get(task) if self.table else None

    def convention_of(self, task: TaskConfig) -> str:
        """Return the convention of the task's row."""
        score = self.score(task.name)
        return self.convention or (score.convention if score and task.states(score.convention) else "card")

    def parts(self, task: TaskConfig) -> list[ScorePart]:
        """Return the scores whose mean the task's row shows."""
        return task.parts(self.convention_of(task))

    def shown_score(self, task: TaskConfig) -> PublishedScore | None:
        """Return the published number if it is for the row's metric; with a single metric, conventions agree."""
        score = self.score(task.name)
        return score.under(task, self.convention_of(task)) if score else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The predictions of a row's finished runs; line s of every array belongs to run s."""

    splits: Mapping[str, SplitPredictions]  # empty where each run is scored on its own half of the dev rows
    degenerate: Mapping[str, str]  # seed to the reason

    def degenerate_notes(self) -> list[str]:
        """Write a line for each reason, with its seeds."""
        reasons = dict.fromkeys(self.degenerate.values())
        found = {why: [seed for seed, other in self.degenerate.items() if other == why] for why in reasons}
        return [f"seed{'s' * (len(seeds) > 1)} {', '.join(seeds)} degenerate: {why}" for why, seeds in found.items()]


def build_row(
    group: Group, context: Context, *, task: TaskConfig, degenerate: Mapping[str, str] | None = None, **about: Any
) -> Row:
    """Build the row of one setting, chosen cell, or task without runs; `about`: its `differs` and `setting_notes`.

    `degenerate` is that of a row of the same runs whose predictions were read, if `context` has no store.
    """
    parts, shown = context.parts(task), context.shown_score(task)
    if shown is not None and shown.start == group.setting.init:
        group = dataclasses.replace(group, runs=[_started_alike(run) for run in group.runs])
    runs, finished = group.runs, group.finished
    values = [100 * headline(parts, run.scores) for run in finished]
    evidence = read_evidence(context.store, finished, parts=parts) if context.store and finished else None
    intervals = _score_intervals(evidence, finished, parts=parts) if evidence and evidence.splits else {}
    degenerate = evidence.degenerate if evidence else degenerate or {}
    verdict = _judge(group, context, task=task, values=values, degenerate=len(degenerate))
    remarks = group.setting.way_words
    if finished and not group.not_comparable_because and shown is None:
        score = context.score(task.name)
        remarks.append(f"the published number is {_convention_words(score)}" if score else "nothing published")
    if finished and verdict and verdict.kind == verdicts.NOT_COMPARABLE and group.comparable and shown:
        remarks.append(f"not comparable: {verdict.reason}")
    remarks += [shown.note] if runs and shown and shown.note else []
    if context.store is not None and finished and evidence is None:
        remarks.append("stored predictions cannot be read: no interval, and degenerate runs are not detected")
    if evidence and not evidence.splits:
        remarks.append("no interval: each seed is scored on its own half of the dev rows")
    remarks += evidence.degenerate_notes() if evidence else []
    remarks += dict.fromkeys(undefined_words(run.undefined) for run in finished if run.undefined)
    for split, count in (finished[0].data.get("overlap", {}) if finished else {}).items():
        have = "has" if count == 1 else "have"
        remarks.append(f"{plural(count, 'row')} of {split} {have} the texts of a training row")
    for status, count in group.unfinished.items():
        reason = next(run for run in runs if run.status == status).outcome.removeprefix(status).strip(" :")
        reason = reason if len(reason) <= _LONGEST else f"{reason[: _LONGEST - 1].rstrip()}…"
        remarks.append(f"{count} {status}" + (f": {reason}" if reason else ""))
    return Row(
        **{item.name: getattr(group, item.name) for item in dataclasses.fields(group)},
        title=task.title,
        metric=metric_title(parts),
        convention=context.convention_of(task),
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
        degenerate=degenerate,
        **about,
    )


def _convention_words(score: PublishedScore) -> str:
    stated = score.convention != NOT_STATED
    known = f"under the convention {score.convention}"
    return known if stated else f"{score.value:.1f}, under a convention that is not stated"


def _started_alike(run: Record) -> Record:
    """Drop from a run's reasons that it started elsewhere: the published runs started there too."""
    reasons = [reason for reason in run.not_comparable_because if reason != started_from(run.init)]
    same = len(reasons) == len(run.not_comparable_because)
    return run if same else dataclasses.replace(run, comparable=not reasons, not_comparable_because=reasons)


def read_evidence(store: RunStore, finished: Sequence[Record], *, parts: Sequence[ScorePart]) -> Evidence | None:
    """Read the predictions of all runs; None, with a warning, if a file is missing or belongs to other rows.

    A degenerate run is judged by `parts`, the scores whose mean is shown.
    """
    task, splits, degenerate = task_of(finished[0]), dict[str, SplitPredictions](), dict[str, str]()
    for split in task.validation:
        metrics = [part.metric for part in parts if part.split == split] or task.metrics
        labels, predictions = list[Floats](), list[Floats]()
        for run in finished:
            try:
                found = store.read_predictions(run, split)
            except InputError as error:
                logger.warning("%s: no interval: it has %s", store.folder(*run.place), error)
                return None
            labels.append(found.label.astype(np.float64))
            predictions.append(found.prediction.astype(np.float64))
            reason = describe_degenerate(
                labels[-1], predictions[-1], logits=found.logits, names=task.labels, metrics=metrics
            )
            if reason is not None:
                degenerate.setdefault(str(run.seed), reason)
        if len(finished) > 1 and finished[0].selection == "halves":
            continue  # each seed has its own rows, which are not resampled together
        if any(not np.array_equal(labels[0], other) for other in labels[1:]):
            logger.warning("%s %s: the labels of its runs differ; no interval", task.name, split)
            return None
        splits[split] = SplitPredictions(labels=labels[0], predictions=np.vstack(predictions))
    return Evidence(splits=splits, degenerate=degenerate)


def _score_intervals(
    evidence: Evidence, finished: Sequence[Record], *, parts: Sequence[ScorePart]
) -> dict[ScorePart | None, Interval]:
    """Compute each part's interval, and under None that of the mean of `parts`; in natural units."""
    metrics = task_of(finished[0]).metrics
    every = [ScorePart(split, metric) for split in evidence.splits for metric in metrics]
    scores = {part: [run.scores[part.split][part.metric] for run in finished] for part in every}
    keys = [*((part, [part]) for part in every), (None, parts)]

    def draw() -> Numbers:
        stream, drawn = np.random.default_rng(STREAM), dict[ScorePart, Floats]()
        for split, predictions in evidence.splits.items():
            values = resample_scores(predictions, metrics, stream=stream)
            drawn |= {ScorePart(split, metric): values[metric] for metric in metrics}
        own = {part: np.array(values) for part, values in scores.items()}
        means = [[np.mean([of[part] for part in shown], axis=0) for of in (own, drawn)] for _, shown in keys]
        return [[*dataclasses.astuple(interval_of_mean(*pair))] for pair in means]

    known = keep_numbers(draw, splits=evidence.splits, words=["intervals", STREAM, scores, *map(tuple, parts)])
    found: dict[ScorePart | None, Interval] = {}
    for (key, shown), numbers in zip(keys, known, strict=True):
        interval = Interval(*numbers)
        interval = dataclasses.replace(interval, low=max(interval.low, lowest_of(shown)), high=min(interval.high, 1.0))
        if interval.low < interval.high:  # drawing rows shows nothing where all predictions are right, or all wrong
            found[key] = interval
    return found


def lowest_of(parts: Sequence[ScorePart]) -> float:
    """Return the lowest mean that these parts can have, in natural units; the highest is 1."""
    return -1.0 if any(part.metric in CORRELATIONS for part in parts) else 0.0


def _judge(
    group: Group, context: Context, *, task: TaskConfig, values: Sequence[float], degenerate: int
) -> Verdict | None:
    score, shown = context.score(task.name), context.shown_score(task)
    if score is None or context.table is None:
        return None
    if group.obstacle:
        return group.obstacle
    if shown is None:
        return Verdict(kind=verdicts.NOT_COMPARABLE, reason=f"published {_convention_words(score)}")
    if differs := context.table.differs(shown, init=group.setting.init, method=group.setting.method):
        return Verdict(kind=verdicts.NOT_COMPARABLE, reason="; ".join(differs))
    verdict = judge_published(
        values,
        shown.value,
        rounding=context.table.rounding,
        runs=context.table.runs,
        mean=context.table.statistic == "mean",
        deviation=shown.deviation,
    )
    if verdict.kind != verdicts.REPRODUCED or not degenerate:
        return verdict
    reason = f"{degenerate} of {len(values)} seeds {'is' if degenerate == 1 else 'are'} degenerate"
    return dataclasses.replace(verdict, kind=verdicts.INCONCLUSIVE, reason=reason)  # it is their spread that reaches it


def _summarise(values: Sequence[float], interval: Interval | None) -> ScoreSummary:
    """Join scores (times 100) and an interval (in natural units) into one summary, times 100."""
    return ScoreSummary(
        median=statistics.median(values),
        minimum=min(values),
        maximum=max(values),
        mean=statistics.fmean(values),
        deviation=statistics.stdev(values) if len(values) > 1 else None,
        low=100 * interval.low if interval else None,
        high=100 * interval.high if interval else None,
    )
