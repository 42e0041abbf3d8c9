"""Where and in which precision a model runs, and how its memory is managed."""

import contextlib
import ctypes
import functools
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from glue_bench.errors import UsageError, describe, lack_in
from glue_bench.machine import MPS_SHARE, TRIED_SHARE, usable_cores
from glue_bench.models import products

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt
_side_stream = functools.cache(torch.cuda.Stream)  # of a device: cuBLAS keeps memory for each that it has seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What the shapes of a batch may depend on. The defaults are the batch's own rows and tokens, nothing added."""

    bucket: int = 1  # T is a multiple of it, by one filler row at the end
    rows: int | None = None  # B, with absent rows of no tokens at the end; None: as many as there are
    segments: bool = False  # whether tokens are sorted by word and position, for the gradients of their tables


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where and in which precision a model runs."""

    device: torch.device
    precision: str  # float32 or bfloat16
    deterministic: bool = False  # on a GPU; a CPU always is
    products: str = "torch"  # whose they are, of float32 on a CPU: onednn or torch
    rates: str = ""  # of both, if they were measured

    @property
    def asynchronous(self) -> bool:
        """Whether the device computes while the host continues, so that reading a result waits."""
        return self.device.type != "cpu"

    def autocast(self) -> torch.autocast:
        """Return the context of a forward pass; weights stay float32."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bfloat16")

    def seed(self, seed: int) -> None:
        """Start the seed streams that a model on this device draws from, and those of no other device."""
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.default_generators[self.device.index].manual_seed(seed)
        elif self.device.type == "mps":
            torch.mps.manual_seed(seed)

    @contextlib.contextmanager
    def algorithms(self) -> Iterator[None]:
        """Use the chosen products and leave out unwanted kernels, in this context of training and evaluation.

        Left out are those that are not deterministic, if asked for, and cuDNN's attention, which prepares for every new
        shape and rounds the probability of dropout.
        """
        if self.device.type == "cpu":
            before = products.used.set(self.products)  # in this context and thread, backward passes included
            try:
                yield
            finally:
                products.used.reset(before)
            return
        exact, cudnn = torch.are_deterministic_algorithms_enabled(), torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
        torch.backends.cuda.enable_cudnn_sdp(False)
        if self.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it first starts
            torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(exact)
            torch.backends.cuda.enable_cudnn_sdp(cudnn)

    @contextlib.contextmanager
    def own_stream(self) -> Iterator[None]:
        """Run what follows on a stream of its own on a GPU: graphs cannot be captured on the default one."""
        if self.device.type != "cuda":
            yield
            return
        outer, own = torch.cuda.current_stream(self.device), _side_stream(self.device)
        own.wait_stream(outer)
        try:
            with torch.cuda.stream(own):
                yield
        finally:
            outer.wait_stream(own)

    def layout(self, lengths: NDArray[np.int64], *, rows: int | None = None) -> Layout:
        """Return the layout of batches from a split: of `rows` to train on, None for predictions.

        On a GPU only few shapes occur: then kernels can be chosen once for each, and started all at once. oneDNN, too,
        prepares its products for each.
        """
        if self.device.type != "cuda":
            return Layout(bucket=products.BUCKET if self.products == "onednn" else 1)
        return Layout(bucket=32 if lengths.mean() < 20 else 64, rows=rows, segments=rows is not None)


def choose_placement(
    device: str,
    precision: str,
    *,
    deterministic: bool = False,
    local_rank: int | None = None,
    multiply: str = "torch",
    before: str = "",
) -> Placement:
    """Resolve `auto`; each of several processes gets the GPU `local_rank` of its host, and makes it the current one.

    `multiply` is `trainer.products`, `before` as in `choose_products`. A UsageError if there is no such device, or if
    there are fewer than processes, or if products are not exact there, or plainly wrong on a share of a GPU.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if local_rank is not None and device not in ("cuda", "cpu"):
        raise UsageError(f"trainer.device={device}: several processes use auto, cuda (each its own) or cpu")
    if local_rank is not None and device == "cuda":
        device = f"cuda:{local_rank}"
    chosen = torch.device(device)
    count = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "cpu": 1}[chosen.type]
    if (chosen.index or 0) >= count:
        raise UsageError(f"trainer.device={device}: this machine has {count} {chosen.type} devices; cpu always works")
    if chosen.type == "cuda":
        chosen = torch.device("cuda", chosen.index or 0)
        torch.cuda.set_device(chosen)  # NCCL and pinned memory use the current one, by default GPU 0
    torch.set_num_threads(min(torch.get_num_threads(), len(usable_cores())))  # torch knows no quota of a container
    if precision == "auto":  # a CPU's bfloat16 is less exact, and mostly far slower; older GPUs only emulate it
        has_it = chosen.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = "bfloat16" if has_it else "float32"
    plain = chosen.type == "cpu" and precision == "float32"
    used = products.choose_products(multiply, before=before) if plain else "torch"
    rates = str(products.probe()) if plain and multiply != "torch" else ""
    found = Placement(device=chosen, precision=precision, deterministic=deterministic, products=used, rates=rates)
    share = os.environ.get(MPS_SHARE, "")
    if chosen.type == "cuda" and precision == "bfloat16" and share not in ("", os.environ.get(TRIED_SHARE)):
        with found.algorithms():
            wrong, count = products.count_wrong(chosen)
        if wrong:
            many = torch.cuda.get_device_properties(chosen).multi_processor_count
            raise UsageError(
                f"{MPS_SHARE}={share}: with {many} multiprocessors of the {torch.cuda.get_device_name(chosen)}, "
                f"{wrong} of {count} products in bfloat16 are wrong, a fault of cuBLAS; must be another share, or 100"
            )
    return found


def count_gpus() -> int:
    """Count the GPUs that torch sees, Metal's included."""
    return torch.cuda.device_count() or int(torch.backends.mps.is_available())


def is_out_of_memory(error: Exception) -> bool:
    """Return whether a device, or the CPU's allocator, ran out of memory."""
    return isinstance(error, torch.OutOfMemoryError) or lack_in(describe(error)) == "memory"


def release_memory(device: torch.device) -> None:
    """Give back the memory that the device's allocator keeps for later."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def keep_freed_memory() -> None:
    """Make glibc reuse freed memory rather than give it back: every update allocates the same buffers again.

    By default the larger ones come from the system each time, page by page, which takes much of the training time
    on a CPU. Other C libraries are left as they are.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        # Older versions accept at most 32 MiB.
        library.mallopt(_MMAP_THRESHOLD, 2**30) or library.mallopt(_MMAP_THRESHOLD, 2**25)
        library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
