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

_LENGTHS = (2, 11, 1, 7)  # tokens of the rows
_TOLERANCE = 1e-5  # of float32 values about 1; engines that agree differ by less than a tenth of it


@torch.no_grad()
def flatten(whole: PreTrainedModel, config: PretrainedConfig) -> tuple[FlatModel | None, str]:
    """Return what runs a model on flat batches; if it computes anything else than the model itself, None and why."""
    training, cpu, usual = whole.training, torch.device("cpu"), whole.config._attn_implementation
    whole.eval()
    try:
        encoded = _random_rows(config)
        rows = np.arange(len(encoded))
        padded = PaddedRows(encoded, config=config, device=cpu).gather(rows)
        expected = whole(**padded).logits, whole.base_model(**padded)[0][:, 0]
        flat = FlatModel(whole, config)
        # With a cut table, so that a model that reads token ids elsewhere is found out, too.
        flat.cut_vocabulary(encoded.tokens)
        batch = flat.place(encoded, cpu).gather(rows)
        found = float("inf")
        for form in FORMS[FORMS.index(flat.form) :]:
            flat.form = form
            found = max(_difference(a, b) for a, b in zip((flat(batch), flat.states(batch)), expected, strict=True))
            if found <= _TOLERANCE:
                break
        flat.restore_vocabulary(decay=1.0)
    except (RuntimeError, ValueError, TypeError, AttributeError, IndexError, KeyError, AssertionError) as error:
        why = f"the flat engine cannot run it: {first_line(error)}"
    else:
        why = "" if found <= _TOLERANCE else f"the flat engine's logits or states differ by {found:.0e}"
    whole.train(training)
    if why:
        whole.set_attn_implementation(usual or "eager")
    return None if why else flat, why


def _random_rows(config: PretrainedConfig) -> Encoded:
    lengths = [length for length in _LENGTHS if length <= max_positions(config)]
    tokens = np.random.default_rng(0).integers(0, int(config.vocab_size), sum(lengths))
    tokens[tokens == padding_id(config)] = (padding_id(config) + 1) % int(config.vocab_size)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Encoded(
        tokens=tokens.astype(np.int32), types=np.zeros(len(tokens), dtype=np.int8), offsets=offsets, truncated=0
    )


def _difference(found: Tensor, expected: Tensor) -> float:
    scale = max(1.0, float(expected.abs().max()))
    return float((found - expected).abs().max()) / scale if found.shape == expected.shape else float("inf")
