"""Layers, width, heads and parameters: read from a model's files, else what the stated ones imply. Loads no weights."""

import contextlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, AutoModelForMaskedLM, PretrainedConfig, RobertaConfig

from glue_bench.claims.files import CONFIG, WEIGHTS, ModelFiles, WeightsFacts, read_weights
from glue_bench.claims.rows import CONFIRMED, CONTRADICTED, NOT_CHECKABLE, ClaimRow, make_row
from glue_bench.claims.statements import ArchitectureClaim, CardModel, ParametersClaim
from glue_bench.errors import InputError
from glue_bench.models.padded import read_model_config
from glue_bench.text import first_line

STATED = "the stated architecture"
MILLION = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model under check."""

    stated: CardModel
    files: ModelFiles
    config: PretrainedConfig  # as read, else as stated
    unread: str  # why the config is the stated one; empty if it was read
    weights: WeightsFacts | None  # None if they are not there, or unreadable

    @property
    def basis(self) -> str:
        """Where `config` comes from."""
        return STATED if self.unread else CONFIG


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Parameters of one architecture, tied ones once."""

    encoder: int
    encoder_with_pooler: int
    masked_lm: int  # without a pooler


def open_subject(stated: CardModel, files: ModelFiles) -> Subject:
    """Read what the files tell of the architecture."""
    unread = files.missing.get(CONFIG, "")
    config: PretrainedConfig = RobertaConfig(**stated.architecture)
    weights = None
    if files.folder is not None and not unread:
        try:
            read = read_model_config(files.folder)
            unread = _tell_wrong_type(read, stated, files.folder)
            config = config if unread else read
        except InputError as error:
            unread = str(error)
    if files.folder is not None and WEIGHTS not in files.missing:
        with contextlib.suppress(InputError):
            weights = read_weights(files.folder / WEIGHTS)
    return Subject(stated=stated, files=files, config=config, unread=unread, weights=weights)


def _tell_wrong_type(config: PretrainedConfig, stated: CardModel, folder: Path) -> str:
    """The first stated number that is none in the file; older versions of transformers do not look."""
    for name, value in stated.architecture.items():
        found = getattr(config, name, value)
        if isinstance(found, bool) or not isinstance(found, int | float):
            return f"{folder / CONFIG}: {name} is {found!r}, not a number"
    return ""


def check_architecture(claim: ArchitectureClaim, subject: Subject) -> ClaimRow:
    """Compare with every file that tells the number; without any the claim stays open."""
    found = dict[str, int]()
    if not subject.unread:
        value = getattr(subject.config, claim.field, None)
        if isinstance(value, int):
            found[CONFIG] = value
    if subject.weights is not None:
        told = {"num_hidden_layers": subject.weights.layers, "hidden_size": subject.weights.width}
        value = told.get(claim.field)
        if value is not None:
            found[WEIGHTS] = value
    if not found:
        return make_row(claim, NOT_CHECKABLE, why=_why_open(claim, subject))
    agreed = set(found.values()) == {claim.value}
    return make_row(
        claim,
        CONFIRMED if agreed else CONTRADICTED,
        found=", ".join(f"{value} in {name}" for name, value in found.items()),
        why="" if agreed else f"claimed {claim.value}",
        basis=" and ".join(found),
        details={"claimed": claim.value, "found": found},
    )


def check_parameters(claim: ParametersClaim, subject: Subject) -> ClaimRow:
    """Count the masked language model, and the numbers of the weights file where it is there."""
    claimed = claim.value // MILLION
    try:
        counts = count_parameters(subject.config)
    except Exception as error:  # each architecture checks its configuration in its own way
        return make_row(claim, NOT_CHECKABLE, why=f"no masked language model can be built of it: {first_line(error)}")
    found = (
        f"{_millions(counts.masked_lm)} ({counts.masked_lm:,}) with the masked-LM head; the encoder alone "
        f"{_millions(counts.encoder)}, with pooler {_millions(counts.encoder_with_pooler)}"
    )
    details: dict[str, Any] = {"claimed": claim.value, **asdict(counts)}
    deciding = [counts.masked_lm]
    if subject.weights is not None:
        own, everything = subject.weights.masked_lm, subject.weights.everything
        details |= {"weights_masked_lm": own, "weights_everything": everything}
        deciding += [] if own is None else [own]
        told = "no masked-LM head" if own is None else _millions(own)
        found += f"; in {WEIGHTS} {told}, with all that it holds {_millions(everything)}"
    agreed = all(round(count / MILLION) == claimed for count in deciding)
    remarks = [] if agreed else [f"claimed {claimed}M"]
    if subject.unread:
        remarks.append(f"counted from {STATED}, not from the model's files ({subject.unread})")
    return make_row(
        claim,
        CONFIRMED if agreed else CONTRADICTED,
        found=found,
        why="; ".join(remarks),
        basis=subject.basis if subject.weights is None else f"{subject.basis} and {WEIGHTS}",
        details=details,
    )


def count_parameters(config: PretrainedConfig) -> Counts:
    """Build the model on torch's meta device, which has no memory, and count.

    Raises:
        Exception: whatever the architecture says about an impossible configuration.
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        encoder = AutoModel.from_config(config)  # type: ignore[no-untyped-call]
        masked_lm = AutoModelForMaskedLM.from_config(config)  # type: ignore[no-untyped-call]
    sizes = {name: parameter.numel() for name, parameter in encoder.named_parameters()}
    return Counts(
        encoder=sum(size for name, size in sizes.items() if "pooler" not in name),
        encoder_with_pooler=sum(sizes.values()),
        masked_lm=sum(parameter.numel() for parameter in masked_lm.parameters()),
    )


def _why_open(claim: ArchitectureClaim, subject: Subject) -> str:
    """What the stated parameters say about the number, when the files are out of reach."""
    reason = subject.unread or f"{CONFIG} has no {claim.field}"
    stated = RobertaConfig(**subject.stated.architecture)
    step = {"num_hidden_layers": 1, "hidden_size": stated.num_attention_heads}.get(claim.field)
    if step is None:
        return f"{reason}; the parameters are the same for any number of heads"
    counts = {
        value: _millions(count_parameters(_vary(stated, {claim.field: value})).masked_lm)
        for value in (claim.value - step, claim.value, claim.value + step)
    }
    told = ", ".join(f"{value} would give {count}" for value, count in counts.items())
    return f"{reason}; with all else as stated, {told} parameters"


def _vary(config: PretrainedConfig, changes: Mapping[str, Any]) -> PretrainedConfig:
    return type(config).from_dict({**config.to_dict(), **changes})


def _millions(count: int) -> str:
    return f"{count / MILLION:.1f}M" if count >= MILLION / 10 else f"{count:,}"
