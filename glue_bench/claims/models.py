"""Check claims about one model with its files: architecture, parameters, case, fill-mask.

No code that comes with a model is run. Every check raises InputError if it needs a file that cannot be used.
"""

import contextlib
import functools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoModel, AutoModelForMaskedLM, PretrainedConfig, RobertaConfig

from glue_bench.claims import card
from glue_bench.claims.card import CONFIG, TOKENIZER, WEIGHTS, ClaimRow, LikelyToken, Verdict
from glue_bench.data.encoding import TextEncoder, load_tokenizer
from glue_bench.errors import InputError
from glue_bench.models.padded import load_transformer, read_model_config
from glue_bench.text import first_line

STATED = "the stated architecture"
MILLION = 1_000_000
_LAYER = re.compile(r"(?:^|\.)layer\.(\d+)\.")
_NOT_IN_MASKED_LM = ("pooler.", "position_ids", "lm_head.decoder.")  # the last is the embeddings, or a bias, again
_LONGEST = 64  # tokens: more than any word of a case claim has


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsHeader:
    """What the tensor names and shapes in a safetensors file show."""

    layers: int | None  # None for names that are not those of the BERT and RoBERTa families
    width: int | None
    masked_lm: int | None  # numbers of the masked language model, tied ones once; None without its head
    everything: int  # numbers of all tensors


class Model:
    """A model under check: the card's description of it, and its files, each read once."""

    def __init__(self, stated: card.CardModel, files: card.ModelFiles) -> None:
        """Read the configuration and the header of the weights."""
        self.stated, self.files = stated, files
        self.config: PretrainedConfig = RobertaConfig(**stated.architecture)
        self.unread = ""  # why `config` is the stated one; empty if it was read
        try:
            folder = files.folder_with(CONFIG)
            config = read_model_config(folder)
            for name, value in stated.architecture.items():  # older versions of transformers do not check types
                found = getattr(config, name, value)
                if isinstance(found, bool) or not isinstance(found, int | float):
                    raise InputError(f"{folder / CONFIG}: {name} is {found!r}, not a number")
            self.config = config
        except InputError as error:
            self.unread = str(error)
        self.weights: WeightsHeader | None = None  # None if they are missing, or unreadable
        with contextlib.suppress(InputError):
            self.weights = read_weights(files.folder_with(WEIGHTS) / WEIGHTS)

    @property
    def basis(self) -> str:
        """Where `config` comes from."""
        return STATED if self.unread else CONFIG

    @functools.cached_property
    def fill_mask(self) -> tuple[Any, Any]:
        """The masked language model in float32 on the CPU, and its tokenizer.

        An InputError if a file is missing or damaged, or the weights have no masked-LM head.
        """
        folder = self.files.folder_with(WEIGHTS, TOKENIZER)
        model: Any = load_transformer(folder, read_model_config(folder), kind=AutoModelForMaskedLM)[0]
        return model.eval(), load_tokenizer(folder)


