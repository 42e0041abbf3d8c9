"""Results of the first version can be used as on the day when they were written."""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from glue_bench.models.products import Probe
from tests.support.results_of_v1 import DATA, GOLDEN, NAME, call, changed, frame_text, lay_out, report_facts


@pytest.fixture(autouse=True)
def results(tmp_path: Path, _own_folders: None) -> Path:
    """Copy the results to the working folder."""
    return lay_out(tmp_path)


def records(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("record.json"))}


def record_of(folder: Path, **facts: Any) -> tuple[Path, dict[str, Any]]:
    """Return the one run with these facts."""
    every = [(path.parent, json.loads(text)) for path, text in records(folder).items()]
    (found,) = [(path, record) for path, record in every if facts.items() <= record.items()]
    return found


def test_no_file_names_a_folder_of_the_machine_it_was_made_on() -> None:
    for path in DATA.rglob("*"):
        if path.is_file() and path.suffix != ".sh":
            assert not re.search(rb"(?<![\w@.-])/[a-z]+/[a-z]", path.read_bytes()), f"{path}: an absolute path"


def test_the_report_has_the_numbers_and_states_of_then() -> None:
    assert report_facts() == json.loads((GOLDEN / f"{NAME}.json").read_text())


def test_the_data_frame_has_the_rows_of_then() -> None:
    assert frame_text() == (GOLDEN / f"{NAME}.csv").read_text()


@pytest.mark.parametrize("format_", ["console", "markdown", "latex", "csv"])
def test_the_report_is_made_in_every_format(format_: str) -> None:
    code, out, _ = call("report", "--format", format_, f"results_dir={NAME}")
    assert code == 0
    assert all(task in out for task in ("MNLI", "SST-2", "STS-B", "RTE"))


@pytest.mark.parametrize(
    ("words", "summary"),
    [
        (["sweep", "tasks=[rte,sst2]", "seeds=[1,2]", *changed()], "4 runs: 4 done, 0 to run"),
        (["sweep", "tasks=[rte]", "seeds=[1]", "init=mnli", *changed()], "2 runs: 2 done, 0 to run"),
        (
            ["sweep", "task=sst2", "seed=1", "grid.learning_rate=[2e-3,4e-3]", *changed("trainer.learning_rate=")],
            "2 runs: 2 done, 0 to run",
        ),
        (["run", "task=stsb", "seed=1", "save_model=true", *changed()], "already done, nothing to train"),
        (["run", "task=sst2", "seed=1", "selection=best", *changed()], "already done, nothing to train"),
        (
            ["run", "task=rte", "seed=1", "selection=holdout", "holdout=0.25", *changed()],
            "already done, nothing to train",
        ),
    ],
    ids=["tasks and seeds", "from mnli", "a grid", "a kept model", "the best epoch", "held-out rows"],
)
def test_the_same_command_again_trains_nothing(words: list[str], summary: str, results: Path) -> None:
    before = records(results)
    code, _, errors = call(*words)
    assert (code, summary in errors) == (0, True), errors
    assert records(results) == before


def test_what_failed_or_diverged_is_not_tried_again_unless_asked(results: Path) -> None:
    before = records(results)
    code, _, errors = call("sweep", "task=mrpc", "seed=1", *changed())
    assert (code, "1 failed before, 0 to run" in errors) == (1, True), errors
    hot = changed("trainer.learning_rate=1e30", "trainer.clip_norm=0")
    code, _, errors = call("sweep", "task=stsb", "seed=2", *hot)
    assert (code, "1 failed before, 0 to run" in errors) == (1, True), errors
    assert records(results) == before
    assert call("sweep", "--retry-failed", "task=mrpc", "seed=1", *changed())[0] == 1
    assert record_of(results, task="mrpc")[1]["status"] == "failed"
    assert records(results) != before


