"""The parts of a transformer layer on flat batches, each in the form that is fastest on its device.

On a CPU, dropout masks come from 16 random bits per element, and attention and lookups have their own backward passes,
so that only matrix products take time. On a GPU, and under autocast, torch's operations are used.

Shapes:
    T  tokens of the batch         B  rows of the batch
    H  hidden size                 A  attention heads; D = H / A
    N  rows of an attention block  L  tokens of its longest row
    E  entries of all blocks of the batch: the sum of N * A * L

A slice is one head's D numbers of one token, so that (T, H) holds T * A slices; an entry of a block holds one slice.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

# The cost of one more block, in entries of a head: a smaller saving is not worth it (measured on a CPU).
BLOCK_COST = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionBlock:
    """N neighbouring rows of the batch as a rectangle for each head."""

    entries: slice  # of the batch's entries: N * A * L of them, in the order (row, head, position)
    queries: slice  # the same, or of the B * A slices of first tokens, if only those attend
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
        return self.mask & (near | ~self.mask.transpose(2, 3))  # a softmax over nothing is not a number


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """The E entries of all attention blocks of a batch."""

    whole: Sequence[AttentionBlock]
    first: Sequence[AttentionBlock]  # the same for the B rows that the head reads, without the filler row
    entry_slices: Tensor  # (E,) the slice of each entry; an entry without a token repeats a token
    slice_entries: Tensor  # (T * A,) the entry of each slice


@dataclass(slots=True, kw_only=True)
class FlatBatch:
    """B rows and a filler row, which may be empty, with T tokens in total. All tensors are int32."""

    input_ids: Tensor  # (T,) rows of the (cut) embedding table
    position_ids: Tensor  # (T,)
    token_type_ids: Tensor  # (T,)
    first: Tensor  # (B,) each row's first token; 0 for an absent row
    starts: Tensor  # (B + 2,) where each row and the filler row begin, and T
    longest: int  # at least the tokens of the longest row
    # Where the layout has them: the tokens sorted by id, (T,), and where each id begins there, (T + 1,), filled with T.
    word_order: Tensor | None = None
    word_segments: Tensor | None = None
    position_order: Tensor | None = None
    position_segments: Tensor | None = None
    seed: Tensor | None = None  # (2,) the two halves of the dropout seed
    _arranged: dict[int, Blocks] = field(default_factory=dict)

    def blocks(self, heads: int) -> Blocks:
        """Return the attention blocks, arranged when they are first asked for.

        With one head, slices are whole states, and an entry holds H numbers.
        """
        if heads not in self._arranged:
            lengths = np.diff(self.starts.numpy()).astype(np.int64) if self.starts.device.type == "cpu" else None
            self._arranged[heads] = arrange(self, heads, lengths=lengths)
        return self._arranged[heads]


def arrange(batch: FlatBatch, heads: int, *, lengths: NDArray[np.int64] | None) -> Blocks:
    """Arrange a batch on its device: in as many blocks as it is fastest with, if the `lengths` of its rows are known.

    Otherwise in one block, whose shapes depend on those of the batch alone, and nothing is read back. On a GPU,
    starting the kernels of another block costs more than the entries that it saves. Rows may have no tokens.
    """
    starts, device, tokens, rows = batch.starts.long(), batch.starts.device, len(batch.input_ids), len(batch.first)
    each, every = torch.arange(heads, device=device), torch.arange(tokens, device=device)
    row = torch.searchsorted(starts[1:].contiguous(), every, right=True)  # (T,)
    column = every - starts.index_select(0, row)
    groups, inside, width, used = [(0, rows + 1)], slice(None), batch.longest, 0
    if lengths is not None:  # a filler row changes no other block
        groups = [*split_by_length(lengths[:rows]), *([(rows, rows + 1)] if lengths[rows] else [])]
    whole, first, entry_slices, slice_entries = list[AttentionBlock](), list[AttentionBlock](), [], []
    for begin, end in groups:
        if lengths is not None:
            width, inside = max(1, int(lengths[begin:end].max())), slice(int(starts[begin]), int(starts[end]))
        begins, ends = starts[begin:end, None], starts[begin + 1 : end + 1, None]
        token = begins + torch.arange(width, device=device)  # (N, L)
        # A row without tokens attends to one of another row, since a softmax over nothing is NaN; nothing reads it.
        real = token < torch.maximum(ends, begins + 1)
        token = torch.where(real, token, begins).clamp(max=tokens - 1)
        entry_slices.append(torch.add(each[:, None], token[:, None, :], alpha=heads).reshape(-1))
        shifted = column[inside, None] + (used - begin * heads * width)
        entry = torch.add(shifted, torch.add(each, row[inside, None], alpha=heads), alpha=width)
        slice_entries.append(entry.reshape(-1))
        mask = None if lengths is not None and bool(real.all()) else real[:, None, None, :]
        stop, entries = min(end, rows), slice(used, used + (end - begin) * heads * width)
        whole.append(AttentionBlock(entries=entries, queries=entries, width=width, mask=mask))
        if stop > begin:
            queries, entries = slice(begin * heads, stop * heads), slice(used, used + (stop - begin) * heads * width)
            mask = None if mask is None else mask[: stop - begin]
            first.append(AttentionBlock(entries=entries, queries=queries, width=width, mask=mask))
        used = whole[-1].entries.stop
    slices, entered = torch.cat(entry_slices), torch.cat(slice_entries)
    return Blocks(whole=whole, first=first, entry_slices=slices, slice_entries=entered)


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


class Noise:
    """The dropout masks of one forward pass, all from one draw of torch's global seed stream.

    Those of the batch's rows do not depend on its filler row, which gets none and is made zero.
    """

    def __init__(self, batch: FlatBatch | None = None) -> None:
        """Draw the seed of the masks."""
        self._bits = np.random.SFC64(int(torch.randint(2**63 - 1, ())))
        self._tokens, real = (len(batch.input_ids), int(batch.starts[-2])) if batch else (0, 0)
        self._filler = self._tokens - real

    def mask(self, states: Tensor, probability: float) -> Tensor:
        """Return for each state 0 with `probability`, rounded to 1/65536, and 1 / (1 - probability) otherwise."""
        shape, size, cut = states.shape, states.numel(), round(probability * 2**16)
        mask = torch.empty(shape, dtype=states.dtype)
        if self._filler and size == self._tokens * shape[-1] and shape[-2] == self._tokens:  # of states of all tokens
            size -= self._filler * shape[-1]
            mask.view(-1)[size:].zero_()
        bits = torch.from_numpy(self._bits.random_raw(-(-size // 4)).view(np.int16)[:size])
        kept = mask.view(-1)[:size]
        torch.ge(bits, cut - 2**15, out=kept)
        kept.mul_(1 / (1 - cut / 2**16))
        return mask


def is_plain(hidden: Tensor) -> bool:
    """Return whether the CPU's own operations apply."""
    kinds = (torch.float32, torch.bfloat16)
    return hidden.device.type == "cpu" and hidden.dtype in kinds and not torch.is_autocast_enabled("cpu")


