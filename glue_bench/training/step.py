"""A whole update: gradients, clipping, new weights. Reads everything that differs between updates from its inputs."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from glue_bench.models.classifier import Rows
from glue_bench.models.packing import Packed
from glue_bench.models.placement import Placement
from glue_bench.training.distributed import SharedGradients
from glue_bench.training.loss import Loss
from glue_bench.training.optimizer import Optimizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """A batch, or a micro-batch, on the device."""

    batch: Any  # what the model takes
    targets: Tensor  # (B,) class codes, IGNORED for absent rows; or float32 scores
    present: Tensor  # (B,) float32, 1 for a row and 0 for an absent one
    count: Tensor  # (1,) float32, what the loss of the whole batch is divided by
    scalars: Tensor  # (3,) float32, as `Optimizer.apply` takes them


class Step:
    """The update of one model. Everything stays on the device; its addresses stay the same."""

    def __init__(
        self,
        model: Callable[[Any], Tensor],
        rows: Rows,
        *,
        loss: Loss,
        optimizer: Optimizer,
        placement: Placement,
        shared: SharedGradients | None = None,
    ) -> None:
        """Train on batches of `rows`.

        Args:
            model: turns a batch into logits.
            shared: sums the gradients of several processes.
        """
        self._model, self._rows, self._placement, self._shared = model, rows, placement, shared
        self._loss = loss
        self.optimizer = optimizer
        # The sum of the losses since the last line of the history, and the norm of the last gradient, before clipping.
        self.tally = torch.zeros(2, device=placement.device)

    def run(self, packed: Packed) -> None:
        """Make the update with a batch on the device."""
        inputs = self._read(packed)
        self.optimizer.zero()
        self.apply(self._add_gradients([inputs]), inputs.scalars)

    def gradients(self, parts: Sequence[Packed]) -> Tensor:
        """Compute the gradients of the micro-batches of a batch; return the sum of their losses, on the device."""
        self.optimizer.zero(parts=len(parts))
        return self._add_gradients(self._read(part.to(self._placement.device)) for part in parts)

    def apply(self, loss: Tensor, scalars: Tensor) -> None:
        """Make the update that the gradients ask for."""
        loss = loss if self._shared is None else self._shared.sum_with(loss)
        self.tally[0].add_(loss)
        self.tally[1].copy_(self.optimizer.apply(scalars))

    def _read(self, packed: Packed) -> Inputs:
        views = packed.views()
        own = {name: views[name] for name in ("targets", "present", "count", "scalars")}
        return Inputs(batch=self._rows.unpack(packed), **own)

    def _add_gradients(self, parts: Iterable[Inputs]) -> Tensor:
        total = torch.zeros((), device=self._placement.device)
        for part in parts:
            with self._placement.autocast():
                logits = self._model(part.batch)
            loss = self._loss(logits.float(), part.targets, present=part.present) / part.count[0]
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return total
