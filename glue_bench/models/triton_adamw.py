"""AdamW (Loshchilov and Hutter, arXiv:1711.05101) on all weights at once, in Triton, for a GPU.

A batch has few of the words in the embedding table, and the weights of the others only move by their momentum and
decay. Their updates are made when the words occur again, the same operations in the same order, so that an update
neither reads nor writes them: half of the weights of a DistilRoBERTa. Once a momentum has faded to `_FADED` of itself,
what is left of it is not followed further: float32 could not hold the difference.

N weights, of which the table's, V rows of H, are the first; T tokens of the batch.
"""

import math
from dataclasses import dataclass, field

import torch
import triton
import triton.language as tl
from torch import Tensor

from glue_bench.models.kernels import FlatBatch
from glue_bench.models.triton_kernels import launch

_CHUNK = 256  # elements of a program: more were slower
_PARTS = 1024  # programs that add up squares
_FADED = 1e-6
_HISTORY = 4  # numbers kept of each update: rate, the two corrections, and the logarithm of all decay up to then


@triton.jit
def _squares(gradient, partial, count, BLOCK: tl.constexpr):
    total = tl.zeros([BLOCK], dtype=tl.float32)
    for start in range(tl.program_id(0) * BLOCK, count, tl.num_programs(0) * BLOCK):
        at = start + tl.arange(0, BLOCK)
        value = tl.load(gradient + at, mask=at < count, other=0.0).to(tl.float32)
        total += value * value
    tl.store(partial + tl.program_id(0), tl.sum(total, 0))


@triton.jit
def _row_of(ids, order, segments, tokens):
    """Return the table's row of this program's segment; -1 if there are fewer segments."""
    begin = tl.load(segments + tl.program_id(0))
    row = tl.load(ids + tl.load(order + begin, mask=begin < tokens, other=0))
    return tl.where(begin < tokens, row, -1)


@triton.jit
def _table_squares(
    gradient, partial, ids, order, segments, tokens, hidden, BLOCK: tl.constexpr,
):  # fmt: skip
    row = _row_of(ids, order, segments, tokens)
    columns = tl.arange(0, BLOCK)
    at = tl.maximum(row, 0).to(tl.int64) * hidden + columns
    value = tl.load(gradient + at, mask=columns < hidden, other=0.0).to(tl.float32)
    value = tl.where(row >= 0, value, 0.0)
    tl.store(partial + tl.program_id(0), tl.sum(value * value, 0))


@triton.jit
def _norm(partial, parts, norm, limit, PARTS: tl.constexpr):
    """Store the gradient's norm, and what it is multiplied by so that it keeps the limit."""
    at = tl.arange(0, PARTS)
    total = tl.sqrt(tl.sum(tl.load(partial + at, mask=at < parts, other=0.0), 0))
    tl.store(norm, total)
    tl.store(norm + 1, tl.where(limit > 0, tl.minimum(limit / (total + 1e-6), 1.0), 1.0))


@triton.jit
def _updated(w, m, v, g, rate, bias1, bias2, beta1, beta2, epsilon, decay):
    """Return weights and moments after an update."""
    w *= 1.0 - rate * decay
    m += (1.0 - beta1) * (g - m)
    v = beta2 * v + (1.0 - beta2) * g * g
    w -= rate / bias1 * m / (tl.sqrt(v) / tl.sqrt(bias2) + epsilon)
    return w, m, v


@triton.jit
def _adamw(
    weights, first, second, gradient, low, norm, scalars, count, decaying, beta1, beta2, epsilon, decay,
    BLOCK: tl.constexpr, LOW: tl.constexpr,
):  # fmt: skip
    shrink = tl.load(norm + 1)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    g = tl.load(gradient + at, mask=inside, other=0.0).to(tl.float32) * shrink
    w = tl.load(weights + at, mask=inside, other=0.0)
    m = tl.load(first + at, mask=inside, other=0.0)
    v = tl.load(second + at, mask=inside, other=0.0)
    rate, bias1, bias2 = tl.load(scalars), tl.load(scalars + 1), tl.load(scalars + 2)
    decays = tl.where(at < decaying, decay, 0.0)
    w, m, v = _updated(w, m, v, g, rate, bias1, bias2, beta1, beta2, epsilon, decays)
    tl.store(weights + at, w, mask=inside)
    tl.store(first + at, m, mask=inside)
    tl.store(second + at, v, mask=inside)
    if LOW:
        tl.store(low + at, w, mask=inside)


