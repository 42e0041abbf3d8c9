"""Whole runs and sweeps through the command line, with a tiny encoder on small local data."""

import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from glue_bench.cli import main
from glue_bench.files import file_sha256
from glue_bench.runs.identity import RunRequest
from glue_bench.runs.store import RunStore
from glue_bench.training.course import StepReport
from tests.conftest import Result
from tests.support.making import records_in
from tests.support.tiny import make_local_glue, pair_columns, write_parquet
from tests.support.warm import WarmProcess


def test_a_run_leaves_the_record_predictions_and_history_of_the_contract(
    tiny_words: list[str], tiny_roberta: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "task=mrpc", "seed=3", *tiny_words]) == 0
    (record,) = records_in(tmp_path)
    folder = tmp_path / "results" / "runs" / "tiny" / "mrpc" / record.run_id
    assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == [
        "history.jsonl",
        "record.json",
        "validation.parquet",
    ]
    assert (record.status, record.seed, record.recipe, record.init, record.selection) == (
        "finished",
        3,
        "default",
        "pretrained",
        "last",
    )
    assert (record.steps, record.epochs, record.precision) == (3, 1, "float32")
    assert set(record.scores["validation"]) == {"accuracy", "f1"}
    assert record.not_comparable_because == [
        "train has 48 rows, official 3,668",
        "validation has 20 rows, official 408",
    ]
    model = AutoModelForSequenceClassification.from_pretrained(tiny_roberta)
    assert record.encoder["parameters"] == sum(p.numel() for p in model.parameters())
    assert record.predictions_sha256 == {"validation": file_sha256(folder / "predictions" / "validation.parquet")}
    table = pq.read_table(folder / "predictions" / "validation.parquet").to_pydict()
    assert table["idx"] == list(range(20))
    assert np.mean(np.array(table["label"]) == table["prediction"]) == record.scores["validation"]["accuracy"]
    assert "MRPC" in capsys.readouterr().out


@pytest.mark.parametrize("task", ["mnli", "stsb", "sst2"])
def test_three_way_regression_and_single_sentence_tasks_run(task: str, tiny_words: list[str], tmp_path: Path) -> None:
    assert main(["run", f"task={task}", *tiny_words]) == 0
    (record,) = records_in(tmp_path)
    expected = {"mnli": ["validation_matched", "validation_mismatched"]}.get(task, ["validation"])
    assert list(record.scores) == expected
    assert all(math.isfinite(score) for scores in record.scores.values() for score in scores.values())
    predictions = RunStore(tmp_path / "results").folder("tiny", task, record.run_id) / "predictions"
    names = pq.read_table(predictions / f"{expected[0]}.parquet").column_names
    assert names[3:] == [f"logit_{k}" for k in range({"mnli": 3, "stsb": 1, "sst2": 2}[task])]


def test_the_same_request_again_trains_nothing_and_says_so(
    tiny_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "task=rte", *tiny_words]) == 0
    (path,) = (tmp_path / "results").rglob("record.json")
    written = path.stat().st_mtime_ns
    assert main(["run", "task=rte", "trainer.log_every=3", *tiny_words]) == 0
    assert path.stat().st_mtime_ns == written
    assert "already done, nothing to train" in capsys.readouterr().err


def test_the_same_seed_predicts_the_same_bits_and_another_seed_does_not(tiny_words: list[str], tmp_path: Path) -> None:
    words = [word for word in tiny_words if not word.startswith("results_dir")]
    logits = []
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert main(["run", "task=rte", f"seed={seed}", *words, f"results_dir={tmp_path / folder}"]) == 0
        (path,) = (tmp_path / folder).rglob("validation.parquet")
        logits.append(np.array(pq.read_table(path, columns=["logit_0", "logit_1"]).to_pandas()))
    assert np.array_equal(logits[0], logits[1])
    assert not np.array_equal(logits[0], logits[2])


