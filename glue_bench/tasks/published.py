"""Published numbers with their sources, from published_rows/ and the user's own folder. Knows no runs."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from glue_bench.config.schema import CONVENTIONS
from glue_bench.config.task import TaskConfig
from glue_bench.errors import did_you_mean
from glue_bench.reading import build_plain, conform, read_json

logger = logging.getLogger(__name__)

NOT_STATED = "not stated"
BEST_OF_GRID = "best of grid"
Statistic = Literal["median", "mean", "best of grid", "one run", "not stated"]
Start = Literal["pretrained", "mnli", "not stated"]
Method = Literal["full", "lora", "adalora", "adapters", "bitfit"]
Status = Literal["read", "quoted"]
Numbers = Mapping[str, list[float | None]]  # by task: one number, or a pair
_RECIPES = {"card": "default", "ettin": "modernbert"}  # of protocols whose recipe has another name
_MOST_DECIMALS, _HIGHEST = 6, 100
_OTHERS = "others"  # the key for all tasks that are not named
_SPREADS = {"deviation": "deviations", "minimum": "minima", "maximum": "maxima", "best": "best"}
PUBLISHED_ROWS = Path(__file__).resolve().parent / "published_rows"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedScore:
    """One number of a published row, in per cent, or correlation times 100. What is None is not stated."""

    task: str
    value: float  # as printed; of a pair, the mean, or the number that is there
    convention: str  # card or paper: decides which scores it is the mean of; or SPLIT.METRIC, or "not stated"
    metric: str  # in words
    split: str
    n: int | None  # rows of that split
    source: str
    note: str
    deviation: float | None = None  # standard deviation over the runs
    minimum: float | None = None
    maximum: float | None = None
    best: float | None = None
    start: Start = "not stated"
    pair: Sequence["PublishedScore"] = ()  # both numbers, where two are printed

    def under(self, task: TaskConfig, convention: str) -> "PublishedScore | None":
        """Return the number for the scores that the task shows under a convention, if the source states it."""
        parts, own = task.parts(convention), [part for each in self.pair for part in task.parts(each.convention)]
        whole = () if own and {*own} != {*task.parts(self.convention)} else (self,)  # the mean of another pair
        known = (s for s in (*whole, *self.pair) if task.states(s.convention) and task.parts(s.convention) == parts)
        return next(known, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedTable:
    """One published row: one encoder, fine-tuned by one protocol."""

    name: str  # the file's name, or the row's own in a file of several
    title: str
    hub_ids: tuple[str, ...]  # of the encoder that was fine-tuned; empty if not sure
    protocol: str  # in words
    runs: int | None = None  # behind each number; None if not documented
    rounding: float  # half a unit of the numbers' last digit
    convention_evidence: str
    scores: Mapping[str, PublishedScore]  # by task
    source: str = ""
    status: Status = "read"  # in the authors' own source, or quoted by somebody
    protocol_name: str = NOT_STATED
    statistic: Statistic = "not stated"
    method: Method = "full"
    rank: int | None = None  # of LoRA
    parameters: int | None = None  # that were trained
    note: str = ""

    @property
    def recipe(self) -> str:
        """The recipe that follows the row's protocol, if there is one."""
        return _RECIPES.get(self.protocol_name, self.protocol_name)

    def differs(self, score: PublishedScore, *, init: str, method: str = "full") -> list[str]:
        """Say why a number cannot be compared with a median over seeds, started from `init`, trained by `method`."""
        theirs, ours = ("full fine-tuning" if name == "full" else name for name in (self.method, method))
        reasons = [] if theirs == ours else [f"published for {theirs}, ours is {ours}"]
        if score.start not in (NOT_STATED, init):
            reasons.append(f"published with the start {score.start}, ours is {init}")
        if self.statistic == BEST_OF_GRID:
            reasons.append("published is the best of a grid, ours a median over seeds")
        return reasons

    def unreachable(self, tasks: Mapping[str, TaskConfig]) -> list[str]:
        """Name each number that may be an accuracy, but cannot be that of one run on the official dev rows."""
        notes = list[str]()
        for score in (one for whole in self.scores.values() for one in whole.pair or (whole,)):
            if (task := tasks.get(score.task)) is None:
                continue
            part, *others = task.parts(score.convention if task.states(score.convention) else "paper")
            n = task.rows.get(part.split)
            if others or part.metric != "accuracy" or not n or is_share(score.value, n, rounding=self.rounding):
                continue
            other = ""
            if self.statistic == "mean":  # of whole numbers of rows
                may = not self.runs or is_share(score.value, n * self.runs, rounding=self.rounding)
                other = f", {'but may be' if may else 'nor'} the mean of {self.runs or 'several'} runs"
            notes.append(f"{score.task} {score.value:g} cannot be the accuracy of one run on {n:,} rows{other}")
        return notes


def is_share(value: float, n: int, *, rounding: float) -> bool:
    """Return whether some whole number of `n` rows is `value` per cent, give or take half a unit of its last digit."""
    exact, half = Fraction(str(value)), Fraction(str(rounding))
    return abs(Fraction(100 * round(exact * n / 100), n) - exact) <= half


def load_published(extra: Path | None = None) -> list[PublishedTable]:
    """Load the rows that ship with the package, and those in `extra`, which replace any of the same name."""
    tables = dict[str, PublishedTable]()
    for folder in (PUBLISHED_ROWS, extra):
        for path in sorted(folder.glob("*.json")) if folder else []:
            try:
                tables |= {table.name: table for table in read_published(path)}
            except (OSError, ValueError) as error:
                logger.warning("%s: not a table of published numbers, ignored (%s)", path, error)
    return list(tables.values())


