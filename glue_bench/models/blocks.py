"""Attention blocks: rectangles of rows, in which attention is computed for all heads at once.

Shapes are written with the letters of the module `kernels`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# The cost of one more block, in entries of a head: a smaller saving is not worth it (measured on a CPU).
BLOCK_COST = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionBlock:
    """N neighbouring rows of the batch as a rectangle for each head."""

    rows: slice  # of the batch's rows
    entries: slice  # of the batch's entries: N * A * L of them, in the order (row, head, position)
    width: int  # L
    mask: Tensor | None  # (N, 1, 1, L) bool, true for a token; None where every row has L tokens

    def within(self, window: int | None) -> Tensor | None:
        """Return the mask of queries that attend only to keys fewer than `window` tokens away: (N or 1, 1, L, L)."""
        if window is None or window >= self.width:
            return self.mask
        place = torch.arange(self.width, device=None if self.mask is None else self.mask.device)
        near = (place[:, None] - place).abs() < window
        if self.mask is None:
            return near[None, None]
        return self.mask & (near | ~self.mask.transpose(2, 3))  # a softmax of nothing is not a number

    def first(self, rows: int, *, heads: int) -> "AttentionBlock":
        """Return the block without the rows after the first `rows` of the batch, at least one of which is inside."""
        stop = min(self.rows.stop, rows)
        if stop == self.rows.stop:
            return self
        kept = stop - self.rows.start
        entries = slice(self.entries.start, self.entries.start + kept * heads * self.width)
        mask = None if self.mask is None else self.mask[:kept]
        return AttentionBlock(rows=slice(self.rows.start, stop), entries=entries, width=self.width, mask=mask)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """The E entries of all attention blocks of a batch."""

    whole: Sequence[AttentionBlock]
    first: Sequence[AttentionBlock]  # the same for the B rows that the head reads, without the filler row
    entry_slices: Tensor  # (E,) the slice of each entry; an entry without a token repeats a token
    slice_entries: Tensor  # (T * A,) the entry of each slice


def arrange(
    starts: Tensor, *, tokens: int, rows: int, longest: int, heads: int, lengths: NDArray[np.int64] | None = None
) -> Blocks:
    """Arrange a batch on its device: in as many blocks as it is fastest with, if the `lengths` of its rows are known.

    Otherwise in one block, whose shapes depend on the other arguments alone, and nothing is read back. On a GPU,
    starting the kernels of another block costs more than the entries that it saves. `starts`, (B + 2,), is where each
    row and the filler row begin, and the end; rows may have no tokens. T `tokens`, B `rows`, L `longest`.
    """
    starts, device = starts.long(), starts.device
    each, every = torch.arange(heads, device=device), torch.arange(tokens, device=device)
    row = torch.searchsorted(starts[1:].contiguous(), every, right=True)  # (T,)
    column = every - starts.index_select(0, row)
    groups, inside = [(0, rows + 1)], slice(None)
    if lengths is not None:  # a filler row changes no other block
        groups = [*split_by_length(lengths[:rows]), *([(rows, rows + 1)] if lengths[rows] else [])]
    blocks, entry_slices, slice_entries, used = list[AttentionBlock](), [], [], 0
    for begin, end in groups:
        width = longest
        if lengths is not None:
            width, inside = max(1, int(lengths[begin:end].max())), slice(int(starts[begin]), int(starts[end]))
        begins, ends = starts[begin:end, None], starts[begin + 1 : end + 1, None]
        token = begins + torch.arange(width, device=device)  # (N, L)
        # A row without tokens attends to one of another row, since a softmax of nothing is not a number; none reads it.
        real = token < torch.maximum(ends, begins + 1)
        token = torch.where(real, token, begins).clamp(max=tokens - 1)
        entry_slices.append(torch.add(each[:, None], token[:, None, :], alpha=heads).reshape(-1))
        shifted = column[inside, None] + (used - begin * heads * width)
        entry = torch.add(shifted, torch.add(each, row[inside, None], alpha=heads), alpha=width)
        slice_entries.append(entry.reshape(-1))
        entries = slice(used, used + (end - begin) * heads * width)
        mask = None if lengths is not None and real.all() else real[:, None, None, :]
        blocks.append(AttentionBlock(rows=slice(begin, end), entries=entries, width=width, mask=mask))
        used = entries.stop
    return Blocks(
        whole=blocks,
        first=[block.first(rows, heads=heads) for block in blocks if block.rows.start < rows],
        entry_slices=torch.cat(entry_slices),
        slice_entries=torch.cat(slice_entries),
    )


def split_by_length(lengths: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Cut (B,) `lengths` into groups of neighbours so that padding plus the cost of the blocks is least.

    Yields the first row of each group and the one after its last.
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
