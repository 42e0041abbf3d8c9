"""A whole update: loss, gradients, clipping, new weights. Reads all that differs between updates from its inputs."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from glue_bench.config.schema import TrainerConfig
from glue_bench.models.classifier import Rows
from glue_bench.models.packing import Packed
from glue_bench.models.placement import Placement
from glue_bench.training.distributed import SharedGradients
from glue_bench.training.optimizer import Optimizer

IGNORED = -100  # in place of a class code


class Loss:
    """Cross-entropy for class codes, squared error for scores; divided by `weight` it is torch's mean of the batch."""

    def __init__(
        self,
        labels: NDArray[np.int64] | NDArray[np.float64],
        *,
        outputs: int,
        settings: TrainerConfig,
        device: torch.device,
    ) -> None:
        """Weigh the classes as the settings say.

        Args:
            labels: (n,) class codes or scores of all training rows.
            outputs: logits of a row.
        """
        self._smoothing, weights = settings.label_smoothing, settings.class_weights
        if weights == "balanced":  # n / (classes * rows of the class), as in scikit-learn
            counts = np.bincount(labels.astype(np.int64), minlength=outputs)
            weights = [len(labels) / (outputs * int(count)) if count else 0.0 for count in counts]
        self.weights = None if weights is None else np.array(weights, np.float32)
        self._on_device = None if weights is None else torch.from_numpy(self.weights).to(device)

    def weight(self, labels: NDArray[np.int64] | NDArray[np.float64]) -> float:
        """Return what the sum over rows with these labels is divided by: their number, or their classes' weights."""
        return len(labels) if self.weights is None else float(self.weights[labels].sum())

    def __call__(self, logits: Tensor, targets: Tensor, *, present: Tensor) -> Tensor:
        """Return the summed loss of (B, outputs) logits and (B,) labels, without absent rows: their gradient is 0."""
        if targets.is_floating_point():
            return functional.mse_loss(logits.squeeze(-1) * present, targets * present, reduction="sum")
        return functional.cross_entropy(
            logits,
            targets.long(),
            weight=self._on_device,
            reduction="sum",
            ignore_index=IGNORED,
            label_smoothing=self._smoothing,
        )


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

        A packed batch holds besides, for B rows: `targets`, (B,) class codes, IGNORED for absent rows, or float32
        scores; `present`, (B,) float32, 1 for a row and 0 for an absent one; `count`, (1,) float32, what the loss of
        the whole batch is divided by; and `scalars`, as `Optimizer.apply` takes them, in float32.

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
        self.optimizer.zero()
        self.apply(self._add_gradients([packed]), packed.views()["scalars"])

    def gradients(self, parts: Sequence[Packed]) -> Tensor:
        """Compute the gradients of the micro-batches of a batch; return the sum of their losses, on the device."""
        self.optimizer.zero(parts=len(parts))
        return self._add_gradients(part.to(self._placement.device) for part in parts)

    def apply(self, loss: Tensor, scalars: Tensor) -> None:
        """Make the update that the gradients ask for."""
        loss = loss if self._shared is None else self._shared.sum_with(loss)
        self.tally[0].add_(loss)
        self.tally[1].copy_(self.optimizer.apply(scalars))

    def _add_gradients(self, parts: Iterable[Packed]) -> Tensor:
        total = torch.zeros((), device=self._placement.device)
        for part in parts:
            views = part.views()
            with self._placement.autocast():
                logits = self._model(self._rows.unpack(part))
            loss = self._loss(logits.float(), views["targets"], present=views["present"]) / views["count"][0]
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return total
