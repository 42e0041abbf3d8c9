"""The runs of one setting to one row of the table: scores, intervals, verdict, notes. Knows no formats."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from glue_bench.config.schema import TaskConfig
from glue_bench.report.cells import RowRuns, count_unfinished
from glue_bench.report.evidence import Evidence, read_evidence, score_intervals
from glue_bench.report.model import Row, ScoreSummary
from glue_bench.report.settings import describe_data, recipe_changes, representative, setting_notes
from glue_bench.runs.record import Record, task_of
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

_SUMMARY = tuple(item.name for item in dataclasses.fields(ScoreSummary))
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
    first = representative(row.runs)
    task = task_of(first)
    score = context.table.scores.get(first.task) if context.table else None
    parts = shown_parts(task, context.table, context.convention)
    finished = sorted((run for run in row.runs if run.status == "finished"), key=lambda run: run.seed)
    values = [100 * headline(parts, run.scores) for run in finished]
    # Conventions agree on tasks with one metric: what counts is that the same scores are averaged.
    shown = score if score is not None and task.parts(score.convention) == parts else None
    comparable = bool(finished) and all(run.comparable for run in finished)
    evidence = read_evidence(context.store, finished, task) if context.store and finished else None
    intervals = score_intervals(evidence, finished, task, parts) if evidence else {}
    whole = _summarise(values, intervals.get(None)) if values else None
    verdict = _judge(row.runs, values, shown, score, context.table, comparable=comparable)
    verdict = _doubt(verdict, evidence, len(finished))
    lost = context.store is not None and bool(finished) and evidence is None
    told = [
        *([_UNREAD] if lost else []),
        *(evidence.tell_degenerate() if evidence else []),
        *_tell_unfinished(row.runs),
    ]
    setting = [*setting_notes(first, context.differing.get(first.task, []), context.changes), *row.notes()]
    return Row(
        encoder=first.encoder["name"],
        data=describe_data(first),
        recipe=first.recipe,
        recipe_changes=recipe_changes(first),
        task=first.task,
        title=task.title,
        metric=metric_title(parts),
        convention=context.convention or (score.convention if score else "card"),
        n=_validation_rows(finished, parts),
        fingerprint=finished[0].data.get("fingerprint") if finished else None,
        seeds=[run.seed for run in finished],
        run_ids=[run.run_id for run in finished],
        values=values,
        **(dataclasses.asdict(whole) if whole else dict.fromkeys(_SUMMARY)),
        published=shown.value if shown else None,
        published_source=shown.source if shown else None,
        difference=whole.median - shown.value if shown and whole and comparable else None,
        verdict=verdict.kind if verdict else None,
        verdict_reason=verdict.reason if verdict else "",
        predicted_low=verdict.low if verdict else None,
        predicted_high=verdict.high if verdict else None,
        seeds_needed=verdict.seeds_needed if verdict else None,
        comparable=comparable,
        note=_note(finished, shown, score, setting, told),
        unfinished=count_unfinished(row.runs),
        degenerate=evidence.degenerate if evidence else {},
        parts=_summarise_parts(finished, task, intervals),
        setting_id=first.setting_id,
        init=first.init_kind,
        selection=first.selection,
        optimistic=row.optimistic,
        cell=row.cell,
        cells=row.cells,
    )


def missing_row(facts: TaskConfig, like: Row, table: PublishedTable, convention: str | None) -> Row:
    """The row of a task that has a published number and no run.

    Args:
        like: a row of the same section.
    """
    task, score = TaskAdapter.of(facts), table.scores[facts.name]
    parts = shown_parts(task, table, convention)
    shown = score if task.parts(score.convention) == parts else None
    empty: dict[str, None] = dict.fromkeys(("n", "fingerprint", "difference", *_SUMMARY))
    return Row(
        encoder=like.encoder,
        data=like.data,
        recipe=like.recipe,
        recipe_changes=like.recipe_changes,
        task=facts.name,
        title=facts.title,
        metric=metric_title(parts),
        convention=convention or score.convention,
        seeds=[],
        run_ids=[],
        values=[],
        **empty,
        published=shown.value if shown else None,
        published_source=shown.source if shown else None,
        verdict=NOT_RUN,
        verdict_reason="",
        predicted_low=None,
        predicted_high=None,
        seeds_needed=None,
        comparable=False,
        note="",
        unfinished={},
        degenerate={},
        parts={},
        setting_id="",
        init="pretrained",
        selection=like.selection,
        optimistic=False,
        cell={},
        cells=0,
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


def _note(
    finished: Sequence[Record],
    shown: PublishedScore | None,
    score: PublishedScore | None,
    setting: Sequence[str],
    runs: Sequence[str],
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
    return "; ".join([*notes, *runs])


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
