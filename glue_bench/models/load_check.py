"""Checks of a few random rows at every load: padding changes no logits; flat and padded engine compute the same."""

import numpy as np
import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from glue_bench.data.encoding import Encoded
from glue_bench.errors import InputError
from glue_bench.models.families import max_positions, padding_id
from glue_bench.models.flat import FORMS, FlatModel
from glue_bench.models.padded import PaddedRows, name_of, padded_logits
from glue_bench.text import first_line

_LENGTHS = (3, 7, 1)  # tokens of the rows; the first has as many as the shortest of real rows
_TOLERANCE = 1e-5  # of float32 values about 1; engines that agree differ by less than a tenth of it
# Padding that is masked changes only the order of sums: by 2e-5 at most, by 4e-4 in a quantised I-BERT, in families of
# random weights; padding that is read changes states by 3e-3 or more.
_PADDING_TOLERANCE = 1e-3
_CPU = torch.device("cpu")


def check(whole: PreTrainedModel, *, why_padded: str = "") -> tuple[FlatModel | None, str]:
    """Return what runs a model on flat batches; if it computes anything else than the model itself, None and why.

    That is not tried if `why_padded` rules it out. An InputError if transformers cannot compute rows, or if what it
    computes of a row changes with the rows beside it.
    """
    training, states = whole.training, list[Tensor]()  # of the first tokens, in every pass
    hook = whole.base_model.register_forward_hook(lambda _module, _given, found: states.append(found[0][:, 0]))
    whole.train(False)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            encoded = _random_rows(whole.config)
            rows = PaddedRows(encoded, config=whole.config, device=_CPU)
            one = np.argsort(encoded.lengths())[1:2]  # neither the longest nor a single token
            logits, alone = (padded_logits(whole, rows.gather(each)) for each in (np.arange(len(encoded)), one))
            difference = max(_difference(alone, logits[one]), _difference(states[1], states[0][one]))
            if difference > _PADDING_TOLERANCE:
                why = f"a row's logits or states change by {difference:.0e} with the padding of its batch"
                raise InputError(
                    f"{name_of(whole)}: {why}, so scores would depend on the batch size; use another encoder"
                )
            return (None, why_padded) if why_padded else _flatten(whole, encoded, logits=logits, states=states)
    finally:
        hook.remove()
        whole.train(training)


def _flatten(
    whole: PreTrainedModel, encoded: Encoded, *, logits: Tensor, states: list[Tensor]
) -> tuple[FlatModel | None, str]:
    usual, difference = whole.config._attn_implementation, float("inf")
    try:
        flat = FlatModel(whole)
        # With a cut table, so that a model that reads token ids elsewhere is found out, too.
        flat.cut_vocabulary(encoded.tokens)
        try:
            batch = flat.place(encoded, _CPU).gather(np.arange(len(encoded)))
            for form in FORMS[FORMS.index(flat.form) :]:
                flat.form = form
                found = flat(batch)
                difference = max(_difference(found, logits), _difference(states[-1], states[0]))
                if difference <= _TOLERANCE:
                    return flat, ""
        finally:
            flat.restore_vocabulary(decay=1.0)
        why = f"the flat engine's logits or states differ by {difference:.0e}"
    except (RuntimeError, ValueError, TypeError, AttributeError, IndexError, KeyError, AssertionError) as error:
        why = f"the flat engine cannot run it: {first_line(error)}"
    whole.base_model.set_attn_implementation(usual or "eager")  # type: ignore[operator]
    return None, why


def _random_rows(config: PretrainedConfig) -> Encoded:
    window = int(getattr(config, "sliding_window", None) or 0)  # which the first row is longer than
    lengths = [min(length, max_positions(config)) for length in (window + _LENGTHS[0], *_LENGTHS[1:])]
    tokens = np.random.default_rng(0).integers(0, int(config.vocab_size), sum(lengths))
    tokens[tokens == padding_id(config)] = (padding_id(config) + 1) % int(config.vocab_size)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Encoded(
        tokens=tokens.astype(np.int32), types=np.zeros(len(tokens), dtype=np.int8), offsets=offsets, truncated=0
    )


def _difference(found: Tensor, expected: Tensor) -> float:
    scale = max(1.0, float(expected.abs().max()))
    return float((found - expected).abs().max()) / scale if found.shape == expected.shape else float("inf")
