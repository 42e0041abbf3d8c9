"""The server that workers are forked from."""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from glue_bench.errors import GlueBenchError, UsageError
from glue_bench.runs.store import RunStore
from glue_bench.sweep import local
from glue_bench.sweep.board import Listener
from glue_bench.sweep.local import Slot
from glue_bench.sweep.plan import plan_runs
from glue_bench.sweep.queue import Queue
from glue_bench.sweep.sharing import PRIORITY
from glue_bench.sweep.timing import rough_work
from glue_bench.training.stopping import SIGNALS
from tests.support.making import make_request


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

    monkeypatch.setattr(local, "_PRELOADED", [])
    process = local._CONTEXT.Process(target=os._exit, args=(7,))
    monkeypatch.setattr(process, "start", fail)
    with pytest.raises(GlueBenchError, match=r"no worker can be started .*Too many open files"):
        local.start_process(process)


def _ignore(ready: Connection) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ready.send("ready")
    time.sleep(60)


def _obey(ready: Connection) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ready.send("ready")
    time.sleep(60)


@pytest.mark.parametrize(
    ("target", "longest", "ended_by"),
    [(_obey, 0.0, signal.SIGTERM), (_ignore, 0.0, signal.SIGKILL), (_ignore, 60.0, None)],
    ids=["suspended", "suspended and deaf", "in a long update"],
)
def test_a_worker_that_is_asked_to_stop_is_woken_and_killed_if_it_stays_silent_for_longer_than_ever(
    target: Callable[[Connection], None],
    longest: float,
    ended_by: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(local, "_ANSWERING", 0.1)
    monkeypatch.setattr(SIGNALS, "pending", signal.SIGTERM)
    store, request = RunStore(tmp_path), make_request(task="rte", seed=1)
    queue = Queue(plan_runs([request], store, retry_failed=False), store, listener=Listener())
    driver = local._Driver(queue, slots=[], timeout=0.0)
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=target, args=(theirs,))
    process.start()
    assert process.pid is not None
    try:
        assert ours.recv() == "ready"
        os.kill(process.pid, signal.SIGSTOP)
        slot = Slot(cores=[0], gpu=None)
        worker = local._Worker(request=request, process=process, pipe=ours, slot=slot, longest=longest)
        driver._workers.append(worker)
        driver._ask_to_stop()
        if ended_by == signal.SIGTERM:
            process.join()
        time.sleep(0.15)
        driver._kill_what_hangs()
        if ended_by is not None:
            process.join()
            assert process.exitcode == -ended_by
        assert process.is_alive() == (ended_by is None)
        if ended_by == signal.SIGKILL:
            assert f"{request.title}: was asked to stop and does not answer, so it is killed" in caplog.text
            driver._finish(worker)
            assert store.load(*request.place) is None
            assert queue.next_run() == request
    finally:
        process.kill()
        process.join()


def test_a_temporary_folder_whose_path_is_too_long_for_a_socket_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 120)
    long.mkdir()
    server: Any = forkserver._forkserver
    server._stop()
    monkeypatch.setitem(multiprocessing.current_process()._config, "tempdir", str(long))  # type: ignore[attr-defined]
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    request, store = make_request(task="rte", seed=1), RunStore(tmp_path)
    plan = plan_runs([request], store, retry_failed=False)
    with pytest.raises(
        UsageError, match=rf"no worker .* \(.*path too long; TMPDIR={long}\); executor=serial needs none"
    ):
        local.run_in_workers(plan, store, listener=Listener(), executor=request.config.executor)


@pytest.mark.parametrize(
    ("shared", "given", "expected"),
    [(True, None, [None, "1"]), (False, None, [None, None]), (True, "0", ["0", "0"])],
    ids=["shared", "alone", "the user's"],
)
def test_shorter_runs_give_way_on_a_gpu_that_they_share(
    shared: bool, given: str | None, expected: list[str | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = list[Mapping[str, str]]()

    def note(process: BaseProcess) -> None:
        started.append(process._kwargs["environment"])  # type: ignore[attr-defined]

    monkeypatch.setattr(local, "start_process", note)
    monkeypatch.delenv(PRIORITY, raising=False)
    if given:
        monkeypatch.setenv(PRIORITY, given)
    requests, store = [make_request(task="mnli", seed=1), make_request(task="rte", seed=2)], RunStore(tmp_path)
    queue = Queue(plan_runs(requests, store, retry_failed=False), store, listener=Listener())
    slots, most = [Slot(cores=[0], gpu="0")] * 2, max(map(rough_work, requests)) if shared else 0.0
    local._Driver(queue, slots=slots, timeout=0.0, most=most)._start_what_fits()
    assert [environment.get(PRIORITY) for environment in started] == expected


def test_the_process_that_starts_runs_loads_no_torch(tiny_words: Sequence[str], tmp_path: Path) -> None:
    code = """
import sys
from glue_bench.cli import main
code = main(["sweep", *sys.argv[1:]])
sys.exit("imported torch" if {"torch", "transformers"} & set(sys.modules) else code)
"""
    words = ["task=rte", *tiny_words, "executor=local", "trainer.device=auto"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_share_of_a_gpu_is_not_used_if_the_process_that_tries_it_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_PRELOADED", [])
    monkeypatch.setattr(local, "find_fault", die)
    assert local._find_fault() == "the process that tried it was killed"
    monkeypatch.setattr(local, "find_fault", find_none)
    assert local._find_fault() == ""


def die(_: Mapping[str, str]) -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def find_none(_: Mapping[str, str]) -> str:
    return ""
