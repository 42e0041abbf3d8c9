"""Runs that are stopped, killed or out of disk from outside, and the same command again. Real processes and signals."""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

from glue_bench.cli import main
from glue_bench.runs import lease
from glue_bench.training.stopping import SIGNALS, Stopped
from tests.support.processor import PATIENCE, wait_until
from tests.support.warm import WarmProcess

Start = Callable[..., subprocess.Popen[str]]
LONG = ["task=rte", "trainer.epochs=60", "trainer.batch_size=4", "trainer.snapshot_minutes=0.005", "save_model=true"]


@pytest.fixture
def start(tmp_path: Path, tiny_words: list[str]) -> Start:
    """Start `glue-bench run` on a task that takes some seconds."""

    def call(*words: str, results: str = "results", limit: int | None = None) -> subprocess.Popen[str]:
        process = WarmProcess(
            [sys.executable, "-m", "glue_bench", "run", *tiny_words, *LONG, f"results_dir={results}", *words],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if limit is not None:
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, limit))
        return process

    return call


def run_folder(tmp_path: Path, results: str = "results") -> Path:
    (folder,) = (tmp_path / results / "runs" / "tiny" / "rte").iterdir()
    return folder


def snapshots(tmp_path: Path) -> set[Path]:
    return set(tmp_path.glob("results/runs/*/*/*/snapshots/step-*"))


def wait_for_snapshot(process: subprocess.Popen[str], tmp_path: Path) -> None:
    """Wait until there is a new one."""
    before = snapshots(tmp_path)
    wait_until(lambda: bool(snapshots(tmp_path) - before), running=process)


def assert_same_result(ours: Path, expected: Path) -> None:
    assert pq.read_table(ours / "predictions/validation.parquet").equals(
        pq.read_table(expected / "predictions/validation.parquet")
    )
    weights, wanted = (load_file(folder / "model/model.safetensors") for folder in (ours, expected))
    assert all((weights[name] == value).all() for name, value in wanted.items())


def test_every_signal_ends_with_its_code_and_the_same_command_ends_with_the_same_bits(
    start: Start, tmp_path: Path
) -> None:
    whole = start(results="undisturbed")
    _, errors = whole.communicate(timeout=PATIENCE)
    assert whole.returncode == 0, errors
    resumed = 0
    for number, code in [
        (signal.SIGINT, 130),
        (signal.SIGTERM, 143),
        (signal.SIGUSR1, 75),
        (signal.SIGKILL, -signal.SIGKILL),
    ]:
        process = start()
        wait_for_snapshot(process, tmp_path)
        process.send_signal(number)
        _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == code, errors
        folder = run_folder(tmp_path)
        assert snapshots(tmp_path)
        if number != signal.SIGKILL:
            last = errors.strip().splitlines()[-1]
            assert last.startswith(f"glue-bench: stopped by {number.name} after update ")
            assert last.endswith(", snapshot kept; the same command continues from there")
            assert json.loads((folder / "record.json").read_text())["status"] == "interrupted"
        resumed += 1
    process = start()
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    record = json.loads((run_folder(tmp_path) / "record.json").read_text())
    assert record["status"] == "finished"
    assert len(record["resumed_at"]) == resumed
    assert record["resumed_at"] == sorted(record["resumed_at"])
    assert not (run_folder(tmp_path) / "snapshots").exists()
    assert_same_result(run_folder(tmp_path), run_folder(tmp_path, "undisturbed"))
    history = [json.loads(line) for line in (run_folder(tmp_path) / "history.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in history]
    assert steps == sorted(set(steps))
    assert steps[-1] == record["steps"]


def test_a_snapshot_that_cannot_be_written_is_one_line_and_exit_74(start: Start) -> None:
    process = start(limit=60_000)  # bytes of a file: less than the tensors
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 74, errors
    last = errors.strip().splitlines()[-1]
    assert "/snapshots/step-" in last
    assert "cannot be written" in last
    assert "Traceback" not in errors


def test_a_run_whose_results_are_moved_away_ends_and_does_not_start_again(
    tiny_words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.05)
    results = tmp_path / "results"

    def move() -> None:
        wait_until(lambda: bool(snapshots(tmp_path)))
        results.rename(tmp_path / "moved")

    mover = threading.Thread(target=move)
    mover.start()
    assert main(["run", *tiny_words, *LONG, f"results_dir={results}"]) == 74
    mover.join()
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"glue-bench: {results}/runs/tiny/rte/seed")
    assert last.endswith("the run's folder is gone (moved or deleted?)")
    assert not results.exists()


def test_outside_of_a_training_a_signal_is_obeyed_at_once() -> None:
    with SIGNALS.handled():
        with pytest.raises(Stopped, match="SIGTERM") as stopped:
            os.kill(os.getpid(), signal.SIGTERM)
        assert stopped.value.exit_code == 143


def test_inside_the_first_signal_waits_and_only_a_second_sigint_does_not() -> None:
    with SIGNALS.handled():
        survived = []

        def receive(*numbers: int) -> None:
            with SIGNALS.at_a_good_moment():
                for number in numbers:
                    os.kill(os.getpid(), number)
                    survived.append(number)

        with pytest.raises(Stopped, match="SIGUSR1") as stopped:
            receive(signal.SIGUSR1, signal.SIGTERM)
        assert survived == [signal.SIGUSR1, signal.SIGTERM]
        assert stopped.value.exit_code == 75
        os.kill(os.getpid(), signal.SIGTERM)  # while it tidies up after SIGUSR1
        with pytest.raises(Stopped, match="SIGINT"):
            receive(signal.SIGTERM, signal.SIGINT)
        assert survived[2:] == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGTERM) == SIGNALS._receive
    assert signal.getsignal(signal.SIGTERM) != SIGNALS._receive


