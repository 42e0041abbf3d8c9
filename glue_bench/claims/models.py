"""The files of a model, and the claims that they decide: architecture, parameters, case, fill-mask.

No code that comes with a model is run. A file that cannot be used is an InputError, and the reason in a row.
"""

import contextlib
import functools
import math
import os
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoModel, AutoModelForMaskedLM, FillMaskPipeline, PretrainedConfig, RobertaConfig
from transformers.pipelines.base import PipelineException

from glue_bench.claims import CardModel, Claim, ClaimRow, ClaimVerdict, LikelyToken, list_tokens
from glue_bench.config.schema import EncoderConfig
from glue_bench.data.encoding import TextEncoder, load_tokenizer
from glue_bench.data.hub import commit_of, fetch_file
from glue_bench.errors import InputError
from glue_bench.files import file_sha256
from glue_bench.models.padded import load_transformer, read_model_config
from glue_bench.models.pretrained import fetch_tokenizer, has_tokenizer
from glue_bench.text import first_line

CONFIG, TOKENIZER, WEIGHTS = "config.json", "tokenizer", "model.safetensors"
STATED = "the stated architecture"
MILLION = 1_000_000
_NOT_IN_MASKED_LM = ("pooler.", "position_ids", "lm_head.decoder.")  # the last is the embeddings, or a bias, again
_LONGEST = 64  # tokens: more than any word of a case claim has


class Model:
    """A model under check: the card's description of it, and those of its files that can be read, each once."""

    def __init__(self, stated: CardModel, encoder: EncoderConfig, *, weights: bool = True) -> None:
        """Search a local folder, or download, `weights` too; a DiskError if the hub's cache cannot be written."""
        self.stated, self.folder = stated, Path(encoder.path or os.devnull)  # of the files that are not missing
        hub_id, revision, found = encoder.hub_id, encoder.revision or "main", set[str]()
        self.remarks = list[str]()  # why files are missing
        for name in (CONFIG, TOKENIZER, WEIGHTS):
            try:
                if hub_id and name == TOKENIZER:
                    fetch_tokenizer(hub_id, revision)
                elif hub_id and (weights or name != WEIGHTS):
                    path = cast(Path, fetch_file(hub_id, name, revision=revision, repo_type="model"))
                    self.folder, revision = path.parent, commit_of(path, name)
                if has_tokenizer(self.folder) if name == TOKENIZER else (self.folder / name).is_file():
                    found.add(name)
            except InputError as error:
                self.remarks.append(first_line(error))
                if name == CONFIG:
                    break  # a hub out of reach is asked once
        self.place = f"{hub_id} at {revision}" if hub_id else str(self.folder)  # in words
        why = "{} is out of reach" if hub_id else "the folder has no {}"
        self.missing = {name: why.format(name) for name in (CONFIG, TOKENIZER, WEIGHTS) if name not in found}
        self.config: PretrainedConfig = RobertaConfig(**stated.architecture)
        self.basis, self.unread = STATED, ""  # where `config` comes from; why it was not read
        self.weights: int | None = None  # from `count_weights`; None also if they are missing, or unreadable
        try:
            self.config, self.basis = read_model_config(self.folder_with(CONFIG)), CONFIG
        except InputError as error:
            self.unread = str(error)
        with contextlib.suppress(InputError):
            self.weights = count_weights(self.folder_with(WEIGHTS) / WEIGHTS)

    def describe(self) -> str:
        """Say where the files are, why some are not used, and the SHA-256 of the weights."""
        parts = [self.place, *self.remarks]
        if self.unread:
            parts.append(f"{STATED} is {self.stated.architecture_source}")
        if WEIGHTS not in self.missing:
            parts.append(f"SHA-256 of {WEIGHTS} {file_sha256(self.folder / WEIGHTS)}")
        return f"{self.stated.title}: {'; '.join(parts)}."

    def folder_with(self, *names: str) -> Path:
        """Return the folder, if it has these files; else an InputError says why one of them is missing."""
        if lacking := [name for name in names if name in self.missing]:
            raise InputError(self.missing[lacking[0]])
        return self.folder

    @functools.cached_property  # for several claims
    def masked_lm(self) -> tuple[Any, Any]:
        """The masked language model in float32 on the CPU, and its tokenizer.

        An InputError if a file is missing or damaged, or the weights have no masked-LM head.
        """
        folder = self.folder_with(WEIGHTS, TOKENIZER)
        network: Any = load_transformer(folder, read_model_config(folder), kind=AutoModelForMaskedLM)[0]
        return network.eval(), load_tokenizer(folder)


