"""What other programs rely on: verbs, exit codes, and the keys and columns of what a run leaves behind."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.support.results_of_v1 import DATA, call

RECORD: dict[str, tuple[type, ...]] = {
    "schema_version": (int,),
    "run_id": (str,),
    "status": (str,),
    "task": (str,),
    "encoder": (dict,),
    "data": (dict,),
    "comparable": (bool,),
    "not_comparable_because": (list,),
    "seed": (int,),
    "recipe": (str,),
    "init": (str,),
    "selection": (str,),
    "scores": (dict,),
    "steps": (int,),
    "epochs": (int,),
    "tokens": (int,),
    "seconds": (dict,),
    "device": (str,),
    "precision": (str,),
    "versions": (dict,),
    "git": (str, type(None)),
    "config": (dict,),
    "error": (str, type(None)),
}
INSIDE = {
    "encoder": {"name", "hub_id", "revision", "weights_sha256", "parameters"},
    "data": {"source", "revision", "fingerprint", "rows"},
    "seconds": {"train", "eval", "total"},
}
HISTORY = ["step", "steps", "epoch", "loss", "learning_rate", "gradient_norm", "tokens_per_second"]
VERBS = ["tasks", "run", "sweep", "report", "compare", "runs", "submit", "card", "claims", "predict", "doctor"]
WORDS = [
    "encoder=custom",
    f"encoder.path={DATA / 'tiny_encoder'}",
    "encoder.name=tiny",
    "data=local",
    f"data.path={DATA / 'tiny_rows'}",
    "results_dir=results",
    "executor=serial",
    "trainer.device=cpu",
    "trainer.max_length=64",
    "trainer.epochs=1",
    "trainer.log_every=1",
]
HOT = ["trainer.learning_rate=1e30", "trainer.clip_norm=0"]


def records(folder: Path) -> dict[str, dict[str, Any]]:
    """Return each task's record."""
    found = [json.loads(path.read_text()) for path in folder.rglob("record.json")]
    return {record["task"]: record for record in found}


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["tasks"], 0, ""),
        (["run", "task=sst2", *WORDS], 0, ""),
        (["sweep", "--dry-run", "task=rte", "seed=1", *WORDS], 0, "1 to run"),
        (["report"], 0, "no runs"),
        (["run", "task=sst", *WORDS], 2, "did you mean sst2?"),
        (["sweep", "tasks=[sst]", *WORDS], 2, "did you mean sst2?"),
        (["run", *WORDS], 2, "task"),
        (["run", "task=rte", "trainer.epoch=1", *WORDS], 2, "trainer.epoch"),
        (["run", "task=rte", *WORDS, "trainer.epochs=none"], 2, "trainer.epochs"),
        (["report", "results_dir=nowhere"], 2, "nowhere"),
        (["predict", "task=rte"], 2, "rte"),
        (["run", "task=rte", *WORDS, "data.path=nowhere"], 3, "nowhere"),
        (["run", "task=rte", *WORDS, "encoder.path=nowhere"], 3, "nowhere"),
        (["run", "task=mrpc", *WORDS], 3, "train.parquet row 5"),
        (["sweep", "--plan", "nowhere.jsonl", "--index", "0"], 3, "nowhere.jsonl"),
        (["run", "task=stsb", *WORDS, *HOT], 4, "diverged"),
        (["sweep", "tasks=[mrpc,sst2]", "seeds=[1]", *WORDS], 1, "mrpc"),
    ],
    ids=lambda value: " ".join(word for word in value if word not in WORDS) if isinstance(value, list) else None,
)
def test_a_command_ends_with_its_exit_code(words: list[str], code: int, message: str) -> None:
    found, _, errors = call(*words)
    assert (found, message in errors) == (code, True), errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("words", [["swep"], ["run", "--no-such-option"], ["report", "--format", "pdf"]], ids=str)
def test_a_word_that_is_not_a_verb_or_option_exits_with_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        call(*words)
    assert stop.value.code == 2


@pytest.mark.parametrize("verb", VERBS)
def test_the_verb_exists(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    from glue_bench.cli import main

    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    assert f"glue-bench {verb}" in capsys.readouterr().out


def test_all_nine_tasks_are_listed() -> None:
    code, out, _ = call("tasks")
    assert code == 0
    assert all(task in out for task in ("mnli", "qqp", "qnli", "sst2", "cola", "stsb", "mrpc", "rte", "wnli"))


def check_record(record: dict[str, Any]) -> None:
    """Check the keys that a record of any status has."""
    for key, types in RECORD.items():
        assert isinstance(record[key], types), key
    assert record["schema_version"] == 1


@pytest.mark.parametrize(
    ("task", "splits", "metrics", "outputs"),
    [
        ("rte", ["validation"], {"accuracy"}, 2),
        ("stsb", ["validation"], {"pearson", "spearman"}, 1),
        ("mnli", ["validation_matched", "validation_mismatched"], {"accuracy"}, 3),
    ],
)
def test_a_finished_run_leaves_the_record_predictions_and_history_of_the_contract(
    task: str, splits: list[str], metrics: set[str], outputs: int, tmp_path: Path
) -> None:
    assert call("run", f"task={task}", "seed=3", *WORDS)[0] == 0
    (path,) = (tmp_path / "results").rglob("record.json")
    folder, record = path.parent, json.loads(path.read_text())
    check_record(record)
    for key, names in INSIDE.items():
        assert names <= set(record[key]), key
    assert (record["status"], record["task"], record["seed"], record["error"]) == ("finished", task, 3, None)
    assert path.relative_to(tmp_path).parts[:4] == ("results", "runs", "tiny", task)
    assert folder.name == record["run_id"]
    assert set(record["data"]["rows"]) == {"train", *splits}
    assert {split: set(scores) for split, scores in record["scores"].items()} == dict.fromkeys(splits, metrics)
    assert all(isinstance(score, float) for scores in record["scores"].values() for score in scores.values())
    assert (record["comparable"], bool(record["not_comparable_because"])) == (False, True)
    assert {"python", "torch", "transformers", "glue-bench"} <= set(record["versions"])
    assert record["config"]["trainer"]["epochs"] == record["epochs"] == 1
    for split in splits:
        table = pq.read_table(folder / "predictions" / f"{split}.parquet")
        assert table.column_names == ["idx", "label", "prediction", *(f"logit_{output}" for output in range(outputs))]
        assert table.num_rows == record["data"]["rows"][split]
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [list(line) for line in lines] == [HISTORY] * record["steps"]


def test_a_record_says_why_a_run_failed_or_diverged(tmp_path: Path) -> None:
    assert call("run", "task=mrpc", *WORDS)[0] == 3
    assert call("run", "task=stsb", *WORDS, *HOT)[0] == 4
    found = records(tmp_path / "results")
    assert {task: record["status"] for task, record in found.items()} == {"mrpc": "failed", "stsb": "diverged"}
    for record in found.values():
        check_record(record)
        assert record["error"]
        assert record["scores"] == {}


def test_the_record_of_an_interrupted_run_has_the_keys_of_the_contract() -> None:
    statuses = set()
    for path in (DATA / "results_of_v1").rglob("record.json"):
        record = json.loads(path.read_text())
        check_record(record)
        statuses.add(record["status"])
    assert statuses == {"finished", "failed", "diverged", "interrupted"}