def test_a_signal_during_an_update_that_fails_is_not_forgotten() -> None:
    def fail() -> None:
        with SIGNALS.at_a_good_moment():
            os.kill(os.getpid(), signal.SIGTERM)
            raise ValueError("diverged")

    with SIGNALS.handled():
        with pytest.raises(ValueError, match="diverged"):
            fail()
        assert SIGNALS.pending
        with pytest.raises(Stopped, match="SIGTERM"):
            SIGNALS.obey()


@pytest.mark.parametrize(("status", "kept"), [("finished", False), ("failed", True)])
def test_a_sweep_deletes_the_leftovers_of_finished_runs_only_and_a_dry_run_none(
    status: str, kept: bool, tiny_words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.05)  # an unknown owner is watched for two of them
    words = ["sweep", "executor=serial", "tasks=[rte]", "seeds=[1]", *tiny_words]
    assert main(words) == 0
    folder = run_folder(tmp_path)
    path = folder / "record.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "status": status}))
    names = [".record.json.a1.part", "predictions/.validation.parquet.a1.part", ".model.a1/config.json"]
    names += [
        ".record.json.a2.part/record.json",
        "output.123.log",
        "claim-7.json",
        "snapshots/step-0000000001/facts.json",
    ]
    left = [folder / name for name in (*names, ".notes", "snapshots.txt", "predictions/old")]
    for each in left:
        each.parent.mkdir(parents=True, exist_ok=True)
        each.write_text("{}")
        os.utime(each, (1, 1))
    main([*words, "--dry-run"])
    assert all(each.exists() for each in left)
    main(words)
    assert [each.exists() for each in left] == [kept] * len(names) + [True] * 3
    repeated = folder / "snapshots" / "step-0000000002" / "facts.json"  # by a run that is to keep its model
    repeated.parent.mkdir(parents=True, exist_ok=True)
    repeated.write_text("{}")
    main(words)
    assert repeated.exists()


def test_scores_are_kept_when_the_disk_is_too_full_for_the_weights(start: Start, tmp_path: Path) -> None:
    words = ["trainer.epochs=1", "trainer.snapshot_minutes=0"]
    process = start(*words, limit=60_000)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 74, errors
    assert "model: cannot be written" in errors
    assert "Traceback" not in errors
    assert "internal error" not in errors
    record = json.loads((run_folder(tmp_path) / "record.json").read_text())
    assert (record["status"], record["model_sha256"]) == ("finished", None)
    assert record["scores"]["validation"]["accuracy"] > 0
    assert not (run_folder(tmp_path) / "model").exists()
    again = start(*words)
    _, errors = again.communicate(timeout=PATIENCE)
    assert again.returncode == 0, errors
    assert (run_folder(tmp_path) / "model" / "model.safetensors").exists()