def count_weights(path: Path) -> int | None:
    """Count a safetensors file's parameters of the masked language model, tied ones once; None without its head.

    No tensor is loaded. An InputError if it is not a complete safetensors file.
    """
    try:
        with safe_open(path, framework="numpy") as tensors:
            sizes: dict[str, int] = {name: math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({error})") from error
    if not any(name.startswith("lm_head.") for name in sizes):
        return None
    return sum(size for name, size in sizes.items() if not any(part in name for part in _NOT_IN_MASKED_LM))


def check_model(claim: Claim, model: Model) -> ClaimRow:
    """Check a claim about one model; the row says why if it cannot be checked."""
    checks = {"architecture": _check_architecture, "parameters": _check_parameters}
    checks |= {"case": _check_case, "fill_mask": _check_fill_mask}
    try:
        agreed, facts = checks[claim.kind](claim, model)
    except InputError as error:
        return ClaimRow(claim=claim, verdict=ClaimVerdict.NOT_CHECKABLE, why=str(error))
    return ClaimRow(claim=claim, verdict=ClaimVerdict.CONFIRMED if agreed else ClaimVerdict.CONTRADICTED, **facts)


def _check_architecture(claim: Claim, model: Model) -> tuple[bool, dict[str, Any]]:
    found = getattr(model.config, claim.field, None)
    if model.unread or not isinstance(found, int):
        raise InputError(model.unread or f"{CONFIG}: {claim.field} is {found!r}, not a whole number")
    details = {"claimed": claim.value, "found": {CONFIG: found}}
    return found == claim.value, {"found": f"{found} in {CONFIG}", "basis": CONFIG, "details": details}


def _check_parameters(claim: Claim, model: Model) -> tuple[bool, dict[str, Any]]:
    try:
        counts = count_parameters(model.config)
    except Exception as error:  # each architecture checks its configuration in its own way
        raise InputError(f"no masked language model can be built from it: {first_line(error)}") from error
    whole, alone, pooled = (
        f"{counts[part] / MILLION:.1f}M" for part in ("masked_lm", "encoder", "encoder_with_pooler")
    )
    found = f"{whole} ({counts['masked_lm']:,}) with the masked-LM head; encoder alone {alone}, with pooler {pooled}"
    details: dict[str, Any] = {"claimed": claim.value, **counts}
    basis, decisive = model.basis, [counts["masked_lm"]]
    if model.weights is not None:
        details["weights_masked_lm"] = model.weights
        decisive.append(model.weights)
        found += f"; in {WEIGHTS} {model.weights / MILLION:.1f}M"
        basis += f" and {WEIGHTS}"
    agreed = all(round(count / MILLION) == claim.value // MILLION for count in decisive)
    why = f"counted from {STATED}, not from the model's files ({model.unread})" if model.unread else ""
    return agreed, {"found": found, "why": why, "basis": basis, "details": details}


def count_parameters(config: PretrainedConfig) -> dict[str, int]:
    """Build the model on torch's meta device, which has no memory, and count; tied parameters once.

    Return `encoder`, `encoder_with_pooler`, and `masked_lm`, which has no pooler. An impossible configuration raises
    whatever its architecture raises.
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        encoder = AutoModel.from_config(config)  # type: ignore[no-untyped-call]
        masked_lm = AutoModelForMaskedLM.from_config(config)  # type: ignore[no-untyped-call]
    alone = sum(weight.numel() for name, weight in encoder.named_parameters() if "pooler" not in name)
    every = encoder.num_parameters()
    return {"encoder": alone, "encoder_with_pooler": every, "masked_lm": masked_lm.num_parameters()}


def _check_case(claim: Claim, model: Model) -> tuple[bool, dict[str, Any]]:
    encoded = TextEncoder(model.folder_with(TOKENIZER), max_length=_LONGEST).tokenise([claim.texts])
    rows = [row.tolist() for row in np.split(encoded.tokens, encoded.offsets[1:-1])]
    ids = dict(zip(claim.texts, rows, strict=True))
    found = "; ".join(f"{text}: {' '.join(map(str, row))}" for text, row in ids.items())
    return rows[0] != rows[1], {"found": found, "basis": "the tokenizer", "details": {"ids": ids}}


def _check_fill_mask(claim: Claim, model: Model) -> tuple[bool, dict[str, Any]]:
    network, tokenizer = model.masked_lm
    if tokenizer.mask_token is None:
        raise InputError("the tokenizer has no mask token")
    prompt = claim.prompt.replace("<mask>", tokenizer.mask_token)
    if (places := prompt.count(tokenizer.mask_token)) != 1:
        raise InputError(f"the prompt has {places} mask tokens; must be 1")
    fill = FillMaskPipeline(model=network, tokenizer=tokenizer, device=torch.device("cpu"))
    try:
        best: Any = fill(prompt, top_k=len(claim.tokens))
    except (PipelineException, IndexError) as error:  # the tokenizer loses the mask, or has ids without an embedding
        raise InputError(f"no token can be predicted: {first_line(error)}") from error
    tokens = [LikelyToken(id=each["token"], token=each["token_str"], score=each["score"]) for each in best]
    faults = [
        f"token {place} is {found.id} {found.token.strip()}, {found.score:.6f}; "
        f"claimed {said.id} {said.token.strip()}, {said.score:.6f}"
        for place, (said, found) in enumerate(zip(claim.tokens, tokens, strict=True), start=1)
        if said.id != found.id or not math.isclose(said.score, found.score, rel_tol=claim.tolerance)
    ]
    return not faults, {
        "found": list_tokens(tokens),
        "why": "".join(faults[:1]),
        "basis": f"{WEIGHTS} and the tokenizer",
        "details": {"prompt": claim.prompt, "tokens": [list(token) for token in tokens]},
    }
