"""Fit and predict: one loop for every task. Knows no task names, no files.

An update is a batch of `batch_size` rows, whatever number of parts goes through the model one after another.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from glue_bench.batches import length_sorted_batches, shuffled_batches
from glue_bench.config import TrainerConfig
from glue_bench.encoding import Encoded
from glue_bench.errors import DivergedError, UsageError
from glue_bench.model import Classifier
from glue_bench.optimisation import clip_and_step, linear_rate, make_adamw, untouched_decay, warmup_steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """The three independent sources of chance in a run, each a 32-bit seed."""

    head: int  # the new head's weights
    order: int  # of the training rows
    dropout: int

    @classmethod
    def from_seed(cls, seed: int) -> "Streams":
        """Derive the three from a run's seed."""
        head, order, dropout = (int(state) for state in np.random.SeedSequence(seed).generate_state(3))
        return cls(head=head, order=order, dropout=dropout)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where and in which precision a model runs."""

    device: torch.device
    precision: str  # float32 or bfloat16

    def autocast(self) -> torch.autocast:
        """The context of a forward pass."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bfloat16")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """One line of the history."""

    step: int  # updates done, 1 to steps
    steps: int  # updates in all
    epoch: int  # 1 to epochs
    loss: float  # mean over the updates since the last line
    learning_rate: float
    gradient_norm: float  # before clipping, of this update
    tokens_per_second: float  # real tokens, since the start


@dataclass(frozen=True, slots=True, kw_only=True)
class FitResult:
    """What training did."""

    steps: int
    tokens: int  # real tokens that went through the model
    seconds: float
    untouched_decay: float  # what is left of a decaying weight that never had a gradient