@triton.jit
def _catch_up(
    weights, first, second, last, history, made, ids, order, segments, tokens, hidden, exact,
    beta1, beta2, epsilon, decay, ALL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) if ALL else _row_of(ids, order, segments, tokens)
    done = tl.load(made)
    since = tl.load(last + row, mask=row >= 0, other=0)
    if (row >= 0) & (since < done):
        columns = tl.arange(0, BLOCK)
        inside = columns < hidden
        at = row.to(tl.int64) * hidden + columns
        w = tl.load(weights + at, mask=inside, other=0.0)
        m = tl.load(first + at, mask=inside, other=0.0)
        v = tl.load(second + at, mask=inside, other=0.0)
        end = tl.minimum(done, since + exact)
        for update in range(since + 1, end + 1):
            line = history + update * 4
            rate, bias1, bias2 = tl.load(line), tl.load(line + 1), tl.load(line + 2)
            w, m, v = _updated(w, m, v, 0.0, rate, bias1, bias2, beta1, beta2, epsilon, decay)
        if end < done:
            rest = (done - end).to(tl.float32)
            w *= tl.exp(tl.load(history + done * 4 + 3) - tl.load(history + end * 4 + 3))
            m *= tl.exp(rest * tl.log(beta1))
            v *= tl.exp(rest * tl.log(beta2))
        tl.store(weights + at, w, mask=inside)
        tl.store(first + at, m, mask=inside)
        tl.store(second + at, v, mask=inside)
        tl.store(last + row, done)