def test_whatever_changes_the_scores_changes_the_run_id_and_nothing_else_does(
    tiny_words: list[str], tmp_path: Path
) -> None:
    from glue_bench.config.compose import compose_run
    from glue_bench.runs.identity import make_requests

    def run_id(*words: str) -> str:
        config = compose_run(["task=rte", *tiny_words, *words])
        return make_requests(config, [config.seed])[0].run_id

    base = run_id()
    for same in ("trainer.device=auto", "trainer.log_every=7", "trainer.snapshot_minutes=1", "results_dir=x"):
        assert run_id(same) == base, same
    for same in ("save_model=true", "seeds=[1,9]", "trainer.deterministic=true", "trainer.eval_batch_size=7"):
        assert run_id(same) == base, same
    other = ["seed=2", "trainer.epochs=2", "trainer.learning_rate=1e-4", "data.max_train_rows=40", "recipe=hf_2019"]
    other += ["trainer.max_length=99", "trainer.precision=bfloat16", "task=mrpc"]
    assert len({base, *(run_id(word) for word in other)}) == len(other) + 1
    copy = make_local_glue(tmp_path / "copy")
    assert run_id(f"data.path={copy}") == base
    write_parquet(copy / "rte" / "validation.parquet", pair_columns(20, seed=99))
    assert run_id(f"data.path={copy}") != base


def test_a_sweep_runs_tasks_and_seeds_prints_the_table_and_continues_where_it_stopped(
    tiny_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*tiny_words, "tasks=[rte,sst2]"]
    assert main(["sweep", "seeds=[1]", *words]) == 0
    assert "2 runs: 0 done, 2 to run" in capsys.readouterr().err
    before = {record.run_id for record in records_in(tmp_path)}
    longest = max(records_in(tmp_path), key=lambda record: record.seconds["total"]).task
    assert main(["sweep", "seeds=[1,2]", *words]) == 0
    captured = capsys.readouterr()
    assert "4 runs: 2 done, 2 to run" in captured.err
    assert f"[2/4] tiny {longest} seed 2: started" in captured.err
    assert before < {record.run_id for record in records_in(tmp_path)}
    first_words = [line.split()[0] for line in captured.out.splitlines() if line.split()]
    assert [word for word in first_words if word in ("RTE", "SST-2")] == ["SST-2", "RTE"]
    assert main(["sweep", "seeds=[1,2]", *words]) == 0
    assert "4 runs: 4 done, 0 to run; nothing to train" in capsys.readouterr().err


