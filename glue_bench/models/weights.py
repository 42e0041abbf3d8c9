"""All parameters of a model in one buffer, with a copy in the precision of its products, and their gradients."""

from typing import Any

import torch
from torch import Tensor, nn

_ALIGNMENT = 8  # elements: 16 bytes in bfloat16


class FlatWeights:
    """The parameters of a model, as views of one float32 buffer.

    Matrices come first, since only they decay, and then vectors; each of the two in the order of the model, the head
    last. So query, key and value of a layer lie side by side, and count as one product.
    """

    def __init__(self, model: nn.Module, *, dtype: torch.dtype, body: tuple[str, ...]) -> None:
        """Move the parameters into the buffer.

        Args:
            model: whose parameters become views.
            dtype: of the products and gradients.
            body: with what the names of all parameters begin that are not the head's.
        """
        named = dict(model.named_parameters())
        order = sorted(named, key=lambda name: (named[name].ndim == 1, not name.startswith(body)))  # stable
        self._places = dict[str, tuple[int, torch.Size]]()
        size = self.decaying = 0
        for name in order:
            self._places[name] = size, named[name].shape
            size += -(-named[name].numel() // _ALIGNMENT) * _ALIGNMENT
            if named[name].ndim > 1:
                self.decaying = size
        device = named[order[0]].device
        self.master = torch.zeros(size, device=device)
        for name, parameter in named.items():
            self._view(self.master, name).copy_(parameter.detach())
            parameter.data = self._view(self.master, name)
        self.low = self.master if dtype == torch.float32 else self.master.to(dtype)
        self.gradient = torch.zeros_like(self.low)
        self.overwrite = True  # whether the next backward pass overwrites the gradients; others add to them
        heads = [name for name in order if not name.startswith(body)]
        self.head = {name: self._leaf(name) for name in heads}
        end = min((self._places[name][0] for name in heads if named[name].ndim == 1), default=size)
        self.encoder_vectors = end - self.decaying  # elements
        self.encoder_gradient = self.gradient[self.decaying : end]
        self._head_parts = [self._view(self.gradient, name) for name in heads]

    def exact(self, name: str) -> Tensor:
        """Return a parameter in float32."""
        return self._view(self.master, name)

    def grad(self, name: str) -> Tensor:
        """Return the place of a parameter's gradient."""
        return self._view(self.gradient, name)

    def column(self, name: str) -> int:
        """Return how many elements of vectors lie before a vector's."""
        return self._places[name][0] - self.decaying

    def joined(self, first: str, *, parts: int, gradient: bool = False) -> Tensor:
        """Return neighbours of equal shape as one: matrices (parts * out, in), vectors (parts * out)."""
        begin, shape = self._places[first]
        buffer = self.gradient if gradient else self.low
        return buffer[begin : begin + parts * shape.numel()].view(parts * shape[0], *shape[1:])

    def zero_head(self) -> None:
        """Make the head's gradients zero; those of the encoder are overwritten."""
        torch._foreach_zero_(self._head_parts)

    def by_name(self, buffer: Tensor) -> dict[str, Tensor]:
        """Return the parts of a buffer like `master` under the names of their parameters."""
        return {name: self._view(buffer, name) for name in self._places}

    def refresh(self) -> None:
        """Copy the float32 weights into the precision of the products, after they were changed from outside."""
        if self.low is not self.master:
            self.low.copy_(self.master)

    def _view(self, buffer: Tensor, name: str) -> Tensor:
        begin, shape = self._places[name]
        return buffer[begin : begin + shape.numel()].view(shape)

    def _leaf(self, name: str) -> Any:
        leaf = self._view(self.low, name).detach().requires_grad_()
        leaf.grad = self._view(self.gradient, name)
        return leaf
