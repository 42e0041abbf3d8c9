"""The flat engine: BERT and RoBERTa without padding, every token of a batch in one row, attention within each row.

The arithmetic is transformers' own, module by module, on the real tokens only:

- linear layers, layer norms and dropout see (T, H);
- queries, keys and values are padded for the attention alone, in attention blocks of rows of similar length;
- the last layer is computed for each row's first token, the only one the head reads;
- the embedding table can be cut to the tokens that occur; this only saves the optimiser work.

Shapes are written with the letters of the module `kernels`.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from glue_bench.data.encoding import Encoded
from glue_bench.models import kernels
from glue_bench.models.families import first_position
from glue_bench.models.kernels import AttentionBlock, FlatBatch, Noise, attend, drop, drop_and_add, look_up, pick
from glue_bench.models.placement import send

# The cost of one more block, in entries of a head: a smaller saving is not worth it (measured on a CPU).
BLOCK_COST = 4096


class FlatRows:
    """An encoded split on a device, in batches without padding."""

    def __init__(self, offsets: NDArray[np.int64], *, columns: Tensor, heads: int) -> None:
        """Hold a split.

        Args:
            offsets: (n + 1,) as in `Encoded`.
            columns: (3, all tokens) row of the embedding table, position id and type of each token, on the device.
        """
        self._offsets, self._columns, self._heads, self._device = offsets, columns, heads, columns.device

    def gather(self, rows: NDArray[np.int64]) -> FlatBatch:
        """Return the batch of these rows, in this order; rows of similar length should be neighbours."""
        starts = self._offsets[rows]  # (B,)
        lengths = self._offsets[rows + 1] - starts
        first = np.cumsum(lengths) - lengths  # (B,) in the batch
        row = np.repeat(np.arange(len(rows)), lengths)  # (T,)
        column = np.arange(len(row)) - first[row]  # (T,)
        columns = self._columns.index_select(1, send(starts[row] + column, self._device))  # (3, T)

        heads = np.arange(self._heads)
        blocks, entry_slices, slice_entries, used = list[AttentionBlock](), [], [], 0
        # Except on a CPU, starting another kernel costs more than the entries that it saves.
        runs = split_by_length(lengths) if self._device.type == "cpu" else [(0, len(rows))]
        for begin, end in runs:
            width = int(lengths[begin:end].max())
            real = np.arange(width) < lengths[begin:end, None]  # (N, L)
            token = np.where(real, first[begin:end, None] + np.arange(width), first[begin:end, None])  # (N, L)
            entry_slices.append((token[:, None, :] * self._heads + heads[:, None]).reshape(-1))
            inside = slice(first[begin], first[begin] + lengths[begin:end].sum())
            entry = used + ((row[inside, None] - begin) * self._heads + heads) * width + column[inside, None]
            slice_entries.append(entry.reshape(-1))
            entries = slice(used, used + real.size * self._heads)
            mask = None if real.all() else send(real, self._device)[:, None, None, :]
            blocks.append(AttentionBlock(rows=slice(begin, end), entries=entries, width=width, mask=mask))
            used = entries.stop
        return FlatBatch(
            input_ids=columns[0],
            position_ids=columns[1],
            token_type_ids=columns[2],
            first=send(first, self._device),
            blocks=blocks,
            entry_slices=send(np.concatenate(entry_slices), self._device),
            slice_entries=send(np.concatenate(slice_entries), self._device),
        )


def split_by_length(lengths: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Cut rows into groups of neighbours so that padding plus the cost of the blocks is least.

    Args:
        lengths: (B,) tokens of each row.

    Yields:
        The first row of each group and the one after its last.
    """
    rows = len(lengths)
    if rows * lengths.max() ** 2 - (lengths**2).sum() <= BLOCK_COST:
        yield 0, rows
        return
    cheapest, begins = np.zeros(rows + 1), np.zeros(rows + 1, dtype=np.int64)
    for end in range(1, rows + 1):
        widths = np.maximum.accumulate(lengths[:end][::-1])[::-1]  # of the groups that begin at 0, ..., end - 1
        costs = cheapest[:end] + (end - np.arange(end)) * widths**2 + BLOCK_COST
        begins[end] = costs.argmin()
        cheapest[end] = costs[begins[end]]
    cuts = [rows]
    while cuts[-1]:
        cuts.append(int(begins[cuts[-1]]))
    yield from zip(cuts[:0:-1], cuts[-2::-1], strict=True)


