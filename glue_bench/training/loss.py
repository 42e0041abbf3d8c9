"""The loss of a batch."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from glue_bench.config.schema import TrainerConfig

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
        """Weigh the classes as the settings say, by (n,) class codes or scores of all training rows."""
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
