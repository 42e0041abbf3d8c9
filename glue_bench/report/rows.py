"""The runs of one setting, with their stored predictions, to one row: scores, intervals, verdict, notes."""

import dataclasses
import logging
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from glue_bench.config.schema import TaskConfig
from glue_bench.errors import InputError
from glue_bench.report.model import Row, ScoreSummary
from glue_bench.runs.record import Record, task_of
from glue_bench.runs.setting import Setting
from glue_bench.runs.store import RunStore
from glue_bench.statistics.intervals import Floats, Interval, SplitPredictions, interval_of_mean, resample_scores
from glue_bench.statistics.verdicts import (
    FAILED,
    INCONCLUSIVE,
    NOT_COMPARABLE,
    NOT_RUN,
    REPRODUCED,
    Verdict,
    describe_degenerate,
    judge_published,
)
from glue_bench.tasks.adapter import ScorePart, TaskAdapter, headline, metric_title
from glue_bench.tasks.published import PublishedScore, PublishedTable
from glue_bench.text import plural

STREAM = 20240501  # seeds every draw, so that the same records give the same report
_LONGEST = 100  # characters of a run's error in a note

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The runs of one row: all seeds of a setting, or of the chosen cell of a grid."""

    runs: Sequence[Record]  # finished ones by seed, then the others
    cells: int = 0  # of the grid that were tried; 0 without a grid
    planned: int = 0  # cells that the grid has
    incomplete: Sequence[str] = ()  # cells with fewer finished seeds than others, in words

    @property
    def setting(self) -> Setting:
        """The setting as a finished run knows it, if there is one."""
        return Setting.of(self.runs[0])

    @property
    def finished(self) -> list[Record]:
        """The finished runs."""
        return [run for run in self.runs if run.status == "finished"]

    @property
    def optimistic(self) -> bool:
        """Whether the epoch or the cell was chosen on the rows that are scored."""
        selection = self.runs[0].selection
        return bool(self.finished) and (selection == "best" or (selection == "last" and self.cells > 1))

    def choice_notes(self) -> list[str]:
        """What was chosen, from what and on which rows."""
        if not self.finished:
            return [f"{plural(self.cells, 'cell')}, none finished"] if self.cells else []
        notes, selection = list[str](), self.setting.selection
        if self.cells:
            best = f"best of {plural(self.cells, 'cell')}" if self.cells > 1 else "one cell"
            missing = f" (the grid has {self.planned})" if self.cells < self.planned else ""
            notes.append(f"{best}{missing}: {cell_words(self.setting)}")
        elif selection != "last":
            notes.append("best epoch")
        if self.optimistic:
            notes.append("selected on the dev split: optimistic")
        elif selection == "holdout":
            notes.append("selected on held-out training rows")
        return [*notes, *([f"incomplete: {', '.join(self.incomplete)}"] if self.incomplete else [])]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What the rows of a section share."""

    table: PublishedTable | None  # of the encoder
    convention: str | None  # card or paper; None for that of each published number
    store: RunStore | None  # with the predictions

    def score(self, task: str) -> PublishedScore | None:
        """The published number of a task."""
        return self.table.scores.get(task) if self.table else None

    def convention_of(self, task: str) -> str:
        """The convention of the task's row."""
        score = self.score(task)
        return self.convention or (score.convention if score else "card")

    def parts(self, task: TaskAdapter) -> list[ScorePart]:
        """The scores whose mean the task's row shows."""
        return task.parts(self.convention_of(task.name))

    def shown_score(self, task: TaskAdapter) -> PublishedScore | None:
        """The published number, if it is of the row's metric: conventions agree where a task has one metric."""
        score = self.score(task.name)
        return score if score is not None and task.parts(score.convention) == self.parts(task) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The predictions of a row's finished runs; line s of every array belongs to run s."""

    splits: Mapping[str, SplitPredictions]
    degenerate: Mapping[str, str]  # seed to the reason

    def degenerate_notes(self) -> list[str]:
        """A line for each reason, with its seeds."""
        seeds: dict[str, list[str]] = {}
        for seed, reason in self.degenerate.items():
            seeds.setdefault(reason, []).append(seed)
        return [
            f"{'seed' if len(found) == 1 else 'seeds'} {', '.join(found)} degenerate: {reason}"
            for reason, found in seeds.items()
        ]


