"""Whose matrix products are used, and whether they are right.

For float32 on a CPU they are torch's own, or oneDNN's where these are exact and their vectors are wider.

torch multiplies by MKL, which uses half of the width of the vector units that some of AMD's processors have. Our linear
layers call oneDNN themselves, in a context: no setting of torch changes. Both are timed, but no time decides: on a busy
machine some runs of a sweep would be computed in another way than the rest.
"""

import functools
import itertools
import os
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from glue_bench.errors import UsageError
from glue_bench.machine import processor_fact

BUCKET = 32  # tokens: oneDNN prepares for every new number of them
_PREPARED = 64  # products that it keeps prepared: each holds memory of about the size of its result
_MOST_ERROR = 1e-6  # relative; of torch's own it is 3e-7, of bfloat16 in disguise 3e-3
_ROWS, _IN, _OUT, _CHECKED, _REPEATS = 192, 384, 512, 64, 3
_MOST_ERROR_OF_BFLOAT16 = 1e-2  # of right ones it is 2e-3
_TOKENS, _WIDTHS = (256, 1280), (384, 768, 1024)  # of a batch, and of encoders

used: ContextVar[str] = ContextVar("products", default="torch")  # onednn or torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What was measured on this machine, with one thread."""

    error: float  # the largest relative error of oneDNN's products, against float64; infinite where torch lacks them
    onednn: float = 0.0  # GFLOP/s
    torch: float = 0.0  # GFLOP/s
    wider: bool = False  # oneDNN's vectors than those of torch's own products

    def __str__(self) -> str:
        """Say it in the record and in the doctor's table."""
        rates = f"oneDNN {self.onednn:.0f}, torch {self.torch:.0f} GFLOP/s a core"
        return f"{rates}; oneDNN's relative error {self.error:.0e}" if self.onednn else "oneDNN cannot be called"


@functools.cache
def probe() -> Probe:
    """Multiply as a forward and a backward pass do: a few milliseconds, once in a process and those forked from it."""
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(_PREPARED))  # it is read at the first product
    source, threads = torch.Generator().manual_seed(0), torch.get_num_threads()
    shapes = ((_ROWS, _IN), (_OUT, _IN), (_ROWS, _OUT))
    states, weight, gradient = (torch.randn(shape, generator=source) for shape in shapes)
    pairs = (states, weight), (gradient, weight.t()), (gradient.t(), states.t())
    torch.set_num_threads(1)
    try:
        errors = []
        for left, right in pairs:
            found, few = multiply_by_onednn(left, right)[:, :_CHECKED].double(), right[:_CHECKED].double()
            expected = left.double() @ few.t()
            errors.append(float((found - expected).norm() / expected.norm()))
        seconds = {multiply: float("inf") for multiply in (multiply_by_onednn, functional.linear)}
        for _ in range(_REPEATS):
            for multiply, least in seconds.items():
                began = time.thread_time()  # which other processes do not add to
                for pair in pairs:
                    multiply(*pair)
                seconds[multiply] = min(least, time.thread_time() - began)
    except (AttributeError, RuntimeError):  # this build of torch has no such product
        return Probe(error=float("inf"))
    finally:
        torch.set_num_threads(threads)
    rates = [2e-9 * len(pairs) * _ROWS * _IN * _OUT / max(least, 1e-9) for least in seconds.values()]
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512" and torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
    wider = wide and processor_fact("vendor_id") not in ("GenuineIntel", "")  # for whose processors alone MKL uses it
    return Probe(error=max(errors), wider=wider, onednn=rates[0], torch=rates[1])


def choose_products(wanted: str, *, before: str = "") -> str:
    """Return whose products a run on this machine uses: onednn or torch.

    `wanted` is one of the two, or auto: those that an interrupted run, perhaps on another machine, has used `before`,
    else oneDNN's if they are wider; but torch's where oneDNN's are not exact. A UsageError if those are asked for.
    """
    if wanted == "torch":
        return wanted
    found = probe()
    exact = found.error <= _MOST_ERROR
    if wanted == "onednn" and not exact:
        why = f"relative error {found.error:.0e}, at most {_MOST_ERROR:.0e} is allowed"
        raise UsageError(f"trainer.products=onednn: not exact on this machine ({why}); must be auto or torch")
    wider = before == "onednn" if before else found.wider
    return "onednn" if exact and (wanted == "onednn" or wider) else "torch"


@torch.no_grad()
def count_wrong(device: torch.device) -> tuple[int, int]:
    """Multiply in bfloat16 as layers do, forward and backward, and return how many products are wrong, and of how many.

    On some shares of a GPU cuBLAS leaves parts of a result out, and says nothing (docs/performance.md).
    """
    source, errors = torch.Generator(device).manual_seed(0), list[Tensor]()
    for tokens, width, (wide, deep) in itertools.product(_TOKENS, _WIDTHS, ((3, 1), (1, 1), (4, 1), (1, 4))):
        shapes = (tokens, deep * width), (wide * width, deep * width), (tokens, wide * width)
        states, weight, gradient = (torch.randn(shape, generator=source, device=device).bfloat16() for shape in shapes)
        for operands in ((states, weight, gradient[0]), (gradient, weight.t()), (gradient.t(), states.t())):
            exact = functional.linear(*(part.float() for part in operands))
            errors.append((functional.linear(*operands).float() - exact).norm() / exact.norm())
    right = torch.stack(errors) <= _MOST_ERROR_OF_BFLOAT16  # NaN is not
    return int((~right).sum()), len(right)


def multiply_by_onednn(states: Tensor, weight: Tensor, *, bias: Tensor | None = None) -> Tensor:
    """Multiply (..., in) states by an (out, in) weight, in float32; knows no gradients."""
    return torch.ops.mkldnn._linear_pointwise(states, weight, bias, "none", [], "")  # type: ignore[no-any-return]


class OneDNNLinear(torch.autograd.Function):
    """A linear layer of which the product and both of its gradients are oneDNN's."""

    @staticmethod
    def forward(ctx: Any, *layer: Tensor) -> Tensor:
        """Return (..., out) from (..., in) states, an (out, in) weight and an (out,) bias or None."""
        states, weight, bias = layer
        ctx.save_for_backward(states, weight)
        return multiply_by_onednn(states, weight, bias=bias)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of those of the three that need one."""
        (states, weight), (grad_output,), needed = ctx.saved_tensors, grad_outputs, ctx.needs_input_grad
        flat = grad_output.reshape(-1, len(weight))
        grad_states = multiply_by_onednn(flat, weight.t()).view(states.shape) if needed[0] else None
        columns = states.reshape(-1, states.shape[-1]).t()
        grad_weight = multiply_by_onednn(flat.t(), columns) if needed[1] else None
        return grad_states, grad_weight, flat.sum(0) if needed[2] else None
