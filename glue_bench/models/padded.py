"""The pretrained transformer: loaded from a folder, padded batches to the first token's hidden state.

Only safetensors weights are loaded, and no code that comes with a model is ever run.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from glue_bench.data.encoding import Encoded
from glue_bench.errors import InputError
from glue_bench.models.batches import PaddedBatch, PaddedRows

# What every from_pretrained call here must say.
SAFELY: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


class PaddedEncoder(nn.Module):
    """A transformers encoder of the BERT or RoBERTa family, without its pooler, called as transformers calls it."""

    def __init__(self, transformer: PreTrainedModel, config: PretrainedConfig) -> None:
        """Wrap a loaded transformer."""
        super().__init__()
        self.transformer = transformer
        self._pad_id = padding_id(config)
        self._with_types = int(getattr(config, "type_vocab_size", 1)) > 1

    def place(self, encoded: Encoded, device: torch.device) -> PaddedRows:
        """A split, of which batches go to the device."""
        return PaddedRows(encoded, pad_id=self._pad_id, device=device)

    def forward(self, batch: PaddedBatch) -> Tensor:
        """(B, L) tokens to (B, H), the last layer's state of each row's first token."""
        types = {"token_type_ids": batch.token_type_ids} if self._with_types else {}
        output = self.transformer(input_ids=batch.input_ids, attention_mask=batch.attention_mask, **types)
        first: Tensor = output.last_hidden_state[:, 0]
        return first


def read_model_config(folder: Path) -> PretrainedConfig:
    """The architecture of the model in `folder`.

    Raises:
        InputError: unknown to transformers, or needing code of its own.
    """
    _quieten()
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(folder, **SAFELY)
    except Exception as error:  # each architecture checks its configuration in its own way
        raise InputError(f"encoder folder {folder}: {first_line(error)}") from error
    return config


def load_transformer(folder: Path, config: PretrainedConfig) -> tuple[PreTrainedModel, set[str]]:
    """The transformer in float32, and the names of weights that the folder lacks.

    Raises:
        InputError: damaged or unfitting weights, or layers missing from them.
    """
    _quieten()
    # What the weights lack is drawn at random; a pooler is replaced by the head, anything else is refused.
    try:
        with torch.random.fork_rng(devices=[]):
            model, info = AutoModel.from_pretrained(
                folder,
                config=config,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
                **SAFELY,
            )
    except Exception as error:  # safetensors and transformers raise many kinds
        raise InputError(f"encoder folder {folder}: its weights cannot be loaded ({first_line(error)})") from error
    missing = set(info["missing_keys"])
    needed = sorted(key for key in missing if "pooler" not in key and "position_ids" not in key)
    if needed:
        raise InputError(f"encoder folder {folder}: its weights lack {needed[0]} and {len(needed) - 1} more")
    return model, missing


def padding_id(config: PretrainedConfig) -> int:
    """The padding token's id; where a model names none, padding may have any, since nothing attends to it."""
    return 0 if config.pad_token_id is None else int(config.pad_token_id)


def max_positions(config: PretrainedConfig) -> int:
    """The longest row in tokens: RoBERTa's positions start after the padding id (514 positions hold 512 tokens)."""
    positions = int(getattr(config, "max_position_embeddings", 0) or 0) or 2**31
    if config.model_type in ("roberta", "xlm-roberta", "camembert"):
        return positions - padding_id(config) - 1
    return positions


def first_line(error: Exception) -> str:
    """What an error says, in one line."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _quieten() -> None:
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