def pick(hidden: Tensor, rows: Tensor) -> Tensor:
    """Select the states of some rows: (T, H) to (B, H)."""
    return _LookUp.apply(hidden, rows, None) if is_plain(hidden) else hidden.index_select(0, rows)  # type: ignore[no-untyped-call]


def look_up(ids: Tensor, table: nn.Embedding) -> Tensor:
    """Look up (T,) row numbers in a table, giving (T, H)."""
    if is_plain(table.weight):
        return _LookUp.apply(table.weight, ids, table.padding_idx)  # type: ignore[no-any-return, no-untyped-call]
    return functional.embedding(ids, table.weight, table.padding_idx)


def drop(hidden: Tensor, dropout: nn.Dropout, *, noise: Noise | None, residual: Tensor | None = None) -> Tensor:
    """Return dropout(hidden), or residual + dropout(hidden); with `noise`, by the CPU's own operation."""
    if dropout.training and dropout.p and noise is not None:
        mask = noise.mask(hidden, dropout.p)
        return hidden * mask if residual is None else torch.addcmul(residual, hidden, mask)
    dropped = functional.dropout(hidden, dropout.p, dropout.training)
    return dropped if residual is None else residual + dropped


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionKind:
    """Which attention is computed."""

    heads: int
    scale: float  # of the scores
    dropout: float = 0.0  # of the attention's probabilities; 0 in evaluation
    window: int | None = None  # keys at this distance from a query, and farther, are ignored
    noise: Noise | None = None  # draws the masks of dropout for the CPU's own operation, which has none without it


def attend(query: Tensor, *, key: Tensor, value: Tensor, batch: FlatBatch, kind: AttentionKind) -> Tensor:
    """Compute the attention within each row, in the shape of its query: (T, H), or (B, H) for the first tokens alone.

    Key and value are (T, H).
    """
    if is_plain(query):
        return _Attention.apply(query, key, value, batch, kind)  # type: ignore[no-any-return, no-untyped-call]
    heads, blocks = kind.heads, batch.blocks(kind.heads)
    entries, own = _enter((query, key, value), blocks, heads=heads)
    contexts = []
    for block in own:
        k, v, q = (part.view(-1, heads, *part.shape[1:]) for part in _cut(block, entries[1:], queries=entries[:1]))
        context = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=block.within(kind.window), dropout_p=kind.dropout, scale=kind.scale
        )
        contexts.append(context.flatten(0, 2))
    return _leave(contexts[0] if len(contexts) == 1 else torch.cat(contexts), blocks, heads=heads)


