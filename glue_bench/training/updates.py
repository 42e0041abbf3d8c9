"""Updates, from a batch to its loss, gradient and new weights: AdamW with linear warmup and decay."""

import itertools
import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from glue_bench.config.schema import TrainerConfig
from glue_bench.data.encoding import Encoded
from glue_bench.errors import DivergedError
from glue_bench.models.classifier import Classifier
from glue_bench.models.placement import Placement, is_out_of_memory, release_memory, send
from glue_bench.training.checkpoint import Snapshot
from glue_bench.training.distributed import ALONE, Processes, SharedGradients

_CLIP_EPSILON = 1e-6  # as in torch's clip_grads_with_norm_

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """One line of the history."""

    step: int  # updates done, 1 to steps
    steps: int  # updates in total
    epoch: int  # 1 to epochs
    loss: float  # mean over the updates since the last line
    learning_rate: float
    gradient_norm: float  # before clipping, of this update
    tokens_per_second: float  # real tokens, since the start


class Updates:
    """A model in training. Between two updates its whole state is a `Snapshot`."""

    def __init__(
        self,
        model: Classifier,
        encoded: Encoded,
        *,
        labels: NDArray[np.int64] | NDArray[np.float64],
        settings: TrainerConfig,
        placement: Placement,
        processes: Processes = ALONE,
    ) -> None:
        """Put rows and labels on the model's device.

        Args:
            labels: (n,) class codes or scores.
            processes: each trains on its share of every batch.
        """
        self._per_epoch = math.ceil(len(encoded) / settings.batch_size)
        self.total = settings.updates or self._per_epoch * settings.epochs
        self.epochs = math.ceil(self.total / self._per_epoch)  # begun
        self.done = self.tokens = 0
        self._warmup = warmup_steps(self.total, settings.warmup)
        self.micro_batches = settings.accumulation  # that a batch is split into
        self._model, self._settings, self._placement = model, settings, placement
        self._rows, self._lengths = model.place(encoded, placement.device), encoded.lengths()
        targets = torch.from_numpy(labels)
        self._targets = (targets.float() if targets.is_floating_point() else targets).to(placement.device)
        self._optimizer, self.processes = make_adamw(model, settings), processes
        self._own = slice(processes.rank, None, processes.count)  # this process's rows of a batch
        self._shared = SharedGradients(model.parameters(), processes) if processes.count > 1 else None
        self._norm = torch.zeros((), device=placement.device)  # of the last gradient, before clipping
        self._loss_sum = torch.zeros((), device=placement.device)  # since the last line of the history
        self._loss_steps = 0

    @property
    def ends_epoch(self) -> bool:
        """Whether the last update was the last of an epoch."""
        return self.done % self._per_epoch == 0 or self.done == self.total

    @property
    def ends_line(self) -> bool:
        """Whether the history gets a line after the last update."""
        return self.done % self._settings.log_every == 0 or self.done == self.total

    def batches(self, *, order: int) -> Iterator[NDArray[np.int64]]:
        """Yield the rows of every remaining update, in the order that the seed stream `order` gives each epoch."""
        begun, size = self.done, self._settings.batch_size
        for epoch in range(begun // self._per_epoch, self.epochs):
            first = epoch * self._per_epoch
            batches = shuffled_batches(len(self._lengths), batch_size=size, seed=order, epoch=epoch)
            yield from itertools.islice(batches, max(0, begun - first), self.total - first)

    def update(self, batch: NDArray[np.int64], *, seed: int) -> None:
        """Make the next update, on the rows `batch`.

        If memory is too small, this and later batches are split into twice as many micro-batches.

        Args:
            seed: of dropout in this update and process.
        """
        while True:
            torch.manual_seed(seed)
            try:
                loss = self._backward(batch)
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or self.micro_batches >= len(batch[self._own]):
                    raise
            # Outside of the except block, because its traceback keeps the failed attempt's tensors alive.
            self._optimizer.zero_grad()
            release_memory(self._placement.device)
            self.micro_batches = min(2 * self.micro_batches, self._settings.batch_size)
            logger.warning(
                "out of memory at update %d: using %d micro-batches from now on", self.done, self.micro_batches
            )
        self._loss_sum += loss if self._shared is None else self._shared.sum_with(loss)
        self._loss_steps += 1
        self.tokens += int(self._lengths[batch].sum())
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate(self.done)
        self._norm = clip_and_step(self._optimizer, self._model, limit=self._settings.clip_norm)
        self.done += 1

    def report(self, history: list[StepReport], *, seconds: float) -> StepReport:
        """Read loss and norm from the device, and add a line to the history if one is due.

        Raises:
            DivergedError: one of them is not finite.
        """
        loss_sum, gradient_norm = self.check_finite()
        line = StepReport(
            step=self.done,
            steps=self.total,
            epoch=math.ceil(self.done / self._per_epoch),
            loss=loss_sum / self._loss_steps,
            learning_rate=float(self._optimizer.param_groups[0]["lr"]),
            gradient_norm=gradient_norm,
            tokens_per_second=self.tokens / seconds,
        )
        if self.ends_line:
            history.append(line)
            self._loss_sum.zero_()
            self._loss_steps = 0
        return line

    def check_finite(self) -> tuple[float, float]:
        """Return the sum of the losses since the last line, and the norm of the last gradient.

        Raises:
            DivergedError: one of them is not finite.
        """
        loss_sum, gradient_norm = torch.stack([self._loss_sum, self._norm.detach().float()]).tolist()
        if not (math.isfinite(loss_sum) and math.isfinite(gradient_norm)):
            raise DivergedError(
                f"diverged at update {self.done} of {self.total}: loss {loss_sum}, gradient norm {gradient_norm}; "
                "a lower trainer.learning_rate or a longer trainer.warmup may help"
            )
        return loss_sum, gradient_norm

    def untouched_decay(self, steps: int) -> float:
        """Return the factor by which `steps` updates shrink a decaying weight that never has a gradient."""
        return math.prod(1 - self._rate(step) * self._settings.weight_decay for step in range(steps))

    def _rate(self, step: int) -> float:
        return self._settings.learning_rate * linear_rate(step, total=self.total, warmup=self._warmup)

    def capture(self, metadata: Mapping[str, Any]) -> Snapshot:
        """Return everything that later updates depend on, with the caller's own metadata."""
        tensors = {f"model.{name}": value.detach() for name, value in self._model.named_parameters()}
        for name, parameter in self._model.named_parameters():
            for key, value in self._optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{key}.{name}"] = value
        tensors["loss_sum"] = self._loss_sum
        own = {"parts": self.micro_batches, "tokens": self.tokens, "loss_steps": self._loss_steps}
        return Snapshot(step=self.done, tensors=tensors, metadata={**own, **metadata})

    def restore(self, snapshot: Snapshot) -> None:
        """Continue from what `capture` returned."""
        device, tensors, metadata = self._placement.device, snapshot.tensors, snapshot.metadata
        self._loss_sum = tensors["loss_sum"].to(device)
        for name, parameter in self._model.named_parameters():
            with torch.no_grad():
                parameter.copy_(tensors[f"model.{name}"])
            names = {key: f"optimizer.{key}.{name}" for key in ("step", "exp_avg", "exp_avg_sq")}
            if names["step"] in tensors:
                self._optimizer.state[parameter] = {key: tensors[name].to(device) for key, name in names.items()}
        self.micro_batches = max(self.micro_batches, metadata["parts"])
        self.done, self.tokens, self._loss_steps = snapshot.step, metadata["tokens"], metadata["loss_steps"]

    def _backward(self, batch: NDArray[np.int64]) -> Tensor:
        """Compute the gradients of this process's share of the batch's mean loss; return that share, on the device."""
        ordered = batch[np.argsort(-self._lengths[batch], kind="stable")]  # rows of similar length share a block
        own = ordered[self._own]  # equal work for every process; none if there are fewer rows
        total = torch.zeros((), device=self._placement.device)
        for micro_batch in np.array_split(own, min(self.micro_batches, len(own))) if len(own) else ():
            gathered = self._rows.gather(micro_batch)
            with self._placement.autocast():
                logits = self._model(gathered)
            targets = self._targets.index_select(0, send(micro_batch, self._placement.device))
            loss = _sum_loss(logits.float(), targets) / len(batch)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return total


def make_adamw(model: nn.Module, settings: TrainerConfig) -> torch.optim.AdamW:
    """Make AdamW (Loshchilov and Hutter, arXiv:1711.05101); biases and layer norms, which are 1-d, do not decay."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    fused = all(parameter.device.type in ("cpu", "cuda") for parameter in parameters)
    betas = settings.betas[0], settings.betas[1]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=betas, eps=settings.epsilon, fused=fused)


def clip_and_step(optimizer: torch.optim.AdamW, model: nn.Module, *, limit: float) -> Tensor:
    """Make an update with gradients clipped to a global norm; return the norm before clipping, on the device."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if limit and optimizer.defaults["fused"]:
        # The kernel divides as it reads, which saves a pass over all gradients.
        optimizer.grad_scale = ((norm + _CLIP_EPSILON) / limit).clamp(min=1).float()  # type: ignore[attr-defined]
    elif limit:
        nn.utils.clip_grads_with_norm_(model.parameters(), limit, norm)
    optimizer.step()
    optimizer.zero_grad()
    return norm


def warmup_steps(total: int, fraction: float) -> int:
    """Return the number of warmup updates."""
    return math.ceil(total * fraction)


def linear_rate(step: int, *, total: int, warmup: int) -> float:
    """Return the share of the peak learning rate that update `step` (0 to total - 1) uses.

    Rises in `warmup` equal parts to 1, then falls in equal parts; no update has a rate of 0.
    """
    return (step + 1) / warmup if step < warmup else (total - step) / (total - warmup)


def shuffled_batches(rows: int, *, batch_size: int, seed: int, epoch: int) -> Iterator[NDArray[np.int64]]:
    """Yield every row once, in an order that depends only on (seed, epoch); the last batch may be smaller."""
    order = np.random.default_rng([seed, epoch]).permutation(rows)
    for start in range(0, rows, batch_size):
        yield order[start : start + batch_size]


def _sum_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the summed loss of (B, outputs) logits and (B,) labels."""
    if targets.is_floating_point():
        return functional.mse_loss(logits.squeeze(-1), targets, reduction="sum")
    return functional.cross_entropy(logits, targets, reduction="sum")
