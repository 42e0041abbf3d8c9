"""One run in two processes that torchrun starts, compared with the same run in one."""

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from glue_bench.cli import main
from glue_bench.errors import UsageError
from glue_bench.models.placement import choose_placement
from glue_bench.training.distributed import ALONE, Processes
from tests.support import share_of_a_run
from tests.support.warm import WarmProcess

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
RUN = ["run", "task=rte", "trainer.epochs=20", "trainer.batch_size=47", "trainer.learning_rate=1e-4"]

LAUNCHED = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29517"}


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen([*TORCHRUN, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def start_ranks(*words: str) -> list[WarmProcess]:
    """Start the two processes of a run as torchrun does, forked."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    ranks = [{"RANK": rank, "LOCAL_RANK": rank, **place} for rank in ("0", "1")]
    pipe, command = subprocess.PIPE, [sys.executable, *words]
    return [WarmProcess(command, stdout=pipe, stderr=pipe, text=True, env=os.environ | rank) for rank in ranks]


def ours(text: str) -> list[str]:
    """Return the lines that are not torchrun's own."""
    return [line for line in text.splitlines() if line.startswith(("glue-bench:", "[", "tiny", "kept"))]


def test_two_processes_train_and_predict_what_one_does(quiet_roberta: Path, tiny_roberta: Path, tmp_path: Path) -> None:
    words = [share_of_a_run.__file__, str(quiet_roberta), str(tiny_roberta), str(tmp_path / "two")]
    process = start(*words)
    share_of_a_run.compare(quiet_roberta, tiny_roberta, tmp_path / "one", ALONE)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    one, first, second = (np.load(tmp_path / name) for name in ("one/0.npz", "two/0.npz", "two/1.npz"))

    for name in ("weights", "noisy", "resumed", "losses", "norms", "shared", "one_batch", "little_memory"):
        assert np.array_equal(first[name], second[name]), f"{name} differ between the processes"
    assert first["steps_and_tokens"].tolist() == second["steps_and_tokens"].tolist() == one["steps_and_tokens"].tolist()
    np.testing.assert_allclose(first["losses"], one["losses"], atol=1e-5)
    np.testing.assert_allclose(first["norms"], one["norms"], rtol=1e-3)
    np.testing.assert_allclose(first["ways"], one["ways"], atol=1e-5)
    assert not np.allclose(one["ways"], one["losses"], atol=1e-2)
    np.testing.assert_allclose(first["alone"], one["alone"], atol=1e-5)
    assert (first["unused"] == 1).all(), "a parameter without a gradient decays in one case and not in the other"

    # Prediction: the same weights give the same bits, with a share of the batches and with none.
    assert np.array_equal(first["shared"], first["alone"])
    np.testing.assert_allclose(first["one_batch"], first["alone"], atol=1e-5)

    # Dropout: the first process draws the same as a single one, the other something else.
    assert np.array_equal(first["seeds"], one["seeds"])
    assert len({*first["seeds"], *second["seeds"]}) == 2 * len(one["seeds"])

    # A signal to the second: both stop after the same update, and both continue to the same bits.
    assert first["code"] == second["code"] == 75
    assert str(first["where"]) == "SIGUSR1 after update 4 of 10, snapshot kept"
    assert first["resumed_at"].tolist() == second["resumed_at"].tolist() == [share_of_a_run.STOP_AFTER]
    assert np.array_equal(first["resumed"], first["noisy"])

    # Too little memory in the second: only that one uses more micro-batches.
    assert first["parts"] == second["parts"] == 2
    np.testing.assert_allclose(first["little_memory"], first["weights"], atol=1e-4)


def test_a_run_that_torchrun_stops_continues_to_the_result_of_one_process_and_is_then_done(
    quiet_roberta: Path, tiny_words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for word in tiny_words if not word.startswith(("trainer.epochs", "encoder.path", "results_dir"))]
    words = [*RUN, *words, f"encoder.path={quiet_roberta}", "trainer.log_every=1", "trainer.snapshot_minutes=0.0001"]
    assert main([*words, "results_dir=one"]) == 0
    (one,) = Path("one/runs/tiny/rte").iterdir()
    two = Path("two/runs/tiny/rte") / one.name  # the run id does not depend on the number of processes
    several = ["-m", "glue_bench", *words, "results_dir=two"]

    process = start("--signals-to-handle", "SIGTERM,SIGUSR1", *several)
    while not list(two.glob("snapshots/step-*")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGUSR1)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 1  # torchrun's own code
    stopped = json.loads((two / "record.json").read_text())
    assert (stopped["status"], output) == ("interrupted", "")
    assert ours(errors) == [
        "[0/1] tiny rte seed 1: started",
        f"glue-bench: stopped by SIGUSR1 after update {stopped['steps']} of 40, snapshot kept; "
        "the same command continues from there",
    ]

    first, second = start_ranks(*several)
    output, errors = first.communicate(timeout=60)
    assert second.communicate(timeout=60) == ("", "")
    assert (first.returncode, second.returncode) == (0, 0), errors
    assert len(ours(errors)) == 3, errors
    assert output.count("RTE") == 1
    assert sorted(path.name for path in two.rglob("*") if path.is_file()) == [
        "history.jsonl",
        "record.json",
        "validation.parquet",
    ]
    records = [json.loads((folder / "record.json").read_text()) for folder in (one, two)]
    assert [record["processes"] for record in records] == [1, 2]
    assert records[1]["resumed_at"] == [stopped["steps"]]
    for key in ("run_id", "status", "steps", "tokens", "scores", "accumulation"):
        assert records[0][key] == records[1][key], key
    predictions = [pq.read_table(folder / "predictions/validation.parquet") for folder in (one, two)]
    assert predictions[1]["idx"].to_pylist() == list(range(20))
    for column in ("logit_0", "logit_1"):
        np.testing.assert_allclose(predictions[0][column].to_numpy(), predictions[1][column].to_numpy(), atol=1e-5)
    histories = [[json.loads(line) for line in (f / "history.jsonl").read_text().splitlines()] for f in (one, two)]
    assert [line["step"] for line in histories[1]] == list(range(1, 41))
    losses = [[line["loss"] for line in lines] for lines in histories]
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-5)

    written = (two / "record.json").stat().st_mtime_ns
    capsys.readouterr()
    assert main([*words, "results_dir=two"]) == 0
    assert (two / "record.json").stat().st_mtime_ns == written
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "nothing to train" in line]
    assert line.startswith("tiny rte seed 1: already done")


