"""Kernels for a GPU, in Triton: what a layer does between its products with weights, forward and backward.

Sums are float32. Sums over rows (gradients of biases and layer norms) are made in two steps without atomics, so that
the same input gives the same bits: `PROGRAMS` programs add up rows of their own into a slab, (PROGRAMS, C) float32,
whose first dimension the caller sums: column c is the gradient of element c of the vectors. Dropout masks are a
function of (seed, site, element), and are drawn again in the backward pass rather than kept.

Attention is within each row of a static batch: nothing is padded, and the probabilities are never stored. The algorithm
is FlashAttention-2's (Dao, arXiv:2307.08691), for the short rows of GLUE: a program has a tile of one head of one row,
and gradients are summed within a program.

Shapes are written with the letters of the module `kernels`; C columns of the slab.
"""

from typing import Any, NamedTuple

import triton
import triton.language as tl
from torch import Tensor

PROGRAMS = 256  # about two for each multiprocessor


class Normed(NamedTuple):
    """A layer norm's output, and what its backward pass needs."""

    out: Tensor  # (T, H)
    z: Tensor  # (T, H) its input
    mean: Tensor  # (T,) float32, of each row of the input
    rstd: Tensor  # (T,) float32, 1 / standard deviation


def launch(kernel: Any, grid: tuple[int, ...], *arguments: Any, **constants: Any) -> None:
    """Start a kernel; the one place where it happens."""
    kernel[grid](*arguments, **constants)


