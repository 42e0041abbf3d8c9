"""Leases: exactly one owner, kept while it works, taken over once it is dead; whatever the order of events."""

import json
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from glue_bench.errors import DiskError
from glue_bench.runs import lease
from glue_bench.runs.lease import STALE_SECONDS, Lease, LostLeaseError, Owner, owner_of, take_lease
from tests.support.permissions import forbidden


def take(folder: Path) -> Lease:
    held = take_lease(folder)
    assert isinstance(held, Lease)
    return held


def lease_of_another_host(folder: Path, *, age: float, generation: int = 1) -> Path:
    """Write the lease that a worker of another machine left `age` seconds ago."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"claim-{generation}.json"
    owner = {"host": "node7", "process": 1, "machine": "elsewhere", "started": "1", "nonce": "n"}
    path.write_text(json.dumps(owner))
    then = time.time() - age
    os.utime(path, (then, then))
    return path


def test_a_leased_run_names_its_owner_and_is_free_after_release(tmp_path: Path) -> None:
    held = take(tmp_path)
    owner = take_lease(tmp_path)
    assert isinstance(owner, Owner)
    assert (owner.process, owner.host != "") == (os.getpid(), True)
    held.release(done=False)
    assert owner_of(tmp_path) is None
    again = take(tmp_path)
    again.release(done=True)
    assert list(tmp_path.iterdir()) == []


def test_generations_do_not_restart_before_the_run_is_done(tmp_path: Path) -> None:
    for generation in (1, 2, 3):
        held = take(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [f"claim-{generation}.json"]
        held.release(done=False)


def test_the_lease_of_a_dead_process_of_this_machine_is_free_at_once(tmp_path: Path) -> None:
    code = (
        "import os; from pathlib import Path; from glue_bench.runs.lease import take_lease;"
        "take_lease(Path()); os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", code], check=False, cwd=tmp_path)
    assert (tmp_path / "claim-1.json").exists()
    started = time.monotonic()
    take(tmp_path).release(done=True)
    assert time.monotonic() - started < 1


@pytest.mark.parametrize(("age", "free"), [(STALE_SECONDS - 20, False), (STALE_SECONDS + 5, True)])
def test_the_lease_of_another_host_is_free_once_it_has_been_silent_for_long(
    age: float, free: bool, tmp_path: Path
) -> None:
    lease_of_another_host(tmp_path, age=age)
    owner = owner_of(tmp_path)
    assert (owner is None) == free
    assert owner is None or owner.title == "node7 process 1"


def test_a_lease_that_its_writer_never_finished_is_free_once_it_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.05)
    path = lease_of_another_host(tmp_path, age=5)
    for content in ("", '{"host": "nod'):
        path.write_text(content)
        owner = take_lease(tmp_path)
        assert isinstance(owner, Owner)
        assert owner.title == "an unknown worker (its lease is empty or damaged, and counts for 2 minutes)"
    os.utime(path, (0, 0))
    take(tmp_path).release(done=True)


def test_a_silent_lease_is_left_alone_if_it_beats_again_while_it_is_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.5)
    path = lease_of_another_host(tmp_path, age=STALE_SECONDS + 5)
    waking = threading.Timer(0.3, path.touch)  # a laptop that was shut
    waking.start()
    owner = take_lease(tmp_path)
    waking.join()
    assert isinstance(owner, Owner)
    assert owner.title == "node7 process 1"


def test_a_process_that_the_caller_knows_to_be_dead_owns_nothing(tmp_path: Path) -> None:
    held = take(tmp_path)
    assert isinstance(take_lease(tmp_path, dead=os.getpid() + 1), Owner)
    assert isinstance(take_lease(tmp_path, dead=os.getpid()), Lease)
    held.release(done=True)


def test_an_owner_beats_while_there_is_progress_and_falls_silent_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.05)
    held = take_lease(tmp_path, patience=0.5)
    assert isinstance(held, Lease)
    held.note_progress("training", 3, steps=9)
    time.sleep(0.2)
    owner = owner_of(tmp_path)
    assert owner is not None
    assert (owner.phase, owner.step, owner.steps) == ("training", 3, 9)
    time.sleep(0.6)
    silent = (tmp_path / "claim-1.json").stat().st_mtime_ns
    time.sleep(0.3)
    assert (tmp_path / "claim-1.json").stat().st_mtime_ns == silent
    held.release(done=True)


def test_an_owner_that_lost_its_run_notices_it_and_removes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.05)
    sleeper = take(tmp_path)
    sleeper.check()
    successor = lease_of_another_host(tmp_path, age=0, generation=2)
    with pytest.raises(LostLeaseError, match="another worker has taken this run over"):
        sleeper.check()
    time.sleep(0.2)
    with pytest.raises(LostLeaseError):
        sleeper.note_progress("training")
    sleeper.release(done=True)
    assert successor.exists()


def test_an_owner_whose_lease_is_gone_does_not_bring_it_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.05)
    sleeper = take(tmp_path)
    (tmp_path / "claim-1.json").unlink()  # a successor has finished the run
    time.sleep(0.2)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(LostLeaseError):
        sleeper.check()
    sleeper.release(done=True)


@pytest.mark.parametrize("size", [0, 100, 511])
def test_a_lease_that_is_not_written_whole_is_a_disk_error_and_leaves_nothing(size: int, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))  # as on a disk with so much room
    try:
        with pytest.raises(DiskError, match="cannot be leased: File too large"):
            take_lease(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []
    take(tmp_path).release(done=True)


@pytest.mark.parametrize(
    "leave", [shutil.rmtree, lambda folder: folder.rename(folder.with_name("moved"))], ids=["deleted", "moved"]
)
@pytest.mark.parametrize("again", [False, True], ids=["gone", "made again"])
def test_a_run_whose_folder_is_gone_names_no_other_worker_and_does_not_make_it_again(
    leave: Callable[[Path], None], again: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.02)
    held = take(tmp_path / "results" / "run")
    leave(tmp_path / "results")
    if again:
        (tmp_path / "results").mkdir()
    with pytest.raises(DiskError, match=r"run: the run's folder is gone \(moved or deleted\?\)"):
        held.check()
    time.sleep(0.1)
    with pytest.raises(DiskError, match="is gone"):
        held.note_progress("training")
    held.release(done=False)
    assert not (tmp_path / "results" / "run").exists()


def test_a_folder_that_cannot_be_written_is_a_disk_error(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file in the way")
    with pytest.raises(DiskError, match="cannot be leased"):
        take_lease(tmp_path / "runs" / "a")


def _work(folder: Path, runs: int) -> None:
    """Do every run that has no result, as a sweep does: take the lease, look again, work, release."""
    for _ in range(3):
        for number in range(runs):
            run = folder / str(number)
            held = take_lease(run)
            if isinstance(held, Owner):
                continue
            done = (run / "result").exists()
            if not done:
                with (folder / "executions").open("a") as file:
                    file.write(f"{number}\n")
                time.sleep(0.002)
                (run / "result").write_text("")
            held.release(done=True)


def test_twelve_workers_on_thirty_runs_do_each_exactly_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_work, args=(tmp_path, 30)) for _ in range(12)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 12
    executed = (tmp_path / "executions").read_text().split()
    assert sorted(map(int, executed)) == list(range(30))
    assert not list(tmp_path.rglob("claim-*"))


@pytest.mark.parametrize("age", [-3600.0, -(10**8)])
def test_a_lease_with_a_time_in_the_future_is_watched_and_then_taken_over(
    age: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.1)
    lease_of_another_host(tmp_path, age=age)
    assert owner_of(tmp_path) is None
    take(tmp_path).release(done=True)


@pytest.mark.parametrize(
    "content",
    ["5", "[]", "null", "[" * 100_000, '{"released": [1]}', "NaN", "\xff"]
    + [
        json.dumps({"host": "a", "process": process, "machine": machine, "started": "1", "nonce": "n"})
        for process, machine in ((0, "HERE"), (-1, "HERE"), (2**80, "HERE"), ("1", "HERE"), (1.5, "x"), (1, 5))
    ],
    ids=lambda text: text[:30],
)
def test_a_file_that_is_not_a_lease_counts_by_its_age_and_never_ends_the_run(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.1)
    path = tmp_path / "claim-3.json"
    path.write_text(content.replace("HERE", lease._machine()), encoding="latin-1")
    assert isinstance(take_lease(tmp_path), Owner)  # a new one may be half written
    then = time.time() - 2 * STALE_SECONDS
    os.utime(path, (then, then))
    held = take(tmp_path)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["claim-4.json"]
    held.release(done=True)


def test_a_lease_that_we_may_not_read_counts_by_its_age(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.1)
    path = tmp_path / "claim-3.json"
    path.write_text("{}")
    with forbidden(path):
        assert owner_of(tmp_path) is not None
        assert isinstance(take_lease(tmp_path), Owner)
    os.utime(path, (0, 0))
    with forbidden(path):
        assert owner_of(tmp_path) is None
        held = take(tmp_path)
        path.touch()  # whose permissions can be given back
    path.unlink()
    held.check()
    held.release(done=True)


@pytest.mark.parametrize(
    "make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("nowhere")], ids=["folder", "pipe", "link"]
)
def test_a_folder_pipe_or_dangling_link_in_a_leases_place_is_nobodys(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    make(tmp_path / "claim-7.json")
    (tmp_path / "claim-٨.json").touch()
    assert owner_of(tmp_path) is None
    held = take(tmp_path)
    held.check()
    held.release(done=False)
