"""Whole commands on a GPU."""

import datetime
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest import mock

import pytest
import torch

from glue_bench.machine import MPS_SHARE
from glue_bench.runs.store import RunStore
from glue_bench.sweep.sharing import side_by_side
from tests.conftest import Result

pytestmark = pytest.mark.gpu
LIMIT = 300  # seconds


def test_two_forked_workers_share_a_gpu(
    device: str, glue_bench: Callable[..., Result], tiny_words: Sequence[str], tmp_path: Path
) -> None:
    words = [word for word in tiny_words if not word.startswith(("trainer.device", "trainer.epochs"))]
    both = ["executor.workers=2", "executor.runs_per_gpu=2", f"trainer.device={device}", "trainer.epochs=20"]
    result = glue_bench("sweep", "tasks=[rte,sst2]", "seeds=[1]", *words, *both, timeout=LIMIT)
    assert result.returncode == 0, result.stderr
    records = list(RunStore(tmp_path / "results").load_all())
    assert [record.status for record in records] == ["finished"] * 2
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    assert all(record.device.startswith(name) for record in records)
    ends = [datetime.datetime.fromisoformat(record.ended) for record in records]
    begins = [end - datetime.timedelta(seconds=x.seconds["total"]) for end, x in zip(ends, records, strict=True)]
    assert max(begins) < min(ends), "one waited for the other"


def test_a_deterministic_run_gives_the_same_predictions_and_weights_in_another_process(
    device: str, glue_bench: Callable[..., Result], tiny_words: Sequence[str], tmp_path: Path
) -> None:
    words = [word for word in tiny_words if not word.startswith(("trainer.device", "results_dir"))]
    exact = [f"trainer.device={device}", "trainer.deterministic=true", "save_model=true"]
    hashes = []
    for name in ("first", "again"):
        result = glue_bench("run", "task=rte", *words, *exact, f"results_dir={name}", timeout=LIMIT)
        assert result.returncode == 0, result.stderr
        (record,) = RunStore(tmp_path / name).load_all()
        hashes.append((record.predictions_sha256, record.model_sha256))
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize("share", ["33", "50", "66", "75"])
def test_a_share_of_a_gpu_multiplies_right_or_is_refused(
    share: str, device: str, glue_bench: Callable[..., Result], tiny_words: Sequence[str], tmp_path: Path
) -> None:
    words = [word for word in tiny_words if not word.startswith("trainer.device")]
    with mock.patch.dict(os.environ, {MPS_SHARE: share}), side_by_side(2):
        environment = {name: os.environ[name] for name in os.environ if name.startswith("CUDA_MPS")}
        result = glue_bench("run", "task=rte", *words, f"trainer.device={device}", env=environment, timeout=LIMIT)
    if result.returncode:
        assert result.returncode == 2
        assert re.search(rf"{MPS_SHARE}={share}: .* [1-9]\d* of \d+ products in bfloat16 are wrong", result.stderr)
        assert device == "cuda"
    else:
        (record,) = RunStore(tmp_path / "results").load_all()
        assert record.finished
