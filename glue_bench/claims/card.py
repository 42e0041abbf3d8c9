"""A model card's claims as data from glue_bench/claims/cards/, and the files of its models. Loads no torch."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from glue_bench.config.schema import EncoderConfig
from glue_bench.data.hub import commit_of, fetch_file
from glue_bench.errors import InputError
from glue_bench.files import file_sha256
from glue_bench.models.pretrained import fetch_tokenizer, has_tokenizer
from glue_bench.text import first_line

CARDS = Path(__file__).resolve().parent / "cards"
CONFIG, TOKENIZER, WEIGHTS = "config.json", "tokenizer", "model.safetensors"


class Verdict(StrEnum):
    """The result of checking a claim."""

    CONFIRMED = "confirmed"
    CONTRADICTED = "contradicted"
    UNDECIDED = "undecided"  # measured, but not clearly enough
    NOT_CHECKABLE = "not checkable here"
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True, kw_only=True)
class LikelyToken:
    """One token of a fill-mask example."""

    id: int
    token: str  # with its leading space
    score: float  # probability, 0 to 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A sentence of a model card, and how it is checked; after `check` come the fields of single kinds."""

    kind: str  # architecture, parameters, case, speed, fill_mask or glue
    id: str
    title: str  # its subject, in a few words
    says: str  # the card's words, shortened
    model: str  # one of the card's models
    source: str
    check: str  # how it is checked, in words
    value: float = 0  # architecture, parameters, speed: the number claimed
    texts: Sequence[str] = ()  # case: two that differ only in case, and have different token ids
    against: str = ""  # speed: the slower of the card's models
    phase: str = ""  # speed: training or inference
    at_least: float = 0.0  # speed: the lowest ratio that rounds to `value`
    below: float = 0.0  # speed: the lowest ratio that is too high
    prompt: str = ""  # fill_mask
    tokens: Sequence[LikelyToken] = ()  # fill_mask: the likeliest, best first
    tolerance: float = 0.0  # fill_mask: of a probability, relative
    table: str = ""  # glue: a name among the published tables
    tasks: Mapping[str, str] = field(default_factory=dict)  # glue: task to its name on the card, in the card's order
    field: str = ""  # architecture: the number's name in config.json


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
    found: str = ""  # empty if nothing was found
    why: str = ""  # the reason for the verdict, or why there is none
    basis: str = "nothing"  # where `found` comes from
    details: Mapping[str, Any] = field(default_factory=dict)  # numbers behind `found`, as JSON

    def plain(self) -> dict[str, Any]:
        """Return the row as JSON."""
        claim, own = self.claim, {"found": self.found, "verdict": self.verdict, "why": self.why, "basis": self.basis}
        facts = {"id": claim.id, "title": claim.title, "model": claim.model, "claimed": claim.says, **own}
        return {**facts, "check": claim.check, "source": claim.source, "details": dict(self.details)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """The files of one model that can be read."""

    place: str  # in words
    folder: Path | None  # of the files that are not missing
    missing: Mapping[str, str] = field(default_factory=dict)  # CONFIG, TOKENIZER, WEIGHTS: why, in a few words
    remarks: Sequence[str] = ()  # why, in full

    @property
    def empty(self) -> bool:
        """Whether nothing of the model can be read."""
        return {CONFIG, TOKENIZER, WEIGHTS} <= set(self.missing)

    @property
    def weights_sha256(self) -> str | None:
        """Of the weights file; None if it is missing."""
        return None if self.folder is None or WEIGHTS in self.missing else file_sha256(self.folder / WEIGHTS)

    def folder_with(self, *names: str) -> Path:
        """Return the folder, if it has these files; else an InputError says why one of them is missing."""
        reasons = [self.missing[name] for name in names if name in self.missing]
        if self.folder is None or reasons:
            raise InputError(reasons[0])
        return self.folder


def load_card(name: str, *, folder: Path = CARDS) -> Card:
    """Load the models and claims in FOLDER/NAME.json.

    An InputError if it does not exist, cannot be read, or has another structure.
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
        named = {name for claim in card.claims for name in (claim.model, claim.against or claim.model)}
        if unknown := sorted(named - set(card.models)):
            raise ValueError(f"no model {unknown[0]}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a readable file of claims ({type(error).__name__}: {error})") from error
    return card


def _make_claim(facts: dict[str, Any]) -> Claim:
    tokens = [LikelyToken(**token) for token in facts.get("tokens", ())]
    return Claim(**{"says": list_tokens(tokens), **facts, "tokens": tokens})


def list_tokens(tokens: Sequence[LikelyToken]) -> str:
    """List tokens with their probabilities."""
    return ", ".join(f"{token.token.strip()} {token.score:.4f}" for token in tokens)


def find_files(encoder: EncoderConfig, *, weights: bool) -> ModelFiles:
    """Search a local folder, or download from the hub; `weights` too, but a local folder's are used anyway.

    A DiskError if the hub's cache cannot be written.
    """
    missing, remarks = dict[str, str](), list[str]()
    if encoder.hub_id is None:
        folder = Path(encoder.path or "")
        missing |= {name: f"the folder has no {name}" for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()}
        if not has_tokenizer(folder):
            missing[TOKENIZER] = "the folder has no tokenizer.json, nor a vocabulary file"
        return ModelFiles(place=str(folder), folder=folder, missing=missing)

    @contextlib.contextmanager
    def noting(*names: str) -> Iterator[None]:
        try:
            yield
        except InputError as error:
            missing.update({name: f"{name} is out of reach" for name in names})
            remarks.append(first_line(error))

    config, revision = None, encoder.revision or "main"
    with noting(CONFIG, TOKENIZER, WEIGHTS):
        config = fetch_file(encoder.hub_id, CONFIG, revision=revision, repo_type="model")
    if config is None:
        return ModelFiles(place=f"{encoder.hub_id} at {revision}", folder=None, missing=missing, remarks=remarks)
    folder, commit = config.parent, commit_of(config, CONFIG)
    with noting(TOKENIZER):
        fetch_tokenizer(encoder.hub_id, commit)
        missing |= {} if has_tokenizer(folder) else {TOKENIZER: "the model has no tokenizer within reach"}
    with noting(WEIGHTS):
        if weights:
            fetch_file(encoder.hub_id, WEIGHTS, revision=commit, repo_type="model")
        elif not (folder / WEIGHTS).is_file():
            missing[WEIGHTS] = f"{WEIGHTS} is not needed, and not downloaded"
    return ModelFiles(place=f"{encoder.hub_id} at {commit}", folder=folder, missing=missing, remarks=remarks)
