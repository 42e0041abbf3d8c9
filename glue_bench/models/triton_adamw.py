"""AdamW (Loshchilov and Hutter, arXiv:1711.05101) on all weights at once, in Triton, for a GPU.

A batch has few of the words in the embedding table, and the weights of the others only move by their momentum and
decay. Their updates are made when the words occur again, the same operations in the same order, so that an update
neither reads nor writes them: half of the weights of a DistilRoBERTa. Once a momentum has faded to `_FADED` of itself,
what is left of it is not followed further: float32 could not hold the difference.

N weights, of which the table's, V rows of H, are the first; T tokens of the batch.
"""

import math
from collections.abc import Mapping

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.optim.adamw import adamw as torch_adamw

from glue_bench.config.schema import TrainerConfig
from glue_bench.models.fused import FusedClassifier
from glue_bench.models.kernels import FlatBatch
from glue_bench.models.triton_kernels import launch, load

_CHUNK = 256  # elements of a program: more were slower
_PARTS = 1024  # programs that add up squares
_FADED = 1e-6


@triton.jit
def _squares(gradient, partial, count, BLOCK: tl.constexpr):
    total = tl.zeros([BLOCK], dtype=tl.float32)
    for start in range(tl.program_id(0) * BLOCK, count, tl.num_programs(0) * BLOCK):
        at = start + tl.arange(0, BLOCK)
        value = load(gradient, at, at < count)
        total += value * value
    tl.store(partial + tl.program_id(0), tl.sum(total, 0))


@triton.jit
def _row_of(ids, order, segments, tokens):
    """Return the table's row of this program's segment; -1 if there are fewer segments."""
    begin = tl.load(segments + tl.program_id(0))
    row = tl.load(ids + tl.load(order + begin, mask=begin < tokens, other=0))
    return tl.where(begin < tokens, row, -1)


@triton.jit
def _table_squares(gradient, partial, ids, order, segments, tokens, hidden, BLOCK: tl.constexpr):
    row = _row_of(ids, order, segments, tokens)
    columns = tl.arange(0, BLOCK)
    value = load(gradient, tl.maximum(row, 0).to(tl.int64) * hidden + columns, columns < hidden)
    value = tl.where(row >= 0, value, 0.0)
    tl.store(partial + tl.program_id(0), tl.sum(value * value, 0))


@triton.jit
def _norm(partial, parts, norm, limit, PARTS: tl.constexpr):
    """Store the gradient's norm, and the factor that keeps it within the limit."""
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
def _update(weights, first, second, gradient, norm, scalars, at, inside, beta1, beta2, epsilon, decay):
    """Update weights and their moments; return the weights."""
    g = load(gradient, at, inside) * tl.load(norm + 1)
    w, m, v = load(weights, at, inside), load(first, at, inside), load(second, at, inside)
    rate, bias1, bias2 = tl.load(scalars), tl.load(scalars + 1), tl.load(scalars + 2)
    w, m, v = _updated(w, m, v, g, rate, bias1, bias2, beta1, beta2, epsilon, decay)
    tl.store(weights + at, w, mask=inside)
    tl.store(first + at, m, mask=inside)
    tl.store(second + at, v, mask=inside)
    return w


