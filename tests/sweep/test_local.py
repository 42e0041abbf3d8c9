"""The server that workers are forked from."""

import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import forkserver
from typing import Any

import pytest

from glue_bench.sweep import local
from glue_bench.sweep.queue import LostRunError


def test_the_server_of_the_workers_looks_for_gpus_without_starting_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
    monkeypatch.delenv("PYTORCH_NVML_BASED_CUDA_CHECK", raising=False)
    local.warm_up()
    assert os.environ["OPENBLAS_NUM_THREADS"] == "3"
    assert "PYTORCH_NVML_BASED_CUDA_CHECK" not in os.environ
    with ProcessPoolExecutor(1, mp_context=local._CONTEXT) as pool:
        seen = [pool.submit(os.getenv, name).result() for name in local._OF_THE_SERVER]
    assert seen == ["1", "1"]


def test_a_worker_starts_although_the_server_that_forks_it_is_killed_at_that_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(local, "_PRELOADED", [])
    server: Any = forkserver._forkserver
    server._stop()
    local.warm_up()
    os.kill(server._forkserver_pid, signal.SIGSTOP)  # it will not answer
    threading.Timer(0.2, os.kill, (server._forkserver_pid, signal.SIGKILL)).start()
    process = local._CONTEXT.Process(target=os._exit, args=(7,))
    local.start_process(process)
    process.join()
    assert process.exitcode == 7
    server._stop()


def test_a_worker_that_cannot_be_started_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError(24, "Too many open files")

    process = local._CONTEXT.Process(target=os._exit, args=(7,))
    monkeypatch.setattr(process, "start", fail)
    with pytest.raises(LostRunError, match=r"no worker can be started .*Too many open files"):
        local.start_process(process)