@triton.jit
def load(values, at, inside):
    """Load numbers of any precision as float32; 0 for those that are not inside."""
    return tl.load(values + at, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _mix(x):
    """Turn 32 bits into 32 others, each of which depends on all (Wellons' lowbias32)."""
    x ^= x >> 16
    x *= 0x21F0AAAD
    x ^= x >> 15
    x *= 0xD35A2D97
    return x ^ (x >> 15)


@triton.jit
def kept(seed, site, at, p):
    """Return 0 for dropped elements and 1 / (1 - p) for the others; a far cheaper draw than Philox's."""
    key = tl.load(seed)
    first = _mix(key.to(tl.uint32) + site.to(tl.uint32) * 0x9E3779B9)
    second = _mix((key >> 32).to(tl.uint32) ^ first)
    draw = _mix(_mix(at.to(tl.uint32) ^ first) + second)
    return tl.where((draw >> 8).to(tl.float32) >= p * 16777216.0, 1.0 / (1.0 - p), 0.0)


@triton.jit
def _normalise(value, weight, bias, z, mean, rstd, row, hidden, epsilon, BLOCK: tl.constexpr):
    """Store a row before the layer norm, with its mean and deviation; return the row after it."""
    columns = tl.arange(0, BLOCK)
    inside = columns < hidden
    stored = value.to(z.dtype.element_ty)
    tl.store(z + row * hidden + columns, stored, mask=inside)
    value = stored.to(tl.float32)
    average = tl.sum(value, 0) / hidden
    centred = tl.where(inside, value - average, 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(centred * centred, 0) / hidden + epsilon)
    tl.store(mean + row, average)
    tl.store(rstd + row, scale)
    return centred * scale * load(weight, columns, inside) + load(bias, columns, inside)


@triton.jit(do_not_specialize=["site"])
def embed(
    words, positions, types, word_ids, position_ids, type_ids, weight, bias, out, z, mean, rstd, seed, site,
    p, epsilon, hidden, BLOCK: tl.constexpr,
):  # fmt: skip
    """Compute dropout(LN(sum of rows of three tables)), from the tables and the (T,) int32 numbers of their rows."""
    row = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    inside = columns < hidden
    value = load(words, tl.load(word_ids + row).to(tl.int64) * hidden + columns, inside)
    value += load(positions, tl.load(position_ids + row) * hidden + columns, inside)
    value += load(types, tl.load(type_ids + row) * hidden + columns, inside)
    value = _normalise(value, weight, bias, z, mean, rstd, row, hidden, epsilon, BLOCK)
    at = row * hidden + columns
    if p > 0:
        value *= kept(seed, site, at, p)
    tl.store(out + at, value, mask=inside)


@triton.jit(do_not_specialize=["site"])
def add_norm(
    branch, residual, weight, bias, out, z, mean, rstd, seed, site, p, epsilon, hidden, BLOCK: tl.constexpr,
):  # fmt: skip
    """Compute LN(residual + dropout(branch))."""
    row = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    inside = columns < hidden
    at = row * hidden + columns
    value = load(branch, at, inside)
    if p > 0:
        value *= kept(seed, site, at, p)
    value += load(residual, at, inside)
    value = _normalise(value, weight, bias, z, mean, rstd, row, hidden, epsilon, BLOCK)
    tl.store(out + at, value, mask=inside)


@triton.jit(do_not_specialize=["site"])
def norm_backward(
    grad, second, z, mean, rstd, weight, kinds, grad_z, grad_branch, slab, seed, site,
    p, rows, hidden, width, at_weight, at_bias, at_sum,
    OUTER: tl.constexpr, SECOND: tl.constexpr, KINDS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Add up one or two gradients of a layer norm's output, and compute those of its input and of the branch that was
    dropped into it; or, OUTER, of the input alone, where the output was dropped.

    The slab gets the gradients of the norm's weight and bias, and of what was added to each row: one for each of KINDS.
    """
    columns = tl.arange(0, BLOCK)
    inside = columns < hidden
    scales = load(weight, columns, inside)
    sum_weight = tl.zeros([BLOCK], dtype=tl.float32)
    sum_bias = tl.zeros([BLOCK], dtype=tl.float32)
    sum_first = tl.zeros([BLOCK], dtype=tl.float32)
    sum_second = tl.zeros([BLOCK], dtype=tl.float32)
    for row in range(tl.program_id(0), rows, tl.num_programs(0)):
        at = row * hidden + columns
        upper = load(grad, at, inside)
        if SECOND:
            upper += load(second, at, inside)
        if OUTER and p > 0:
            upper *= kept(seed, site, at, p)
        scale = tl.load(rstd + row)
        normal = tl.where(inside, (load(z, at, inside) - tl.load(mean + row)) * scale, 0.0)
        sum_weight += upper * normal
        sum_bias += upper
        upper *= scales
        lower = (upper - tl.sum(upper, 0) / hidden - normal * (tl.sum(upper * normal, 0) / hidden)) * scale
        lower = tl.where(inside, lower, 0.0)
        tl.store(grad_z + at, lower, mask=inside)
        if not OUTER:
            if p > 0:
                lower *= kept(seed, site, at, p)
            tl.store(grad_branch + at, lower, mask=inside)
        if KINDS > 1:
            kind = tl.load(kinds + row)
            sum_first += tl.where(kind == 0, lower, 0.0)
            sum_second += tl.where(kind == 1, lower, 0.0)
        else:
            sum_first += lower
    line = slab + tl.program_id(0).to(tl.int64) * width + columns
    tl.store(line + at_weight, sum_weight, mask=inside)
    tl.store(line + at_bias, sum_bias, mask=inside)
    tl.store(line + at_sum, sum_first, mask=inside)
    if KINDS > 1:
        tl.store(line + at_sum + hidden, sum_second, mask=inside)


@triton.jit
def column_sums(
    grad, inputs, out, slab, rows, inner, width, at_sum, GELU: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Add up gradients of sums with a bias, for the slab; before that turn those of GELU's outputs into its inputs'."""
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < inner
    total = tl.zeros([BLOCK], dtype=tl.float32)
    for row in range(tl.program_id(0), rows, tl.num_programs(0)):
        at = row * inner + columns
        lower = load(grad, at, inside)
        if GELU:
            x = load(inputs, at, inside)
            lower *= 0.5 + 0.5 * tl.erf(x * 0.7071067811865476) + x * tl.exp(-0.5 * x * x) * 0.3989422804014327
            tl.store(out + at, lower, mask=inside)
        total += lower
    tl.store(slab + tl.program_id(0).to(tl.int64) * width + at_sum + columns, total, mask=inside)


@triton.jit(do_not_specialize=["padding_row"])
def sum_segments(
    values, ids, order, segments, table, hidden, padding_row,
    ADD: tl.constexpr, TOKENS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write an embedding table's gradient, or ADD it: for each row that occurs, the sum of its tokens' values.

    The `order` is the tokens sorted by their row, `ids`, and `segments` where each row begins there, filled up with T.
    """
    begin = tl.load(segments + tl.program_id(0))
    end = tl.load(segments + tl.program_id(0) + 1)
    if begin < end:
        columns = tl.arange(0, BLOCK)
        inside = columns < hidden
        row = tl.load(ids + tl.load(order + begin)).to(tl.int64)
        if row != padding_row:
            total = tl.zeros([BLOCK], dtype=tl.float32)
            for start in range(begin, end, TOKENS):
                places = start + tl.arange(0, TOKENS)
                tokens = tl.load(order + places, mask=places < end, other=0)
                at = tokens[:, None] * hidden + columns[None, :]
                total += tl.sum(load(values, at, (places < end)[:, None] & inside[None, :]), 0)
            place = row * hidden + columns
            if ADD:
                total += load(table, place, inside)
            tl.store(table + place, total, mask=inside)


@triton.jit
def _load_slices(states, first, at, end, stride, head, depth, D: tl.constexpr):
    """Load the slices of one head of the tokens first + at, (tile, D); zeros from `end` on."""
    d = tl.arange(0, D)
    inside = (at < end)[:, None] & (d < depth)[None, :]
    return tl.load(states + (first + at)[:, None] * stride + head * depth + d[None, :], mask=inside, other=0.0)


@triton.jit
def _store_slices(states, tile, first, at, end, stride, head, depth, D: tl.constexpr):
    d = tl.arange(0, D)
    inside = (at < end)[:, None] & (d < depth)[None, :]
    tl.store(states + (first + at)[:, None] * stride + head * depth + d[None, :], tile, mask=inside)


@triton.jit
def _row(starts, row, count, firsts):
    """Return a row's start, length, first query and number of queries: one with `firsts`, none for the filler row."""
    begin = tl.load(starts + row)
    length = tl.load(starts + row + 1) - begin
    return begin, length, tl.where(firsts > 0, row, begin), tl.where(firsts > 0, tl.where(row < count, 1, 0), length)


@triton.jit
def _mask(seed, site, head, count, query, key, p):
    """Return the dropout mask of a tile of probabilities; rows have at most 1,024 tokens."""
    return kept(seed, site, (head * count + query)[:, None] * 1024 + key[None, :], p)


@triton.jit(do_not_specialize=["site", "firsts"])
def attend(
    query, key, value, out, logsumexp, starts, seed, site, p, scale, query_stride, key_stride, depth, count, firsts,
    TILE: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """Compute the context of queries, and what `attend_backward` needs; with `firsts`, each row has one query."""
    head = tl.program_id(1)
    begin, length, first, queries = _row(starts, tl.program_id(0), count, firsts)
    at = tl.program_id(2) * TILE + tl.arange(0, TILE)
    if tl.program_id(2) * TILE < queries:
        q = _load_slices(query, first, at, queries, query_stride, head, depth, D)
        largest = tl.full([TILE], -1e30, dtype=tl.float32)
        total = tl.zeros([TILE], dtype=tl.float32)
        context = tl.zeros([TILE, D], dtype=tl.float32)
        for start in range(0, length, TILE):
            keys = start + tl.arange(0, TILE)
            k = _load_slices(key, begin, keys, length, key_stride, head, depth, D)
            v = _load_slices(value, begin, keys, length, key_stride, head, depth, D)
            scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
            scores = tl.where((keys < length)[None, :], scores, -1e30)
            higher = tl.maximum(largest, tl.max(scores, 1))
            probs = tl.exp(scores - higher[:, None])
            fade = tl.exp(largest - higher)
            total = total * fade + tl.sum(probs, 1)
            if p > 0:
                probs *= _mask(seed, site, head, count, first + at, keys, p)
            context = context * fade[:, None] + tl.dot(probs.to(v.dtype), v, input_precision="ieee")
            largest = higher
        total = tl.where(total > 0, total, 1.0)  # an absent row has no keys, and the context 0
        context /= total[:, None]
        _store_slices(
            out, context.to(out.dtype.element_ty), first, at, queries, depth * tl.num_programs(1), head, depth, D
        )
        tl.store(logsumexp + head * count + first + at, largest + tl.log(total), mask=at < queries)


@triton.jit
def _grad_scores(
    q, k, v, grad, context, logsumexp, queries, keys, length, seed, site, p, scale, head, count, first, at,
):  # fmt: skip
    """Return a tile's probabilities after dropout, and the gradient of its scores."""
    shift = tl.load(logsumexp + head * count + first + at, mask=at < queries, other=0.0)
    scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
    real = (at < queries)[:, None] & (keys < length)[None, :]
    probs = tl.where(real, tl.exp(scores - shift[:, None]), 0.0)
    grad_probs = tl.dot(grad, tl.trans(v), input_precision="ieee")
    dropped = probs
    if p > 0:
        mask = _mask(seed, site, head, count, first + at, keys, p)
        dropped = probs * mask
        grad_probs *= mask
    common = tl.sum(grad.to(tl.float32) * context.to(tl.float32), 1)
    return dropped, probs * (grad_probs - common[:, None]) * scale


@triton.jit(do_not_specialize=["site", "firsts", "key_tiles"])
def attend_backward(
    query, key, value, context, logsumexp, starts, seed, site, p, scale, query_stride, key_stride, depth, count, firsts,
    grad, grad_query, grad_key, grad_value, grad_query_stride, grad_key_stride, key_tiles,
    TILE: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """Compute the gradients of queries, and of keys and values; these two have the same stride."""
    head, tile, hidden = tl.program_id(1), tl.program_id(2), depth * tl.num_programs(1)
    begin, length, first, queries = _row(starts, tl.program_id(0), count, firsts)
    if tile < key_tiles:  # of keys, and of their values
        keys = tile * TILE + tl.arange(0, TILE)
        if tile * TILE < length:
            k = _load_slices(key, begin, keys, length, key_stride, head, depth, D)
            v = _load_slices(value, begin, keys, length, key_stride, head, depth, D)
            sum_key = tl.zeros([TILE, D], dtype=tl.float32)
            sum_value = tl.zeros([TILE, D], dtype=tl.float32)
            for start in range(0, queries, TILE):
                at = start + tl.arange(0, TILE)
                q = _load_slices(query, first, at, queries, query_stride, head, depth, D)
                g = _load_slices(grad, first, at, queries, hidden, head, depth, D)
                c = _load_slices(context, first, at, queries, hidden, head, depth, D)
                dropped, grad_scores = _grad_scores(
                    q, k, v, g, c, logsumexp, queries, keys, length, seed, site, p, scale, head, count, first, at,
                )  # fmt: skip
                sum_value += tl.dot(tl.trans(dropped.to(g.dtype)), g, input_precision="ieee")
                sum_key += tl.dot(tl.trans(grad_scores.to(q.dtype)), q, input_precision="ieee")
            _store_slices(grad_key, sum_key.to(k.dtype), begin, keys, length, grad_key_stride, head, depth, D)
            _store_slices(grad_value, sum_value.to(k.dtype), begin, keys, length, grad_key_stride, head, depth, D)
    else:  # of queries
        at = (tile - key_tiles) * TILE + tl.arange(0, TILE)
        if (tile - key_tiles) * TILE < queries:
            q = _load_slices(query, first, at, queries, query_stride, head, depth, D)
            g = _load_slices(grad, first, at, queries, hidden, head, depth, D)
            c = _load_slices(context, first, at, queries, hidden, head, depth, D)
            total = tl.zeros([TILE, D], dtype=tl.float32)
            for start in range(0, length, TILE):
                keys = start + tl.arange(0, TILE)
                k = _load_slices(key, begin, keys, length, key_stride, head, depth, D)
                v = _load_slices(value, begin, keys, length, key_stride, head, depth, D)
                _, grad_scores = _grad_scores(
                    q, k, v, g, c, logsumexp, queries, keys, length, seed, site, p, scale, head, count, first, at,
                )  # fmt: skip
                total += tl.dot(grad_scores.to(k.dtype), k, input_precision="ieee")
            _store_slices(grad_query, total.to(q.dtype), first, at, queries, grad_query_stride, head, depth, D)
