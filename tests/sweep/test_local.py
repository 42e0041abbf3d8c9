"""The server that workers are forked from."""

import os
from concurrent.futures import ProcessPoolExecutor

import pytest

from glue_bench.sweep import local


def test_the_server_of_the_workers_looks_for_gpus_without_starting_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
    monkeypatch.delenv("PYTORCH_NVML_BASED_CUDA_CHECK", raising=False)
    local.warm_up()
    assert os.environ["OPENBLAS_NUM_THREADS"] == "3"
    assert "PYTORCH_NVML_BASED_CUDA_CHECK" not in os.environ
    with ProcessPoolExecutor(1, mp_context=local._CONTEXT) as pool:
        seen = [pool.submit(os.getenv, name).result() for name in local._OF_THE_SERVER]
    assert seen == ["1", "1"]
