"""Rows of the flat token array as batches without padding, held on the device that trains. Knows no models.

Attention alone needs a rectangle: rows of like length share a padded grid, one for each head, and the grids of a batch
stand end to end as cells. A cell holds one head's slice of one token, so whole slices are copied there and back.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glue_bench.data.encoding import Encoded
from glue_bench.models.placement import send

# What one grid more costs, in cells of a head: below this a saving is not worth it (measured on a CPU).
CELLS_OF_A_GRID = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """n rows of the batch, neighbours, as a rectangle for each head."""

    rows: slice  # of the batch's rows
    cells: slice  # of the batch's cells: n * heads * width of them, in the order (row, head, place)
    width: int  # L, the longest row's tokens
    mask: Tensor | None  # (n, 1, 1, L) bool, true for a token; None where every row has L tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class FlatBatch:
    """B rows of together T tokens, and the C cells of their grids."""

    input_ids: Tensor  # (T,) rows of the (cut) embedding table
    position_ids: Tensor  # (T,)
    token_type_ids: Tensor  # (T,)
    first: Tensor  # (B,) each row's first token
    grids: Sequence[Grid]
    cell_slices: Tensor  # (C,) which of the T * heads slices a cell holds; an empty one repeats its row's first token
    slice_cells: Tensor  # (T * heads,) the cell of each slice
    tokens: int  # T


class FlatRows:
    """An encoded split on a device."""

    def __init__(
        self,
        encoded: Encoded,
        *,
        ids: NDArray[np.int64],
        positions: NDArray[np.int64],
        last_type: int,
        heads: int,
        device: torch.device,
    ) -> None:
        """Move a split to the device; a batch is then a gather.

        Args:
            ids: (all tokens,) rows of the embedding table.
            positions: (all tokens,) position ids.
            last_type: the highest token type that the encoder knows.
            heads: of the attention.
        """
        self._offsets, self._heads, self._device = encoded.offsets, heads, device
        types = np.minimum(encoded.types, last_type)
        self._columns = torch.from_numpy(np.stack([ids, positions, types]).astype(np.int32)).to(device)

    def gather(self, rows: NDArray[np.int64]) -> FlatBatch:
        """The batch of these rows, in this order; rows of like length should be neighbours."""
        starts = self._offsets[rows]  # (B,)
        lengths = self._offsets[rows + 1] - starts
        first = np.cumsum(lengths) - lengths  # (B,) in the batch
        row = np.repeat(np.arange(len(rows)), lengths)  # (T,)
        column = np.arange(len(row)) - first[row]  # (T,)
        columns = self._columns.index_select(1, send(starts[row] + column, self._device))  # (3, T)

        heads = np.arange(self._heads)
        grids, cell_slices, slice_cells, used = list[Grid](), [], [], 0
        # Elsewhere than on a CPU starting another kernel costs more than the cells that it saves.
        runs = split_by_length(lengths) if self._device.type == "cpu" else [(0, len(rows))]
        for begin, end in runs:
            width = int(lengths[begin:end].max())
            real = np.arange(width) < lengths[begin:end, None]  # (n, L)
            token = np.where(real, first[begin:end, None] + np.arange(width), first[begin:end, None])  # (n, L)
            cell_slices.append((token[:, None, :] * self._heads + heads[:, None]).reshape(-1))
            inside = slice(first[begin], first[begin] + lengths[begin:end].sum())
            cell = used + ((row[inside, None] - begin) * self._heads + heads) * width + column[inside, None]
            slice_cells.append(cell.reshape(-1))
            cells = slice(used, used + real.size * self._heads)
            mask = None if real.all() else send(real, self._device)[:, None, None, :]
            grids.append(Grid(rows=slice(begin, end), cells=cells, width=width, mask=mask))
            used = cells.stop
        return FlatBatch(
            input_ids=columns[0],
            position_ids=columns[1],
            token_type_ids=columns[2],
            first=send(first, self._device),
            grids=grids,
            cell_slices=send(np.concatenate(cell_slices), self._device),
            slice_cells=send(np.concatenate(slice_cells), self._device),
            tokens=len(row),
        )


def split_by_length(lengths: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Cut rows into runs of neighbours so that their padded grids and what a grid costs by itself are cheapest.

    Args:
        lengths: (B,) tokens of each row.

    Yields:
        The first row of each run and the one after its last.
    """
    rows = len(lengths)
    if rows * lengths.max() ** 2 - (lengths**2).sum() <= CELLS_OF_A_GRID:
        yield 0, rows
        return
    cheapest, begins = np.zeros(rows + 1), np.zeros(rows + 1, dtype=np.int64)
    for end in range(1, rows + 1):
        widths = np.maximum.accumulate(lengths[:end][::-1])[::-1]  # of the runs that begin at 0, ..., end - 1
        costs = cheapest[:end] + (end - np.arange(end)) * widths**2 + CELLS_OF_A_GRID
        begins[end] = costs.argmin()
        cheapest[end] = costs[begins[end]]
    cuts = [rows]
    while cuts[-1]:
        cuts.append(int(begins[cuts[-1]]))
    yield from zip(cuts[:0:-1], cuts[-2::-1], strict=True)
