"""The report as data: rows, sections, costs. Every output format, the page and `--check` draw from these objects."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from glue_bench.runs.record import Record, task_of
from glue_bench.runs.setting import Setting
from glue_bench.statistics.verdicts import Verdict
from glue_bench.tasks.published import PublishedScore
from glue_bench.text import plural

REPORT_SCHEMA_VERSION = 2  # of the JSON report
CARD_TASKS = ("mnli", "qqp", "qnli", "sst2", "cola", "stsb", "mrpc", "rte")  # in the order of the model card


def card_place(task: str) -> tuple[int, str]:
    """Return the key that sorts tasks in the order of the model card, others after them."""
    return (CARD_TASKS.index(task) if task in CARD_TASKS else len(CARD_TASKS), task)


def median(values: Sequence[float]) -> float | None:
    """Return the median, if there are values."""
    return statistics.median(values) if values else None


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
        """Summarise the cost of at least one finished run."""
        rows = sum(runs[0].data["rows"][split] for split in task_of(runs[0]).validation)
        trained = [run for run in runs if run.seconds.get("train")]
        return cls(
            parameters=runs[0].encoder.get("parameters"),
            eval_seconds=median([1000 * run.seconds["eval"] / rows for run in runs if run.seconds.get("eval")]),
            train_seconds=median([run.seconds["train"] for run in trained]),
            tokens_per_second=median([run.tokens / run.seconds["train"] for run in trained if run.tokens]),
            device=", ".join(sorted({run.device for run in runs})),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The runs of one row: all seeds of a setting, or of the chosen cell of a grid."""

    setting: Setting  # from a finished run, if there is one
    runs: Sequence[Record] = ()  # finished ones by seed, then the others
    cells: int = 0  # of the grid that were tried; 0 without a grid
    planned: int = 0  # cells that the grid has
    incomplete: Sequence[str] = ()  # cells with fewer finished seeds than others, in words

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
        return [run for run in self.runs if run.finished]

    @property
    def seeds(self) -> list[int]:
        """The seeds of the finished runs."""
        return [run.seed for run in self.finished]

    @property
    def cell_words(self) -> str:
        """The values of the grid's cell."""
        return " ".join(f"{key}={value}" for key, value in self.setting.cell.items())

    @property
    def unfinished(self) -> dict[str, int]:
        """Status to number of runs, for runs without scores."""
        counts = Counter(run.status for run in self.runs)
        return {status: counts[status] for status in ("failed", "diverged", "interrupted") if counts[status]}

    @property
    def comparable(self) -> bool:
        """Whether its scores can be compared with published numbers."""
        return bool(self.finished) and all(run.comparable for run in self.finished)

    @property
    def not_comparable_because(self) -> list[str]:
        """Why they cannot, each reason once."""
        return list(dict.fromkeys(reason for run in self.finished for reason in run.not_comparable_because))

    @property
    def optimistic(self) -> bool:
        """Whether the epoch or the cell was chosen on the rows that are scored."""
        selection = self.setting.selection
        return bool(self.finished) and (selection == "best" or (selection == "last" and self.cells > 1))

    @property
    def choice_notes(self) -> list[str]:
        """What was chosen, from what and on which rows."""
        if not self.finished:
            return [f"{plural(self.cells, 'cell')}, none finished"] if self.cells else []
        notes, selection = list[str](), self.setting.selection
        if self.cells:
            best = f"best of {plural(self.cells, 'cell')}" if self.cells > 1 else "one cell"
            missing = f" (the grid has {self.planned})" if self.cells < self.planned else ""
            notes.append(f"{best}{missing}: {self.cell_words}")
        elif selection != "last":
            notes.append("best epoch")
        if self.optimistic:
            notes.append("selected on the dev split: optimistic")
        elif selection == "holdout":
            notes.append("selected on held-out training rows")
        return [*notes, *([f"incomplete: {', '.join(self.incomplete)}"] if self.incomplete else [])]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row(Group):
    """One task of one encoder under one setting. Scores are times 100."""

    title: str  # of the task
    metric: str  # in words
    convention: str  # card or paper
    n: int | None = None  # validation rows
    values: Sequence[float] = ()  # of the finished runs
    summary: ScoreSummary | None = None  # None without a finished run
    parts: Mapping[str, ScoreSummary] = field(default_factory=dict)  # every SPLIT.METRIC, whatever the convention
    published: PublishedScore | None = None  # under the row's own metric
    verdict: Verdict | None = None  # None where nothing was published
    setting_notes: Sequence[str] = ()  # how the setting differs from its recipe and from other rows
    remarks: Sequence[str] = ()  # all else that a reader must know
    degenerate: Mapping[str, str] = field(default_factory=dict)  # seed of a finished run to the reason

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
        """Return the flat object of the JSON report, schema 2; docs/report.md documents every field."""
        setting, published, verdict = self.setting, self.published, self.verdict
        empty = dict.fromkeys(ScoreSummary.__dataclass_fields__)
        return {
            **{key: getattr(setting, key) for key in ("encoder", "data", "recipe", "recipe_changes", "task")},
            **{key: getattr(self, key) for key in ("title", "metric", "convention", "n")},
            "fingerprint": (setting.fingerprint or None) if self.seeds else None,
            "seeds": self.seeds,
            "run_ids": [run.run_id for run in self.finished],
            "values": list(self.values),
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
            **{key: getattr(setting, key) for key in ("init", "selection")},
            "optimistic": self.optimistic,
            "cell": setting.cell if self.seeds else {},
            "cells": self.cells,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """The rows of one encoder on one data source with one recipe, and their mean if all eight tasks are present."""

    encoder: str
    data: str
    recipe: str
    recipe_changes: Mapping[str, str]  # common to all rows
    rows: Sequence[Row]
    averaged: Sequence[Row]  # of the mean: those that begin with pretrained weights, if they cover the eight tasks
    mean: float | None
    published_mean: float | None  # of the same eight tasks, where the row shows published numbers
    published_title: str | None

    @property
    def conditions(self) -> str:
        """Data and recipe, with the changes of the recipe that all rows share."""
        changes = ", ".join(f"{name}={value}" for name, value in self.recipe_changes.items())
        return f"{self.data}, recipe {self.recipe}{f' with {changes}' if changes else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that a format prints."""

    sections: Sequence[Section]
    footnotes: Sequence[str]
