"""The padded engine: a transformers model as it is, on batches padded to their longest row.

Only safetensors weights are loaded, and no code that comes with a model is ever run.

Shapes: B rows, L tokens of the longest of them, H the hidden size.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from glue_bench.data.encoding import Encoded
from glue_bench.errors import InputError
from glue_bench.models.families import padding_id
from glue_bench.text import first_line

# Arguments of every from_pretrained call.
SAFELY: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


# The arguments of a transformers model, each (B, L) int64; without token_type_ids for a model with at most one type.
PaddedBatch = dict[str, Tensor]


class PaddedRows:
    """An encoded split, for a model that needs padding."""

    def __init__(self, encoded: Encoded, *, config: PretrainedConfig, device: torch.device) -> None:
        """Hold a split; its batches go to the device."""
        self._encoded, self._device, self._pad_id = encoded, device, padding_id(config)
        self._with_types = int(getattr(config, "type_vocab_size", 0)) > 1

    def gather(self, rows: NDArray[np.int64]) -> PaddedBatch:
        """Return the batch of these rows, in this order, padded to the longest of them."""
        encoded = self._encoded
        lengths = encoded.offsets[rows + 1] - encoded.offsets[rows]  # (B,)
        columns = np.arange(lengths.max())  # (L,)
        mask = columns < lengths[:, None]  # (B, L)
        places = np.where(mask, encoded.offsets[rows][:, None] + columns, 0)  # (B, L) into the flat array
        ids = np.where(mask, encoded.tokens[places], self._pad_id)
        types = np.where(mask, encoded.types[places], 0)
        stacked = torch.from_numpy(np.stack([ids, mask, types]).astype(np.int64)).to(self._device)
        names = ("input_ids", "attention_mask", "token_type_ids")
        return dict(zip(names if self._with_types else names[:2], stacked, strict=False))


class PaddedEncoder(nn.Module):
    """A transformers encoder of the BERT or RoBERTa family, without its pooler."""

    def __init__(self, transformer: PreTrainedModel) -> None:
        """Wrap a loaded transformer."""
        super().__init__()
        self.transformer = transformer

    def forward(self, batch: PaddedBatch) -> Tensor:
        """Return the last layer's state of each row's first token, (B, H), from (B, L) tokens."""
        first: Tensor = self.transformer(**batch).last_hidden_state[:, 0]
        return first


def read_model_config(folder: Path) -> PretrainedConfig:
    """Read the architecture of the model in `folder`.

    Raises:
        InputError: transformers does not know it, or it needs code from its folder.
    """
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(folder, **SAFELY)
    except Exception as error:  # each architecture checks its configuration in its own way
        raise InputError(f"encoder folder {folder}: {first_line(error)}") from error
    return config


def load_transformer(folder: Path, config: PretrainedConfig) -> tuple[PreTrainedModel, set[str]]:
    """Load the transformer in float32, and name the weights that are missing, which can only be the pooler's.

    Raises:
        InputError: damaged or incompatible weights, or missing layers.
    """
    # Missing weights are drawn at random; a pooler is replaced by the head, anything else is refused.
    try:
        with torch.random.fork_rng(devices=[]):
            model, info = AutoModel.from_pretrained(
                folder, config=config, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **SAFELY
            )
    except Exception as error:  # safetensors and transformers raise many kinds
        raise InputError(f"encoder folder {folder}: its weights cannot be loaded ({first_line(error)})") from error
    missing = set(info["missing_keys"])
    needed = sorted(key for key in missing if "pooler" not in key and "position_ids" not in key)
    if needed:
        raise InputError(f"encoder folder {folder}: its weights lack {needed[0]} and {len(needed) - 1} more")
    return model, missing
