"""An encoded split as flat batches: every token of a batch in one row, without padding.

Shapes are written with the letters of the module `kernels`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from glue_bench.models.kernels import FlatBatch
from glue_bench.models.packing import Layout, Packed, pack

_AS_IT_IS = Layout()
_WIDTHS = (32, 64, 128, 256, 512)  # that `FlatBatch.longest` goes up to: few, since shapes depend on it


class FlatRows:
    """An encoded split, in batches without padding."""

    def __init__(self, offsets: NDArray[np.int64], *, columns: NDArray[np.int32], device: torch.device) -> None:
        """Hold a split; its batches go to the device. `offsets`, (n + 1,), are as in `Encoded`.

        The `columns`, (3, all tokens), are row of the embedding table, position id and type of each token.
        """
        self._offsets, self._columns, self._device = offsets, columns, device

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
        return FlatBatch(**own, longest=packed.longest)


def _sort(name: str, ids: NDArray[np.int32]) -> dict[str, NDArray[Any]]:
    """Return the tokens sorted by id, (T,), and where each distinct id begins there, (T + 1,), filled up with T."""
    small = int(ids.max()) < 2**16  # NumPy sorts these three times as fast
    order = np.argsort(ids.astype(np.uint16) if small else ids, kind="stable")
    ordered = ids[order]
    later = 1 + np.flatnonzero(ordered[1:] != ordered[:-1])
    segments = np.full(len(ids) + 1, len(ids))
    segments[0], segments[1 : 1 + len(later)] = 0, later
    return {f"{name}_order": order, f"{name}_segments": segments}
