"""What the page shows, as plain data with nothing left to decide. Knows no records, no HTML."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One row of the report, as every plot names and draws it."""

    place: int  # colour, marker and dashes
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What follows from a comparison with a published number."""

    kind: str  # one of glue_bench.statistics.verdicts.VERDICTS
    words: str  # as shown
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRow:
    """One task of one encoder under one setting. Scores are times 100."""

    series: Series
    encoder: str
    task: str
    title: str
    metric: str
    n: int | None  # dev rows
    seeds: Sequence[int]
    values: Sequence[float]  # of the seeds, in their order
    median: float | None
    minimum: float | None
    maximum: float | None
    mean: float | None
    sd: float | None
    interval: tuple[float, float] | None  # 95 %
    published: float | None
    published_source: str | None
    difference: float | None
    verdict: Verdict | None
    note: str
    optimistic: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreSection:
    """One encoder on one data source with one recipe."""

    label: str
    title: str
    rows: Sequence[ScoreRow]
    headline: Sequence[ScoreRow | None]  # one for each task of the page, or None
    headline_notes: Mapping[str, str]  # task to which of its settings the headline shows, where it has several
    mean: float | None
    published_mean: float | None
    published_title: str | None
    mean_note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table."""

    title: str
    numeric: bool = False
    text: bool = False  # holds sentences: wide, and with a direction of writing of their own


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of words and numbers; the first cell of a row is its name."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A plot, what it shows in words, and its numbers."""

    title: str
    svg: str  # safe markup, made by `drawing`
    caption: str = ""
    table: Table | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Figures and tables under one heading of a chapter; without a title, right under the chapter's own."""

    title: str = ""
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """A part of the page."""

    id: str
    title: str
    intro: Sequence[str]  # paragraphs
    groups: Sequence[Group] = ()
    key: bool = False  # colours, markers and dashes are told above the plots
    paired: bool = False  # groups of two small figures, side by side where there is room


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """How the numbers of one row were made."""

    title: str
    command: str
    command_notes: Sequence[str]
    facts: Sequence[tuple[str, str]]  # name and value
    trainer: Sequence[tuple[str, str]]  # every value of the trainer
    runs: Table


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginSection:
    """The rows of one section, and the command that makes them all, where one does."""

    title: str
    command: str | None
    origins: Sequence[Origin]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The whole page."""

    title: str
    summary: str
    series: Sequence[Series]  # of every plot
    tasks: Sequence[str]  # titles, in the card's order
    sections: Sequence[ScoreSection]
    verdicts: Sequence[Verdict]  # that occur, once each, for the key under the table
    footnotes: Sequence[str]
    chapters: Sequence[Chapter]
    origins: Sequence[OriginSection]
    origin_notes: Sequence[str] = field(default_factory=tuple)
