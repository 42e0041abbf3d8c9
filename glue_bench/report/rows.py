"""The runs of one setting to one row of the table: scores, intervals, verdict, notes. Knows no formats."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from glue_bench.config.schema import TaskConfig
from glue_bench.report.cells import RowRuns, count_unfinished
from glue_bench.report.evidence import Evidence, read_evidence, score_intervals
from glue_bench.report.model import Row, ScoreSummary
from glue_bench.report.settings import setting_notes
from glue_bench.runs.record import Record, task_of
from glue_bench.runs.setting import Setting
from glue_bench.runs.store import RunStore
from glue_bench.statistics.intervals import Interval
from glue_bench.statistics.verdicts import (
    FAILED,
    INCONCLUSIVE,
    NOT_COMPARABLE,
    NOT_RUN,
    REPRODUCED,
    Verdict,
    judge_published,
)
from glue_bench.tasks.adapter import ScorePart, TaskAdapter, headline, metric_title
from glue_bench.tasks.published import PublishedScore, PublishedTable

_UNREAD = "its stored predictions cannot be read: no interval, no search for degenerate runs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What the rows of a section share."""

    table: PublishedTable | None  # of the encoder
    convention: str | None  # asked for; None for that of each published number
    differing: Mapping[str, list[str]]  # task to the facts in which its settings differ
    changes: Mapping[str, str]  # of the recipe, common to all rows
    store: RunStore | None  # with the predictions


def shown_parts(task: TaskAdapter, table: PublishedTable | None, convention: str | None) -> list[ScorePart]:
    """The scores whose mean the row shows."""
    score = table.scores.get(task.name) if table else None
    return task.parts(convention or (score.convention if score else "card"))


def build_row(row: RowRuns, context: Context) -> Row:
    """The row of one setting, or of the chosen cell of a grid."""
    finished = sorted((run for run in row.runs if run.status == "finished"), key=lambda run: run.seed)
    others = sorted((run for run in row.runs if run.status != "finished"), key=lambda run: run.seed)
    first = (finished or row.runs)[0]
    task, setting = task_of(first), Setting.of(first)
    score = context.table.scores.get(first.task) if context.table else None
    parts = shown_parts(task, context.table, context.convention)
    values = [100 * headline(parts, run.scores) for run in finished]
    # Conventions agree on tasks with one metric: what counts is that the same scores are averaged.
    shown = score if score is not None and task.parts(score.convention) == parts else None
    comparable = bool(finished) and all(run.comparable for run in finished)
    reasons = list(dict.fromkeys(reason for run in finished for reason in run.not_comparable_because))
    evidence = read_evidence(context.store, finished, task) if context.store and finished else None
    intervals = score_intervals(evidence, finished, task, parts) if evidence else {}
    verdict = _judge(row.runs, values, shown, score, context.table, comparable=comparable)
    remarks = _remark_on_published(shown, score) if finished and not reasons else []
    remarks += [shown.note] if shown is not None and shown.note else []
    remarks += [_UNREAD] if context.store is not None and finished and evidence is None else []
    remarks += [*(evidence.tell_degenerate() if evidence else []), *_tell_unfinished(row.runs)]
    return Row(
        setting=setting,
        title=task.title,
        metric=metric_title(parts),
        convention=context.convention or (score.convention if score else "card"),
        n=_validation_rows(finished, parts),
        runs=[*finished, *others],
        seeds=[run.seed for run in finished],
        run_ids=[run.run_id for run in finished],
        values=values,
        summary=_summarise(values, intervals.get(None)) if values else None,
        parts=_summarise_parts(finished, task, intervals),
        published=shown,
        verdict=_doubt(verdict, evidence, len(finished)),
        comparable=comparable,
        not_comparable_because=reasons,
        setting_notes=setting_notes(setting, context.differing.get(first.task, []), context.changes),
        choice_notes=row.notes(),
        remarks=remarks,
        unfinished=count_unfinished(row.runs),
        degenerate=evidence.degenerate if evidence else {},
        optimistic=row.optimistic,
        cells=row.cells,
    )