def choose_placement(device: str, precision: str) -> Placement:
    """Resolve `auto`.

    Raises:
        UsageError: the device is not there.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    chosen = torch.device(device)
    count = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "cpu": 1}[chosen.type]
    if (chosen.index or 0) >= count:
        raise UsageError(f"trainer.device={device}: this machine has {count} {chosen.type} devices; cpu always works")
    if precision == "auto":
        # bfloat16 autocast on a CPU is many times slower than float32.
        precision = "bfloat16" if chosen.type == "cuda" and torch.cuda.is_bf16_supported() else "float32"
    return Placement(device=chosen, precision=precision)


def fit(
    model: Classifier,
    encoded: Encoded,
    *,
    labels: NDArray[np.int64] | NDArray[np.float64],
    settings: TrainerConfig,
    streams: Streams,
    placement: Placement,
    history: list[StepReport],
    on_step: Callable[[StepReport], None] = lambda _: None,
) -> FitResult:
    """Train in place. Integer labels mean cross-entropy over the classes, float labels mean squared error.

    The result is a function of the arguments alone: the order of rows and the dropout masks come from `streams`.

    Args:
        labels: (n,) class codes or scores.
        history: gets a line every `log_every` updates, as they happen, so that a run that stops early keeps them.
        on_step: told of every update on a CPU, and every `log_every` on a GPU (a report waits for the device).

    Raises:
        DivergedError: the loss or the gradient became NaN or infinite.
    """
    rows = len(encoded)
    total = math.ceil(rows / settings.batch_size) * settings.epochs
    started = time.perf_counter()
    model.to(placement.device).train()
    loop = _Loop(model, encoded, labels, settings, placement, total)
    with torch.random.fork_rng(devices=[placement.device] if placement.device.type == "cuda" else []):
        step = 0
        for epoch in range(settings.epochs):
            for batch in shuffled_batches(rows, batch_size=settings.batch_size, seed=streams.order, epoch=epoch):
                torch.manual_seed(_mix(streams.dropout, step))
                norm = loop.update(batch, step)
                step += 1
                log = step % settings.log_every == 0 or step == total
                if log or placement.device.type == "cpu":
                    line = loop.report(step, epoch + 1, norm, seconds=time.perf_counter() - started)
                    on_step(line)
                    if log:
                        history.append(line)
                        loop.start_line()
    seconds = time.perf_counter() - started
    decay = untouched_decay(
        total, warmup=loop.warmup, learning_rate=settings.learning_rate, weight_decay=settings.weight_decay
    )
    return FitResult(steps=step, tokens=loop.tokens, seconds=seconds, untouched_decay=decay)


class _Loop:
    """One update, and what the history needs of it."""

    def __init__(
        self,
        model: Classifier,
        encoded: Encoded,
        labels: NDArray[np.int64] | NDArray[np.float64],
        settings: TrainerConfig,
        placement: Placement,
        total: int,
    ) -> None:
        self.model, self.settings, self.placement = model, settings, placement
        self.rows, self.lengths = model.place(encoded, placement.device), encoded.lengths()
        self.total = total
        self.targets = torch.from_numpy(labels).to(placement.device)
        if self.targets.is_floating_point():
            self.targets = self.targets.float()
        self.warmup = warmup_steps(total, settings.warmup)
        self.optimizer = make_adamw(
            model,
            learning_rate=settings.learning_rate,
            betas=settings.betas,
            epsilon=settings.epsilon,
            weight_decay=settings.weight_decay,
        )
        self.tokens = 0
        self.loss_sum = torch.zeros((), device=placement.device)  # since the last line of the history
        self.loss_steps = 0

    def update(self, batch: NDArray[np.int64], step: int) -> Tensor:
        """One optimiser step on the rows `batch`; returns the gradient norm, still on the device."""
        batch = batch[np.argsort(-self.lengths[batch], kind="stable")]  # neighbours of like length share a grid
        for part in np.array_split(batch, min(self.settings.accumulation, len(batch))):
            gathered = self.rows.gather(part)
            with self.placement.autocast():
                logits = self.model(gathered)
            loss = _sum_loss(logits.float(), self.targets[torch.from_numpy(part)]) / len(batch)
            loss.backward()  # type: ignore[no-untyped-call]
            self.loss_sum += loss.detach()
            self.tokens += gathered.tokens
        self.loss_steps += 1
        rate = self.settings.learning_rate * linear_rate(step, total=self.total, warmup=self.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return clip_and_step(self.optimizer, self.model, limit=self.settings.clip_norm)

    def report(self, step: int, epoch: int, norm: Tensor, *, seconds: float) -> StepReport:
        """Read loss and norm from the device, and refuse them if they are not finite."""
        loss_sum, gradient_norm = torch.stack([self.loss_sum, norm.detach().float()]).tolist()
        if not (math.isfinite(loss_sum) and math.isfinite(gradient_norm)):
            raise DivergedError(
                f"diverged at update {step} of {self.total}: loss {loss_sum}, gradient norm {gradient_norm}; "
                "a lower trainer.learning_rate or a longer trainer.warmup may help"
            )
        return StepReport(
            step=step,
            steps=self.total,
            epoch=epoch,
            loss=loss_sum / self.loss_steps,
            learning_rate=float(self.optimizer.param_groups[0]["lr"]),
            gradient_norm=gradient_norm,
            tokens_per_second=self.tokens / seconds,
        )

    def start_line(self) -> None:
        """Begin a new mean of the loss."""
        self.loss_sum.zero_()
        self.loss_steps = 0


@torch.inference_mode()
def predict(model: Classifier, encoded: Encoded, *, batch_size: int, placement: Placement) -> NDArray[np.float32]:
    """The logits of every row, in the rows' order: (n, outputs) float32.

    Raises:
        DivergedError: a logit is NaN or infinite.
    """
    model.to(placement.device).eval()
    batches = list(length_sorted_batches(encoded.lengths(), batch_size=batch_size))
    order = np.concatenate(batches)
    rows, parts = model.place(encoded, placement.device), []
    for batch in batches:
        with placement.autocast():
            parts.append(model(rows.gather(batch)).float())
    sorted_logits = torch.cat(parts).cpu().numpy()  # (n, outputs), longest row first
    if not np.array_equal(np.sort(order), np.arange(len(encoded))):
        raise AssertionError("evaluation must see every row exactly once")
    if not np.isfinite(sorted_logits).all():
        raise DivergedError("diverged: the trained model gives NaN or infinite logits")
    logits = np.empty_like(sorted_logits)
    logits[order] = sorted_logits
    return logits


def _sum_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """(B, outputs) logits and (B,) labels to the summed loss."""
    if targets.is_floating_point():
        return functional.mse_loss(logits.squeeze(-1), targets, reduction="sum")
    return functional.cross_entropy(logits, targets, reduction="sum")


def _mix(seed: int, step: int) -> int:
    """One 64-bit seed from two numbers."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0])
