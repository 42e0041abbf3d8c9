"""A batch as one int32 buffer, so that it reaches its device in one copy. Knows no model.

Shapes: B rows, T tokens of them and of a filler row that makes T a multiple of a bucket.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_ALIGNED = 4  # numbers: 16 bytes, what kernels ask of a pointer


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What the shapes of a batch may depend on. The defaults are the batch's own rows and tokens, nothing added."""

    bucket: int = 1  # T is a multiple of it, by one filler row at the end
    rows: int | None = None  # B, with absent rows of no tokens at the end; None: as many as there are
    segments: bool = False  # whether tokens are sorted by word and position, for the gradients of their tables

    def tokens(self, real: int) -> int:
        """Return T for a batch of `real` tokens; always more than B where B is fixed."""
        return -(-max(real, 1 + (self.rows or 0)) // self.bucket) * self.bucket


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A batch, on the host or on a device. Batches with equal keys can use the same buffer."""

    buffer: Tensor  # (n,) int32; on the host it is pinned where the device is a GPU
    places: Mapping[str, tuple[slice, torch.dtype]]  # of each array in the buffer, and the type of its bits
    longest: int  # at least the tokens of the longest row

    @property
    def key(self) -> tuple[int, int]:
        """Everything that the shapes depend on, for one kind of batch and one layout."""
        return len(self.buffer), self.longest

    def to(self, device: torch.device, *, copy: bool = False) -> "Packed":
        """Return the batch on a device, without waiting for it to get there; with `copy` in memory of its own."""
        return dataclasses.replace(self, buffer=self.buffer.to(device, non_blocking=True, copy=copy))

    def views(self) -> dict[str, Tensor]:
        """Return the arrays; they share the buffer's memory."""
        return {name: self.buffer[place].view(kind) for name, (place, kind) in self.places.items()}


def pack(arrays: Mapping[str, NDArray[np.generic]], device: torch.device, *, longest: int) -> Packed:
    """Put arrays of whole numbers below 2**31, or of floats, into one buffer for a device."""
    places, total = dict[str, tuple[slice, torch.dtype]](), 0
    for name, array in arrays.items():
        kind = torch.float32 if array.dtype.kind == "f" else torch.int32
        places[name] = slice(total, total + array.size), kind
        total += -(-array.size // _ALIGNED) * _ALIGNED
    packed = Packed(
        buffer=torch.empty(total, dtype=torch.int32, pin_memory=device.type == "cuda"), places=places, longest=longest
    )
    for name, view in packed.views().items():
        view.numpy()[:] = arrays[name].reshape(-1)
    return packed