@pytest.mark.parametrize("wider", [False, True])
def test_an_interrupted_run_continues_from_its_snapshot_whatever_processor_is_here(
    wider: bool, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glue_bench.models.products.probe", lambda: Probe(error=0, wider=wider))
    folder, before = record_of(results, status="interrupted")
    words = ["task=sst2", "seed=5", *changed("trainer.epochs=6", "trainer.log_every=2")]
    code, out, _ = call("sweep", "--dry-run", *words)
    assert (code, before["run_id"] in out, "snapshot" in out) == (0, True, True), out
    same_torch = json.loads(next(folder.rglob("manifest.json")).read_text())["belongs_to"]["torch"]
    code, _, errors = call("run", *words)
    assert code == 0, errors
    folder_now, after = record_of(results, task="sst2", seed=5)
    assert (folder_now, after["run_id"], after["status"]) == (folder, before["run_id"], "finished")
    assert not (folder / "snapshots").exists()
    if after["versions"]["torch"] != same_torch:
        pytest.skip(f"torch {after['versions']['torch']} correctly ignores a snapshot of torch {same_torch}")
    assert (after["resumed_at"], after["execution"]["products"]) == ([11], "torch")
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(2, 61, 2))


def test_a_line_of_the_plan_file_runs_and_a_done_one_trains_nothing(results: Path) -> None:
    plan = results / "plan.jsonl"
    lines = [json.loads(line) for line in plan.read_text().splitlines()]
    before = records(results)
    done = next(line for line in lines if line["state"] == "done")
    assert call("sweep", "--plan", str(plan), "--index", str(done["index"]))[0] == 0
    assert records(results) == before
    missing = next(line for line in lines if line["state"] == "missing")
    code, _, errors = call("sweep", "--plan", str(plan), "--index", str(missing["index"]))
    assert code == 0, errors
    added = set(records(results)) - set(before)
    assert [path.parent.name for path in added] == [missing["run_id"]]


def test_the_plan_is_planned_again_with_the_same_lines(results: Path) -> None:
    plan = results / "plan.jsonl"
    before = [json.loads(line) for line in plan.read_text().splitlines()]
    code, _, errors = call("sweep", "--plan", str(plan), "tasks=[rte,sst2]", "seeds=[1,2,3]", *changed())
    assert code == 0, errors
    after = [json.loads(line) for line in plan.read_text().splitlines()]
    for key in ("index", "title", "state", "run_id", "setting_id", "inputs", "format", "scores_version"):
        assert [line[key] for line in after] == [line[key] for line in before], key


@pytest.mark.parametrize(("task", "labels"), [("stsb", None), ("mnli", ["entailment", "neutral", "contradiction"])])
def test_a_kept_model_predicts_what_its_run_did(task: str, labels: list[str] | None, results: Path) -> None:
    split = "validation" if labels is None else "validation_matched"
    rows = Path("tiny_rows") / task / f"{split}.parquet"
    code, out, errors = call("predict", f"task={task}", "seed=1", f"results_dir={NAME}", "--file", str(rows))
    assert code == 0, errors
    answers = [json.loads(line) for line in out.splitlines()]
    folder, _ = record_of(results, task=task, status="finished")
    expected = pq.read_table(folder / "predictions" / f"{split}.parquet").to_pydict()
    if labels is None:
        assert [answer["score"] for answer in answers] == pytest.approx(expected["prediction"], abs=1e-4)
    else:
        assert [answer["label"] for answer in answers] == [labels[code] for code in expected["prediction"]]


def test_two_encoders_are_compared_by_their_rows() -> None:
    code, out, errors = call("compare", "tiny", "other", "--format", "json", f"results_dir={NAME}")
    assert code == 0, errors
    (row,) = [row for row in json.loads(out)["tasks"] if row["task"] == "rte"]
    assert (row["n"], row["seeds"], row["first"], row["second"]) == (16, [1, 2], 62.5, 62.5)


def test_a_card_is_written_for_a_kept_model() -> None:
    code, out, errors = call("card", "task=stsb", f"results_dir={NAME}")
    assert code == 0, errors
    folder = Path(out.strip())
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= {
        path.name for path in folder.iterdir()
    }
