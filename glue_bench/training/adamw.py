"""AdamW on all weights at once, for a classifier in training on a GPU: one kernel reads and writes everything."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from glue_bench.config.schema import TrainerConfig
from glue_bench.models.triton_kernels import adamw
from glue_bench.models.weights import FlatWeights


class FlatAdamW:
    """AdamW (Loshchilov and Hutter, arXiv:1711.05101) on float32 weights, which also writes those that products use."""

    def __init__(self, weights: FlatWeights, settings: TrainerConfig) -> None:
        """Optimise all weights; matrices decay."""
        self._weights, self._settings = weights, settings
        self._first, self._second = torch.zeros_like(weights.master), torch.zeros_like(weights.master)
        self._torch = self._make_torch() if settings.adamw_kernel == "torch" else None
        self._count = torch.zeros((), device=weights.master.device)  # updates made

    def zero(self) -> None:
        self._weights.overwrite = True

    def apply(self, scalars: Tensor) -> Tensor:
        self._count += 1
        if self._torch is not None:
            return self._apply_torch(self._torch, scalars)
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
            found |= {
                f"step.{name}": self._count.clone(),
                f"exp_avg.{name}": first[name],
                f"exp_avg_sq.{name}": second[name],
            }
        return found

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self._weights.refresh()
        for key, buffer in (("exp_avg", self._first), ("exp_avg_sq", self._second)):
            for name, view in self._weights.by_name(buffer).items():
                if f"{key}.{name}" in state:
                    view.copy_(state[f"{key}.{name}"])
                    self._count.copy_(state[f"step.{name}"])

    def _make_torch(self) -> torch.optim.AdamW:
        """Make torch's optimiser on the same weights and moments, in two parts, of which the first decays."""
        cut, settings = self._weights.decaying, self._settings
        parts = [nn.Parameter(part) for part in (self._weights.master[:cut], self._weights.master[cut:])]
        decays = (settings.weight_decay, 0.0)
        groups = [{"params": [part], "weight_decay": decay} for part, decay in zip(parts, decays, strict=True)]
        made = torch.optim.AdamW(
            groups,
            lr=settings.learning_rate,
            betas=(settings.betas[0], settings.betas[1]),
            eps=settings.epsilon,
            capturable=True,
            fused=True,
        )
        made._warned_capturable_if_run_uncaptured = True  # type: ignore[attr-defined]
        return made

    def _apply_torch(self, made: torch.optim.AdamW, scalars: Tensor) -> Tensor:
        cut, weights = self._weights.decaying, self._weights
        moments = zip((self._first[:cut], self._first[cut:]), (self._second[:cut], self._second[cut:]), strict=True)
        norm = torch.linalg.vector_norm(weights.gradient, dtype=torch.float32)
        gradient = weights.gradient.float()
        if self._settings.clip_norm:
            gradient *= (self._settings.clip_norm / (norm + 1e-6)).clamp(max=1.0)
        for group, (first, second), grad in zip(
            made.param_groups, moments, gradient.split([cut, len(gradient) - cut]), strict=True
        ):
            group["lr"], part = scalars[0], group["params"][0]
            part.grad = grad
            # torch counts before it uses the number, and so did `apply`.
            made.state[part] = {"step": self._count - 1, "exp_avg": first, "exp_avg_sq": second}
        made.step()
        weights.refresh()
        return norm