def build_row(group: Group, context: Context, *, setting_notes: Sequence[str]) -> Row:
    """The row of one setting, or of the chosen cell of a grid."""
    runs, finished, task = group.runs, group.finished, task_of(group.runs[0])
    parts, shown = context.parts(task), context.shown_score(task)
    values = [100 * headline(parts, run.scores) for run in finished]
    evidence = read_evidence(context.store, finished) if context.store and finished else None
    intervals = _score_intervals(evidence, finished, parts=parts) if evidence else {}
    reasons = list(dict.fromkeys(reason for run in finished for reason in run.not_comparable_because))
    verdict = _judge(runs, context, values=values)
    if verdict is not None and verdict.kind == REPRODUCED and evidence and evidence.degenerate:
        # The spread that runs which learned nothing add must not make a number "reproduced".
        lost = len(evidence.degenerate)
        reason = f"{lost} of {len(finished)} seeds {'is' if lost == 1 else 'are'} degenerate"
        verdict = dataclasses.replace(verdict, kind=INCONCLUSIVE, reason=reason)
    remarks = list[str]()
    if finished and not reasons and shown is None:
        score = context.score(task.name)
        remarks.append(
            f"the published number is under the convention {score.convention}" if score else "nothing published"
        )
    remarks += [shown.note] if shown and shown.note else []
    if context.store is not None and finished and evidence is None:
        remarks.append("stored predictions cannot be read: no interval, and degenerate runs are not detected")
    remarks += evidence.degenerate_notes() if evidence else []
    for status, count in count_unfinished(runs).items():
        reason = next(run for run in runs if run.status == status).outcome.removeprefix(status).strip(" :")
        reason = reason if len(reason) <= _LONGEST else f"{reason[: _LONGEST - 1].rstrip()}…"
        remarks.append(f"{count} {status}" + (f": {reason}" if reason else ""))
    return Row(
        setting=group.setting,
        title=task.title,
        metric=metric_title(parts),
        convention=context.convention_of(task.name),
        n=sum(finished[0].data["rows"][split] for split in {part.split for part in parts}) if finished else None,
        runs=runs,
        seeds=[run.seed for run in finished],
        run_ids=[run.run_id for run in finished],
        values=values,
        summary=_summarise(values, intervals.get(None)) if values else None,
        parts={
            str(part): _summarise([100 * run.scores[part.split][part.metric] for run in finished], intervals.get(part))
            for part in task.every_part()
            if finished
        },
        published=shown,
        verdict=verdict,
        comparable=bool(finished) and all(run.comparable for run in finished),
        not_comparable_because=reasons,
        setting_notes=setting_notes,
        choice_notes=group.choice_notes(),
        remarks=remarks,
        unfinished=count_unfinished(runs),
        degenerate=evidence.degenerate if evidence else {},
        optimistic=group.optimistic,
        cells=group.cells,
    )


def missing_row(facts: TaskConfig, context: Context, *, like: Setting) -> Row:
    """The row of a task that has a published number and no run.

    Args:
        like: the setting of a row of the same section.
    """
    task = TaskAdapter.of(facts)
    same = {key: getattr(like, key) for key in ("encoder", "recipe", "data", "recipe_changes", "selection")}
    return Row(
        setting=Setting(task=task.name, **same),
        title=task.title,
        metric=metric_title(context.parts(task)),
        convention=context.convention_of(task.name),
        published=context.shown_score(task),
        verdict=Verdict(kind=NOT_RUN, reason=""),
    )


def cell_words(setting: Setting) -> str:
    """The values of a grid's cell."""
    return " ".join(f"{key}={value}" for key, value in setting.cell.items())


def count_unfinished(runs: Sequence[Record]) -> dict[str, int]:
    """Status to number of runs, for runs without scores."""
    statuses = ("failed", "diverged", "interrupted")
    return {status: count for status in statuses if (count := sum(run.status == status for run in runs))}


