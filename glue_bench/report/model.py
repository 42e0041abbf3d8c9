"""The report as data: rows, sections, costs. Every output format, the page and `--check` draw from these objects."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from glue_bench.runs.record import Record, task_of
from glue_bench.runs.setting import Setting
from glue_bench.statistics.verdicts import Verdict
from glue_bench.tasks.published import PublishedScore

REPORT_SCHEMA_VERSION = 2  # of the JSON report
CARD_TASKS = ("mnli", "qqp", "qnli", "sst2", "cola", "stsb", "mrpc", "rte")  # in the order of the model card


def card_place(task: str) -> tuple[int, str]:
    """The key that sorts tasks in the order of the model card, others after them."""
    return (CARD_TASKS.index(task) if task in CARD_TASKS else len(CARD_TASKS), task)


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

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval, if there is one."""
        return None if self.low is None or self.high is None else (self.low, self.high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Size and time of some runs of one encoder on one task: medians over the runs."""

    parameters: int | None  # with the head
    eval_seconds: float | None  # per 1,000 dev rows
    train_seconds: float | None
    tokens_per_second: float | None  # of training
    device: str

    @classmethod
    def of(cls, runs: Sequence[Record]) -> Self:
        """The cost of at least one finished run."""
        rows = sum(runs[0].data["rows"][split] for split in task_of(runs[0]).validation)
        evaluated = [1000 * run.seconds["eval"] / rows for run in runs if run.seconds.get("eval")]
        trained = [run.seconds["train"] for run in runs if run.seconds.get("train")]
        speeds = [run.tokens / run.seconds["train"] for run in runs if run.tokens and run.seconds.get("train")]
        return cls(
            parameters=runs[0].encoder.get("parameters"),
            eval_seconds=statistics.median(evaluated) if evaluated else None,
            train_seconds=statistics.median(trained) if trained else None,
            tokens_per_second=statistics.median(speeds) if speeds else None,
            device=", ".join(sorted({run.device for run in runs})),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One task of one encoder under one setting. Scores are times 100."""

    setting: Setting
    title: str  # of the task
    metric: str  # in words
    convention: str  # card or paper
    n: int | None = None  # validation rows
    runs: Sequence[Record] = ()  # finished ones by seed, then the others; empty in a row that was read from JSON
    seeds: Sequence[int] = ()  # of the finished runs
    run_ids: Sequence[str] = ()  # of the same, in the same order
    values: Sequence[float] = ()  # of the same
    summary: ScoreSummary | None = None  # None without a finished run
    parts: Mapping[str, ScoreSummary] = field(default_factory=dict)  # every SPLIT.METRIC, whatever the convention
    published: PublishedScore | None = None  # under the row's own metric
    verdict: Verdict | None = None  # None where nothing was published
    comparable: bool = False  # with published numbers
    not_comparable_because: Sequence[str] = ()
    setting_notes: Sequence[str] = ()  # what tells the setting from its recipe and from other rows
    choice_notes: Sequence[str] = ()  # how the cell of a grid or the epoch was chosen
    remarks: Sequence[str] = ()  # all else that a reader must know
    unfinished: Mapping[str, int] = field(default_factory=dict)  # status to number of runs
    degenerate: Mapping[str, str] = field(default_factory=dict)  # seed of a finished run to the reason
    optimistic: bool = False  # the epoch or the cell was selected on the rows of the score
    cells: int = 0  # of the grid that were tried; 0 without one

    @property
    def encoder(self) -> str:
        """The encoder's name."""
        return self.setting.encoder

    @property
    def task(self) -> str:
        """The task's name."""
        return self.setting.task

    @property
    def finished(self) -> list[Record]:
        """Its finished runs, by seed."""
        return [run for run in self.runs if run.status == "finished"]

    @property
    def median(self) -> float | None:
        """The score that tables show."""
        return self.summary.median if self.summary else None

    @property
    def difference(self) -> float | None:
        """Our median minus the published number, where the two are comparable."""
        if self.summary is None or self.published is None or not self.comparable:
            return None
        return self.summary.median - self.published.value

    @property
    def note(self) -> str:
        """Everything that a reader must know before comparing, most important first."""
        reasons = [f"not comparable: {'; '.join(self.not_comparable_because)}"] if self.not_comparable_because else []
        return "; ".join([*self.setting_notes, *self.choice_notes, *reasons, *self.remarks])

    def to_json(self) -> dict[str, Any]:
        """The flat object of the JSON report, schema 2; docs/report.md documents every field."""
        setting, published, verdict = self.setting, self.published, self.verdict
        empty = dict.fromkeys(ScoreSummary.__dataclass_fields__)
        return {
            **{key: getattr(setting, key) for key in ("encoder", "data", "recipe", "recipe_changes", "task")},
            **{key: getattr(self, key) for key in ("title", "metric", "convention", "n")},
            "fingerprint": (setting.fingerprint or None) if self.seeds else None,
            **{key: list(getattr(self, key)) for key in ("seeds", "run_ids", "values")},
            **(asdict(self.summary) if self.summary else empty),
            "published": published.value if published else None,
            "published_source": published.source if published else None,
            "verdict": verdict.kind if verdict else None,
            "verdict_reason": verdict.reason if verdict else "",
            "predicted_low": verdict.low if verdict else None,
            "predicted_high": verdict.high if verdict else None,
            "seeds_needed": verdict.seeds_needed if verdict else None,
            **{key: getattr(self, key) for key in ("difference", "comparable", "note", "unfinished", "degenerate")},
            "parts": {part: asdict(summary) for part, summary in self.parts.items()},
            "setting_id": setting.id,
            "init": setting.init,
            "selection": setting.selection,
            "optimistic": self.optimistic,
            "cell": setting.cell if self.seeds else {},
            "cells": self.cells,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """A finished row from what `to_json` made of it, as far as `--check` compares it: without published numbers.

        Raises:
            KeyError: a field is missing.
            TypeError, ValueError: a field is impossible.
        """
        setting = ("encoder", "data", "recipe", "recipe_changes", "task", "init", "selection", "cell")
        summary = {key: content[key] for key in ScoreSummary.__dataclass_fields__}
        if len(content["values"]) != len(content["seeds"]) or not all(map(_is_number, content["values"])):
            raise ValueError("the values of a row do not belong to its seeds")
        if not all(value is None or _is_number(value) for value in (content["n"], *summary.values())):
            raise ValueError("n or the interval of a row is not a number")
        if not isinstance(content["run_ids"], list):
            raise ValueError("the run_ids of a row are not a list")
        return cls(
            setting=Setting(
                **{key: content[key] for key in setting},
                id=content["setting_id"],
                fingerprint=content["fingerprint"] or "",
            ),
            **{key: content[key] for key in ("title", "metric", "convention", "n", "seeds", "values")},
            run_ids=[str(run_id) for run_id in content["run_ids"]],
            summary=ScoreSummary(**summary),
        )


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


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