def read_weights(path: Path) -> WeightsHeader:
    """Read names and shapes of the tensors, and load none; an InputError if it is no whole safetensors file."""
    try:
        with safe_open(path, framework="numpy") as tensors:
            shapes = {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({error})") from error
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    layers = {int(found[1]) for name in shapes if (found := _LAYER.search(name))}
    words = [shape for name, shape in shapes.items() if name.endswith("embeddings.word_embeddings.weight")]
    masked_lm = sum(size for name, size in sizes.items() if not any(part in name for part in _NOT_IN_MASKED_LM))
    return WeightsHeader(
        layers=len(layers) or None,
        width=words[0][-1] if words else None,
        masked_lm=masked_lm if any(name.startswith("lm_head.") for name in sizes) else None,
        everything=sum(sizes.values()),
    )


def check_model(claim: card.Claim, model: Model) -> ClaimRow:
    """Check a claim about one model; the row says why if it cannot be checked."""
    checks = {"architecture": _check_architecture, "parameters": _check_parameters}
    checks |= {"case": _check_case, "fill_mask": _check_fill_mask}
    try:
        agreed, facts = checks[claim.kind](claim, model)
    except InputError as error:
        return ClaimRow(claim=claim, verdict=Verdict.NOT_CHECKABLE, why=str(error))
    return ClaimRow(claim=claim, verdict=Verdict.CONFIRMED if agreed else Verdict.CONTRADICTED, **facts)


def _check_architecture(claim: card.Claim, model: Model) -> tuple[bool, dict[str, Any]]:
    found = dict[str, int]()
    value = getattr(model.config, claim.field, None)
    if not model.unread and isinstance(value, int):
        found[CONFIG] = value
    if model.weights is not None:
        value = {"num_hidden_layers": model.weights.layers, "hidden_size": model.weights.width}.get(claim.field)
        if value is not None:
            found[WEIGHTS] = value
    if not found:
        reason = model.unread or f"{CONFIG} has no {claim.field}"
        raise InputError(f"{reason}; {_explain_stated(claim, model.stated.architecture)}")
    agreed = set(found.values()) == {claim.value}
    return agreed, {
        "found": ", ".join(f"{value} in {name}" for name, value in found.items()),
        "why": "" if agreed else f"claimed {claim.value}",
        "basis": " and ".join(found),
        "details": {"claimed": claim.value, "found": found},
    }


def _explain_stated(claim: card.Claim, stated: Mapping[str, Any]) -> str:
    """Explain what the stated number of parameters implies for an architecture that cannot be read."""
    step = {"num_hidden_layers": 1, "hidden_size": stated["num_attention_heads"]}.get(claim.field)
    if step is None:
        return "the parameters are the same for any number of heads"
    parts = []
    for value in (claim.value - step, claim.value, claim.value + step):
        counts = count_parameters(RobertaConfig(**{**stated, claim.field: value}))
        parts.append(f"{value} would give {_millions(counts['masked_lm'])}")
    return f"with all else as stated, {', '.join(parts)} parameters"


def _check_parameters(claim: card.Claim, model: Model) -> tuple[bool, dict[str, Any]]:
    claimed = claim.value // MILLION
    try:
        counts = count_parameters(model.config)
    except Exception as error:  # each architecture checks its configuration in its own way
        raise InputError(f"no masked language model can be built from it: {first_line(error)}") from error
    found = f"{_millions(counts['masked_lm'])} ({counts['masked_lm']:,}) with the masked-LM head; the encoder alone "
    found += f"{_millions(counts['encoder'])}, with pooler {_millions(counts['encoder_with_pooler'])}"
    details: dict[str, Any] = {"claimed": claim.value, **counts}
    deciding = [counts["masked_lm"]]
    if model.weights is not None:
        own, everything = model.weights.masked_lm, model.weights.everything
        details |= {"weights_masked_lm": own, "weights_everything": everything}
        deciding += [] if own is None else [own]
        head = "no masked-LM head" if own is None else _millions(own)
        found += f"; in {WEIGHTS} {head}, with all its tensors {_millions(everything)}"
    agreed = all(round(count / MILLION) == claimed for count in deciding)
    remarks = [] if agreed else [f"claimed {claimed}M"]
    if model.unread:
        remarks.append(f"counted from {STATED}, not from the model's files ({model.unread})")
    basis = model.basis if model.weights is None else f"{model.basis} and {WEIGHTS}"
    return agreed, {"found": found, "why": "; ".join(remarks), "basis": basis, "details": details}


def count_parameters(config: PretrainedConfig) -> dict[str, int]:
    """Build the model on torch's meta device, which has no memory, and count; tied parameters once.

    Return `encoder`, `encoder_with_pooler`, and `masked_lm`, which has no pooler. An impossible configuration raises
    whatever its architecture raises.
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        encoder = AutoModel.from_config(config)  # type: ignore[no-untyped-call]
        masked_lm = AutoModelForMaskedLM.from_config(config)  # type: ignore[no-untyped-call]
    sizes = {name: parameter.numel() for name, parameter in encoder.named_parameters()}
    return {
        "encoder": sum(size for name, size in sizes.items() if "pooler" not in name),
        "encoder_with_pooler": sum(sizes.values()),
        "masked_lm": sum(parameter.numel() for parameter in masked_lm.parameters()),
    }


def _check_case(claim: card.Claim, model: Model) -> tuple[bool, dict[str, Any]]:
    encoded = TextEncoder(model.files.folder_with(TOKENIZER), max_length=_LONGEST).tokenise([claim.texts])
    ids = [row.tolist() for row in np.split(encoded.tokens, encoded.offsets[1:-1])]
    differ = len({tuple(row) for row in ids}) == len(ids)
    by_text = dict(zip(claim.texts, ids, strict=True))
    found = "; ".join(f"{text}: {' '.join(map(str, row))}" for text, row in by_text.items())
    why = "" if differ else "the ids are the same"
    return differ, {"found": found, "why": why, "basis": "the tokenizer", "details": {"ids": by_text}}


def _check_fill_mask(claim: card.Claim, model: Model) -> tuple[bool, dict[str, Any]]:
    tokens = _likeliest_tokens(model, claim.prompt, count=len(claim.tokens))
    pairs = list(zip(claim.tokens, tokens, strict=True))
    differences = [
        f"token {place} is {found.id} {found.token.strip()}, claimed {claimed.id} {claimed.token.strip()}"
        for place, (claimed, found) in enumerate(pairs, start=1)
        if found.id != claimed.id
    ] + [
        f"{claimed.token.strip()} has {found.score:.6f}, claimed {claimed.score:.6f}"
        for claimed, found in pairs
        if not abs(found.score - claimed.score) / claimed.score <= claim.tolerance  # NaN is a difference
    ]
    return not differences, {
        "found": card.list_tokens(tokens),
        "why": differences[0] if differences else "",
        "basis": f"{WEIGHTS} and the tokenizer",
        "details": {"prompt": claim.prompt, "tokens": [[token.id, token.token, token.score] for token in tokens]},
    }


@torch.inference_mode()
def _likeliest_tokens(model: Model, prompt: str, *, count: int) -> list[LikelyToken]:
    """Find the `count` likeliest tokens for the prompt's one mask, best first; probabilities over the vocabulary."""
    network, tokenizer = model.fill_mask
    mask = tokenizer.mask_token_id
    if mask is None:
        raise InputError("the tokenizer has no mask token")
    ids = tokenizer(prompt.replace("<mask>", tokenizer.mask_token), return_tensors="pt")["input_ids"]  # (1, L)
    places = (ids[0] == mask).nonzero().flatten()
    if len(places) != 1:
        raise InputError(f"the tokenizer finds {len(places)} mask tokens in the prompt")
    if int(ids.max()) >= int(network.config.vocab_size):
        raise InputError("the tokenizer gives ids that the model has no embedding for")
    logits = network(input_ids=ids).logits[0, places[0]]  # (V,)
    best = logits.float().softmax(dim=-1).topk(count)
    return [
        LikelyToken(id=int(token), token=str(tokenizer.decode([int(token)])), score=float(score))
        for token, score in zip(best.indices, best.values, strict=True)
    ]


def _millions(count: int) -> str:
    return f"{count / MILLION:.1f}M" if count >= MILLION / 10 else f"{count:,}"