def read_evidence(store: RunStore, finished: Sequence[Record]) -> Evidence | None:
    """Read the predictions of all runs; None, with a warning, if a file is missing or belongs to other rows."""
    task = task_of(finished[0])
    splits, degenerate = dict[str, SplitPredictions](), dict[str, str]()
    for split in task.validation:
        labels, predictions = list[Floats](), list[Floats]()
        for run in finished:
            folder = store.folder(*run.place)
            try:
                found = store.read_predictions(run, split)
            except InputError as error:
                logger.warning("%s: no interval, it has %s", folder, error)
                return None
            rows, expected = len(found.label), run.data["rows"][split]
            if rows != expected:
                logger.warning("%s: no interval, %s has %d rows, the record says %d", folder, split, rows, expected)
                return None
            labels.append(found.label.astype(np.float64))
            predictions.append(found.prediction.astype(np.float64))
            by_accuracy = "accuracy" in task.metrics
            reason = describe_degenerate(
                labels[-1],
                predictions[-1],
                logits=found.logits,
                names=task.labels,
                judged_by_accuracy=by_accuracy,
            )
            if reason is not None:
                degenerate.setdefault(str(run.seed), reason)
        if any(not np.array_equal(labels[0], other) for other in labels[1:]):
            logger.warning("%s %s: the labels of its runs differ; no interval", task.name, split)
            return None
        splits[split] = SplitPredictions(labels=labels[0], predictions=np.vstack(predictions))
    return Evidence(splits=splits, degenerate=degenerate)


def _score_intervals(
    evidence: Evidence, finished: Sequence[Record], *, parts: Sequence[ScorePart]
) -> dict[ScorePart | None, Interval]:
    """Each part's interval, and under None that of the mean of `parts`; in natural units."""
    stream, metrics = np.random.default_rng(STREAM), task_of(finished[0]).metrics
    scores, drawn = dict[ScorePart, Floats](), dict[ScorePart, Floats]()
    for split, predictions in evidence.splits.items():
        for metric, values in resample_scores(predictions, metrics, stream=stream).items():
            drawn[ScorePart(split, metric)] = values
            scores[ScorePart(split, metric)] = np.array([run.scores[split][metric] for run in finished])
    found: dict[ScorePart | None, Interval] = {}
    for key, shown in [*((part, [part]) for part in scores), (None, parts)]:
        interval = interval_of_mean(
            np.mean([scores[part] for part in shown], axis=0), np.mean([drawn[part] for part in shown], axis=0)
        )
        lowest = 0.0 if all(part.metric in ("accuracy", "f1") for part in shown) else -1.0
        interval = dataclasses.replace(interval, low=max(interval.low, lowest), high=min(interval.high, 1.0))
        if interval.low < interval.high:  # drawing rows shows nothing where all predictions are right, or all wrong
            found[key] = interval
    return found


def _judge(runs: Sequence[Record], context: Context, *, values: Sequence[float]) -> Verdict | None:
    """The verdict on the published number of the row's task; None where there is none."""
    task = task_of(runs[0])
    score, shown = context.score(task.name), context.shown_score(task)
    if score is None or context.table is None:
        return None
    if not values:
        lost = sum(run.status != "interrupted" for run in runs)
        return Verdict(kind=FAILED, reason=f"{lost} of {len(runs)}") if lost else Verdict(kind=NOT_RUN, reason="")
    if not all(run.comparable for run in runs if run.status == "finished"):
        reasons = dict.fromkeys(reason for run in runs for reason in run.not_comparable_because)
        return Verdict(kind=NOT_COMPARABLE, reason="; ".join(reasons))
    if shown is None:
        return Verdict(kind=NOT_COMPARABLE, reason=f"published under the convention {score.convention}")
    return judge_published(values, shown.value, rounding=context.table.rounding, runs=context.table.runs or 1)


def _summarise(values: Sequence[float], interval: Interval | None) -> ScoreSummary:
    """Scores times 100 and an interval in natural units to one summary times 100."""
    return ScoreSummary(
        median=statistics.median(values),
        minimum=min(values),
        maximum=max(values),
        mean=statistics.fmean(values),
        deviation=statistics.stdev(values) if len(values) > 1 else None,
        low=100 * interval.low if interval else None,
        high=100 * interval.high if interval else None,
    )
