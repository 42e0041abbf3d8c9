"""What every output format is made from: rows, sections, the report. Knows no records, no formats."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreSummary:
    """One score over the seeds, times 100."""

    median: float
    minimum: float
    maximum: float
    mean: float
    deviation: float | None  # standard deviation over the seeds; None with one
    low: float | None  # of the 95 % interval for the expected score; None without stored predictions
    high: float | None


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
    fingerprint: str | None  # of all texts and labels, training rows included
    seeds: Sequence[int]  # of the finished runs
    run_ids: Sequence[str]  # of the same, in the same order
    values: Sequence[float]  # of the same
    median: float | None
    minimum: float | None
    maximum: float | None
    mean: float | None
    deviation: float | None  # standard deviation over the seeds
    low: float | None  # of the 95 % interval for the expected score, for other seeds and rows
    high: float | None
    published: float | None
    published_source: str | None
    verdict: str | None  # one of glue_bench.statistics.verdicts.VERDICTS; None where nothing was published
    verdict_reason: str  # empty where the verdict says it all
    predicted_low: float | None  # of the interval that our seeds predict for a run like the published one
    predicted_high: float | None
    seeds_needed: int | None  # that would decide, where the verdict is inconclusive
    difference: float | None
    comparable: bool
    note: str
    unfinished: Mapping[str, int]  # status to number of runs: failed, diverged, interrupted
    degenerate: Mapping[str, str]  # seed to the reason, of finished runs that learned nothing
    parts: Mapping[str, ScoreSummary]  # SPLIT.METRIC, every one, whatever the convention
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
    """Everything that a format prints."""

    sections: Sequence[Section]
    footnotes: Sequence[str]
