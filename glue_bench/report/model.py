"""The report as data, and the notes on it. Every output format, the page and `--check` draw from these objects."""

import functools
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import jinja2

from glue_bench.config.task import undefined_words
from glue_bench.runs.record import STATUSES, Record, task_of
from glue_bench.runs.setting import Setting, show_words
from glue_bench.statistics.intervals import DRAWS
from glue_bench.statistics.verdicts import FAILED, FEWEST_SEEDS, NOT_COMPARABLE, NOT_RUN, Verdict
from glue_bench.tasks.published import PublishedScore, PublishedTable
from glue_bench.text import escape_latex, escape_markdown, plural

CARD_TASKS = ("mnli", "qqp", "qnli", "sst2", "cola", "stsb", "mrpc", "rte")  # in the order of the model card
# Around blocks, values and comments of templates: LaTeX needs the braces.
_MARKS = {"block_start_string": "<%", "block_end_string": "%>", "variable_start_string": "<<"}
_MARKS |= {"variable_end_string": ">>", "comment_start_string": "<#", "comment_end_string": "#>"}
_FILTERS: dict[str, Any] = {"latex": escape_latex, "markdown": escape_markdown, "plural": plural}
_FILTERS |= {"commas": "{:,}".format, "share": "{:.1f} %".format, "undefined": undefined_words}
_FILTERS["cell"] = lambda text: re.sub(r"^-(?=\d)|(?<= to )-", "$-$", escape_latex(text))
_FILTERS["number"] = lambda value: "--" if value is None else f"{value:.1f}".replace("-", "$-$")


def make_environment(folder: Path, **options: Any) -> jinja2.Environment:
    """Return the environment in which all templates of a folder are read."""
    usual: dict[str, Any] = {"trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True, **options}
    loader = jinja2.FileSystemLoader(folder)
    return jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined, **usual)  # noqa: S701


@functools.cache
def load_template(name: str) -> jinja2.Template:
    """Load a template of templates/; it escapes values by filters."""
    environment = make_environment(Path(__file__).parent / "templates", **_MARKS)
    environment.filters |= _FILTERS
    environment.globals |= {"draws": f"{DRAWS:,}", "fewest": FEWEST_SEEDS, "write_notes": write_notes}
    return environment.get_template(name)


