"""Devices: what is chosen, seeded and switched off on each, as far as no GPU is needed to see it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from glue_bench.errors import UsageError
from glue_bench.machine import MPS_SHARE, TRIED_SHARE
from glue_bench.models.placement import Layout, Placement, choose_placement, is_out_of_memory
from tests.support.training import CPU

GPU = Placement(device=torch.device("cuda:1"), precision="bfloat16")
EXACT_GPU = Placement(device=torch.device("cuda:1"), precision="bfloat16", deterministic=True)


def cudnn() -> bool:
    return bool(torch.backends.cuda.cudnn_sdp_enabled())  # type: ignore[no-untyped-call]


def switches() -> tuple[bool, bool]:
    return cudnn(), torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(
    ("placement", "inside"),
    [(CPU, None), (GPU, (False, False)), (EXACT_GPU, (False, True))],
    ids=["cpu", "gpu", "exact"],
)
def test_cudnns_attention_is_off_on_a_gpu_and_what_was_set_before_comes_back_whatever_happens(
    placement: Placement, inside: tuple[bool, bool] | None, before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    outside, found = cudnn(), list[tuple[bool, bool]]()
    torch.backends.cuda.enable_cudnn_sdp(before)

    def fail_inside() -> None:
        with placement.algorithms():
            found.append(switches())
            raise KeyError

    try:
        with pytest.raises(KeyError):
            fail_inside()
        assert found == [inside or (before, False)]
        assert switches() == (before, False)
    finally:
        torch.backends.cuda.enable_cudnn_sdp(outside)


@pytest.mark.parametrize(("native", "precision"), [(True, "bfloat16"), (False, "float32")])
def test_a_gpu_that_only_emulates_bfloat16_runs_in_float32(
    native: bool, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.set_device", lambda _: None)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation=True: native or including_emulation)
    assert choose_placement("auto", "auto").precision == precision
    assert choose_placement("cuda", "bfloat16").precision == "bfloat16"


def test_only_the_device_that_is_used_is_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    generators = [torch.Generator().manual_seed(number) for number in range(3)]
    monkeypatch.setattr("torch.cuda.default_generators", generators)
    with torch.random.fork_rng(devices=[]):
        GPU.seed(2**64 - 5)
        assert torch.initial_seed() == 2**64 - 5
        CPU.seed(7)
        assert torch.initial_seed() == 7
        expected = torch.rand(3)
        torch.manual_seed(7)
        assert torch.equal(torch.rand(3), expected)
    assert [generator.initial_seed() for generator in generators] == [0, 2**64 - 5, 2]


def test_buckets_are_smaller_where_rows_are_short_and_a_cpu_has_none() -> None:
    short, long = np.array([10, 29]), np.array([10, 30])
    assert GPU.layout(short, rows=32) == Layout(bucket=32, rows=32, segments=True)
    assert GPU.layout(long, rows=32) == Layout(bucket=64, rows=32, segments=True)
    assert GPU.layout(long) == Layout(bucket=64)
    assert CPU.layout(long, rows=32) == Layout()


@pytest.mark.parametrize(
    ("message", "says_so"),
    [
        (
            "[enforce fail at alloc_cpu.cpp:114] . DefaultCPUAllocator: can't allocate memory: you tried to allocate",
            True,
        ),
        ("DefaultCPUAllocator: not enough memory: you tried to allocate 8000 bytes.", True),
        ("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported", True),
        ("CUDA driver error: out of memory", True),
        ("Triton Error [CUDA]: out of memory", True),
        ("MPS backend out of memory (MPS allocated: 5.30 GB)", True),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", True),
        ("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED", True),
        (
            "CUDNN_BACKEND_TENSOR_DESCRIPTOR cudnnFinalize failed cudnn_status: CUDNN_STATUS_SUBLIBRARY_ALLOC_FAILED",
            True,
        ),
        ('NVML_SUCCESS == r INTERNAL ASSERT FAILED at "../c10/cuda/CUDACachingAllocator.cpp":963', True),
        ("cudaErrorMemoryAllocation", True),
        ("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", False),
        ("CUDA error: an illegal memory access was encountered", False),
        ("mat1 and mat2 shapes cannot be multiplied (3x4 and 5x6)", False),
        ("CUBLAS_STATUS_NOT_SUPPORTED", False),
    ],
)
def test_every_librarys_words_for_too_little_memory_are_known(message: str, says_so: bool) -> None:
    assert is_out_of_memory(RuntimeError(message)) is says_so
    assert is_out_of_memory(torch.OutOfMemoryError("anything"))
    assert is_out_of_memory(MemoryError())


@pytest.mark.parametrize(
    ("share", "tried", "precision", "wrong", "refused"),
    [
        ("66", None, "auto", 47, True),
        ("66", "50", "bfloat16", 1, True),
        ("50", None, "auto", 0, False),
        ("50", "50", "auto", 0, False),
        ("66", None, "float32", 47, False),
        (None, None, "auto", 47, False),
    ],
)
def test_a_share_of_a_gpu_on_which_products_are_wrong_is_refused(
    share: str | None, tried: str | None, precision: str, wrong: int, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, wanted in ((MPS_SHARE, share), (TRIED_SHARE, tried)):
        monkeypatch.delenv(variable, raising=False)
        if wanted:
            monkeypatch.setenv(variable, wanted)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    facts = {"device_count": 1, "set_device": None, "is_bf16_supported": True, "get_device_name": "H100"}
    for name, value in {**facts, "get_device_properties": SimpleNamespace(multi_processor_count=86)}.items():
        monkeypatch.setattr(f"torch.cuda.{name}", lambda *_, found=value, **__: found)
    inside = list[tuple[bool, bool]]()

    def count_wrong(_: torch.device) -> tuple[int, int]:
        inside.append(switches())
        return wrong, 72

    monkeypatch.setattr("glue_bench.models.products.count_wrong", count_wrong)
    if refused:
        message = (
            rf"{MPS_SHARE}={share}: with 86 multiprocessors of the H100, {wrong} of 72 products .* must be another"
        )
        with pytest.raises(UsageError, match=message):
            choose_placement("cuda", precision, deterministic=True)
    else:
        assert choose_placement("cuda", precision, deterministic=True).device.type == "cuda"
    assert all(found == (False, True) for found in inside)
    assert bool(inside) == (share not in (None, tried) and precision != "float32")
