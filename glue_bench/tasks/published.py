"""Published numbers with their sources, from published_rows/ and the user's own folder. Knows no runs."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Required, TypedDict

from glue_bench.config.schema import CONVENTIONS
from glue_bench.errors import did_you_mean
from glue_bench.reading import build_plain, conform, read_json

logger = logging.getLogger(__name__)

_MOST_DECIMALS, _HIGHEST = 6, 100
PUBLISHED_ROWS = Path(__file__).resolve().parent / "published_rows"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedScore:
    """One number of a published table."""

    task: str
    value: float  # as printed: per cent, or correlation times 100
    convention: str  # card or paper: decides which scores it is the mean of
    metric: str  # in words
    split: str
    n: int  # rows of that split
    source: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedTable:
    """One model's published numbers."""

    name: str  # the file's name
    title: str
    hub_ids: tuple[str, ...]  # of the encoder that was fine-tuned
    protocol: str
    runs: int | None  # odd; each number is the median of this many runs; None if not documented
    rounding: float  # half a unit of the numbers' last digit
    convention_evidence: str
    scores: Mapping[str, PublishedScore]  # by task


def load_published(extra: Path | None = None) -> list[PublishedTable]:
    """Load the tables that ship with the package, and those in `extra`, which replace any of the same name."""
    tables = {}
    for folder in (PUBLISHED_ROWS, extra):
        for path in sorted(folder.glob("*.json")) if folder else []:
            try:
                tables[path.stem] = _read_table(path)
            except (OSError, ValueError) as error:
                logger.warning("%s: not a table of published numbers, ignored (%s)", path, error)
    return list(tables.values())


def find_table(tables: list[PublishedTable], hub_id: str | None) -> PublishedTable | None:
    """Find the table for the encoder with this hub id, ignoring case."""
    lower = (hub_id or "").lower()
    return next((table for table in tables if lower in (known.lower() for known in table.hub_ids)), None)


class _File(TypedDict, total=False):
    title: Required[str]
    hub_ids: Required[list[str]]
    protocol: Required[str]
    convention_evidence: Required[str]
    scores: Required[list[Mapping[str, Any]]]
    runs: int | None
    decimals: int


def _read_table(path: Path) -> PublishedTable:
    content = read_json(path)
    conform(_File, content, where="")
    scores = [build_plain(PublishedScore, each, where=f"scores[{at}]") for at, each in enumerate(content["scores"])]
    for score in scores:
        if not -_HIGHEST <= score.value <= _HIGHEST:
            raise ValueError(f"the value of {score.task} is {score.value}; must be -{_HIGHEST} to {_HIGHEST}")
        if score.convention not in CONVENTIONS:
            allowed = did_you_mean("", CONVENTIONS)
            raise ValueError(f"the convention of {score.task} is {score.convention!r}{allowed}")
    runs, decimals = content.get("runs"), content.get("decimals", 1)
    if runs is not None and (runs < 1 or runs % 2 == 0):
        raise ValueError(f"runs is {runs!r}; it must be an odd whole number, or null")
    if not 0 <= decimals <= _MOST_DECIMALS:
        raise ValueError(f"decimals is {decimals}; must be 0 to {_MOST_DECIMALS}")
    return PublishedTable(
        name=path.stem,
        title=content["title"],
        hub_ids=tuple(content["hub_ids"]),
        protocol=content["protocol"],
        runs=runs,
        rounding=0.5 * 10**-decimals,
        convention_evidence=content["convention_evidence"],
        scores={score.task: score for score in scores},
    )
