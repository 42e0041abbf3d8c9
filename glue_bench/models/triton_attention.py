"""Attention within each row of a static batch, in Triton: nothing is padded, and the probabilities are never stored.

The algorithm is FlashAttention-2's (Dao, arXiv:2307.08691), for the short rows of GLUE: a program has a tile of one
head of one row, and gradients are summed within a program, so that the same input gives the same bits.

Shapes are written with the letters of the module `kernels`; K queries: of all T tokens, or of the B first ones.
"""

import triton
import triton.language as tl

from glue_bench.models.triton_kernels import kept


@triton.jit
def _load(states, first, at, end, stride, head, depth, D: tl.constexpr):
    """Load the slices of one head of the tokens first + at, (tile, D); zeros from `end` on."""
    d = tl.arange(0, D)
    inside = (at < end)[:, None] & (d < depth)[None, :]
    return tl.load(states + (first + at)[:, None] * stride + head * depth + d[None, :], mask=inside, other=0.0)


@triton.jit
def _store(states, tile, first, at, end, stride, head, depth, D: tl.constexpr):
    d = tl.arange(0, D)
    inside = (at < end)[:, None] & (d < depth)[None, :]
    tl.store(states + (first + at)[:, None] * stride + head * depth + d[None, :], tile, mask=inside)


@triton.jit
def _row(starts, row, count, firsts):
    """Return where a row begins, its length, its first query and how many: one of `firsts`, but none of the filler."""
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
    """Compute the context of queries, and what `attend_backward` needs; of `firsts`, each row has one."""
    head = tl.program_id(1)
    begin, length, first, queries = _row(starts, tl.program_id(0), count, firsts)
    at = tl.program_id(2) * TILE + tl.arange(0, TILE)
    if tl.program_id(2) * TILE < queries:
        q = _load(query, first, at, queries, query_stride, head, depth, D)
        largest = tl.full([TILE], -1e30, dtype=tl.float32)
        total = tl.zeros([TILE], dtype=tl.float32)
        context = tl.zeros([TILE, D], dtype=tl.float32)
        for start in range(0, length, TILE):
            keys = start + tl.arange(0, TILE)
            k = _load(key, begin, keys, length, key_stride, head, depth, D)
            v = _load(value, begin, keys, length, key_stride, head, depth, D)
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
        _store(out, context.to(out.dtype.element_ty), first, at, queries, depth * tl.num_programs(1), head, depth, D)
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
    """Compute the gradients of queries, and of keys and values, whose places have the same stride."""
    head, tile, hidden = tl.program_id(1), tl.program_id(2), depth * tl.num_programs(1)
    begin, length, first, queries = _row(starts, tl.program_id(0), count, firsts)
    if tile < key_tiles:  # of keys, and of their values
        keys = tile * TILE + tl.arange(0, TILE)
        if tile * TILE < length:
            k = _load(key, begin, keys, length, key_stride, head, depth, D)
            v = _load(value, begin, keys, length, key_stride, head, depth, D)
            sum_key = tl.zeros([TILE, D], dtype=tl.float32)
            sum_value = tl.zeros([TILE, D], dtype=tl.float32)
            for start in range(0, queries, TILE):
                at = start + tl.arange(0, TILE)
                q = _load(query, first, at, queries, query_stride, head, depth, D)
                g = _load(grad, first, at, queries, hidden, head, depth, D)
                c = _load(context, first, at, queries, hidden, head, depth, D)
                dropped, grad_scores = _grad_scores(
                    q, k, v, g, c, logsumexp, queries, keys, length, seed, site, p, scale, head, count, first, at,
                )  # fmt: skip
                sum_value += tl.dot(tl.trans(dropped.to(g.dtype)), g, input_precision="ieee")
                sum_key += tl.dot(tl.trans(grad_scores.to(q.dtype)), q, input_precision="ieee")
            _store(grad_key, sum_key.to(k.dtype), begin, keys, length, grad_key_stride, head, depth, D)
            _store(grad_value, sum_value.to(k.dtype), begin, keys, length, grad_key_stride, head, depth, D)
    else:  # of queries
        at = (tile - key_tiles) * TILE + tl.arange(0, TILE)
        if (tile - key_tiles) * TILE < queries:
            q = _load(query, first, at, queries, query_stride, head, depth, D)
            g = _load(grad, first, at, queries, hidden, head, depth, D)
            c = _load(context, first, at, queries, hidden, head, depth, D)
            total = tl.zeros([TILE, D], dtype=tl.float32)
            for start in range(0, length, TILE):
                keys = start + tl.arange(0, TILE)
                k = _load(key, begin, keys, length, key_stride, head, depth, D)
                v = _load(value, begin, keys, length, key_stride, head, depth, D)
                _, grad_scores = _grad_scores(
                    q, k, v, g, c, logsumexp, queries, keys, length, seed, site, p, scale, head, count, first, at,
                )  # fmt: skip
                total += tl.dot(grad_scores.to(k.dtype), k, input_precision="ieee")
            _store(grad_query, total.to(q.dtype), first, at, queries, grad_query_stride, head, depth, D)
