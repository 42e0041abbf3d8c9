"""What the GPU tests run on. `GLUE_BENCH_TEST_DEVICE=cpu` runs them without a GPU, which tests the tests."""

import os
from collections.abc import Iterator

import pytest
import torch

DEVICE = os.environ.get("GLUE_BENCH_TEST_DEVICE", "cuda")


@pytest.fixture
def device() -> Iterator[str]:
    """Return the device that tests are for, or skip them; give its memory back afterwards."""
    if DEVICE == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU here")
    yield DEVICE
    if DEVICE == "cuda":
        torch.cuda.empty_cache()
