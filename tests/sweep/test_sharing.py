"""Runs that share a GPU, with commands of NVIDIA's that are shell scripts."""

import os
from pathlib import Path

import pytest

from glue_bench.machine import MPS_SHARE, TRIED_SHARE
from glue_bench.models import placement
from glue_bench.sweep.local import deal_out
from glue_bench.sweep.sharing import runs_that_fit, side_by_side
from glue_bench.sweep.worker import find_fault
from tests.support.making import executor


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that is first on the PATH."""
    folder = tmp_path / "commands"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    for name in ("CUDA_MPS_PIPE_DIRECTORY", MPS_SHARE):
        monkeypatch.delenv(name, raising=False)
    return folder


def write(command: Path, script: str) -> None:
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)


@pytest.mark.parametrize(
    ("printed", "fit"),
    [
        ("81559, 4", 4),
        ("28672, 4", 3),
        ("24576, 300", 2),
        ("16384, 0", 2),
        ("12288, 0", 1),
        ("81559, 20000", 1),  # somebody's
        ("81559, 4\n81559, 5000", 1),
        ("81559, 4\n24576, 4", 2),  # the smaller one decides
        ("N/A, N/A", 1),
        ("", 1),
    ],
)
def test_as_many_runs_share_a_gpu_as_its_memory_allows_and_one_where_others_use_it(
    printed: str, fit: int, commands: Path
) -> None:
    write(commands / "nvidia-smi", f"cat <<END\n{printed}\nEND" if printed else "exit 9")
    assert runs_that_fit([1.0] * 9, gpus=1) == fit


@pytest.mark.parametrize(
    ("work", "gpus", "fit"),
    [([5.0], 1, 1), ([5.0, 5.0], 1, 2), ([5.0, 1.0, 1.0], 1, 2), ([5.0, 1.0, 1.0], 2, 1), ([3.0] * 40, 4, 4)],
)
def test_no_more_runs_share_a_gpu_than_end_together(work: list[float], gpus: int, fit: int, commands: Path) -> None:
    write(commands / "nvidia-smi", "echo 81559, 4")
    assert runs_that_fit(work, gpus=gpus) == fit


def test_without_nvidias_commands_a_gpu_has_one_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert runs_that_fit([1.0] * 9, gpus=1) == 1
    with side_by_side(3) as shared:
        assert not shared


def test_the_service_is_started_for_the_sweep_and_ended_with_it(commands: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    write(
        commands / "nvidia-cuda-mps-control", f'echo "$1 $CUDA_MPS_PIPE_DIRECTORY" >> {log}; [ "$1" ] || cat >> {log}'
    )
    with side_by_side(3) as shared:
        assert shared
        pipe = os.environ["CUDA_MPS_PIPE_DIRECTORY"]
        assert Path(pipe).is_dir()
        assert os.environ[MPS_SHARE] == "50"
    assert log.read_text() == f"-d {pipe}\n {pipe}\nquit\n"
    assert not Path(pipe).exists()
    assert not {"CUDA_MPS_PIPE_DIRECTORY", MPS_SHARE} & os.environ.keys()


def test_a_service_that_does_not_start_is_not_looked_for(commands: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(commands / "nvidia-cuda-mps-control", "exit 1")
    with side_by_side(3) as shared:
        assert not shared
        assert not {"CUDA_MPS_PIPE_DIRECTORY", MPS_SHARE} & os.environ.keys()
    assert "each GPU runs one run at a time" in caplog.text


def test_a_service_that_runs_already_is_left_alone(commands: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(commands / "nvidia-cuda-mps-control", "exit 1")
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", "/elsewhere")
    with side_by_side(3) as shared:
        assert shared
        assert os.environ[MPS_SHARE] == "50"
    assert os.environ["CUDA_MPS_PIPE_DIRECTORY"] == "/elsewhere"


@pytest.mark.parametrize(
    ("runs", "exact", "set_before", "share"),
    [
        (2, False, None, None),
        (4, False, None, "50"),
        (6, False, None, "50"),
        (4, True, None, None),
        (4, False, "80", "80"),
    ],
)
def test_a_run_gets_a_share_of_a_gpu_unless_its_bits_must_not_depend_on_that(
    runs: int, exact: bool, set_before: str | None, share: str | None, commands: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(commands / "nvidia-cuda-mps-control", "exit 0")
    if set_before:
        monkeypatch.setenv(MPS_SHARE, set_before)
    with side_by_side(runs, exact=exact) as shared:
        assert shared
        assert os.environ.get(MPS_SHARE) == share
        assert os.environ.get(TRIED_SHARE) == (None if set_before else share)
    assert TRIED_SHARE not in os.environ
    assert os.environ.get(MPS_SHARE) == set_before


def test_no_run_gets_a_share_with_which_it_would_compute_wrongly(
    commands: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(commands / "nvidia-cuda-mps-control", "exit 0")

    def find_fault() -> str:
        assert os.environ[MPS_SHARE] == "50"
        return "9 of 72 products are wrong"

    with side_by_side(3, find_fault=find_fault) as shared:
        assert shared
        assert not {MPS_SHARE, TRIED_SHARE} & os.environ.keys()
    assert "no run is kept to a part of a GPU, which is slower: 9 of 72 products are wrong" in caplog.text


def test_why_no_run_could_train_on_a_gpu_is_found_in_the_environment_of_the_driver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(MPS_SHARE, "100")
    monkeypatch.setattr(placement, "count_gpus", lambda: 0)
    assert find_fault({MPS_SHARE: "50"}) == ""
    assert os.environ[MPS_SHARE] == "50"
    monkeypatch.setattr(placement, "count_gpus", lambda: 99)
    assert "this machine has" in find_fault({})


def test_a_single_run_needs_no_service(commands: Path, tmp_path: Path) -> None:
    write(commands / "nvidia-cuda-mps-control", f"touch {tmp_path}/started")
    with side_by_side(1) as shared:
        assert not shared
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize(("given", "fit", "count"), [(None, 3, 6), (None, 1, 2), (2, 3, 4)])
def test_workers_are_the_runs_that_the_gpus_take(given: int | None, fit: int, count: int) -> None:
    assert len(deal_out(executor(runs_per_gpu=given), runs=99, gpus=["0", "1"], fit=fit)) == count
