"""All parameters of a model in one buffer, with a copy in the precision of its products, and their gradients."""

import torch
from torch import Tensor, nn

_ALIGNMENT = 8  # elements: 16 bytes in bfloat16


class FlatWeights:
    """The parameters of a model, as views of one float32 buffer.

    Matrices come first, since only they decay, and then vectors; each of the two in the order of the model, the head
    last. So query, key and value of a layer lie side by side, and count as one product.
    """

    def __init__(self, model: nn.Module, *, dtype: torch.dtype, body: tuple[str, ...]) -> None:
        """Move the parameters of a model into the buffer; `dtype` is that of the products and gradients.

        With one of `body` begin the names of all parameters that are not the head's.
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
        self.exact = self.by_name(self.master)
        for name, parameter in named.items():
            self.exact[name].copy_(parameter.detach())
            parameter.data = self.exact[name]
        self.low = self.master if dtype == torch.float32 else self.master.to(dtype)
        self.gradient = torch.zeros_like(self.low)
        self.grads = self.by_name(self.gradient)
        self.overwrite = True  # whether the next backward pass overwrites the gradients; others add to them
        heads = [name for name in order if not name.startswith(body)]
        low = self.by_name(self.low)
        self.head = {name: low[name].detach().requires_grad_() for name in heads}
        for name, leaf in self.head.items():
            leaf.grad = self.grads[name]
        end = min((self._places[name][0] for name in heads if named[name].ndim == 1), default=size)
        self.encoder_vectors = end - self.decaying  # elements
        self.encoder_gradient = self.gradient[self.decaying : end]

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
        torch._foreach_zero_([self.grads[name] for name in self.head])

    def by_name(self, buffer: Tensor) -> dict[str, Tensor]:
        """Return the parts of a buffer like `master` under the names of their parameters."""
        places = self._places.items()
        return {name: buffer[begin : begin + shape.numel()].view(shape) for name, (begin, shape) in places}

    def refresh(self) -> None:
        """Copy the float32 weights into the precision of the products, after they were changed from outside."""
        if self.low is not self.master:
            self.low.copy_(self.master)