def _enter(states: Sequence[Tensor], blocks: Blocks, *, heads: int) -> tuple[list[Tensor], Sequence[AttentionBlock]]:
    """Turn (T, H) into (E, D), and queries of first tokens alone, (B, H), into (B * A, D); return the blocks too."""
    slices = [part.reshape(-1, part.shape[-1] // heads) for part in states]
    few = len(slices[0]) < len(slices[1])
    kept, rest = (slices[:1], slices[1:]) if few else ([], slices)
    return kept + [part.index_select(0, blocks.entry_slices) for part in rest], blocks.first if few else blocks.whole


def _cut(block: AttentionBlock, keys: Sequence[Tensor], *, queries: Sequence[Tensor]) -> list[Tensor]:
    """Cut entries to a block: of keys and values, (N * A, L, D), then of queries and contexts, (N * A, L or 1, D)."""
    found = [part[block.entries].view(-1, block.width, part.shape[-1]) for part in keys]
    return found + [part[block.queries].view(len(found[0]), -1, part.shape[-1]) for part in queries]


def _leave(entries: Tensor, blocks: Blocks, *, heads: int) -> Tensor:
    """Turn entries back into states: (E, D) into (T, H), or (B * A, D) into (B, H)."""
    few = len(entries) < len(blocks.entry_slices)
    return (entries if few else entries.index_select(0, blocks.slice_entries)).view(-1, heads * entries.shape[-1])


class _LookUp(torch.autograd.Function):
    """Rows of a table. Its gradient reuses memory, ten times faster than torch.zeros, which requests new pages."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, padding_row: int | None) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.shape, ctx.padding_row = weight.shape, padding_row
        return weight.index_select(0, ids)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        (ids,), (grad_output,) = ctx.saved_tensors, grad_outputs
        grad_weight = grad_output.new_empty(ctx.shape).zero_().index_add_(0, ids, grad_output)
        if ctx.padding_row is not None:
            grad_weight[ctx.padding_row] = 0
        return grad_weight, None, None


class _Attention(torch.autograd.Function):
    """Softmax attention, block by block, with explicit dropout masks.

    Entries without a token need not be zero: as keys they get the probability 0, and as queries the gradient 0.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, batch: FlatBatch, kind: AttentionKind) -> Tensor:
        heads, noise, blocks = kind.heads, kind.noise if kind.dropout else None, batch.blocks(kind.heads)
        entries, own = _enter((query, key, value), blocks, heads=heads)
        context = torch.empty_like(entries[0])
        attention_probs, masks, unread = [], [], query.new_zeros(())  # by baddbmm, where beta=0
        filler = blocks.first[-1].entries.stop  # where its entries begin, which get no mask
        for block in own:
            k, v, q, out = _cut(block, entries[1:], queries=(entries[0], context))
            scores = torch.baddbmm(unread, q, k.transpose(1, 2), beta=0, alpha=kind.scale)
            if (visible := block.within(kind.window)) is not None:
                scores.view(-1, heads, *scores.shape[1:]).masked_fill_(~visible, -math.inf)
            attention_probs.append(torch.softmax(scores, -1))  # (N * A, L or 1, L)
            masks.append(noise.mask(scores, kind.dropout) if noise and block.entries.start < filler else unread)
            torch.bmm(attention_probs[-1] * masks[-1] if noise else attention_probs[-1], v, out=out)
        ctx.save_for_backward(*entries, *attention_probs, *masks)
        ctx.blocks, ctx.own, ctx.kind, ctx.dropout = blocks, own, kind, noise is not None
        return _leave(context, blocks, heads=heads)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        blocks, entries, saved = ctx.blocks, ctx.saved_tensors[:3], ctx.saved_tensors[3:]
        count, scale = len(saved) // 2, ctx.kind.scale
        grad_output = grad_outputs[0].reshape(-1, entries[0].shape[-1])
        if len(entries[0]) == len(blocks.entry_slices):
            grad_output = torch.empty_like(entries[0]).zero_().index_copy_(0, blocks.slice_entries, grad_output)
        gradients = [torch.empty_like(part) for part in entries]  # of query, key and value
        unread = grad_output.new_zeros(())
        if ctx.own[-1].entries.stop < len(entries[1]):  # the filler row is in no block
            gradients = [part.zero_() for part in gradients]
        for block, probs, mask in zip(ctx.own, saved[:count], saved[count:], strict=True):
            queries = entries[0], gradients[0], grad_output
            parts = _cut(block, [*entries[1:], *gradients[1:]], queries=queries)
            k, v, grad_key, grad_value, q, grad_query, grad_context = parts
            torch.bmm((probs * mask if ctx.dropout else probs).transpose(1, 2), grad_context, out=grad_value)
            grad_probs = torch.bmm(grad_context, v.transpose(1, 2))
            if ctx.dropout:
                grad_probs *= mask
            grad_scores = torch._softmax_backward_data(grad_probs, probs, -1, probs.dtype)
            torch.baddbmm(unread, grad_scores, k, beta=0, alpha=scale, out=grad_query)
            torch.baddbmm(unread, grad_scores.transpose(1, 2), q, beta=0, alpha=scale, out=grad_key)
        return *(_leave(part, blocks, heads=ctx.kind.heads) for part in gradients), None, None
