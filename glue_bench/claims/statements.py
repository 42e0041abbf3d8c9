"""What a model card claims, as data from glue_bench/claims/cards/. Knows no runs and no way to check anything."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glue_bench.errors import InputError

CARDS = Path(__file__).resolve().parent / "cards"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What every claim says of itself."""

    id: str
    title: str  # what it is about, in a few words
    says: str  # the card's words, shortened
    model: str  # one of the card's models
    source: str
    check: str  # how it is checked, in words


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
    """Two texts that differ in case, and to the tokenizer too."""

    texts: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedClaim(Claim):
    """How many times as fast as another model."""

    against: str  # one of the card's models
    phase: str  # training or inference
    value: float
    at_least: float  # the ratios that count as `value` in words: from here
    below: float  # up to here


@dataclass(frozen=True, slots=True, kw_only=True)
class LikelyToken:
    """One token of a fill-mask example."""

    id: int
    token: str  # with its leading space
    score: float  # probability, 0 to 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FillMaskClaim(Claim):
    """The likeliest tokens for a masked place."""

    prompt: str
    tokens: Sequence[LikelyToken]  # best first
    tolerance: float  # of a probability, relative


@dataclass(frozen=True, slots=True, kw_only=True)
class GlueClaim(Claim):
    """The scores of a table of published numbers."""

    table: str  # its name among the published tables
    tasks: Mapping[str, str]  # task to its name on the card, in the card's order


@dataclass(frozen=True, slots=True, kw_only=True)
class CardModel:
    """A model that a card speaks of."""

    encoder: str  # its name under conf/encoder/
    title: str
    architecture: Mapping[str, Any]  # of a transformers RobertaConfig, as stated
    architecture_source: str
    weights_sha256: str | None  # as somebody else has seen them
    weights_sha256_source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A card's models and claims."""

    title: str
    models: Mapping[str, CardModel]
    claims: Sequence[Claim]
    rules: Sequence[str]  # what the verdicts on these claims mean


_KINDS: dict[str, type[Claim]] = {
    "architecture": ArchitectureClaim,
    "parameters": ParametersClaim,
    "case": CaseClaim,
    "speed": SpeedClaim,
    "fill_mask": FillMaskClaim,
    "glue": GlueClaim,
}


def load_card(name: str) -> Card:
    """The claims that ship as glue_bench/claims/cards/NAME.json.

    Raises:
        InputError: there is no such file, or it is damaged.
    """
    return read_card(CARDS / f"{name}.json")


def read_card(path: Path) -> Card:
    """The claims of one file.

    Raises:
        InputError: it cannot be read, or is not of this form.
    """
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
