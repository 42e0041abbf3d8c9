"""BERT and RoBERTa without padding: every token of a batch in one row, attention within each sentence.

The arithmetic is transformers' own, module by module, on the real tokens only:

- linear layers, layer norms and dropout see (T, H), T being the real tokens of the batch;
- keys, queries and values visit a padded grid (B, L) for the attention alone;
- the last layer is computed for each row's first token, the only one the head reads;
- the embedding table can be cut to the tokens that occur, which changes nothing but the work of the optimiser.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import PretrainedConfig, PreTrainedModel

from glue_bench.encoder import padding_id
from glue_bench.encoding import Encoded


@dataclass(frozen=True, slots=True, kw_only=True)
class FlatBatch:
    """B rows of together T tokens; L is the longest row's."""

    input_ids: Tensor  # (T,) int64, rows of the (cut) embedding table
    position_ids: Tensor  # (T,) int64
    token_type_ids: Tensor  # (T,) int64
    slots: Tensor  # (T,) int64: where each token stands in the padded grid (B, L), flattened
    mask: Tensor | None  # (B, 1, 1, L) bool, true for a token; None where every row has L tokens
    first: Tensor  # (B,) int64: each row's first token
    shape: tuple[int, int]  # (B, L)
    tokens: int  # T


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

    def gather(self, encoded: Encoded, rows: NDArray[np.int64], *, device: torch.device) -> FlatBatch:
        """Rows of the flat token array as one batch."""
        starts, lengths = encoded.offsets[rows], encoded.offsets[rows + 1] - encoded.offsets[rows]  # (B,)
        width, total = int(lengths.max()), int(lengths.sum())
        first = np.cumsum(lengths) - lengths  # (B,) in the batch
        row = np.repeat(np.arange(len(rows)), lengths)  # (T,)
        column = np.arange(total) - first[row]  # (T,)
        places = starts[row] + column  # (T,) in the flat array
        ids = encoded.tokens[places].astype(np.int64)
        columns = np.stack(
            [
                self._row_of[ids],
                self._positions(ids, first, row, column),
                np.minimum(encoded.types[places], self._last_type).astype(np.int64),
                row * width + column,
            ]
        )  # (4, T)
        on_device = torch.from_numpy(columns).to(device)
        mask = None if total == width * len(rows) else torch.from_numpy(np.arange(width) < lengths[:, None]).to(device)
        return FlatBatch(
            input_ids=on_device[0],
            position_ids=on_device[1],
            token_type_ids=on_device[2],
            slots=on_device[3],
            mask=None if mask is None else mask[:, None, None, :],
            first=torch.from_numpy(first).to(device),
            shape=(len(rows), width),
            tokens=total,
        )

    def forward(self, batch: FlatBatch) -> Tensor:
        """(T,) tokens to (B, H), the last layer's state of each row's first token."""
        embeddings: Any = self.transformer.get_submodule("embeddings")
        hidden = embeddings.word_embeddings(batch.input_ids) + embeddings.token_type_embeddings(batch.token_type_ids)
        hidden = hidden + embeddings.position_embeddings(batch.position_ids)  # (T, H)
        hidden = embeddings.dropout(embeddings.LayerNorm(hidden))
        layers: Any = self.transformer.get_submodule("encoder.layer")
        for layer in layers[:-1]:
            context = self._attend(layer.attention.self, hidden, hidden, batch)
            hidden = _finish(layer, context, hidden)
        queried = hidden.index_select(0, batch.first)  # (B, H)
        context = self._attend(layers[-1].attention.self, queried, hidden, batch)
        return _finish(layers[-1], context, queried)

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

    def _positions(
        self, ids: NDArray[np.int64], first: NDArray[np.int64], row: NDArray[np.int64], column: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """(T,) position ids; they restart with every row."""
        padding = ids == self._pad_id
        if not padding.any():
            return column + self._first_position
        real = np.cumsum(~padding)
        before = real[first] - ~padding[first]  # (B,) real tokens of earlier rows
        return np.where(padding, self._pad_id, real - before[row] + self._pad_id)

    def _attend(self, attention: Any, queried: Tensor, hidden: Tensor, batch: FlatBatch) -> Tensor:
        """(T, H) states, of which `queried` (T, H) or (B, H) ask, to the context of those that ask."""
        rows = batch.shape[0]
        every = len(queried) == batch.tokens
        query = attention.query(queried)
        if every:
            query = _pad(query, batch)
        key = _pad(attention.key(hidden), batch)
        value = _pad(attention.value(hidden), batch)
        context = functional.scaled_dot_product_attention(
            self._split(query, rows),
            self._split(key, rows),
            self._split(value, rows),
            attn_mask=batch.mask,
            dropout_p=attention.dropout.p if self.training else 0.0,
        )  # (B, heads, L or 1, H / heads)
        context = context.transpose(1, 2).reshape(-1, queried.shape[-1])  # (B * L or B, H)
        return _unpad(context, batch) if every else context

    def _split(self, states: Tensor, rows: int) -> Tensor:
        """(B * L, H) to (B, heads, L, H / heads)."""
        return states.view(rows, -1, self._heads, states.shape[-1] // self._heads).transpose(1, 2)


def _finish(layer: Any, context: Tensor, hidden: Tensor) -> Tensor:
    """The rest of a layer after attention: projection, residual, feed-forward, residual."""
    attended = layer.attention.output(context, hidden)
    finished: Tensor = layer.output(layer.intermediate(attended), attended)
    return finished


def _pad(flat: Tensor, batch: FlatBatch) -> Tensor:
    """(T, H) to (B * L, H)."""
    padded: Tensor = _Pad.apply(flat, batch.slots, batch.shape[0] * batch.shape[1])  # type: ignore[no-untyped-call]
    return padded


def _unpad(padded: Tensor, batch: FlatBatch) -> Tensor:
    """(B * L, H) to (T, H)."""
    flat: Tensor = _Unpad.apply(padded, batch.slots)  # type: ignore[no-untyped-call]
    return flat


class _Pad(torch.autograd.Function):
    """(T, H) to the padded grid (B * L, H), zeros elsewhere. No two tokens share a slot, so both ways are copies."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, slots: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(slots)
        if size == len(flat):
            return flat.clone()
        return flat.new_zeros(size, flat.shape[1]).index_copy_(0, slots, flat)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (slots,) = ctx.saved_tensors
        return gradients[0].index_select(0, slots), None, None


class _Unpad(torch.autograd.Function):
    """The padded grid (B * L, H) to (T, H)."""

    @staticmethod
    def forward(ctx: Any, padded: Tensor, slots: Tensor) -> Tensor:
        ctx.save_for_backward(slots)
        ctx.size = len(padded)
        return padded.index_select(0, slots)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (slots,) = ctx.saved_tensors
        return gradients[0].new_zeros(ctx.size, gradients[0].shape[1]).index_copy_(0, slots, gradients[0]), None