def missing_row(facts: TaskConfig, like: Row, table: PublishedTable, convention: str | None) -> Row:
    """The row of a task that has a published number and no run.

    Args:
        like: a row of the same section.
    """
    task, score = TaskAdapter.of(facts), table.scores[facts.name]
    parts, known = shown_parts(task, table, convention), like.setting
    return Row(
        setting=Setting(
            encoder=known.encoder,
            task=facts.name,
            recipe=known.recipe,
            data=known.data,
            recipe_changes=known.recipe_changes,
            selection=known.selection,
        ),
        title=facts.title,
        metric=metric_title(parts),
        convention=convention or score.convention,
        published=score if task.parts(score.convention) == parts else None,
        verdict=Verdict(kind=NOT_RUN, reason=""),
    )


def _judge(
    runs: Sequence[Record],
    values: Sequence[float],
    shown: PublishedScore | None,
    score: PublishedScore | None,
    table: PublishedTable | None,
    *,
    comparable: bool,
) -> Verdict | None:
    """The verdict on the published number of the row's task; None where there is none."""
    if score is None or table is None:
        return None
    if not values:
        lost = sum(run.status != "interrupted" for run in runs)
        return Verdict(kind=FAILED, reason=f"{lost} of {len(runs)}") if lost else Verdict(kind=NOT_RUN, reason="")
    if not comparable:
        reasons = dict.fromkeys(reason for run in runs for reason in run.not_comparable_because)
        return Verdict(kind=NOT_COMPARABLE, reason="; ".join(reasons))
    if shown is None:
        return Verdict(kind=NOT_COMPARABLE, reason=f"published under the convention {score.convention}")
    return judge_published(values, shown.value, rounding=table.rounding, runs=table.runs or 1)


def _doubt(verdict: Verdict | None, evidence: Evidence | None, seeds: int) -> Verdict | None:
    """The verdict, unless only the spread that runs which learned nothing add makes it *reproduced*."""
    degenerate = len(evidence.degenerate) if evidence else 0
    if verdict is None or verdict.kind != REPRODUCED or not degenerate:
        return verdict
    reason = f"{degenerate} of {seeds} seeds {'is' if degenerate == 1 else 'are'} degenerate"
    return dataclasses.replace(verdict, kind=INCONCLUSIVE, reason=reason)


def _summarise(values: Sequence[float], interval: Interval | None) -> ScoreSummary:
    """Scores times 100, and an interval in natural units, as one summary times 100."""
    return ScoreSummary(
        median=statistics.median(values),
        minimum=min(values),
        maximum=max(values),
        mean=statistics.fmean(values),
        deviation=statistics.stdev(values) if len(values) > 1 else None,
        low=100 * interval.low if interval else None,
        high=100 * interval.high if interval else None,
    )


def _summarise_parts(
    finished: Sequence[Record], task: TaskAdapter, intervals: Mapping[ScorePart | None, Interval]
) -> dict[str, ScoreSummary]:
    """Every single score, whatever the convention."""
    if not finished:
        return {}
    return {
        str(part): _summarise([100 * run.scores[part.split][part.metric] for run in finished], intervals.get(part))
        for part in task.every_part()
    }


def _remark_on_published(shown: PublishedScore | None, score: PublishedScore | None) -> list[str]:
    """Why no published number stands in the row of comparable runs."""
    if shown is not None:
        return []
    return [f"the published number is under the convention {score.convention}" if score else "nothing published"]


def _tell_unfinished(runs: Sequence[Record]) -> list[str]:
    """How many runs did not finish, and why the first of them did not."""
    told = []
    for status, count in count_unfinished(runs).items():
        reason = next(run.outcome for run in runs if run.status == status)
        told.append(f"{count} {status}" + ("" if reason == status else f": {_shorten(reason.removeprefix(status))}"))
    return told


def _shorten(text: str, limit: int = 100) -> str:
    text = text.strip(" :")
    return text if len(text) <= limit else f"{text[: limit - 1].rstrip()}…"


def _validation_rows(finished: Sequence[Record], parts: Sequence[ScorePart]) -> int | None:
    if not finished:
        return None
    rows: Mapping[str, int] = finished[0].data["rows"]
    return sum(rows[split] for split in {part.split for part in parts})
