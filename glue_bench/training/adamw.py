"""AdamW on all weights at once, for a classifier in training on a GPU: one kernel reads and writes everything."""

from collections.abc import Mapping

import torch
from torch import Tensor

from glue_bench.config.schema import TrainerConfig
from glue_bench.models.triton_kernels import adamw
from glue_bench.models.weights import FlatWeights


class FlatAdamW:
    """AdamW (Loshchilov and Hutter, arXiv:1711.05101) on float32 weights, which also writes those that products use."""

    def __init__(self, weights: FlatWeights, settings: TrainerConfig) -> None:
        """Optimise all weights; matrices decay."""
        self._weights, self._settings = weights, settings
        self._first, self._second = torch.zeros_like(weights.master), torch.zeros_like(weights.master)
        self._count = torch.zeros((), device=weights.master.device)  # updates made

    def zero(self) -> None:
        self._weights.overwrite = True

    def apply(self, scalars: Tensor) -> Tensor:
        self._count += 1
        return adamw(
            self._weights.master,
            (self._first, self._second),
            gradient=self._weights.gradient,
            low=self._weights.low,
            scalars=scalars,
            decaying=self._weights.decaying,
            limit=self._settings.clip_norm,
            betas=(self._settings.betas[0], self._settings.betas[1]),
            epsilon=self._settings.epsilon,
            decay=self._settings.weight_decay,
        )

    def state(self) -> dict[str, Tensor]:
        first, second = (self._weights.by_name(buffer) for buffer in (self._first, self._second))
        found = dict[str, Tensor]()
        for name in first:
            found |= {f"step.{name}": self._count, f"exp_avg.{name}": first[name], f"exp_avg_sq.{name}": second[name]}
        return found

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self._weights.refresh()
        for key, buffer in (("exp_avg", self._first), ("exp_avg_sq", self._second)):
            for name, view in self._weights.by_name(buffer).items():
                if f"{key}.{name}" in state:
                    view.copy_(state[f"{key}.{name}"])
                    self._count.copy_(state[f"step.{name}"])
