"""The likeliest tokens for a masked place, with a model's own weights and tokenizer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer, PreTrainedModel

from glue_bench.claims.files import TOKENIZER, WEIGHTS, ModelFiles
from glue_bench.claims.rows import CONFIRMED, CONTRADICTED, NOT_CHECKABLE, ClaimRow, make_row
from glue_bench.claims.statements import FillMaskClaim, LikelyToken
from glue_bench.errors import InputError
from glue_bench.models.padded import SAFELY, read_model_config
from glue_bench.text import first_line


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskFiller:
    """A masked language model with its tokenizer."""

    model: PreTrainedModel
    tokenizer: Any


def check_fill_mask(claim: FillMaskClaim, filler: MaskFiller | str) -> ClaimRow:
    """Compare the likeliest tokens, in order, and their probabilities.

    Args:
        filler: or why there is none.
    """
    claimed = _words(claim.tokens)
    if isinstance(filler, str):
        return make_row(claim, NOT_CHECKABLE, claimed=claimed, why=filler)
    try:
        tokens = likeliest_tokens(filler, claim.prompt, count=len(claim.tokens))
    except InputError as error:
        return make_row(claim, NOT_CHECKABLE, claimed=claimed, why=str(error))
    why = _first_difference(claim, tokens)
    return make_row(
        claim,
        CONTRADICTED if why else CONFIRMED,
        claimed=claimed,
        found=_words(tokens),
        why=why,
        basis=f"{WEIGHTS} and the tokenizer",
        details={"prompt": claim.prompt, "tokens": [[token.id, token.token, token.score] for token in tokens]},
    )


def open_filler(files: ModelFiles) -> MaskFiller | str:
    """The model in float32 on the CPU; or why it cannot be had. No code that comes with it is run."""
    for name in (WEIGHTS, TOKENIZER):
        if files.folder is None or name in files.missing:
            return files.missing[name]
    assert files.folder is not None  # noqa: S101 - said above
    try:
        config = read_model_config(files.folder)
        with torch.random.fork_rng(devices=[]):
            model, info = AutoModelForMaskedLM.from_pretrained(
                files.folder,
                config=config,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
                **SAFELY,
            )
        tokenizer = AutoTokenizer.from_pretrained(files.folder, **SAFELY)
    except InputError as error:
        return str(error)
    except Exception as error:  # safetensors, tokenizers and transformers raise many kinds
        return f"the model cannot be loaded ({first_line(error)})"
    lacking = sorted(name for name in info["missing_keys"] if "position_ids" not in name)
    if lacking:  # they would be drawn at random
        return f"{WEIGHTS} lacks {lacking[0]}" + (f" and {len(lacking) - 1} more" if len(lacking) > 1 else "")
    return MaskFiller(model=model.eval(), tokenizer=tokenizer)


@torch.inference_mode()
def likeliest_tokens(filler: MaskFiller, prompt: str, *, count: int) -> list[LikelyToken]:
    """The `count` likeliest tokens for the prompt's one mask, best first; probabilities over the whole vocabulary.

    Raises:
        InputError: the tokenizer has no mask token or does not find exactly one in the prompt, or the model does not
            know an id of the tokenizer.
    """
    mask = filler.tokenizer.mask_token_id
    if mask is None:
        raise InputError("the tokenizer has no mask token")
    words = prompt.replace("<mask>", filler.tokenizer.mask_token)
    ids = filler.tokenizer(words, return_tensors="pt")["input_ids"]  # (1, L)
    places = (ids[0] == mask).nonzero().flatten()
    if len(places) != 1:
        raise InputError(f"the tokenizer finds {len(places)} mask tokens in the prompt")
    if int(ids.max()) >= int(filler.model.config.vocab_size):
        raise InputError("the tokenizer gives ids that the model has no embedding for")
    logits = filler.model(input_ids=ids).logits[0, places[0]]  # (V,)
    best = logits.float().softmax(dim=-1).topk(count)
    return [
        LikelyToken(id=int(token), token=str(filler.tokenizer.decode([int(token)])), score=float(score))
        for token, score in zip(best.indices, best.values, strict=True)
    ]


def _first_difference(claim: FillMaskClaim, tokens: Sequence[LikelyToken]) -> str:
    """Where the found tokens leave the claimed ones; empty if nowhere."""
    for place, (claimed, found) in enumerate(zip(claim.tokens, tokens, strict=True), start=1):
        if found.id != claimed.id:
            return f"token {place} is {found.id} {found.token.strip()}, claimed {claimed.id} {claimed.token.strip()}"
    for claimed, found in zip(claim.tokens, tokens, strict=True):
        difference = abs(found.score - claimed.score) / claimed.score
        if not difference <= claim.tolerance:
            return f"{claimed.token.strip()} has {found.score:.6f}, claimed {claimed.score:.6f}"
    return ""


def _words(tokens: Sequence[LikelyToken]) -> str:
    return ", ".join(f"{token.token.strip()} {token.score:.4f}" for token in tokens)
