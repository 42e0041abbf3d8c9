"""Runs that fail, are stopped, or find the disk full."""

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from glue_bench.cli import main
from glue_bench.files import file_sha256
from glue_bench.runs.store import RunStore
from glue_bench.training.updates import Updates
from tests.support import warm
from tests.support.making import records_in
from tests.support.tiny import make_local_glue, pair_columns, write_parquet


def test_a_run_that_diverges_exits_with_4_and_the_sweep_continues(
    tiny_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hot = [*tiny_words, "trainer.learning_rate=1e30", "trainer.clip_norm=0"]
    assert main(["run", "task=stsb", *hot]) == 4
    first = capsys.readouterr().err.splitlines()[-1]
    assert first.startswith("glue-bench: diverged at update")
    (record,) = records_in(tmp_path)
    assert (record.status, record.scores) == ("diverged", {})
    assert "diverged at update" in (record.error or "")
    assert main(["sweep", "tasks=[stsb,rte]", "seeds=[1]", *hot]) == 1
    statuses = {record.task: record.status for record in records_in(tmp_path)}
    assert set(statuses) == {"stsb", "rte"}
    captured = capsys.readouterr()
    assert "1 failed before" in captured.err
    assert "--retry-failed" in captured.err
    assert "diverged" in captured.out
    commit = {"kept": "0" * 40}
    for module in ("glue_bench.sweep.plan", "glue_bench.runs.record"):
        monkeypatch.setattr(f"{module}.checkout_commit", lambda: commit["kept"])
    monkeypatch.setattr("glue_bench.sweep.plan.has_nvidia_gpu", lambda: False)
    words = ["sweep", "--retry-failed", "tasks=[stsb]", "seeds=[1]", "executor=serial", *hot]
    assert main(words) == 1  # trained again: the commit is another one
    assert "not repeated" not in capsys.readouterr().err
    again = next(record for record in records_in(tmp_path) if record.task == "stsb")
    assert main(words) == 1
    error = capsys.readouterr().err
    assert "1 run diverged, and would do so again with these versions on a CPU: not repeated" in error
    assert "runs these again" not in error
    assert again in records_in(tmp_path)
    assert main(["run", "task=stsb", *hot]) == 4
    assert capsys.readouterr().err.splitlines()[-1] == first  # nothing was trained
    assert again in records_in(tmp_path)
    for commit["kept"] in ("0" * 40 + "-dirty", "1" * 40):  # code that may be another one
        assert main([*words, "--dry-run"]) == 0
        assert "1 to run" in capsys.readouterr().err


def test_a_bad_row_fails_its_own_run_only(
    tiny_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = make_local_glue(tmp_path / "bad")
    columns = pair_columns(48, seed=1)
    columns["label"][4] = -1
    write_parquet(bad / "mrpc" / "train.parquet", columns)
    words = [*tiny_words, f"data.path={bad}"]
    assert main(["run", "task=mrpc", *words]) == 3
    assert "train.parquet row 5: label is -1" in capsys.readouterr().err
    assert main(["sweep", "--retry-failed", "tasks=[mrpc,rte]", "seeds=[1]", *words]) == 1
    assert {record.task: record.status for record in records_in(tmp_path)} == {"mrpc": "failed", "rte": "finished"}


def test_an_internal_error_keeps_its_traceback_in_the_log_and_off_the_screen(
    tiny_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the wheel came off")

    with monkeypatch.context() as wheel:
        wheel.setattr("glue_bench.runs.experiment.load_trainable", broken)
        assert main(["run", "task=rte", *tiny_words]) == 1
    error = capsys.readouterr().err
    assert "internal error: RuntimeError: the wheel came off" in error
    assert "Traceback" not in error
    (log,) = (tmp_path / "results").rglob("error.log")
    assert "the wheel came off" in log.read_text()
    (record,) = records_in(tmp_path)
    assert (record.status, record.error) == ("failed", "RuntimeError: the wheel came off")
    log.unlink()
    log.mkdir()  # what is no log stays, and is no failure
    assert main(["run", "task=rte", *tiny_words]) == 0
    assert log.is_dir()


def test_a_result_is_not_lost_when_repeating_the_run_fails(
    tiny_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["run", "task=rte", *tiny_words]) == 0
    before = records_in(tmp_path)

    def broken(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("glue_bench.runs.experiment.predict", broken)
    assert main(["run", "task=rte", "save_model=true", *tiny_words]) == 130
    assert records_in(tmp_path) == before
    assert "already done" not in capsys.readouterr().err


def test_a_wrong_device_stops_the_command_and_leaves_no_failed_runs(
    tiny_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", "tasks=[rte]", "seeds=[1]", *tiny_words, "trainer.device=cuda:77"]) == 2
    assert "trainer.device=cuda:77" in capsys.readouterr().err
    assert records_in(tmp_path) == []


def test_files_that_change_after_the_plan_fail_the_run(tiny_words: list[str], tmp_path: Path) -> None:
    from glue_bench.config.compose import compose_run
    from glue_bench.errors import InputError
    from glue_bench.runs.experiment import Experiment
    from glue_bench.runs.identity import make_requests

    data = make_local_glue(tmp_path / "data")
    config = compose_run(["task=rte", *tiny_words, f"data.path={data}"])
    first, second = make_requests(config, [1, 2])
    Experiment(first, RunStore(tmp_path / "results")).run()
    write_parquet(data / "rte" / "train.parquet", pair_columns(48, seed=77))
    with pytest.raises(InputError, match="the files of its data changed since the run was planned"):
        Experiment(second, RunStore(tmp_path / "results")).run()


def test_an_encoder_with_another_models_tokenizer_ends_the_run_with_3(
    tiny_words: list[str], tiny_bert: Path, tiny_roberta: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(tiny_roberta, tmp_path / "mixed"))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(tiny_bert / name, folder / name)
    assert main(["run", "task=rte", *tiny_words, f"encoder.path={folder}"]) == 3
    assert "pad_token_id is 1 in its config.json, but its tokenizer pads with 0" in capsys.readouterr().err


def test_results_that_cannot_be_written_end_the_run_with_74(
    tiny_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results").write_text("a file in the way")
    assert main(["run", "task=rte", *tiny_words]) == 74
    assert "cannot be written" in capsys.readouterr().err


def test_a_minilm_that_is_not_the_published_one_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["task=rte", "encoder=minilm", "data=sample", f"encoder.weights_sha256={'0' * 64}"]
    assert main(["run", *words, f"results_dir={tmp_path / 'results'}"]) == 3
    assert "its SHA-256 is 53aa5117" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_rows_longer_than_the_encoders_positions_are_a_wrong_command(
    tiny_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "task=rte", *tiny_words, "trainer.max_length=999"]) == 2
    line = "trainer.max_length=999: this encoder has positions for at most 512 tokens"
    assert line in capsys.readouterr().err
    assert records_in(tmp_path) == []


@pytest.mark.parametrize("executor", ["serial", "local"])
def test_a_wrong_command_ends_a_sweep_with_2_and_leaves_no_failed_runs_serially_and_locally(
    executor: str, tiny_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sweep", "tasks=[rte]", "seeds=[1,2]", *tiny_words, f"executor={executor}", "trainer.max_length=999"]
    assert main(words) == 2
    line = "glue-bench: trainer.max_length=999: this encoder has positions for at most 512 tokens"
    assert capsys.readouterr().err.splitlines()[-1] == line
    stopped = {"interrupted"} if executor == "local" else set[str]()  # a worker that was asked to stop
    assert {record.status for record in records_in(tmp_path)} <= stopped


@pytest.mark.parametrize("verb", ["run task=rte", "sweep tasks=[rte] seeds=[1] executor=local"])
def test_a_disk_that_is_full_while_weights_are_saved_ends_with_74_and_keeps_the_scores(
    verb: str, tiny_words: list[str], tmp_path: Path
) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))"
    code = f"import sys; from glue_bench.cli import main; import glue_bench.runs.experiment; {limit}; sys.exit(main())"
    command = [sys.executable, "-c", code, *verb.split(), *tiny_words, "save_model=true"]
    done = warm.run(command)
    assert (done.returncode, "internal error" in done.stderr) == (74, False), done.stderr
    (found,) = RunStore(tmp_path / "results").load_all()
    assert (found.status, found.model_sha256) == ("finished", None)


@pytest.mark.parametrize("change", ["shape", "missing", "extra", "facts", "step"])
def test_a_snapshot_of_right_hashes_and_foreign_content_is_named_and_the_run_starts_again(
    change: str,
    tiny_words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ["run", "task=rte", *tiny_words]
    with monkeypatch.context() as stopped:
        report = Updates.report

        def stop(self: Updates, *rest: Any, **more: Any) -> Any:
            if self.done == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            return report(self, *rest, **more)

        stopped.setattr(Updates, "report", stop)
        assert main(words) == 143
    (folder,) = (tmp_path / "results").rglob("step-*/")
    tensors, facts = load_file(folder / "tensors.safetensors"), json.loads((folder / "facts.json").read_text())
    name = next(name for name in sorted(tensors) if name.startswith("model."))
    if change == "shape":
        tensors[name] = tensors[name][:1].clone()
    elif change == "missing":
        del tensors[name]
    elif change == "extra":
        tensors["model.other"] = tensors[name].clone()
    else:
        facts |= {"history": [5]} if change == "facts" else {"step": 10**6}
    save_file(tensors, folder / "tensors.safetensors")
    (folder / "facts.json").write_text(json.dumps(facts))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sha256"] = {file: file_sha256(folder / file) for file in manifest["sha256"]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    capsys.readouterr()
    assert main(words) == 0
    assert "is not used: " in capsys.readouterr().err
    (record,) = RunStore(tmp_path / "results").load_all()
    assert (record.status, record.resumed_at) == ("finished", [])