@pytest.mark.parametrize("words", [["sweep", "preset=smoke"], ["run", "-m", "task=rte,mrpc"]], ids=" ".join)
@pytest.mark.parametrize("rank", [0, 1])
def test_several_runs_are_refused_in_one_line(
    words: list[str], rank: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (
        ("RANK", rank),
        ("LOCAL_RANK", rank),
        ("WORLD_SIZE", 2),
        ("MASTER_ADDR", ""),
        ("MASTER_PORT", 0),
    ):
        monkeypatch.setenv(name, str(value))
    if rank:
        with pytest.raises(SystemExit, match="2"):
            main(words)
        assert capsys.readouterr() == ("", "")
    else:
        assert main(words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"glue-bench: {' '.join(words[:-1])}: torchrun's processes share one run")


def test_what_is_on_gpus_is_summed_by_nccl_which_gives_up_after_two_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    made, summed = list[Any](), list[Any]()
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    rendezvous = importlib.import_module("torch.distributed.rendezvous")
    monkeypatch.setattr(rendezvous, "rendezvous", lambda _, timeout: iter([("store", 0, 2)]))  # noqa: ARG005
    monkeypatch.setattr("torch.distributed.init_process_group", lambda *words, **more: made.append((words, more)))

    def new_group(**more: Any) -> str:
        made.append(more)
        return "between GPUs"

    monkeypatch.setattr("torch.distributed.new_group", new_group)
    monkeypatch.setattr("torch.distributed.all_reduce", lambda tensor, group: summed.append((tensor, group)))
    monkeypatch.setattr("torch.distributed.destroy_process_group", lambda: None)
    on_host, on_gpu = SimpleNamespace(is_cuda=False), SimpleNamespace(is_cuda=True)
    with Processes(rank=1, count=2, local_rank=1) as processes:
        for tensor in (on_host, on_gpu):
            processes.add_up(tensor)  # type: ignore[arg-type]
    assert made == [
        (("gloo",), {"store": "store", "rank": 1, "world_size": 2}),
        {"backend": "nccl", "timeout": timedelta(minutes=2)},
    ]
    assert summed == [(on_host, None), (on_gpu, "between GPUs")]


def test_every_process_has_its_own_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    current = list[str]()
    monkeypatch.setattr("torch.cuda.set_device", lambda device: current.append(str(device)))
    for device in ("auto", "cuda"):
        assert str(choose_placement(device, "float32", local_rank=3).device) == "cuda:3"
    assert str(choose_placement("cuda:1", "float32").device) == "cuda:1"
    assert str(choose_placement("cuda", "float32").device) == "cuda:0"
    assert current == ["cuda:3", "cuda:3", "cuda:1", "cuda:0"]
    assert str(choose_placement("cpu", "float32", local_rank=3).device) == "cpu"
    with pytest.raises(UsageError, match=r"trainer\.device=cuda:1: several processes"):
        choose_placement("cuda:1", "float32", local_rank=3)
    with pytest.raises(UsageError, match=r"trainer\.device=cuda:4: this machine has 4 cuda devices"):
        choose_placement("cuda", "float32", local_rank=4)


@pytest.mark.parametrize("missing", ["RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR"])
def test_a_variable_that_some_other_launcher_left_makes_no_second_process(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in LAUNCHED.items():
        monkeypatch.setenv(name, value)
    assert Processes.from_environment().count == 2
    monkeypatch.delenv(missing)
    assert Processes.from_environment() is ALONE


@pytest.mark.parametrize(
    ("name", "value"),
    [("WORLD_SIZE", value) for value in ("x", "", "0", "-1", "1.5", "1" + 20 * "0", 5000 * "9")]
    + [(name, value) for name in ("RANK", "LOCAL_RANK") for value in ("x", "", "2", "-1", "1e0")]
    + [("MASTER_PORT", value) for value in ("x", "", "65536", "-1")]
    + [("MASTER_ADDR", value) for value in ("", "no-such-host.invalid", "a..b", 300 * "x", "fe80::x")],
    ids=lambda text: text[:20],
)
def test_a_launchers_variable_with_which_nothing_can_connect_is_named_at_once(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for each, usual in LAUNCHED.items():
        monkeypatch.setenv(each, usual)
    monkeypatch.setenv(name, value)
    assert main(["run", "task=rte"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"glue-bench: {name}={value[:50]}")
    assert line.endswith("to run in one process, unset it")


def test_a_process_without_its_peers_says_whom_it_waits_for_and_obeys_signals(tiny_words: list[str]) -> None:
    around = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "3", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    command = [sys.executable, "-m", "glue_bench", "run", "task=rte", *tiny_words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **around}) as process:
        assert process.stderr is not None
        assert "waiting for rank 1, 2 at 127.0.0.1:0, for 5 minutes at most" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 128 + signal.SIGTERM
