"""An update on a GPU is bound by how many kernels it starts, so that number is held down."""

import importlib.util

import pytest

from tests.support.launches import count_launches
from tests.support.training import settings

LENGTHS = [3 + row % 9 for row in range(32)]


@pytest.mark.parametrize(
    ("kernels", "limit"),
    [
        ("torch", 450),  # 18 of them arrange attention blocks
        pytest.param(
            "auto",
            185,
            marks=pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed"),
        ),
    ],
)
def test_an_update_of_six_layers_starts_few_kernels(kernels: str, limit: int) -> None:
    launches = count_launches(settings(batch_size=32, kernels=kernels), lengths=LENGTHS)
    assert 0.95 * limit < launches.total <= limit, launches.counts.most_common()


def test_the_number_of_kernels_does_not_depend_on_the_lengths() -> None:
    counts = [
        count_launches(settings(batch_size=4, kernels="torch"), lengths=rows).counts for rows in ([3] * 4, [30] * 4)
    ]
    assert counts[0] == counts[1]
