"""BERT and RoBERTa without padding: every token of a batch in one row, attention within each sentence.

The arithmetic is transformers' own, module by module, on the real tokens only:

- linear layers, layer norms and dropout see (T, H), T being the real tokens of the batch;
- keys, queries and values visit padded grids for the attention alone;
- the last layer is computed for each row's first token, the only one the head reads;
- the embedding table can be cut to the tokens that occur, which changes nothing but the work of the optimiser.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from glue_bench.data.encoding import Encoded
from glue_bench.models.flat_batches import FlatBatch, FlatRows
from glue_bench.models.kernels import Noise, attend, drop, drop_and_add, is_plain, look_up, pick
from glue_bench.models.padded import padding_id


class FlatEncoder(nn.Module):
    """A transformers encoder of the BERT or RoBERTa family, fed with flat batches."""

    def __init__(self, transformer: PreTrainedModel, config: PretrainedConfig) -> None:
        """Wrap a loaded transformer."""
        super().__init__()
        self.transformer = transformer
        embeddings: Any = transformer.get_submodule("embeddings")
        self._heads = int(config.num_attention_heads)
        # RoBERTa counts positions from the padding id + 1 and leaves padding tokens out; BERT from 0.
        roberta = config.model_type != "bert"
        self._pad_id = padding_id(config) if roberta else -1
        self._first_position = self._pad_id + 1
        self._last_type = int(getattr(config, "type_vocab_size", 1)) - 1  # RoBERTa has one type for both texts
        self._row_of = np.arange(embeddings.word_embeddings.num_embeddings)  # token id to row of the table
        self._whole_table: Tensor | None = None
        self._kept: Tensor | None = None
        self._padding_row: int | None = None

    def place(self, encoded: Encoded, device: torch.device) -> FlatRows:
        """A split on the device, for the embedding table as it is now."""
        return FlatRows(
            encoded,
            ids=self._row_of[encoded.tokens],
            positions=self._positions(encoded),
            last_type=self._last_type,
            heads=self._heads,
            device=device,
        )

    def forward(self, batch: FlatBatch) -> Tensor:
        """(T,) tokens to (B, H), the last layer's state of each row's first token."""
        embeddings: Any = self.transformer.get_submodule("embeddings")
        hidden = look_up(batch.input_ids, embeddings.word_embeddings)  # (T, H)
        hidden = hidden + look_up(batch.token_type_ids, embeddings.token_type_embeddings)
        hidden = hidden + look_up(batch.position_ids, embeddings.position_embeddings)
        noise = Noise() if self.training and is_plain(hidden) else None
        hidden = drop(embeddings.LayerNorm(hidden), embeddings.dropout, noise)
        layers: Any = self.transformer.get_submodule("encoder.layer")
        for layer in layers[:-1]:
            hidden = self._layer(layer, hidden, hidden, batch, noise)
        return self._layer(layers[-1], pick(hidden, batch.first), hidden, batch, noise)

    def cut_vocabulary(self, tokens: NDArray[np.int32]) -> None:
        """Keep only the embedding rows of `tokens`, in a parameter of its own; `restore_vocabulary` undoes it.

        The rows left out would get no gradient, so their training is weight decay alone, a known factor.
        """
        words: Any = self.transformer.get_submodule("embeddings.word_embeddings")
        kept = np.unique(tokens)
        self._row_of = np.full(words.num_embeddings, -1)
        self._row_of[kept] = np.arange(len(kept))
        self._kept = torch.from_numpy(kept.astype(np.int64))
        self._whole_table = words.weight.detach().clone()
        words.weight = nn.Parameter(self._whole_table[self._kept.to(words.weight.device)].clone())
        self._padding_row = words.padding_idx
        # The padding token's row gets no gradient, as in transformers; it is rarely among the kept ones.
        in_place = np.flatnonzero(kept == words.padding_idx)
        words.padding_idx = int(in_place[0]) if len(in_place) else None

    def restore_vocabulary(self, *, decay: float) -> None:
        """Put the whole table back: trained rows as they are, the others times `decay`."""
        if self._whole_table is None or self._kept is None:
            return
        words: Any = self.transformer.get_submodule("embeddings.word_embeddings")
        table = self._whole_table.to(words.weight.device) * decay
        table[self._kept.to(table.device)] = words.weight.detach()
        words.weight = nn.Parameter(table)
        words.padding_idx = self._padding_row
        self._row_of = np.arange(len(table))
        self._whole_table = self._kept = None

    def _positions(self, encoded: Encoded) -> NDArray[np.int64]:
        """(all tokens,) position ids; they restart with every row."""
        starts, lengths = encoded.offsets[:-1], encoded.lengths()
        padding = encoded.tokens == self._pad_id
        if not padding.any():
            return np.arange(len(encoded.tokens)) - np.repeat(starts, lengths) + self._first_position
        real = np.cumsum(~padding)
        before = real[starts] - ~padding[starts]  # (n,) real tokens of earlier rows
        return np.where(padding, self._pad_id, real - np.repeat(before, lengths) + self._pad_id)

    def _layer(self, layer: Any, asking: Tensor, hidden: Tensor, batch: FlatBatch, noise: Noise | None) -> Tensor:
        """One layer: (T, H) states, of which `asking`, (T, H) or (B, H), go on."""
        attention = layer.attention.self
        context = attend(
            attention.query(asking),
            attention.key(hidden),
            attention.value(hidden),
            batch,
            heads=self._heads,
            dropout=attention.dropout.p if self.training else 0.0,
            noise=noise,
        )
        projection, inner, outer = layer.attention.output, layer.intermediate, layer.output
        mixed = drop_and_add(projection.dense(context), asking, projection.dropout, noise)
        attended = projection.LayerNorm(mixed)
        activated = inner.intermediate_act_fn(inner.dense(attended))
        finished: Tensor = outer.LayerNorm(drop_and_add(outer.dense(activated), attended, outer.dropout, noise))
        return finished
