"""A claim's row: what was found and what follows. Knows no files, no models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from glue_bench.claims.statements import Claim

CONFIRMED = "confirmed"
CONTRADICTED = "contradicted"
NOT_CHECKABLE = "not checkable here"
UNDECIDED = "undecided"
NOT_RUN = "not run"
VERDICTS = (CONFIRMED, CONTRADICTED, UNDECIDED, NOT_CHECKABLE, NOT_RUN)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRow:
    """One claim and its verdict."""

    id: str
    title: str
    model: str
    claimed: str
    found: str  # empty if nothing was
    verdict: str  # one of VERDICTS
    why: str  # what the verdict rests on, or why there is none
    basis: str  # where `found` comes from
    check: str  # how the claim is checked
    source: str  # of the claim
    details: Mapping[str, Any] = field(default_factory=dict)  # numbers behind `found`, as JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimsReport:
    """What every output format is made from."""

    title: str
    rows: Sequence[ClaimRow]
    notes: Sequence[str]  # the verdicts' rules, and what was looked at
    machine: Mapping[str, Any]  # empty where no speed was measured

    @property
    def contradicted(self) -> bool:
        """Whether any claim is."""
        return any(row.verdict == CONTRADICTED for row in self.rows)


def make_row(
    claim: Claim,
    verdict: str,
    *,
    found: str = "",
    why: str = "",
    basis: str = "nothing",
    claimed: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> ClaimRow:
    """A row of `claim`; `claimed` where the card's words are not enough."""
    return ClaimRow(
        id=claim.id,
        title=claim.title,
        model=claim.model,
        claimed=claim.says if claimed is None else claimed,
        found=found,
        verdict=verdict,
        why=why,
        basis=basis,
        check=claim.check,
        source=claim.source,
        details=details or {},
    )
