"""A model card's claims as data from glue_bench/claims/cards/, their verdicts, and tables of both."""

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from glue_bench.errors import InputError
from glue_bench.report.columns import TextTable
from glue_bench.report.formats import TABLE_FORMATS, render_tables
from glue_bench.text import escape_cell

CARDS = Path(__file__).resolve().parent / "cards"
CLAIMS_SCHEMA_VERSION = 1
FORMATS = (*TABLE_FORMATS, "json", "csv")
_CSV = ("id", "title", "model", "claimed", "found", "verdict", "why", "basis", "check", "source")
_HEADERS = ("claim", "the card says", "found", "verdict", "note")


class Verdict(StrEnum):
    """What became of a claim."""

    CONFIRMED = "confirmed"
    CONTRADICTED = "contradicted"
    UNDECIDED = "undecided"  # measured, but not clearly enough
    NOT_CHECKABLE = "not checkable here"
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A sentence of a model card, and how it is checked."""

    id: str
    title: str  # its subject, in a few words
    says: str  # the card's words, shortened
    model: str  # one of the card's models
    source: str
    check: str  # how it is checked, in words

    @property
    def claimed(self) -> str:
        """What the card says, as tables show it."""
        return self.says


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchitectureClaim(Claim):
    """A number of the model's configuration."""

    field: str  # its name in config.json
    value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ParametersClaim(Claim):
    """A number of parameters, in whole millions."""

    value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseClaim(Claim):
    """Two texts that differ only in case and have different token ids."""

    texts: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedClaim(Claim):
    """How many times as fast as another model."""

    against: str  # one of the card's models
    phase: str  # training or inference
    value: float
    at_least: float  # the lowest ratio that rounds to `value`
    below: float  # the lowest ratio that is too high


@dataclass(frozen=True, slots=True, kw_only=True)
class LikelyToken:
    """One token of a fill-mask example."""

    id: int
    token: str  # with its leading space
    score: float  # probability, 0 to 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FillMaskClaim(Claim):
    """The likeliest tokens for a mask."""

    prompt: str
    tokens: Sequence[LikelyToken]  # best first
    tolerance: float  # of a probability, relative

    @property
    def claimed(self) -> str:
        """The tokens with their probabilities."""
        return list_tokens(self.tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class GlueClaim(Claim):
    """The scores of a table of published numbers."""

    table: str  # its name among the published tables
    tasks: Mapping[str, str]  # task to its name on the card, in the card's order


@dataclass(frozen=True, slots=True, kw_only=True)
class CardModel:
    """A model that a card describes."""

    encoder: str  # its name under conf/encoder/
    title: str
    architecture: Mapping[str, Any]  # of a transformers RobertaConfig, as stated
    architecture_source: str
    weights_sha256: str | None  # as others have published it
    weights_sha256_source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A card's models and claims."""

    title: str
    models: Mapping[str, CardModel]
    claims: Sequence[Claim]
    rules: Sequence[str]  # what the verdicts on these claims mean


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRow:
    """One claim and its verdict."""

    claim: Claim
    verdict: Verdict
    found: str = ""  # empty if nothing was
    why: str = ""  # the reason for the verdict, or why there is none
    basis: str = "nothing"  # where `found` comes from
    details: Mapping[str, Any] = field(default_factory=dict)  # numbers behind `found`, as JSON

    def plain(self) -> dict[str, Any]:
        """The row as JSON."""
        facts = {name: getattr(self.claim, name) for name in ("id", "title", "model", "claimed")}
        facts |= {"found": self.found, "verdict": str(self.verdict), "why": self.why, "basis": self.basis}
        return {**facts, "check": self.claim.check, "source": self.claim.source, "details": dict(self.details)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimsReport:
    """What every output format is made from."""

    title: str
    rows: Sequence[ClaimRow]
    notes: Sequence[str]  # the verdicts' rules, and what was checked
    machine: Mapping[str, Any]  # empty if no speed was measured

    @property
    def contradicted(self) -> bool:
        """Whether any claim is contradicted."""
        return any(row.verdict == Verdict.CONTRADICTED for row in self.rows)

    @property
    def counts(self) -> dict[str, int]:
        """The number of claims with each verdict."""
        counts = Counter(row.verdict for row in self.rows)
        return {str(verdict): counts[verdict] for verdict in Verdict}


_KINDS: dict[str, type[Claim]] = {
    "architecture": ArchitectureClaim,
    "parameters": ParametersClaim,
    "case": CaseClaim,
    "speed": SpeedClaim,
    "fill_mask": FillMaskClaim,
    "glue": GlueClaim,
}


def load_card(name: str, *, folder: Path = CARDS) -> Card:
    """The models and claims in FOLDER/NAME.json.

    Raises:
        InputError: the file does not exist, cannot be read, or has another structure.
    """
    path = folder / f"{name}.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        card = Card(
            title=content["title"],
            models={name: CardModel(**facts) for name, facts in content["models"].items()},
            claims=[_make_claim(facts) for facts in content["claims"]],
            rules=[content["rules"][kind] for kind in dict.fromkeys(facts["kind"] for facts in content["claims"])],
        )
        named = [name for claim in card.claims for name in (claim.model, getattr(claim, "against", claim.model))]
        if unknown := sorted(set(named) - set(card.models)):
            raise ValueError(f"no model {unknown[0]}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a readable file of claims ({type(error).__name__}: {error})") from error
    return card


def _make_claim(facts: Mapping[str, Any]) -> Claim:
    own = {key: value for key, value in facts.items() if key != "kind"}
    if "tokens" in own:
        own["tokens"] = [LikelyToken(**token) for token in own["tokens"]]
    return _KINDS[facts["kind"]](**own)


def list_tokens(tokens: Sequence[LikelyToken]) -> str:
    """Tokens with their probabilities."""
    return ", ".join(f"{token.token.strip()} {token.score:.4f}" for token in tokens)


def render_claims(report: ClaimsReport, format_name: str, *, width: int | None = None, color: bool = False) -> str:
    """The whole table as text.

    Args:
        format_name: one of FORMATS; docs/claims.md describes the fields of json.
        width: columns of the console table; None for the terminal's.
        color: escape sequences in the console table.
    """
    if format_name == "json":
        content = {
            "schema_version": CLAIMS_SCHEMA_VERSION,
            "title": report.title,
            "verdicts": report.counts,
            "claims": [row.plain() for row in report.rows],
            "notes": list(report.notes),
            "machine": dict(report.machine),
        }
        return json.dumps(content, indent=1) + "\n"
    if format_name == "csv":
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_CSV)
        for row in report.rows:
            plain = row.plain()
            writer.writerow([escape_cell(plain[name]) for name in _CSV])
        return stream.getvalue()
    summary = ", ".join(f"{count} {verdict}" for verdict, count in report.counts.items() if count) or "no claims"
    title = f"Claims of {report.title}: {summary}"
    table = TextTable(title=title, headers=_HEADERS, rows=[_cells(row) for row in report.rows], total=None)
    return render_tables([table], report.notes, format_name=format_name, width=width, color=color)


def _cells(row: ClaimRow) -> list[str]:
    notes = [row.why, row.basis if row.found and row.basis not in row.why else ""]
    return [row.claim.title, row.claim.claimed, row.found, row.verdict, "; ".join(note for note in notes if note)]
