"""AdamW with decoupled weight decay, and linear warmup and decay. Knows no loop, no tasks."""

import math
from collections.abc import Sequence

import torch
from torch import nn

_CLIP_EPSILON = 1e-6  # as in torch's clip_grads_with_norm_


def make_adamw(
    model: nn.Module, *, learning_rate: float, betas: Sequence[float], epsilon: float, weight_decay: float
) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter, arXiv:1711.05101); biases and layer norms, the 1-d parameters, do not decay."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    first, second = betas
    fused = all(parameter.device.type in ("cpu", "cuda") for parameter in parameters)
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(first, second), eps=epsilon, fused=fused)


def clip_and_step(optimizer: torch.optim.AdamW, model: nn.Module, *, limit: float) -> torch.Tensor:
    """One update with gradients clipped to a global norm; returns the norm before clipping, still on the device."""
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
    """Updates of the rising part."""
    return math.ceil(total * fraction)


def untouched_decay(steps: int, *, total: int, warmup: int, learning_rate: float, weight_decay: float) -> float:
    """The factor that weight decay leaves of a weight after the first `steps` of `total` updates without a gradient."""
    rates = (learning_rate * linear_rate(step, total=total, warmup=warmup) for step in range(steps))
    return math.prod(1 - rate * weight_decay for rate in rates)


def linear_rate(step: int, *, total: int, warmup: int) -> float:
    """The share of the peak learning rate that update `step` (0 to total - 1) uses.

    Rises in `warmup` equal parts to 1, then falls in equal parts; no update has a rate of 0.
    """
    if step < warmup:
        return (step + 1) / warmup
    return (total - step) / (total - warmup)
