"""Parts of gpu.py about the machine: what it is, forked workers, the tests, attention with and without cuDNN."""

import importlib.metadata
import multiprocessing
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import torch
from gpu import CHECKOUT, Job
from torch.nn import functional

from glue_bench.machine import MPS_SHARE
from glue_bench.models.products import count_wrong as count_wrong_products
from glue_bench.sweep.sharing import side_by_side

LIBRARIES = ("torch", "triton", "transformers", "tokenizers", "numpy", "accelerate", "datasets")


def versions(job: Job) -> None:
    """Versions, the device, what SDPA would choose, and what the device can do at best."""
    found: dict[str, Any] = {"python": platform.python_version(), "cores": os.cpu_count()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    kind, cuda = torch.bfloat16, job.device == "cuda"
    found["sdpa order"] = sdpa_order()
    if cuda:
        facts = torch.cuda.get_device_properties(0)
        found |= {"device": facts.name, "GiB": round(facts.total_memory / 2**30, 1), "cuda": torch.version.cuda}
        found |= {"capability": [facts.major, facts.minor]}
        found["cudnn"] = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        found |= {"MPS": shutil.which("nvidia-cuda-mps-control") is not None}
        fields = "driver_version,mig.mode.current,compute_mode,clocks.max.sm,power.limit"
        query = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
        found["nvidia-smi"] = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
    job.keep(found)
    source = torch.empty((2**30 if cuda else 2**22) // 4, device=job.device)
    target = torch.empty_like(source)
    seconds = best_seconds(lambda: target.copy_(source), repeats=10, device=job.device)
    found["copy, TB/s read and written"] = float(f"{2 * source.nbytes / seconds / 1e12:.3g}")
    size = 8192 if cuda else 256
    for name, kind in (("bf16", torch.bfloat16), ("float32", torch.float32)):
        left, right = (torch.randn(size, size, device=job.device, dtype=kind) for _ in range(2))
        seconds = best_seconds(lambda a=left, b=right: a @ b, repeats=5, device=job.device)  # type: ignore[misc]
        found[f"{name} product, TFLOP/s"] = float(f"{2 * size**3 / seconds / 1e12:.3g}")
    small = torch.zeros(8, device=job.device)
    started = time.perf_counter()
    for _ in range(2000):
        small.add_(1)
    found["host, us an operation"] = round((time.perf_counter() - started) / 2000 * 1e6, 2)
    synchronise(job.device)
    job.keep(found)


def sdpa_order() -> list[str]:
    """Return SDPA's backends, the preferred one first; those that are turned off are left out."""
    from torch.nn.attention import SDPBackend, _cur_sdpa_kernel_backends

    enabled = _cur_sdpa_kernel_backends()
    order = [SDPBackend(number) for number in torch._C._get_sdp_priority_order()]
    return [backend.name for backend in order if backend in enabled]


def best_seconds(call: Callable[[], object], *, repeats: int, device: str) -> float:
    """Return the seconds of a call, the best of five rounds."""
    best = float("inf")
    for _ in range(6):
        synchronise(device)
        started = time.perf_counter()
        for _ in range(repeats):
            call()
        synchronise(device)
        best = min(best, (time.perf_counter() - started) / repeats)
    return best


def synchronise(device: str) -> None:
    """Wait for the device."""
    if device == "cuda":
        torch.cuda.synchronize()


def worker(job: Job) -> None:
    """A process that is forked from the sweep's server, with torch loaded, uses the device."""
    from glue_bench.sweep import local

    started = time.perf_counter()
    local.warm_up()
    with ProcessPoolExecutor(1, mp_context=local._CONTEXT) as pool:
        pool.submit(os.getpid).result()
        ready = time.perf_counter() - started
        found = pool.submit(use_device, job.device).result()
    with ProcessPoolExecutor(1, mp_context=local._CONTEXT) as pool:  # the server must be as good as before
        started = time.perf_counter()
        again = pool.submit(use_device, job.device).result()
        found["second worker, s"] = round(time.perf_counter() - started, 2)
    same = again["product"] == found["product"]
    job.keep({"server and first worker, s": round(ready, 2), **found, "second worker finds the same": same})


def use_device(device: str) -> dict[str, Any]:
    """Multiply something, in a worker."""
    forked_with_torch = "torch" in sys.modules
    started = time.perf_counter()
    product = torch.ones(64, 64, device=device) @ torch.full((64, 64), 0.5, device=device)
    total = float(product.sum())
    return {"torch was loaded": forked_with_torch, "product": total, "first use, s": time.perf_counter() - started}


def tests(job: Job) -> None:
    """Run tests/gpu; as a toy without a GPU they are skipped."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-q",
        "-m",
        "gpu",
        "tests/gpu",
        "--durations=5",
    ]
    command += ["-n", "0" if job.toy else str(min(8, os.cpu_count() or 1))]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    counts = {word: int(count) for count, word in re.findall(r"(\d+) (passed|failed|skipped|errors?)", lines[-1])}
    bad = [line for line in lines if line.startswith(("FAILED", "ERROR", "E  "))][:40]
    job.keep({**counts, "last line": lines[-1], "bad": bad})
    print(done.stdout[-8000:], done.stderr[-2000:])
    if done.returncode:
        raise SystemExit(f"pytest ended with {done.returncode}")


def shares(job: Job) -> None:
    """How many products in bfloat16 are wrong where a process has a share of the multiprocessors, in percent."""
    found: dict[str, Any] = {}
    with side_by_side(2) as served:
        for share in (10, 20, 25, 30, 33, 40, 50, 60, 66, 70, 75, 80, 90, 100) if served else (100,):
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
                found[f"{share} %"] = pool.submit(count_wrong, share, job.device).result()
            job.keep(found)


def count_wrong(share: int, device: str) -> dict[str, Any]:
    """Multiply, in a process that has not used the device."""
    os.environ[MPS_SHARE] = str(share)
    started = time.perf_counter()
    synchronise(device)
    ready = time.perf_counter()
    wrong, products = count_wrong_products(torch.device(device))
    facts = {"start, s": round(ready - started, 2), "products, s": round(time.perf_counter() - ready, 2)}
    cores = torch.cuda.get_device_properties(0).multi_processor_count if device == "cuda" else os.cpu_count()
    return {"multiprocessors": cores, "wrong": wrong, "products": products, **facts}


def shapes(job: Job) -> None:
    """Masked attention with dropout, forwards and backwards, at 50 widths that were not seen before, and again."""
    found: dict[str, Any] = {}
    widths = [8 + place for place in range(50 if job.device == "cuda" else 6)]
    states = torch.randn(3, 32, 12, max(widths), 64, device=job.device, dtype=torch.bfloat16)
    attend(states[..., :4, :])  # what is loaded at the first call is in no figure
    for cudnn in (True, False):
        torch.backends.cuda.enable_cudnn_sdp(cudnn)
        for times in ("first", "second"):
            synchronise(job.device)
            started = time.perf_counter()
            for width in widths:
                attend(states[..., :width, :])
            synchronise(job.device)
            seconds = time.perf_counter() - started
            found[f"cuDNN {'on' if cudnn else 'off'}, {times} time, ms a width"] = round(
                1000 * seconds / len(widths), 3
            )
            job.keep(found)


def attend(states: torch.Tensor) -> None:
    """One layer's attention of 32 rows."""
    query, key, value = states.clone().requires_grad_()
    mask = torch.ones(32, 1, 1, states.shape[-2], device=states.device, dtype=torch.bool)
    mask[1:, ..., states.shape[-2] // 2 :] = False
    mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=0.1)
    mixed.sum().backward()  # type: ignore[no-untyped-call]