def write_notes(place: str, *about: object) -> list[str]:
    """Write the notes of one place: a macro of notes.txt, with its arguments."""
    text = getattr(load_template("notes.txt").module, place)(*about)
    return [" ".join(note.split()) for note in text.split("\n\n") if note.strip()]


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
    """The runs of one row: all seeds of a setting, or of a cell of a grid."""

    setting: Setting  # from a finished run, if there is one
    runs: Sequence[Record] = ()  # finished ones by seed, then the others
    cells: int = 0  # of the grid that were tried; 0 without a grid
    planned: int = 0  # cells that the grid has
    tried: Sequence["Group"] = ()  # cells of a grid with finished runs, sorted by their values
    score: float | None = None  # median of those that a cell is chosen by, times 100; None without a finished run
    incomplete: Sequence[str] = ()  # cells with fewer finished seeds than others, in words

    @property
    def task(self) -> str:
        """The task's name."""
        return self.setting.task

    @property
    def order(self) -> tuple[int, str]:
        """Its sort key: tasks in the order of the model card, others after them."""
        return (CARD_TASKS.index(self.task) if self.task in CARD_TASKS else len(CARD_TASKS), self.task)

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
    def lost(self) -> list[Record]:
        """The runs without scores, by seed."""
        return [run for run in self.runs if not run.finished]

    @property
    def unfinished(self) -> dict[str, int]:
        """Status to number of runs, for runs without scores."""
        counts = {status: sum(run.status == status for run in self.runs) for status in STATUSES if status != "finished"}
        return {status: count for status, count in counts.items() if count}

    @property
    def comparable(self) -> bool:
        """Whether its scores can be compared with published numbers."""
        return bool(self.finished) and all(run.comparable for run in self.finished)

    @property
    def not_comparable_because(self) -> list[str]:
        """Why they cannot, each reason once."""
        return list(dict.fromkeys(reason for run in self.finished for reason in run.not_comparable_because))

    @property
    def obstacle(self) -> Verdict | None:
        """The verdict if its runs cannot be compared with any published number."""
        if self.finished:
            reason = "; ".join(self.not_comparable_because)
            return None if self.comparable else Verdict(kind=NOT_COMPARABLE, reason=reason)
        lost = sum(run.status != "interrupted" for run in self.runs)
        return Verdict(kind=FAILED, reason=f"{lost} of {len(self.runs)}") if lost else Verdict(kind=NOT_RUN, reason="")

    @property
    def optimistic(self) -> bool:
        """Whether the epoch or the cell was chosen on the rows that are scored."""
        selection = self.setting.selection
        return bool(self.finished) and (selection == "best" or (selection == "last" and self.cells > 1))

    @property
    def choice_notes(self) -> list[str]:
        """What was chosen, from what and on which rows."""
        return write_notes("choices", self)


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
    differs: Mapping[str, Any] = field(default_factory=dict)  # what distinguishes settings of the section: key to value
    setting_notes: Sequence[str] = ()  # other trainer values that are not the recipe's
    remarks: Sequence[str] = ()  # all else that a reader must know
    degenerate: Mapping[str, str] = field(default_factory=dict)  # seed of a finished run to the reason
    others: Mapping[str, "Row"] = field(default_factory=dict)  # the encoder's other published rows: compared with those

    @property
    def line(self) -> str:
        """What distinguishes its setting, in words; the values of a cell are those of its grid, whichever was best."""
        searched = self.setting.searched if self.cells else []
        words = show_words({name: value for name, value in self.differs.items() if name not in searched})
        return ", ".join(filter(None, (words, "best of a grid" * any(name in self.differs for name in searched))))

    @property
    def median(self) -> float | None:
        """The score that tables show."""
        return self.summary.median if self.summary else None

    @property
    def few_seeds(self) -> bool:
        """Whether there are two seeds whose interval reaches a limit of the score: too few to judge training noise."""
        found = self.summary
        return len(self.seeds) == 2 and found is not None and (found.low in (0, -100) or found.high == 100)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval, if there is one and the seeds suffice for it."""
        low, high = (self.summary.low, self.summary.high) if self.summary else (None, None)
        return None if low is None or high is None or self.few_seeds else (low, high)

    @property
    def difference(self) -> float | None:
        """Our median minus the published number, where the two are comparable."""
        judged = self.verdict is not None and self.verdict.kind != NOT_COMPARABLE
        if self.summary is None or self.published is None or not self.comparable or not judged:
            return None
        return self.summary.median - self.published.value

    @property
    def doubtful(self) -> bool:
        """Whether a star marks its score in a table without notes."""
        return bool(self.seeds) and (not self.comparable or self.optimistic or bool(self.degenerate))

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
            "differs": dict(self.differs),
            "optimistic": self.optimistic,
            "cell": setting.cell if self.seeds else {},
            "cells": self.cells,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The rows of a section that share a setting, one per task, with their mean if all eight tasks are present."""

    words: str  # what distinguishes the setting from the section's others; empty if there is one
    rows: Sequence[Row]
    mean: float | None
    published_mean: float | None  # of the same eight tasks, where the row shows published numbers

    @property
    def values(self) -> dict[str, Any]:
        """What distinguishes the setting: key to value, empty where its rows differ in it."""
        every = [row.differs for row in self.rows if row.runs]
        return {name: every[0][name] if len({str(each[name]) for each in every}) == 1 else "" for name in every[0]}

    @property
    def notes(self) -> list[str]:
        """What a reader of the mean must know."""
        rows = [row for row in self.rows if row.task in CARD_TASKS]
        notes = [] if all(row.comparable for row in rows) else ["not comparable"]
        return [*notes, *(["selected on the dev split: optimistic"] if any(row.optimistic for row in rows) else [])]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """The rows of one encoder on one data source with one recipe."""

    name: str  # brief, and unique in the report
    encoder: str
    data: str
    recipe: str
    recipe_changes: Mapping[str, str]  # common to all rows
    rows: Sequence[Row]
    lines: Sequence[Line]  # in the order of the rows
    table: PublishedTable | None  # of the published numbers

    @property
    def differs(self) -> list[str]:
        """The keys that distinguish its settings."""
        return [*dict.fromkeys(name for row in self.rows for name in row.differs)]

    @property
    def published(self) -> dict[str, float]:
        """The published number of each task."""
        return {row.task: row.published.value for row in self.rows if row.published}

    @property
    def shown_published_mean(self) -> float | None:
        """The mean beside these numbers, of the first setting that has one."""
        return next((line.published_mean for line in self.lines if line.published_mean is not None), None)

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

    @property
    def finished(self) -> list[Row]:
        """The rows with finished runs."""
        return [row for section in self.sections for row in section.rows if row.seeds]