def test_a_dry_run_lists_what_is_missing_and_runs_nothing(
    tiny_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", "--dry-run", "tasks=[rte,sst2]", "seeds=[1,2]", *tiny_words]) == 0
    assert capsys.readouterr().out.count("missing") == 4
    assert not (tmp_path / "results").exists()


def test_multirun_is_hydras_list_of_choices(tiny_words: list[str], tmp_path: Path) -> None:
    assert main(["run", "-m", "task=rte,sst2", "seed=1,2", *tiny_words]) == 0
    assert sorted((record.task, record.seed) for record in records_in(tmp_path)) == [
        ("rte", 1),
        ("rte", 2),
        ("sst2", 1),
        ("sst2", 2),
    ]


def test_a_kept_model_predicts_what_the_run_predicted(tiny_words: list[str], local_glue: Path, tmp_path: Path) -> None:
    assert main(["run", "task=rte", *tiny_words]) == 0
    assert main(["run", "task=rte", "save_model=true", *tiny_words]) == 0  # runs again: the weights were not kept
    (record,) = records_in(tmp_path)
    folder = RunStore(tmp_path / "results").folder("tiny", "rte", record.run_id)
    model = AutoModelForSequenceClassification.from_pretrained(folder / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    rows = pq.read_table(local_glue / "rte" / "validation.parquet").to_pydict()
    inputs = tokenizer(rows["sentence1"], rows["sentence2"], padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(**inputs).logits.numpy()
    kept = pq.read_table(folder / "predictions" / "validation.parquet", columns=["logit_0", "logit_1"])
    np.testing.assert_allclose(np.stack([column.to_numpy() for column in kept.columns], axis=1), logits, atol=1e-5)
    assert model.config.id2label == {0: "entailment", 1: "not_entailment"}


def test_two_names_for_one_encoder_are_two_runs(tiny_words: list[str], tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert main(["run", "task=rte", *tiny_words, f"encoder.name={name}"]) == 0
    assert sorted(record.encoder["name"] for record in records_in(tmp_path)) == ["a", "b"]


def test_multirun_keeps_to_one_results_folder(tiny_words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    words = [word for word in tiny_words if not word.startswith("results_dir")]
    assert main(["run", "-m", "task=rte", *words, "results_dir='a','b'"]) == 2
    assert "one folder for all runs" in capsys.readouterr().err


def test_a_tenth_task_needs_one_yaml_file_and_no_python(
    tiny_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own, data = tmp_path / "my_conf", tmp_path / "my_data"
    (own / "task").mkdir(parents=True)
    (own / "task" / "boolq.yaml").write_text(
        "name: boolq\ntitle: BoolQ\nkind: classification\ntexts: [sentence2, sentence1]\nlabels: ['no', 'yes']\n"
        "metrics: [accuracy, f1]\n"
    )
    for split, seed in (("train", 1), ("validation", 2)):
        columns = pair_columns(32, seed=seed)
        columns["label"] = [["no", "yes"][int(str(code))] for code in columns["label"]]
        write_parquet(data / "boolq" / f"{split}.parquet", columns)
    words = ["tasks=[boolq]", "seeds=[1]", *tiny_words, f"data.path={data}"]
    assert main(["sweep", "--config-dir", str(own), *words]) == 0
    assert "BoolQ accuracy" in " ".join(capsys.readouterr().out.split())  # the first metric is the score
    (record,) = records_in(tmp_path)
    assert record.not_comparable_because == ["no official row counts are known for boolq"]
    with (own / "task" / "boolq.yaml").open("a") as file:
        file.write("rows: {train: 32, validation: 32}\n")
    assert main(["sweep", "--config-dir", str(own), *words]) == 0
    assert "nothing to train" in capsys.readouterr().err
    assert [(r.comparable, r.not_comparable_because) for r in records_in(tmp_path)] == [(True, [])]
    assert main(["report", f"results_dir={tmp_path / 'results'}"]) == 0  # without --config-dir: records say it all
    assert "BoolQ" in capsys.readouterr().out


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_stopped_says_so_and_is_missing_again(
    number: int, code: int, tiny_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-m", "glue_bench", "sweep", "tasks=[rte]", "seeds=[1]", *tiny_words]
    slow = [*command, "trainer.epochs=4000"]
    process = WarmProcess(slow, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    started, cache = time.monotonic(), tmp_path / "cache"
    while not list(cache.glob("encoded/[!.]*")) and time.monotonic() - started < 60:
        time.sleep(0.1)
    time.sleep(2)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == code
    assert "the same command continues from there" in error
    assert "Traceback" not in error
    (record,) = records_in(tmp_path)
    assert record.status == "interrupted"
    assert not list((tmp_path / "results").rglob(".*"))
    assert main(["sweep", "--dry-run", "tasks=[rte]", "seeds=[1]", *tiny_words, "trainer.epochs=4000"]) == 0
    assert "missing" in capsys.readouterr().out


def test_a_record_names_the_pretrained_weights_and_those_of_the_run_that_it_starts_from(
    tiny_words: list[str], tiny_roberta: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for word in tiny_words if not word.startswith("encoder.name")]
    for name in ("a", "b"):
        sweep = ["sweep", "tasks=[rte]", "init=mnli", "seeds=[1,2]", "executor=serial", f"encoder.name={name}"]
        assert main([*sweep, *words]) == 0
    records = records_in(tmp_path)
    models = {record.run_id: record.model_sha256 for record in records if record.task == "mnli"}
    pretrained = file_sha256(tiny_roberta / "model.safetensors")
    assert {record.encoder["weights_sha256"] for record in records} == {pretrained}
    fine_tuned = [record for record in records if record.task == "rte"]
    assert len(fine_tuned) == 4
    for record in fine_tuned:
        assert record.encoder["init_sha256"] == models[record.init.partition(":")[2]]
    capsys.readouterr()
    assert main(["compare", "a", "b", f"results_dir={tmp_path / 'results'}"]) == 0
    assert "began with different weights" not in capsys.readouterr().out


def test_a_worker_that_lost_its_run_leaves_the_new_owners_snapshots_alone(
    tiny_words: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a suspension: the old owner has not yet noticed that another worker took the run over."""
    from glue_bench.config.compose import compose_run
    from glue_bench.runs.identity import make_requests
    from glue_bench.sweep.board import Listener
    from glue_bench.sweep.queue import run_leased

    config = compose_run(["task=rte", *tiny_words, "trainer.epochs=9", "trainer.snapshot_minutes=1e-9"])
    (request,) = make_requests(config, [1])
    store = RunStore(tmp_path / "results")
    snapshots = store.folder(*request.place) / "snapshots"
    new = snapshots / "step-0000000400"

    class Takeover(Listener):
        def step(self, request: RunRequest, report: StepReport) -> None:
            if report.step == 3:
                (store.folder(*request.place) / "claim-2.json").write_text("{}")
                for old in snapshots.iterdir():
                    shutil.rmtree(old)
                new.mkdir()

    assert run_leased(request, store, listener=Takeover()) is None
    assert "another worker has taken this run over" in caplog.text
    assert list(snapshots.iterdir()) == [new]
    assert records_in(tmp_path) == []


def test_the_reason_of_a_0_for_an_undefined_score_is_shown_with_it(
    tiny_words: list[str], local_glue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(local_glue, tmp_path / "data")
    columns: dict[str, list[object]] = {**pair_columns(12, seed=2), "label": [3.0] * 12}
    write_parquet(tmp_path / "data" / "stsb" / "validation.parquet", columns)
    assert main(["run", "task=stsb", *tiny_words, f"data.path={tmp_path / 'data'}"]) == 0
    (record,) = records_in(tmp_path)
    assert record.scores["validation"] == {"pearson": 0.0, "spearman": 0.0}
    assert set(record.undefined.values()) == {"all 12 labels are 3"}
    assert "Pearson and Spearman undefined, so 0: all 12 labels are 3" in " ".join(capsys.readouterr().out.split())


def test_nothing_of_the_home_folder_or_the_hubs_is_needed_by_a_local_run(
    glue_bench: Callable[..., Result], tiny_words: list[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a folder")
    place = str(tmp_path / "file")
    environment = {"HOME": place, "HF_HOME": place, "XDG_CACHE_HOME": place, "GLUE_BENCH_CACHE": ""}
    words = [word for word in tiny_words if not word.startswith("results_dir")]
    result = glue_bench("run", "task=rte", *words, "save_model=true", "results_dir=exp:1", env=environment)
    assert result.returncode == 0, result.stderr
    assert "the cache of encoded texts is not used" in result.stderr
    (record,) = RunStore(tmp_path / "exp:1").load_all()
    assert record.status == "finished"
    assert RunStore(tmp_path / "exp:1").read_predictions(record, "validation").idx.size == 20


@pytest.mark.parametrize("mask", [0o077, 0o027])
def test_kept_weights_obey_the_umask(mask: int, tiny_words: list[str], tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        assert main(["run", "task=rte", *tiny_words, "save_model=true"]) == 0
    finally:
        os.umask(before)
    files = [path for path in (tmp_path / "results").rglob("*") if path.is_file()]
    assert any(path.name == "model.safetensors" for path in files)
    assert {path.stat().st_mode & 0o777 for path in files} == {0o666 & ~mask}


@pytest.mark.parametrize("kind", ["folder", "link", "file"])
def test_what_a_user_put_in_place_of_the_model_is_moved_aside(
    kind: str, tiny_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "task=rte", *tiny_words]
    assert main(words) == 0
    (record,) = (tmp_path / "results").rglob("record.json")
    model, mine = record.with_name("model"), tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("mine")
    make = {"folder": lambda: shutil.copytree(mine, model), "link": lambda: model.symlink_to(mine)}
    make.get(kind, lambda: model.write_text("mine"))()
    assert main([*words, "save_model=true"]) == 0
    assert "moved to model.old-1" in capsys.readouterr().err
    aside = record.with_name("model.old-1")
    assert (aside if kind == "file" else aside / "thesis.txt").read_text() == "mine"
    assert (mine / "thesis.txt").exists()
    assert (model / "model.safetensors").is_file()
