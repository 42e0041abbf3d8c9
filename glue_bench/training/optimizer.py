"""What is minimised, and by what: the loss of a batch, and torch's AdamW, whose methods ours has in `triton_adamw`."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from glue_bench.config.schema import TrainerConfig
from glue_bench.models.classifier import Classifier
from glue_bench.models.trainable import rate_shares, trained

IGNORED = -100  # in place of a class code
_CLIP_EPSILON = 1e-6  # as in torch's clip_grads_with_norm_
_STATE = ("step", "exp_avg", "exp_avg_sq")


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


class TorchAdamW:
    """torch's AdamW (Loshchilov and Hutter, arXiv:1711.05101). On a GPU no method but `restore` waits for it.

    Biases and layer norms, which are 1-d, only decay with `decay_biases`.
    """

    def __init__(self, model: Classifier, settings: TrainerConfig) -> None:
        """Optimise the parameters of a model on its device; a UsageError if there is no `layer_decay` for it."""
        self._trained = trained(model)
        self._parameters, self._limit = list(self._trained.values()), settings.clip_norm
        shares, alike = rate_shares(model, settings.layer_decay), defaultdict[tuple[bool, float], list[Tensor]](list)
        for name, parameter in self._trained.items():
            matrix = parameter.ndim > 1 and ".ia3_l." not in name  # those of IA3 are vectors, of two dimensions
            alike[settings.decay_biases or matrix, shares[name]].append(parameter)
        self._shares = [share for _, share in alike]  # of the learning rate
        decays = [settings.weight_decay if decaying else 0.0 for decaying, _ in alike]
        groups = [{"params": each, "weight_decay": decay} for each, decay in zip(alike.values(), decays, strict=True)]
        kinds = {parameter.device.type for parameter in self._parameters}
        self._fused, self._on_gpu = kinds <= {"cpu", "cuda"}, kinds == {"cuda"}
        self.torch = torch.optim.AdamW(
            groups,
            lr=settings.learning_rate,
            betas=(settings.betas[0], settings.betas[1]),
            eps=settings.epsilon,
            fused=self._fused,
            capturable=self._on_gpu,
        )
        # torch warns of updates outside of a graph, which are meant.
        self.torch._warned_capturable_if_run_uncaptured = True

    def zero(self, *, parts: int = 1) -> None:  # noqa: ARG002
        """Prepare the gradients of an update, made of this many micro-batches: zero or absent."""
        self.torch.zero_grad()

    def settle(self) -> None:
        """Bring all weights up to date, which nothing but training may rely on before; here they always are."""

    def apply(self, scalars: Tensor) -> Tensor:
        """Clip and make an update; return the gradient's norm before clipping, a scalar on the device.

        The (3,) `scalars` are the learning rate and 1 - beta ** update for both betas, on a GPU in its memory.
        """
        norm = nn.utils.get_total_norm([p.grad for p in self._parameters if p.grad is not None])
        if self._limit and self._fused:
            # The kernel divides as it reads, which saves a pass over all gradients.
            self.torch.grad_scale = ((norm + _CLIP_EPSILON) / self._limit).clamp(min=1).float()  # type: ignore[attr-defined]
        elif self._limit:
            nn.utils.clip_grads_with_norm_(self._parameters, self._limit, norm)
        for group, share in zip(self.torch.param_groups, self._shares, strict=True):
            group["lr"] = share * (scalars[0] if self._on_gpu else float(scalars[0]))
        self.torch.step()
        self.torch.zero_grad()
        return norm

    def state(self) -> dict[str, Tensor]:
        """Return what later updates depend on: `exp_avg.NAME`, `exp_avg_sq.NAME` and `step.NAME` by parameter."""
        held = {name: self.torch.state.get(parameter, {}) for name, parameter in self._trained.items()}
        return {f"{key}.{name}": value for name, values in held.items() for key, value in values.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from what `state` returned."""
        for name, parameter in self._trained.items():
            if f"step.{name}" in state:
                self.torch.state[parameter] = {key: state[f"{key}.{name}"].to(parameter.device) for key in _STATE}


class LoweredAdamW(TorchAdamW):
    """torch's AdamW on the float32 weights of a classifier that computes with bfloat16 copies of them.

    So an update casts all weights at once, and no activation: autocast's casts are a third of the kernels of an update.
    """

    def __init__(self, model: Classifier, settings: TrainerConfig) -> None:
        """Copy the weights of a model, which is on its device; errors as in `TorchAdamW`."""
        super().__init__(model, settings)
        self._model = model
        self.low = {
            name: weight.detach().to(torch.bfloat16).requires_grad_(weight.requires_grad)
            for name, weight in model.named_parameters()
        }

    def logits(self, batch: Any) -> Tensor:
        """Return the logits of B rows, (B, outputs) in bfloat16."""
        with torch.autocast(next(iter(self.low.values())).device.type, enabled=False):
            logits: Tensor = torch.func.functional_call(self._model, self.low, (batch,))
        return logits

    def zero(self, *, parts: int = 1) -> None:  # noqa: ARG002
        for weight in self.low.values():
            weight.grad = None

    def apply(self, scalars: Tensor) -> Tensor:
        found = {name: weight.grad for name, weight in self.low.items() if weight.grad is not None}
        exact = {name: torch.empty_like(self._trained[name]) for name in found}
        torch._foreach_copy_(list(exact.values()), list(found.values()))
        for name, gradient in exact.items():
            self._trained[name].grad = gradient
        norm = super().apply(scalars)
        self._refresh()
        return norm

    def restore(self, state: Mapping[str, Tensor]) -> None:
        super().restore(state)
        self._refresh()

    @torch.no_grad()
    def _refresh(self) -> None:
        """Copy the float32 weights that are trained, after they were changed."""
        torch._foreach_copy_([self.low[name] for name in self._trained], list(self._trained.values()))