@triton.jit
def _table_adamw(
    weights, first, second, gradient, last, history, made, ids, order, segments, tokens, hidden, norm, scalars,
    beta1, beta2, epsilon, decay, BLOCK: tl.constexpr,
):  # fmt: skip
    row = _row_of(ids, order, segments, tokens)
    update = tl.load(made) + 1
    rate, bias1, bias2 = tl.load(scalars), tl.load(scalars + 1), tl.load(scalars + 2)
    if tl.program_id(0) == 0:
        line = history + update * 4
        tl.store(line, rate)
        tl.store(line + 1, bias1)
        tl.store(line + 2, bias2)
        tl.store(line + 3, tl.load(line - 1) - rate * decay - 0.5 * rate * decay * rate * decay)
    if row >= 0:
        shrink = tl.load(norm + 1)
        columns = tl.arange(0, BLOCK)
        inside = columns < hidden
        at = row.to(tl.int64) * hidden + columns
        g = tl.load(gradient + at, mask=inside, other=0.0).to(tl.float32) * shrink
        w = tl.load(weights + at, mask=inside, other=0.0)
        m = tl.load(first + at, mask=inside, other=0.0)
        v = tl.load(second + at, mask=inside, other=0.0)
        w, m, v = _updated(w, m, v, g, rate, bias1, bias2, beta1, beta2, epsilon, decay)
        tl.store(weights + at, w, mask=inside)
        tl.store(first + at, m, mask=inside)
        tl.store(second + at, v, mask=inside)
        tl.store(last + row, update)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What all updates have in common."""

    limit: float  # of the gradient's norm; 0 for none
    beta1: float
    beta2: float
    epsilon: float
    decay: float  # of the first `decaying` weights
    decaying: int

    @property
    def followed(self) -> int:
        """Return after how many updates without a gradient a momentum has faded."""
        return math.ceil(math.log(_FADED) / math.log(self.beta1)) if self.beta1 else 1

    @property
    def numbers(self) -> tuple[float, float, float, float]:
        """Return what a kernel needs for a weight that decays."""
        return self.beta1, self.beta2, self.epsilon, self.decay


@dataclass(frozen=True, slots=True, kw_only=True)
class AdamW:
    """The optimiser's state on the device, and its kernels. Nothing waits for the device."""

    weights: Tensor  # (N,) float32
    first: Tensor  # (N,) float32, moments
    second: Tensor  # (N,) float32
    gradient: Tensor  # (N,) float32 or bfloat16
    low: Tensor  # (N,) what products use; the same tensor as `weights` in float32. Its table is not kept up.
    rates: Rates
    rows: int  # V
    hidden: int  # H
    updates: int  # that will be made
    last: Tensor = field(init=False)  # (V,) int32, the update after which a row was written
    made: Tensor = field(init=False)  # (1,) int32, updates
    history: Tensor = field(init=False)  # (updates + 1, 4) float32

    def __post_init__(self) -> None:
        """Start with no update."""
        device = self.weights.device
        object.__setattr__(self, "last", torch.zeros(self.rows, dtype=torch.int32, device=device))
        object.__setattr__(self, "made", torch.zeros(1, dtype=torch.int32, device=device))
        object.__setattr__(self, "history", torch.zeros(self.updates + 1, _HISTORY, device=device))

    def catch_up(self, batch: FlatBatch | None) -> None:
        """Make the missed updates of the rows that a batch has; of all rows without one."""
        rows, ids = (self.rows, (self.last, self.last, self.last)) if batch is None else _words(batch)
        block = {"BLOCK": triton.next_power_of_2(self.hidden), "num_warps": 8}
        launch(
            _catch_up, (rows,), self.weights, self.first, self.second, self.last, self.history, self.made, *ids, rows,
            self.hidden, self.rates.followed, *self.rates.numbers, ALL=batch is None, **block,
        )  # fmt: skip

    def apply(self, scalars: Tensor, batch: FlatBatch | None) -> Tensor:
        """Make an update; return the gradient's norm before clipping, () float32.

        Args:
            scalars: (3,) float32: the learning rate, 1 - beta1 ** update and 1 - beta2 ** update.
            batch: has the rows of the table with a gradient; None: all have one.
        """
        begin = self.rows * self.hidden if batch is not None else 0
        tokens = 0 if batch is None else len(batch.input_ids)
        partial, norm = (torch.empty(size, device=self.weights.device) for size in (_PARTS + tokens, 2))
        weights, first, second, gradient, low = (
            part[begin:] for part in (self.weights, self.first, self.second, self.gradient, self.low)
        )
        launch(_squares, (_PARTS,), gradient, partial, len(gradient), BLOCK=_CHUNK)
        parts, block = triton.next_power_of_2(len(partial)), {"BLOCK": triton.next_power_of_2(self.hidden)}
        rows, ids = (0, ()) if batch is None else _words(batch)
        if rows:
            launch(_table_squares, (rows,), self.gradient, partial[_PARTS:], *ids, rows, self.hidden, **block)
        launch(_norm, (1,), partial, len(partial), norm, self.rates.limit, PARTS=parts)
        if rows:
            launch(
                _table_adamw, (rows,), self.weights, self.first, self.second, self.gradient, self.last, self.history,
                self.made, *ids, rows, self.hidden, norm, scalars, *self.rates.numbers, **block,
            )  # fmt: skip
        launch(
            _adamw, (triton.cdiv(len(weights), _CHUNK),), weights, first, second, gradient, low, norm, scalars,
            len(weights), self.rates.decaying - begin, *self.rates.numbers,
            BLOCK=_CHUNK, LOW=self.low.data_ptr() != self.weights.data_ptr(),
        )  # fmt: skip
        self.made.add_(1)
        if batch is None:
            self.last.copy_(self.made.expand_as(self.last))
        return norm[0]


def _words(batch: FlatBatch) -> tuple[int, tuple[Tensor, Tensor, Tensor]]:
    """Return how many segments of equal words a batch can have, and where they are."""
    if batch.word_order is None or batch.word_segments is None:
        raise AssertionError("the layout has no segments")
    return len(batch.input_ids), (batch.input_ids, batch.word_order, batch.word_segments)
