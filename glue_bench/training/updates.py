"""One update after another: batch to loss to gradient to weights, and everything that the next one depends on."""

import dataclasses
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from glue_bench.config.schema import TrainerConfig
from glue_bench.data.encoding import Encoded
from glue_bench.errors import DivergedError
from glue_bench.models.classifier import Classifier
from glue_bench.models.placement import Placement, is_out_of_memory, release_memory, send
from glue_bench.training.checkpoint import Snapshot
from glue_bench.training.distributed import ALONE, Processes, SharedGradients
from glue_bench.training.optimisation import clip_and_step, linear_rate, make_adamw, warmup_steps

logger = logging.getLogger(__name__)


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


class Updates:
    """A model in training. Between two updates its whole state is a `Snapshot`."""

    def __init__(
        self,
        model: Classifier,
        encoded: Encoded,
        labels: NDArray[np.int64] | NDArray[np.float64],
        *,
        settings: TrainerConfig,
        placement: Placement,
        total: int,
        processes: Processes = ALONE,
    ) -> None:
        """Put rows and labels on the model's device.

        Args:
            labels: (n,) class codes or scores.
            total: updates of the whole training.
            processes: what each batch is dealt to.
        """
        self.warmup = warmup_steps(total, settings.warmup)
        self.parts = settings.accumulation  # parts of a batch that go through the model one after another
        self.tokens = 0
        self._model, self._settings, self._placement, self._total = model, settings, placement, total
        self._rows, self._lengths = model.place(encoded, placement.device), encoded.lengths()
        targets = torch.from_numpy(labels)
        self._targets = (targets.float() if targets.is_floating_point() else targets).to(placement.device)
        self._optimizer = make_adamw(
            model,
            learning_rate=settings.learning_rate,
            betas=settings.betas,
            epsilon=settings.epsilon,
            weight_decay=settings.weight_decay,
        )
        self._rank, self._processes = processes.rank, processes.count
        self._shared = SharedGradients(model.parameters(), processes) if processes.count > 1 else None
        self._loss_sum = torch.zeros((), device=placement.device)  # since the last line of the history
        self._loss_steps = 0

    def update(self, batch: NDArray[np.int64], step: int, *, seed: int) -> Tensor:
        """Update number `step`, from 0, on the rows `batch`; returns the gradient norm, still on the device.

        Where memory is too small for the batch it goes through in twice as many parts, from here on.

        Args:
            seed: of dropout in this update and process.
        """
        while True:
            torch.manual_seed(seed)
            try:
                loss = self._backward(batch)
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or self.parts >= len(batch[self._rank :: self._processes]):
                    raise
            # Outside of the except block, whose traceback would keep the failed attempt's tensors alive.
            self._optimizer.zero_grad()
            release_memory(self._placement.device)
            self.parts = min(2 * self.parts, self._settings.batch_size)
            logger.warning("out of memory at update %d: batches now go in %d parts", step, self.parts)
        self._loss_sum += loss if self._shared is None else self._shared.sum_with(loss)
        self._loss_steps += 1
        self.tokens += int(self._lengths[batch].sum())
        rate = self._settings.learning_rate * linear_rate(step, total=self._total, warmup=self.warmup)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        return clip_and_step(self._optimizer, self._model, limit=self._settings.clip_norm)

    def report(self, step: int, epoch: int, norm: Tensor, *, seconds: float) -> StepReport:
        """Read loss and norm from the device.

        Raises:
            DivergedError: one of them is not finite.
        """
        loss_sum, gradient_norm = self.check_finite(step, norm)
        return StepReport(
            step=step,
            steps=self._total,
            epoch=epoch,
            loss=loss_sum / self._loss_steps,
            learning_rate=float(self._optimizer.param_groups[0]["lr"]),
            gradient_norm=gradient_norm,
            tokens_per_second=self.tokens / seconds,
        )

    def check_finite(self, step: int, norm: Tensor) -> tuple[float, float]:
        """Sum of the losses since the last line, and the norm of the last gradient.

        Raises:
            DivergedError: one of them is not finite.
        """
        loss_sum, gradient_norm = torch.stack([self._loss_sum, norm.detach().float()]).tolist()
        if not (math.isfinite(loss_sum) and math.isfinite(gradient_norm)):
            raise DivergedError(
                f"diverged at update {step} of {self._total}: loss {loss_sum}, gradient norm {gradient_norm}; "
                "a lower trainer.learning_rate or a longer trainer.warmup may help"
            )
        return loss_sum, gradient_norm

    def start_line(self) -> None:
        """Begin a new mean of the loss."""
        self._loss_sum.zero_()
        self._loss_steps = 0

    def capture(self, step: int, facts: Mapping[str, Any]) -> Snapshot:
        """Everything after `step` updates, and the caller's own facts."""
        tensors = {f"model.{name}": value.detach() for name, value in self._model.named_parameters()}
        for name, parameter in self._model.named_parameters():
            for key, value in self._optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{key}.{name}"] = value
        tensors["loss_sum"] = self._loss_sum
        own = {"parts": self.parts, "tokens": self.tokens, "loss_steps": self._loss_steps}
        return Snapshot(step=step, tensors=tensors, facts={**own, **facts})

    def restore(self, snapshot: Snapshot) -> None:
        """Become what was captured."""
        device, tensors = self._placement.device, dict(snapshot.tensors)
        self._loss_sum = tensors.pop("loss_sum").to(device)
        for name, parameter in self._model.named_parameters():
            with torch.no_grad():
                parameter.copy_(tensors[f"model.{name}"])
            state = {
                key: tensors[f"optimizer.{key}.{name}"].to(device)
                for key in ("step", "exp_avg", "exp_avg_sq")
                if f"optimizer.{key}.{name}" in tensors
            }
            if state:
                self._optimizer.state[parameter] = state
        facts = snapshot.facts
        self.parts = max(self.parts, facts["parts"])
        self.tokens, self._loss_steps = facts["tokens"], facts["loss_steps"]

    def _backward(self, batch: NDArray[np.int64]) -> Tensor:
        """Gradients of what this process's rows are of the batch's mean loss; that loss, still on the device."""
        ordered = batch[np.argsort(-self._lengths[batch], kind="stable")]  # neighbours of like length share a grid
        own = ordered[self._rank :: self._processes]  # like work for every process; none, if there are fewer rows
        total = torch.zeros((), device=self._placement.device)
        for part in np.array_split(own, min(self.parts, len(own))) if len(own) else ():
            gathered = self._rows.gather(part)
            with self._placement.autocast():
                logits = self._model(gathered)
            targets = self._targets.index_select(0, send(part, self._placement.device))
            loss = _sum_loss(logits.float(), targets) / len(batch)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return total


def history_facts(history: list[StepReport]) -> list[dict[str, Any]]:
    """The history as JSON; `StepReport(**line)` reads it back."""
    return [dataclasses.asdict(line) for line in history]


def _sum_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """(B, outputs) logits and (B,) labels to the summed loss."""
    if targets.is_floating_point():
        return functional.mse_loss(logits.squeeze(-1), targets, reduction="sum")
    return functional.cross_entropy(logits, targets, reduction="sum")
