"""Batches as one int32 buffer, so that each reaches its device in one copy; and those of a split, for both engines.

Shapes: B rows, T tokens of them and of a filler row that makes T a multiple of a bucket.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PretrainedConfig

from glue_bench.data.encoding import Encoded
from glue_bench.models.families import first_position
from glue_bench.models.kernels import FlatBatch
from glue_bench.models.placement import Layout

_ALIGNED = 4  # numbers: 16 bytes, what kernels ask of a pointer
_WIDTHS = (32, 64, 128, 256, 512)  # `FlatBatch.longest` is rounded up to one of these: few, since shapes depend on it


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A batch, on the host or on a device. Batches with equal keys can use the same buffer."""

    buffer: Tensor  # (n,) int32; on the host it is pinned where the device is a GPU
    places: Mapping[str, tuple[slice, torch.dtype]]  # of each array in the buffer, and the type of its bits
    longest: int  # at least the tokens of the longest row

    @property
    def key(self) -> tuple[int, int]:
        """Everything that the shapes depend on, for one kind of batch and one layout."""
        return len(self.buffer), self.longest

    def to(self, device: torch.device, *, copy: bool = False) -> "Packed":
        """Return the batch on a device, without waiting for it to get there; with `copy` in memory of its own."""
        return dataclasses.replace(self, buffer=self.buffer.to(device, non_blocking=True, copy=copy))

    def views(self) -> dict[str, Tensor]:
        """Return the arrays; they share the buffer's memory."""
        return {name: self.buffer[place].view(kind) for name, (place, kind) in self.places.items()}


def pack(arrays: Mapping[str, NDArray[np.generic]], device: torch.device, *, longest: int) -> Packed:
    """Put arrays of whole numbers below 2**31, or of floats, into one buffer for a device."""
    places, total = dict[str, tuple[slice, torch.dtype]](), 0
    for name, array in arrays.items():
        kind = torch.float32 if array.dtype.kind == "f" else torch.int32
        places[name] = slice(total, total + array.size), kind
        total += -(-array.size // _ALIGNED) * _ALIGNED
    buffer = torch.empty(total, dtype=torch.int32, pin_memory=device.type == "cuda")
    packed = Packed(buffer=buffer, places=places, longest=longest)
    for name, view in packed.views().items():
        view.numpy()[:] = arrays[name].reshape(-1)
    return packed


class Packer:
    """Packs rows of an encoded split into batches without padding."""

    def __init__(
        self, encoded: Encoded, device: torch.device, *, config: PretrainedConfig, row_of: NDArray[Any] | None = None
    ) -> None:
        """Hold a split for a model; its batches go to the device.

        Position ids restart with every row; RoBERTa's do not count padding tokens. `row_of` tells the row of each token
        id in a cut embedding table.
        """
        self._offsets, self._device = encoded.offsets, device
        pad_id = first_position(config) - 1  # where positions count from 0, no token has this id
        padding = encoded.tokens == pad_id
        real = np.cumsum(~padding)
        before = real[encoded.offsets[:-1]] - ~padding[encoded.offsets[:-1]]  # (n,) real tokens of earlier rows
        positions = np.where(padding, pad_id, real - np.repeat(before, encoded.lengths()) + pad_id)
        words = encoded.tokens if row_of is None else row_of[encoded.tokens]
        types = np.minimum(encoded.types, int(getattr(config, "type_vocab_size", 0) or 1) - 1)  # RoBERTa has one
        self._columns = np.stack([words, positions, types]).astype(np.int32)  # (3, all tokens)

    def gather(self, rows: NDArray[np.int64], *, layout: Layout | None = None) -> FlatBatch:
        """Return the batch of these rows, in this order; rows of similar length should be neighbours."""
        return self.unpack(self.pack(rows, layout=layout or Layout(), extras={}).to(self._device))

    def pack(self, rows: NDArray[np.int64], *, layout: Layout, extras: Mapping[str, NDArray[Any]]) -> Packed:
        """Return what `unpack` turns into the batch of these rows, with other arrays in the same buffer."""
        begins = self._offsets[rows]
        lengths = np.zeros(layout.rows or len(rows), dtype=np.int64)  # (B,)
        lengths[: len(rows)] = self._offsets[rows + 1] - begins
        ends = np.cumsum(lengths)
        real, first = int(lengths.sum()), ends - lengths
        least = max(real, 1 + (layout.rows or 0))  # T is more than B where that is fixed
        total = -(-least // layout.bucket) * layout.bucket
        columns = np.zeros((3, total), dtype=np.int32)  # filler tokens: nothing reads what becomes of them
        places = np.arange(real) + np.repeat(begins - first[: len(rows)], lengths[: len(rows)])
        np.take(self._columns, places, axis=1, out=columns[:, :real], mode="clip")  # faster than in the mode "raise"
        arrays = dict(zip(("input_ids", "position_ids", "token_type_ids"), columns, strict=True))
        arrays |= {"first": np.where(lengths, first, 0), "starts": np.concatenate([[0], ends, [total]])}
        if layout.segments:
            arrays |= _sort("word", columns[0]) | _sort("position", columns[1])
        longest = int(max(lengths.max(), total - real))
        if layout.bucket > 1:
            longest = next((width for width in _WIDTHS if width >= longest), longest)
        return pack({**arrays, **extras}, self._device, longest=longest)

    def unpack(self, packed: Packed) -> FlatBatch:
        """Return a batch whose arrays are views of a buffer on the device."""
        known = {field.name for field in dataclasses.fields(FlatBatch)}
        own: dict[str, Any] = {name: view for name, view in packed.views().items() if name in known}
        return FlatBatch(**own, longest=packed.longest)


def _sort(name: str, ids: NDArray[np.int32]) -> dict[str, NDArray[Any]]:
    """Return the tokens sorted by id, (T,), and where each distinct id begins there, (T + 1,), filled up with T."""
    small = int(ids.max()) < 2**16  # NumPy sorts these three times as fast
    order = np.argsort(ids.astype(np.uint16) if small else ids, kind="stable")
    begins, segments = np.flatnonzero(np.diff(ids[order], prepend=-1)), np.full(len(ids) + 1, len(ids))
    segments[: len(begins)] = begins
    return {f"{name}_order": order, f"{name}_segments": segments}