class FlatEncoder(nn.Module):
    """A transformers encoder of the BERT or RoBERTa family, on flat batches."""

    def __init__(self, transformer: PreTrainedModel, config: PretrainedConfig) -> None:
        """Wrap a loaded transformer."""
        super().__init__()
        self.transformer = transformer
        words: Any = transformer.get_submodule("embeddings.word_embeddings")
        self._heads = int(config.num_attention_heads)
        self._first_position = first_position(config)
        self._last_type = int(getattr(config, "type_vocab_size", 1)) - 1  # RoBERTa has one type for both texts
        self._row_of = np.arange(words.num_embeddings)  # token id to row of the table
        self._whole: tuple[Tensor, Tensor, int | None] | None = None  # table, its kept rows, and its padding row

    def place(self, encoded: Encoded, device: torch.device) -> FlatRows:
        """Return a split on the device, for the current embedding table."""
        types = np.minimum(encoded.types, self._last_type)
        columns = np.stack([self._row_of[encoded.tokens], self._positions(encoded), types]).astype(np.int32)
        return FlatRows(encoded.offsets, columns=torch.from_numpy(columns).to(device), heads=self._heads)

    def forward(self, batch: FlatBatch) -> Tensor:
        """Return the last layer's state of each row's first token, (B, H), from (T,) tokens."""
        embeddings: Any = self.transformer.get_submodule("embeddings")
        hidden = look_up(batch.input_ids, embeddings.word_embeddings)  # (T, H)
        hidden = hidden + look_up(batch.token_type_ids, embeddings.token_type_embeddings)
        hidden = hidden + look_up(batch.position_ids, embeddings.position_embeddings)
        noise = Noise() if self.training and kernels.is_plain(hidden) else None
        hidden = drop(embeddings.LayerNorm(hidden), embeddings.dropout, noise=noise)
        layers: Any = self.transformer.get_submodule("encoder.layer")
        for layer in layers[:-1]:
            hidden = self._layer(layer, hidden, kept=hidden, batch=batch, noise=noise)
        return self._layer(layers[-1], hidden, kept=pick(hidden, batch.first), batch=batch, noise=noise)

    def cut_vocabulary(self, tokens: NDArray[np.int32]) -> None:
        """Keep only the embedding rows of `tokens`, as a new parameter; `restore_vocabulary` undoes it.

        The other rows get no gradient: training would only let them decay, by a known factor.
        """
        words: Any = self.transformer.get_submodule("embeddings.word_embeddings")
        kept = np.unique(tokens)
        self._row_of = np.full(words.num_embeddings, -1)
        self._row_of[kept] = np.arange(len(kept))
        rows, table = torch.from_numpy(kept.astype(np.int64)), words.weight.detach().clone()
        self._whole = table, rows, words.padding_idx
        words.weight = nn.Parameter(table[rows.to(table.device)].clone())
        # The padding token's row gets no gradient, as in transformers; it is rarely among the kept ones.
        in_place = np.flatnonzero(kept == words.padding_idx)
        words.padding_idx = int(in_place[0]) if len(in_place) else None

    def restore_vocabulary(self, *, decay: float) -> None:
        """Restore the whole table: trained rows as they are, the others multiplied by `decay`."""
        if self._whole is None:
            return
        words: Any = self.transformer.get_submodule("embeddings.word_embeddings")
        (whole, rows, words.padding_idx), self._whole = self._whole, None
        table = whole.to(words.weight.device) * decay
        table[rows.to(table.device)] = words.weight.detach()
        words.weight = nn.Parameter(table)
        self._row_of = np.arange(len(table))

    def _positions(self, encoded: Encoded) -> NDArray[np.int64]:
        """Return (all tokens,) position ids, which restart with every row; RoBERTa's do not count padding tokens."""
        starts, lengths = encoded.offsets[:-1], encoded.lengths()
        pad_id = self._first_position - 1  # BERT, which counts from 0, has no token with this id
        padding = encoded.tokens == pad_id
        real = np.cumsum(~padding)
        before = real[starts] - ~padding[starts]  # (n,) real tokens of earlier rows
        return np.where(padding, pad_id, real - np.repeat(before, lengths) + pad_id)

    def _layer(self, layer: Any, hidden: Tensor, *, kept: Tensor, batch: FlatBatch, noise: Noise | None) -> Tensor:
        """Apply a layer to (T, H) states; return those of the `kept` ones, all (T, H) or the first tokens' (B, H)."""
        attention = layer.attention.self
        context = attend(
            attention.query(kept),
            key=attention.key(hidden),
            value=attention.value(hidden),
            batch=batch,
            heads=self._heads,
            dropout=attention.dropout.p if self.training else 0.0,
            noise=noise,
        )
        projection, inner, outer = layer.attention.output, layer.intermediate, layer.output
        mixed = drop_and_add(projection.dense(context), kept, dropout=projection.dropout, noise=noise)
        attended = projection.LayerNorm(mixed)
        activated = outer.dense(inner.intermediate_act_fn(inner.dense(attended)))
        finished: Tensor = outer.LayerNorm(drop_and_add(activated, attended, dropout=outer.dropout, noise=noise))
        return finished
