"""AdamW for a classifier that is trained by our own kernels on a GPU."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from glue_bench.config.schema import TrainerConfig
from glue_bench.models.fused import FusedClassifier
from glue_bench.models.kernels import FlatBatch
from glue_bench.models.triton_adamw import AdamW, Rates


class FlatAdamW:
    """AdamW (Loshchilov and Hutter, arXiv:1711.05101) on float32 weights, which also writes those that products use."""

    def __init__(self, fused: FusedClassifier, settings: TrainerConfig, *, updates: int) -> None:
        """Optimise all weights in `updates` updates; matrices decay."""
        weights, self._fused, self._settings = fused.weights, fused, settings
        rates = Rates(
            limit=settings.clip_norm,
            beta1=settings.betas[0],
            beta2=settings.betas[1],
            epsilon=settings.epsilon,
            decay=settings.weight_decay,
            decaying=weights.decaying,
        )
        rows, hidden = fused.words.shape
        self._state = AdamW(
            weights=weights.master,
            first=torch.zeros_like(weights.master),
            second=torch.zeros_like(weights.master),
            gradient=weights.gradient,
            low=weights.low,
            rates=rates,
            rows=rows,
            hidden=hidden,
            updates=updates,
        )
        self._torch = self._make_torch() if settings.adamw_kernel == "torch" else None
        self._batch: FlatBatch | None = None

    def zero(self, *, parts: int = 1) -> None:
        lazily = parts == 1 and self._settings.adamw_kernel == self._settings.embedding_kernel == "auto"
        self._fused.weights.overwrite, self._batch = True, None
        self._fused.before = self._catch_up if lazily else None
        if not lazily:
            self.settle()
            self._fused.words.zero_()

    def settle(self) -> None:
        self._state.catch_up(None)

    def apply(self, scalars: Tensor) -> Tensor:
        return self._state.apply(scalars, self._batch) if self._torch is None else self._by_torch(self._torch, scalars)

    def state(self) -> dict[str, Tensor]:
        self.settle()
        by_name, state, found = self._fused.weights.by_name, self._state, dict[str, Tensor]()
        for key, buffer in (("exp_avg", state.first), ("exp_avg_sq", state.second)):
            found |= {f"{key}.{name}": view for name, view in by_name(buffer).items()}
        return found | {f"step.{name}": state.made[0].float() for name in by_name(state.first)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        weights, own = self._fused.weights, self._state
        weights.refresh()
        for key, buffer in (("exp_avg", own.first), ("exp_avg_sq", own.second)):
            for name, view in weights.by_name(buffer).items():
                if f"{key}.{name}" in state:
                    view.copy_(state[f"{key}.{name}"])
                    own.made.fill_(int(state[f"step.{name}"]))
        own.last.copy_(own.made.expand_as(own.last))

    def _catch_up(self, batch: FlatBatch) -> None:
        self._batch = batch
        self._state.catch_up(batch)

    def _make_torch(self) -> torch.optim.AdamW:
        """Make torch's optimiser on the same weights and moments, in two parts, of which the first decays."""
        cut, settings, master = self._state.rates.decaying, self._settings, self._state.weights
        decays = zip((master[:cut], master[cut:]), (settings.weight_decay, 0.0), strict=True)
        groups = [{"params": [nn.Parameter(part)], "weight_decay": decay} for part, decay in decays]
        betas = settings.betas[0], settings.betas[1]
        made = torch.optim.AdamW(groups, betas=betas, eps=settings.epsilon, capturable=True, fused=True)
        made._warned_capturable_if_run_uncaptured = True
        return made

    def _by_torch(self, made: torch.optim.AdamW, scalars: Tensor) -> Tensor:
        state = self._state
        cut = state.rates.decaying
        gradient = state.gradient.float()
        norm: Tensor = torch.linalg.vector_norm(gradient)
        if state.rates.limit:
            gradient *= (state.rates.limit / (norm + 1e-6)).clamp(max=1.0)
        count = state.made[0].float()
        for group, begin, end in zip(made.param_groups, (0, cut), (cut, len(gradient)), strict=True):
            group["lr"], part = scalars[0], group["params"][0]
            part.grad = gradient[begin:end]
            moments = {"exp_avg": state.first[begin:end], "exp_avg_sq": state.second[begin:end]}
            made.state[part] = {"step": count.clone(), **moments}
        made.step()
        state.made.add_(1)
        state.last.copy_(state.made.expand_as(state.last))
        self._fused.weights.refresh()
        return norm
