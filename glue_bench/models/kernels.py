"""The parts of a transformer layer on flat batches, each in the form that is fastest on its device.

In float32 on a CPU, where nothing but matrix products should take time, dropout masks come from 16 random bits an
element, and attention and lookups have backward passes of their own. Anywhere else the operations are torch's.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from glue_bench.models.flat_batches import FlatBatch, Grid

_UNUSED = torch.zeros(())  # where a call wants a tensor that it multiplies by nothing


class Noise:
    """The dropout masks of one forward pass, all from one draw of torch's own stream."""

    def __init__(self) -> None:
        """Draw."""
        self._bits = np.random.SFC64(int(torch.randint(2**63 - 1, ())))

    def mask(self, shape: Sequence[int], probability: float) -> Tensor:
        """Zeros with `probability`, rounded to 1/65536, and the reciprocal of what is left elsewhere: float32."""
        size, cut = math.prod(shape), round(probability * 2**16)
        bits = torch.from_numpy(self._bits.random_raw(-(-size // 4)).view(np.int16)[:size])
        mask = torch.empty(shape)
        torch.ge(bits.view(shape), cut - 2**15, out=mask)
        return mask.mul_(1 / (1 - cut / 2**16))


def is_plain(hidden: Tensor) -> bool:
    """Whether the CPU's own forms apply."""
    return hidden.device.type == "cpu" and hidden.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")


def pick(hidden: Tensor, rows: Tensor) -> Tensor:
    """(T, H) to the (B, H) of some rows."""
    picked: Tensor = _LookUp.apply(hidden, rows, None) if is_plain(hidden) else hidden.index_select(0, rows)  # type: ignore[no-untyped-call]
    return picked


def look_up(ids: Tensor, table: nn.Embedding) -> Tensor:
    """(T,) row numbers to (T, H)."""
    found: Tensor = _LookUp.apply(table.weight, ids, table.padding_idx) if is_plain(table.weight) else table(ids)  # type: ignore[no-untyped-call]
    return found


def drop(hidden: Tensor, dropout: nn.Dropout, noise: Noise | None) -> Tensor:
    """Dropout; `noise` where the CPU's own form applies."""
    if not dropout.training or not dropout.p or noise is None:
        dropped: Tensor = dropout(hidden)
        return dropped
    return hidden * noise.mask(hidden.shape, dropout.p)


def drop_and_add(hidden: Tensor, residual: Tensor, dropout: nn.Dropout, noise: Noise | None) -> Tensor:
    """residual + dropout(hidden)."""
    if not dropout.training or not dropout.p or noise is None:
        added: Tensor = residual + dropout(hidden)
        return added
    return torch.addcmul(residual, hidden, noise.mask(hidden.shape, dropout.p))


def attend(
    query: Tensor, key: Tensor, value: Tensor, batch: FlatBatch, *, heads: int, dropout: float, noise: Noise | None
) -> Tensor:
    """Attention within each row.

    Args:
        query: (T, H), or (B, H) where only first tokens ask.
        key: (T, H).
        value: (T, H).
        dropout: of the attention's weights; 0 in evaluation.

    Returns:
        As `query`.
    """
    if is_plain(query):
        mixed: Tensor = _Attention.apply(query, key, value, batch, heads, dropout, noise)  # type: ignore[no-untyped-call]
        return mixed
    queries, keys, values = _to_cells(query, key, value, batch, heads=heads)
    contexts = []
    for grid in batch.grids:
        asking, keyed, valued = (
            part.view(-1, heads, *part.shape[1:]) for part in _of_grid(grid, heads, queries, keys, values)
        )
        context = functional.scaled_dot_product_attention(
            asking, keyed, valued, attn_mask=grid.mask, dropout_p=dropout
        )  # (n, heads, L or 1, H / heads)
        contexts.append(context.flatten(0, 2))
    return _from_cells(contexts[0] if len(contexts) == 1 else torch.cat(contexts), query.shape, batch)


def _to_cells(query: Tensor, key: Tensor, value: Tensor, batch: FlatBatch, *, heads: int) -> tuple[Tensor, ...]:
    """Three times (T, H) to (C, H / heads); a query of first tokens, (B, H), to (B * heads, H / heads)."""
    size = query.shape[-1] // heads
    return tuple(
        part.reshape(-1, size)
        if len(part) < batch.tokens
        else part.reshape(-1, size).index_select(0, batch.cell_slices)
        for part in (query, key, value)
    )


def _from_cells(cells: Tensor, shape: torch.Size, batch: FlatBatch) -> Tensor:
    """The way back, to a query's shape."""
    return (cells if shape[0] < batch.tokens else cells.index_select(0, batch.slice_cells)).view(shape)


def _of_grid(grid: Grid, heads: int, queries: Tensor, keys: Tensor, values: Tensor) -> list[Tensor]:
    """What `_to_cells` gave, cut to a grid: (n * heads, L or 1, H / heads) views."""
    first_only = slice(grid.rows.start * heads, grid.rows.stop * heads)
    return [
        part[first_only].unsqueeze(1)
        if len(part) < len(keys)
        else part[grid.cells].view(-1, grid.width, part.shape[-1])
        for part in (queries, keys, values)
    ]


class _LookUp(torch.autograd.Function):
    """Rows of a table. torch.zeros asks the system for fresh pages each time; a reused buffer is ten times quicker."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, padding_row: int | None) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.shape, ctx.padding_row = weight.shape, padding_row
        return weight.index_select(0, ids)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (ids,) = ctx.saved_tensors
        to_weight = gradients[0].new_empty(ctx.shape).zero_().index_add_(0, ids, gradients[0])
        if ctx.padding_row is not None:
            to_weight[ctx.padding_row] = 0
        return to_weight, None, None


class _Attention(torch.autograd.Function):
    """Softmax attention, grid by grid, with dropout masks that are numbers.

    Cells without a token need no zeros: as keys they get the weight 0, and as queries their gradient is 0.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, batch: FlatBatch, heads: int, dropout: float, noise: Any
    ) -> Tensor:
        cells = _to_cells(query, key, value, batch, heads=heads)
        contexts = torch.empty_like(cells[0])
        shares, masks = [], []
        for grid in batch.grids:
            queries, keys, values = _of_grid(grid, heads, *cells)
            context, _, _ = _of_grid(grid, heads, contexts, *cells[1:])
            scores = torch.baddbmm(_UNUSED, queries, keys.transpose(1, 2), beta=0, alpha=queries.shape[-1] ** -0.5)
            if grid.mask is not None:
                scores.view(-1, heads, *scores.shape[1:]).masked_fill_(~grid.mask, -math.inf)
            shares.append(torch.softmax(scores, -1))  # (n * heads, L or 1, L)
            masks.append(noise.mask(scores.shape, dropout) if dropout else _UNUSED)
            torch.bmm(shares[-1] * masks[-1] if dropout else shares[-1], values, out=context)
        ctx.save_for_backward(*cells, *shares, *masks)
        ctx.batch, ctx.heads, ctx.dropout, ctx.shape = batch, heads, dropout, query.shape
        return _from_cells(contexts, query.shape, batch)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        batch, heads, count = ctx.batch, ctx.heads, len(ctx.batch.grids)
        cells, shares, masks = saved[:3], saved[3 : 3 + count], saved[3 + count :]
        arriving = gradients[0].reshape(-1, cells[0].shape[-1])
        if ctx.shape[0] == batch.tokens:
            arriving = torch.empty_like(cells[0]).zero_().index_copy_(0, batch.slice_cells, arriving)
        leaving = [torch.empty_like(part) for part in cells]
        for grid, share, mask in zip(batch.grids, shares, masks, strict=True):
            queries, keys, values = _of_grid(grid, heads, *cells)
            to_queries, to_keys, to_values = _of_grid(grid, heads, *leaving)
            arrived, _, _ = _of_grid(grid, heads, arriving, *cells[1:])
            torch.bmm((share * mask if ctx.dropout else share).transpose(1, 2), arrived, out=to_values)
            to_share = torch.bmm(arrived, values.transpose(1, 2))
            if ctx.dropout:
                to_share *= mask
            to_scores = torch._softmax_backward_data(to_share, share, -1, share.dtype)
            scale = queries.shape[-1] ** -0.5
            torch.baddbmm(_UNUSED, to_scores, keys, beta=0, alpha=scale, out=to_queries)
            torch.baddbmm(_UNUSED, to_scores.transpose(1, 2), queries, beta=0, alpha=scale, out=to_keys)
        to_query = _from_cells(leaving[0], ctx.shape, batch)
        to_key, to_value = (part.index_select(0, batch.slice_cells).view(-1, ctx.shape[-1]) for part in leaving[1:])
        return to_query, to_key, to_value, None, None, None, None
