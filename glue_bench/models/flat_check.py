"""Whether the flat engine computes what transformers computes: a few random rows go through both, at every load."""

import numpy as np
import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from glue_bench.data.encoding import Encoded
from glue_bench.models.families import max_positions, padding_id
from glue_bench.models.flat import FORMS, FlatModel
from glue_bench.models.padded import PaddedRows
from glue_bench.text import first_line

_LENGTHS = (7, 1)  # tokens of the rows
_TOLERANCE = 1e-5  # of float32 values about 1; engines that agree differ by less than a tenth of it


@torch.no_grad()
def flatten(whole: PreTrainedModel) -> tuple[FlatModel | None, str]:
    """Return what runs a model on flat batches; if it computes anything else than the model itself, None and why."""
    config: PretrainedConfig = whole.config
    training, cpu, usual = whole.training, torch.device("cpu"), config._attn_implementation
    states, difference = list[Tensor](), float("inf")
    hook = whole.base_model.register_forward_hook(lambda _module, _given, found: states.append(found[0][:, 0]))
    whole.train(False)
    try:
        encoded = _random_rows(config)
        rows = np.arange(len(encoded))
        expected = whole(**PaddedRows(encoded, config=config, device=cpu).gather(rows)).logits
        flat = FlatModel(whole)
        # With a cut table, so that a model that reads token ids elsewhere is found out, too.
        flat.cut_vocabulary(encoded.tokens)
        try:
            batch = flat.place(encoded, cpu).gather(rows)
            for form in FORMS[FORMS.index(flat.form) :]:
                flat.form = form
                found = flat(batch)
                difference = max(_difference(found, expected), _difference(states[-1], states[0]))
                if difference <= _TOLERANCE:
                    break
        finally:
            flat.restore_vocabulary(decay=1.0)
        why = "" if difference <= _TOLERANCE else f"the flat engine's logits or states differ by {difference:.0e}"
    except (RuntimeError, ValueError, TypeError, AttributeError, IndexError, KeyError, AssertionError) as error:
        why = f"the flat engine cannot run it: {first_line(error)}"
    hook.remove()
    whole.train(training)
    if why:
        whole.set_attn_implementation(usual or "eager")
    return None if why else flat, why


def _random_rows(config: PretrainedConfig) -> Encoded:
    beyond = 2 + int(getattr(config, "sliding_window", None) or 0)  # so that no window is overlooked
    lengths = [min(length, max_positions(config)) for length in (beyond, *_LENGTHS)]
    tokens = np.random.default_rng(0).integers(0, int(config.vocab_size), sum(lengths))
    tokens[tokens == padding_id(config)] = (padding_id(config) + 1) % int(config.vocab_size)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Encoded(
        tokens=tokens.astype(np.int32), types=np.zeros(len(tokens), dtype=np.int8), offsets=offsets, truncated=0
    )


def _difference(found: Tensor, expected: Tensor) -> float:
    scale = max(1.0, float(expected.abs().max()))
    return float((found - expected).abs().max()) / scale if found.shape == expected.shape else float("inf")
