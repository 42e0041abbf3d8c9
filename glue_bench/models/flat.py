"""The flat engine: BERT and RoBERTa without padding, every token of a batch in one row, attention within each row.

The arithmetic is transformers' own, module by module, on the real tokens only:

- linear layers, layer norms and dropout see (T, H);
- queries, keys and values are padded for the attention alone, in attention blocks of rows of similar length;
- the last layer is computed for each row's first token, the only one the head reads;
- the embedding table can be cut to the tokens that occur; this only saves the optimiser work.

Shapes are written with the letters of the module `kernels`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from glue_bench.data.encoding import Encoded
from glue_bench.models import kernels
from glue_bench.models.families import first_position
from glue_bench.models.kernels import FlatBatch, Noise, attend, drop, drop_and_add, look_up, pick
from glue_bench.models.packing import Layout, Packed, pack

_AS_IT_IS = Layout()
_WIDTHS = (32, 64, 128, 256, 512)  # that `FlatBatch.longest` goes up to: few, since shapes depend on it


class FlatRows:
    """An encoded split, in batches without padding."""

    def __init__(
        self, offsets: NDArray[np.int64], *, columns: NDArray[np.int32], heads: int, device: torch.device
    ) -> None:
        """Hold a split; its batches go to the device.

        Args:
            offsets: (n + 1,) as in `Encoded`.
            columns: (3, all tokens) row of the embedding table, position id and type of each token.
        """
        self._offsets, self._columns, self._heads, self._device = offsets, columns, heads, device

    def gather(self, rows: NDArray[np.int64], *, layout: Layout = _AS_IT_IS) -> FlatBatch:
        """Return the batch of these rows, in this order; rows of similar length should be neighbours."""
        return self.unpack(self.pack(rows, layout=layout, extras={}).to(self._device))

    def pack(self, rows: NDArray[np.int64], *, layout: Layout, extras: Mapping[str, NDArray[Any]]) -> Packed:
        """Return what `unpack` turns into the batch of these rows, with other arrays in the same buffer."""
        begins = self._offsets[rows]
        lengths = np.zeros(layout.rows or len(rows), dtype=np.int64)  # (B,)
        lengths[: len(rows)] = self._offsets[rows + 1] - begins
        real = int(lengths.sum())
        total = layout.tokens(real)
        ends = np.cumsum(lengths)
        first = ends - lengths
        columns = np.zeros((3, total), dtype=np.int32)  # filler tokens: nothing reads what becomes of them
        places = np.arange(real) + np.repeat(begins - first[: len(rows)], lengths[: len(rows)])
        np.take(self._columns, places, axis=1, out=columns[:, :real], mode="clip")  # faster than in the mode "raise"
        starts = np.concatenate([[0], ends, [total]])
        arrays = dict(zip(("input_ids", "position_ids", "token_type_ids"), columns, strict=True))
        arrays |= {"first": np.where(lengths, first, 0), "starts": starts}
        if layout.segments:
            arrays |= _sort("word", columns[0]) | _sort("position", columns[1])
        longest = int(max(lengths.max(), total - real))
        return pack({**arrays, **extras}, self._device, longest=next((w for w in _WIDTHS if w >= longest), longest))

    def unpack(self, packed: Packed) -> FlatBatch:
        """Return a batch whose arrays are views of a buffer on the device."""
        known = {field.name for field in dataclasses.fields(FlatBatch)}
        own: dict[str, Any] = {name: view for name, view in packed.views().items() if name in known}
        return FlatBatch(**own, heads=self._heads, longest=packed.longest)


def _sort(name: str, ids: NDArray[np.int32]) -> dict[str, NDArray[Any]]:
    """Return the tokens sorted by id, (T,), and where each distinct id begins there, (T + 1,), filled up with T."""
    small = int(ids.max()) < 2**16  # NumPy sorts these three times as fast
    order = np.argsort(ids.astype(np.uint16) if small else ids, kind="stable")
    ordered = ids[order]
    later = 1 + np.flatnonzero(ordered[1:] != ordered[:-1])
    segments = np.full(len(ids) + 1, len(ids))
    segments[0], segments[1 : 1 + len(later)] = 0, later
    return {f"{name}_order": order, f"{name}_segments": segments}


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
        return FlatRows(encoded.offsets, columns=columns, heads=self._heads, device=device)

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
