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


class FlatAdamW:
    """AdamW for a classifier that is trained by our own kernels; has the methods of `TorchAdamW`."""

    def __init__(self, fused: FusedClassifier, settings: TrainerConfig, *, updates: int) -> None:
        """Optimise all weights in `updates` updates; matrices decay."""
        self._fused, self._settings, self._weights = fused, settings, fused.weights
        (self._rows, self._hidden), (beta1, beta2) = fused.words.shape, settings.betas  # V and H
        master = self._weights.master  # (N,) float32
        self.first, self.second = torch.zeros_like(master), torch.zeros_like(master)  # (N,) moments
        self.last = torch.zeros(self._rows, dtype=torch.int32, device=master.device)  # (V,) each row's last update
        self.made = torch.zeros(1, dtype=torch.int32, device=master.device)  # updates
        self.history = torch.zeros(updates + 1, _HISTORY, device=master.device)
        self._numbers = beta1, beta2, settings.epsilon, settings.weight_decay  # for a weight that decays
        # After so many updates without a gradient a momentum has faded.
        self._followed = math.ceil(math.log(_FADED) / math.log(beta1)) if beta1 else 1
        self._batch: FlatBatch | None = None  # which has the rows of the table with a gradient; None: all have one

    def zero(self, *, parts: int = 1) -> None:
        lazily = parts == 1 and self._settings.adamw_kernel == self._settings.embedding_kernel == "auto"
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
        by_name, found = self._weights.by_name, dict[str, Tensor]()
        for key, buffer in (("exp_avg", self.first), ("exp_avg_sq", self.second)):
            found |= {f"{key}.{name}": view for name, view in by_name(buffer).items()}
        return found | {f"step.{name}": self.made[0].float() for name in by_name(self.first)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self._weights.refresh()
        for key, buffer in (("exp_avg", self.first), ("exp_avg_sq", self.second)):
            for name, view in self._weights.by_name(buffer).items():
                if f"{key}.{name}" in state:
                    view.copy_(state[f"{key}.{name}"])
                    self.made.fill_(int(state[f"step.{name}"]))
        self.last.copy_(self.made.expand_as(self.last))

    def catch_up(self, batch: FlatBatch | None) -> None:
        """Make the missed updates of the rows that a batch has; of all rows without one."""
        self._batch = batch
        rows, ids = (self._rows, (self.last,) * 3) if batch is None else _words(batch)
        launch(
            _catch_up, (rows,), self._weights.master, self.first, self.second, self.last, self.history, self.made, *ids,
            rows, self._hidden, self._followed, *self._numbers,
            ALL=batch is None, BLOCK=triton.next_power_of_2(self._hidden), num_warps=8,
        )  # fmt: skip

    def _by_our_kernels(self, scalars: Tensor) -> Tensor:
        held, hidden, block = self._weights, self._hidden, {"BLOCK": triton.next_power_of_2(self._hidden)}
        rows, ids = (0, ()) if self._batch is None else _words(self._batch)
        partial, norm = (torch.empty(size, device=held.master.device) for size in (_PARTS + rows, 2))
        table = self._rows * hidden if rows else 0  # what `_table_adamw` updates
        weights, first, second, gradient, low = (
            part[table:] for part in (held.master, self.first, self.second, held.gradient, held.low)
        )
        launch(_squares, (_PARTS,), gradient, partial, len(gradient), BLOCK=_CHUNK)
        if rows:
            launch(_table_squares, (rows,), held.gradient, partial[_PARTS:], *ids, rows, hidden, **block)
        parts = triton.next_power_of_2(len(partial))
        launch(_norm, (1,), partial, len(partial), norm, self._settings.clip_norm, PARTS=parts)
        if rows:
            launch(
                _table_adamw, (rows,), held.master, self.first, self.second, held.gradient, self.last, self.history,
                self.made, *ids, rows, hidden, norm, scalars, *self._numbers, **block,
            )  # fmt: skip
        launch(
            _adamw, (triton.cdiv(len(weights), _CHUNK),), weights, first, second, gradient, low, norm, scalars,
            len(weights), held.decaying - table, *self._numbers, BLOCK=_CHUNK, LOW=held.low is not held.master,
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


def _words(batch: FlatBatch) -> tuple[int, tuple[Tensor | None, ...]]:
    """Return how many segments of equal words a batch can have, and where they are."""
    return len(batch.input_ids), (batch.input_ids, batch.word_order, batch.word_segments)
