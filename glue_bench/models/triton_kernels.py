"""Kernels for a GPU, in Triton: what a layer does between its matrix products, forward and backward.

Sums are float32. Sums over rows (gradients of biases and layer norms) are made in two steps without atomics, so that
the same input gives the same bits: `PROGRAMS` programs add up rows of their own into a slab, (PROGRAMS, C) float32,
whose first dimension the caller sums. Dropout masks are a function of (seed, site, element), and are drawn again in
the backward pass rather than kept.

Shapes are written with the letters of the module `kernels`; C columns of the slab.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

PROGRAMS = 256  # about two for each multiprocessor
_CHUNK = 512  # columns of a program
_TOKENS = 8  # of a segment that are added up at once


def launch(kernel: Any, grid: tuple[int, ...], *arguments: Any, **constants: Any) -> None:
    """Start a kernel; the one place where it happens."""
    kernel[grid](*arguments, **constants)


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
    weights = tl.load(weight + columns, mask=inside, other=0.0).to(tl.float32)
    biases = tl.load(bias + columns, mask=inside, other=0.0).to(tl.float32)
    return centred * scale * weights + biases


@triton.jit(do_not_specialize=["site"])
def _embed(
    words, positions, types, word_ids, position_ids, type_ids, weight, bias, out, z, mean, rstd, seed, site,
    p, epsilon, hidden, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    inside = columns < hidden
    value = tl.load(words + tl.load(word_ids + row).to(tl.int64) * hidden + columns, mask=inside, other=0.0).to(
        tl.float32
    )
    value += tl.load(positions + tl.load(position_ids + row) * hidden + columns, mask=inside, other=0.0).to(tl.float32)
    value += tl.load(types + tl.load(type_ids + row) * hidden + columns, mask=inside, other=0.0).to(tl.float32)
    value = _normalise(value, weight, bias, z, mean, rstd, row, hidden, epsilon, BLOCK)
    at = row * hidden + columns
    if p > 0:
        value *= kept(seed, site, at, p)
    tl.store(out + at, value, mask=inside)


@triton.jit(do_not_specialize=["site"])
def _add_norm(
    branch, residual, weight, bias, out, z, mean, rstd, seed, site,
    p, epsilon, hidden, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    inside = columns < hidden
    at = row * hidden + columns
    value = tl.load(branch + at, mask=inside, other=0.0).to(tl.float32)
    if p > 0:
        value *= kept(seed, site, at, p)
    value += tl.load(residual + at, mask=inside, other=0.0).to(tl.float32)
    value = _normalise(value, weight, bias, z, mean, rstd, row, hidden, epsilon, BLOCK)
    tl.store(out + at, value, mask=inside)


@triton.jit(do_not_specialize=["site"])
def _norm_backward(
    grad, second, z, mean, rstd, weight, kinds, grad_z, grad_branch, slab, seed, site,
    p, rows, hidden, width, at_weight, at_bias, at_sum,
    OUTER: tl.constexpr, SECOND: tl.constexpr, KINDS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    columns = tl.arange(0, BLOCK)
    inside = columns < hidden
    scales = tl.load(weight + columns, mask=inside, other=0.0).to(tl.float32)
    sum_weight = tl.zeros([BLOCK], dtype=tl.float32)
    sum_bias = tl.zeros([BLOCK], dtype=tl.float32)
    sum_first = tl.zeros([BLOCK], dtype=tl.float32)
    sum_second = tl.zeros([BLOCK], dtype=tl.float32)
    for row in range(tl.program_id(0), rows, tl.num_programs(0)):
        at = row * hidden + columns
        upper = tl.load(grad + at, mask=inside, other=0.0).to(tl.float32)
        if SECOND:
            upper += tl.load(second + at, mask=inside, other=0.0).to(tl.float32)
        if OUTER and p > 0:
            upper *= kept(seed, site, at, p)
        scale = tl.load(rstd + row)
        normal = (tl.load(z + at, mask=inside, other=0.0).to(tl.float32) - tl.load(mean + row)) * scale
        normal = tl.where(inside, normal, 0.0)
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
def _gelu_backward(
    grad, inputs, out, slab, rows, inner, width, at_sum, GELU: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < inner
    total = tl.zeros([BLOCK], dtype=tl.float32)
    for row in range(tl.program_id(0), rows, tl.num_programs(0)):
        at = row * inner + columns
        lower = tl.load(grad + at, mask=inside, other=0.0).to(tl.float32)
        if GELU:
            x = tl.load(inputs + at, mask=inside, other=0.0).to(tl.float32)
            lower *= 0.5 + 0.5 * tl.erf(x * 0.7071067811865476) + x * tl.exp(-0.5 * x * x) * 0.3989422804014327
            tl.store(out + at, lower, mask=inside)
        total += lower
    tl.store(slab + tl.program_id(0).to(tl.int64) * width + at_sum + columns, total, mask=inside)


@triton.jit(do_not_specialize=["padding_row"])
def _sum_segments(
    values, order, segments, ids, table, hidden, padding_row,
    ADD: tl.constexpr, TOKENS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
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
                real = (places < end)[:, None] & inside[None, :]
                total += tl.sum(tl.load(values + at, mask=real, other=0.0).to(tl.float32), 0)
            if ADD:
                total += tl.load(table + row * hidden + columns, mask=inside, other=0.0).to(tl.float32)
            tl.store(table + row * hidden + columns, total, mask=inside)


def _block(hidden: int) -> dict[str, int]:
    return {"BLOCK": triton.next_power_of_2(hidden), "num_warps": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Normed:
    """A layer norm's output, and what its backward pass needs."""

    out: Tensor  # (T, H)
    z: Tensor  # (T, H) its input
    mean: Tensor  # (T,) float32, of each row of the input
    rstd: Tensor  # (T,) float32, 1 / standard deviation

    @classmethod
    def like(cls, hidden: Tensor) -> "Normed":
        """Make room for rows of the shape of `hidden`."""
        stats = torch.empty(2, len(hidden), device=hidden.device)
        return cls(out=torch.empty_like(hidden), z=torch.empty_like(hidden), mean=stats[0], rstd=stats[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropout:
    """Where a dropout's mask comes from."""

    seed: Tensor  # (1,) int64, on the device
    site: int  # tells the masks of one update apart
    p: float


def embed(
    tables: Sequence[Tensor],
    ids: Sequence[Tensor],
    *,
    norm: Sequence[Tensor],
    epsilon: float,
    dropout: Dropout,
    dtype: torch.dtype,
) -> Normed:
    """Return dropout(LN(sum of the rows `ids`)) of three tables, in `dtype`.

    Args:
        tables: word, position and type embeddings, each (rows, H).
        ids: their row numbers, each (T,) int32.
        norm: the layer norm's weight and bias, (H,).
    """
    hidden = tables[0].shape[1]
    made = Normed.like(tables[0].new_empty(len(ids[0]), hidden, dtype=dtype))
    launch(
        _embed, (len(ids[0]),), *tables, *ids, *norm, made.out, made.z, made.mean, made.rstd, dropout.seed,
        dropout.site, dropout.p, epsilon, hidden, **_block(hidden),
    )  # fmt: skip
    return made


def add_norm(branch: Tensor, residual: Tensor, *, norm: Sequence[Tensor], epsilon: float, dropout: Dropout) -> Normed:
    """Return LN(residual + dropout(branch)), both (T, H)."""
    made, (rows, hidden) = Normed.like(branch), branch.shape
    launch(
        _add_norm, (rows,), branch, residual, *norm, made.out, made.z, made.mean, made.rstd, dropout.seed, dropout.site,
        dropout.p, epsilon, hidden, **_block(hidden),
    )  # fmt: skip
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Slab:
    """Sums over rows, each program's own; column c of a sum is the gradient of element c of the small parameters."""

    sums: Tensor  # (PROGRAMS, C) float32

    def norm_backward(
        self,
        grads: Sequence[Tensor],
        normed: Normed,
        *,
        weight: Tensor,
        columns: tuple[int, int, int],
        dropout: Dropout,
        kinds: Tensor | None = None,
        types: int = 1,
    ) -> tuple[Tensor, Tensor]:
        """Return the gradients of a layer norm's input and of the branch that was dropped into it.

        Args:
            grads: one or two gradients of the output, (T, H), which are added up.
            weight: of the norm, (H,).
            columns: where the slab gets the gradients of its weight, of its bias, and of what was added to each row.
            dropout: of the branch; with `kinds`, of the output.
            kinds: (T,) type ids, for the embeddings' norm, where the third sum is one for each of `types` types.
        """
        (rows, hidden), embeddings = normed.z.shape, kinds is not None
        grad_z = torch.empty_like(normed.z)
        grad_branch = grad_z if embeddings else torch.empty_like(normed.z)
        launch(
            _norm_backward, (PROGRAMS,), grads[0], grads[-1], normed.z, normed.mean, normed.rstd, weight,
            kinds if kinds is not None else grad_z, grad_z, grad_branch, self.sums, dropout.seed, dropout.site,
            dropout.p, rows, hidden, self.sums.shape[1], *columns,
            OUTER=embeddings, SECOND=len(grads) > 1, KINDS=types,
            **_block(hidden),
        )  # fmt: skip
        return grad_z, grad_branch

    def gelu_backward(self, grad: Tensor, inputs: Tensor, *, column: int) -> Tensor:
        """Return the gradient of GELU's inputs, (T, I); their sum is the bias's gradient."""
        return self._over_rows(grad, inputs, column=column, gelu=True)

    def column_sums(self, grad: Tensor, *, column: int) -> None:
        """Add up (T, C) gradients of sums with a bias."""
        self._over_rows(grad, grad, column=column, gelu=False)

    def _over_rows(self, grad: Tensor, inputs: Tensor, *, column: int, gelu: bool) -> Tensor:
        (rows, width), out = inputs.shape, torch.empty_like(inputs) if gelu else grad
        grid = (PROGRAMS, triton.cdiv(width, _CHUNK))
        launch(
            _gelu_backward, grid, grad, inputs, out, self.sums, rows, width, self.sums.shape[1], column,
            GELU=gelu, BLOCK=_CHUNK,
        )  # fmt: skip
        return out


def sum_segments(
    values: Tensor, table: Tensor, *, ids: Tensor, order: Tensor, segments: Tensor, padding_row: int, add: bool
) -> None:
    """Write an embedding table's gradient, (rows, H): for each row that occurs, the sum of its tokens'.

    Args:
        values: (T, H) of each token.
        ids: (T,) the table's row of each token.
        order: (T,) the tokens, sorted by it.
        segments: (T + 1,) where each distinct row begins in `order`; T from the last one on.
        padding_row: this row gets no gradient; -1 for none.
        add: to what the table holds.
    """
    hidden = values.shape[1]
    launch(
        _sum_segments, (len(ids),), values, order, segments, ids, table, hidden, padding_row,
        ADD=add, TOKENS=_TOKENS, **_block(hidden),
    )  # fmt: skip