@triton.jit
def _adamw(
    weights, first, second, gradient, low, norm, scalars, count, decaying, beta1, beta2, epsilon, decay,
    BLOCK: tl.constexpr, LOW: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside, decays = at < count, tl.where(at < decaying, decay, 0.0)
    w = _update(weights, first, second, gradient, norm, scalars, at, inside, beta1, beta2, epsilon, decays)
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
        w, m, v = load(weights, at, inside), load(first, at, inside), load(second, at, inside)
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
    if tl.program_id(0) == 0:
        line, rate = history + update * 4, tl.load(scalars)
        tl.store(line, rate)
        tl.store(line + 1, tl.load(scalars + 1))
        tl.store(line + 2, tl.load(scalars + 2))
        tl.store(line + 3, tl.load(line - 1) - rate * decay - 0.5 * rate * decay * rate * decay)
    if row >= 0:
        columns = tl.arange(0, BLOCK)
        at, inside = row.to(tl.int64) * hidden + columns, columns < hidden
        _update(weights, first, second, gradient, norm, scalars, at, inside, beta1, beta2, epsilon, decay)
        tl.store(last + row, update)


class FlatAdamW:
    """AdamW for a classifier that is trained by our own kernels; has the methods of `TorchAdamW`."""

    def __init__(self, fused: FusedClassifier, settings: TrainerConfig, *, updates: int) -> None:
        """Optimise all weights in `updates` updates; matrices decay."""
        self._fused, self._settings, self._weights = fused, settings, fused.weights
        (self._rows, self._hidden), (beta1, beta2) = fused.words.shape, settings.betas  # V and H
        master = self._weights.master  # (N,) float32
        self.first, self.second = torch.zeros_like(master), torch.zeros_like(master)  # (N,) moments
        moments = {"exp_avg": self.first, "exp_avg_sq": self.second}.items()
        self._named = {
            f"{key}.{name}": view for key, buffer in moments for name, view in self._weights.by_name(buffer).items()
        }
        self.last = torch.zeros(self._rows, dtype=torch.int32, device=master.device)  # (V,) each row's last update
        self.made = torch.zeros(1, dtype=torch.int32, device=master.device)  # updates
        # Of each update: rate, the two corrections, and the logarithm of all decay up to then.
        self.history = torch.zeros(updates + 1, 4, device=master.device)
        self._numbers = beta1, beta2, settings.epsilon, settings.weight_decay  # for a weight that decays
        self._block = triton.next_power_of_2(self._hidden)
        # After this many updates without a gradient, a momentum has faded.
        self._followed = math.ceil(math.log(_FADED) / math.log(beta1)) if beta1 else 1
        self._batch: FlatBatch | None = None  # which has the rows of the table with a gradient; None: all have one

    def zero(self, *, micro_batches: int = 1) -> None:
        lazily = micro_batches == 1 and self._settings.adamw_kernel == self._settings.embedding_kernel == "auto"
        self._weights.overwrite, self._batch = True, None
        self._fused.before = self.catch_up if lazily else None
        if not lazily:
            self.settle()
            self._fused.words.zero_()

    def settle(self) -> None:
        self.catch_up(None)

    def apply(self, scalars: Tensor) -> Tensor:
        norm = (self._by_torch if self._settings.adamw_kernel == "torch" else self._by_our_kernels)(scalars)
        self.made.add_(1)
        if self._batch is None:
            self.last.copy_(self.made.expand_as(self.last))
        return norm

    def state(self) -> dict[str, Tensor]:
        self.settle()
        return self._named | {f"step.{name}": self.made[0].float() for name in self._weights.exact}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self._weights.refresh()
        for name in self._named.keys() & state.keys():
            self._named[name].copy_(state[name])
            self.made.fill_(int(state[f"step.{name.partition('.')[2]}"]))
        self.last.copy_(self.made.expand_as(self.last))

    def catch_up(self, batch: FlatBatch | None) -> None:
        """Make the missed updates of the rows that a batch has; of all rows without one."""
        self._batch = batch
        words = (self.last, self.last, self.last, self._rows) if batch is None else _words(batch)
        launch(
            _catch_up, (words[-1],), self._weights.master, self.first, self.second, self.last, self.history, self.made,
            *words, self._hidden, self._followed, *self._numbers, ALL=batch is None, BLOCK=self._block, num_warps=8,
        )  # fmt: skip

    def _by_our_kernels(self, scalars: Tensor) -> Tensor:
        held, hidden, block = self._weights, self._hidden, self._block
        words = None if self._batch is None else _words(self._batch)
        rows, table = (words[-1], self._rows * hidden) if words else (0, 0)  # what `_table_adamw` updates
        partial, norm = (torch.empty(size, device=held.master.device) for size in (_PARTS + rows, 2))
        whole = held.master, self.first, self.second, held.gradient
        *rest, low = (buffer[table:] for buffer in (*whole, held.low))
        launch(_squares, (_PARTS,), held.gradient[table:], partial, len(low), BLOCK=_CHUNK)
        if words:
            launch(_table_squares, (rows,), held.gradient, partial[_PARTS:], *words, hidden, BLOCK=block)
        parts = triton.next_power_of_2(len(partial))
        launch(_norm, (1,), partial, len(partial), norm, self._settings.clip_norm, PARTS=parts)
        if words:
            launch(
                _table_adamw, (rows,), *whole, self.last, self.history, self.made, *words, hidden, norm, scalars,
                *self._numbers, BLOCK=block,
            )  # fmt: skip
        launch(
            _adamw, (triton.cdiv(len(low), _CHUNK),), *rest, low, norm, scalars, len(low), held.decaying - table,
            *self._numbers, BLOCK=_CHUNK, LOW=held.low is not held.master,
        )  # fmt: skip
        return norm[0]

    def _by_torch(self, scalars: Tensor) -> Tensor:
        held, settings, (beta1, beta2, epsilon, decay) = self._weights, self._settings, self._numbers
        gradient = held.gradient.float()
        norm: Tensor = torch.linalg.vector_norm(gradient)
        if settings.clip_norm:
            gradient *= (settings.clip_norm / (norm + 1e-6)).clamp(max=1.0)
        for part, rate in ((slice(held.decaying), decay), (slice(held.decaying, None), 0.0)):
            w, g, m, v = ([each[part]] for each in (held.master, gradient, self.first, self.second))
            torch_adamw(
                w, g, m, v, [], [self.made[0].float()],
                lr=scalars[0], beta1=beta1, beta2=beta2, weight_decay=rate, eps=epsilon,
                amsgrad=False, maximize=False, capturable=True, fused=True,
            )  # fmt: skip
        held.refresh()
        return norm


def _words(batch: FlatBatch) -> tuple[Tensor, Tensor | None, Tensor | None, int]:
    """Return what `_row_of` takes; the last is how many segments of equal words a batch can have."""
    return batch.input_ids, batch.word_order, batch.word_segments, len(batch.input_ids)