def find_table(
    tables: Sequence[PublishedTable], hub_id: str | None, *, recipe: str | None = None, method: str = "full"
) -> PublishedTable | None:
    """Find the row to compare with: of the same method or full fine-tuning, read rather than quoted, by the recipe."""
    return min(
        find_tables(tables, hub_id),
        key=lambda row: (row.method != method, row.method != "full", row.status != "read", recipe != row.recipe),
        default=None,
    )


def find_tables(tables: Sequence[PublishedTable], hub_id: str | None) -> list[PublishedTable]:
    """Find every row of the encoder with this hub id, ignoring case."""
    lower = (hub_id or "").lower()
    return [table for table in tables if lower in (known.lower() for known in table.hub_ids)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Columns:
    """What a row states about its numbers, by task; `others` stands for the tasks that are not named."""

    scores: Numbers
    metrics: Mapping[str, list[str]] = field(default_factory=dict)  # card, paper, SPLIT.METRIC or "not stated" of each
    deviations: Numbers = field(default_factory=dict)
    minima: Numbers = field(default_factory=dict)
    maxima: Numbers = field(default_factory=dict)
    best: Numbers = field(default_factory=dict)
    start: Mapping[str, Start] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)


def read_published(path: Path) -> list[PublishedTable]:
    """Read a file of one row, or of several (`rows`) with the keys that they share; an OSError or a ValueError."""
    content = read_json(path)
    conform(Mapping[str, Any], content, where="the file")
    if "rows" not in content:
        return [_read_row(content, name=path.stem)]
    rows, tables = content.pop("rows"), list[PublishedTable]()
    conform(list[Mapping[str, Any]], rows, where="rows")
    for at, row in enumerate(rows):
        try:
            tables.append(_read_row({"convention_evidence": "", **content, **row}, name=f"{path.stem}-{at + 1}"))
        except ValueError as error:
            raise ValueError(f"rows[{at}]: {error}") from None
    return tables


def _read_row(content: Mapping[str, Any], *, name: str) -> PublishedTable:
    decimals = content.get("decimals", 1)
    conform(int, decimals, where="decimals")
    if not 0 <= decimals <= _MOST_DECIMALS:
        raise ValueError(f"decimals is {decimals}; must be 0 to {_MOST_DECIMALS}")
    keys, columns = PublishedTable.__dataclass_fields__, _Columns.__dataclass_fields__
    about = {"name": name, **{key: content[key] for key in keys if key in content}, "rounding": 0.5 * 10**-decimals}
    conform(PublishedTable, about | ({"scores": {}} if "scores" in about else {}), where="")
    if isinstance(about["scores"], list):
        scores = [build_plain(PublishedScore, each, where=f"scores[{at}]") for at, each in enumerate(about["scores"])]
    else:
        known = [*(key for key in keys if key != "rounding"), "decimals", *columns]
        if unknown := next((key for key in content if key not in known), None):
            raise ValueError(f"{unknown} is not a key{did_you_mean(unknown, known)}")
        stated = {key: content[key] for key in columns if key in content}
        scores = _read_columns(build_plain(_Columns, stated, where=""), source=content.get("source", ""))
    for score in (one for whole in scores for one in (whole, *whole.pair)):
        if not -_HIGHEST <= score.value <= _HIGHEST:
            raise ValueError(f"the value of {score.task} is {score.value}; must be -{_HIGHEST} to {_HIGHEST}")
        if (score.deviation or 0) < 0:
            raise ValueError(f"the deviation of {score.task} is {score.deviation}; must be 0 or more")
        if score.convention not in (*CONVENTIONS, NOT_STATED) and "." not in score.convention:
            allowed = did_you_mean(score.convention, (*CONVENTIONS, "SPLIT.METRIC", NOT_STATED))
            raise ValueError(f"the convention of {score.task} is {score.convention!r}{allowed}")
    about |= {"hub_ids": tuple(content["hub_ids"]), "scores": {score.task: score for score in scores}}
    table = PublishedTable(**{"statistic": "median" if content.get("runs") else NOT_STATED, **about})
    if table.runs is not None and (table.runs < 1 or (table.statistic == "median" and table.runs % 2 == 0)):
        raise ValueError(f"runs is {table.runs!r}; it must be an odd whole number, or null")
    return table


def _read_columns(columns: _Columns, *, source: str) -> list[PublishedScore]:
    scores = list[PublishedScore]()
    for task, numbers in columns.scores.items():
        words = columns.metrics.get(task, columns.metrics.get(_OTHERS, [NOT_STATED] * len(numbers)))
        named = len(words) == len(numbers) and (len(numbers) == 1 or all("." in word for word in words))
        if not named or not 1 <= len(numbers) <= 2 or numbers[0] is None:
            two = f"two with a SPLIT.METRIC in metrics.{task} for each, as in validation.f1"
            raise ValueError(f"scores.{task} must be one number, or {two}")
        start = columns.start.get(task, columns.start.get(_OTHERS, NOT_STATED))
        about: dict[str, Any] = {"task": task, "split": "dev", "n": None, "source": source, "start": start}
        about["note"], each = columns.notes.get(task, ""), list[PublishedScore]()
        for at, (value, word) in enumerate(zip(numbers, words, strict=True)):
            if value is not None:
                spread = {key: getattr(columns, name).get(task, [])[at:] for key, name in _SPREADS.items()}
                found = {key: left[0] for key, left in spread.items() if left}
                each.append(PublishedScore(**about, **found, value=value, convention=word, metric=word))
        if len(each) == 2:  # the mean of a pair is what the convention `card` shows
            mean = fmean(score.value for score in each)
            each = [PublishedScore(**about, value=mean, convention="card", metric="card", pair=tuple(each))]
        scores += each
    return scores
