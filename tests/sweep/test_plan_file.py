"""Plans on disk: their lines, and what is refused."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from glue_bench.cli import main
from glue_bench.runs.store import RunStore


def test_a_plan_file_runs_line_by_line_from_any_folder_and_keeps_its_numbers(
    tiny_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["tasks=[rte,sst2]", "seeds=[1]", *(word for word in tiny_words if "results_dir" not in word)]
    assert main(["sweep", "--plan", "plan.jsonl", *words]) == 0
    lines = [json.loads(line) for line in Path("plan.jsonl").read_text().splitlines()]
    assert [(line["index"], line["title"], line["state"]) for line in lines] == [
        (0, "tiny rte seed 1", "missing"),
        (1, "tiny sst2 seed 1", "missing"),
    ]
    plan = str(Path("plan.jsonl").resolve())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["sweep", "--plan", plan, "--index", "1"]) == 0
    assert main(["sweep", "--plan", plan, "--index", "1"]) == 0
    assert [record.task for record in RunStore(tmp_path / "results").load_all()] == ["sst2"]
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert main(["sweep", "--dry-run", *words]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert any("rte seed 1" in line and "missing" in line for line in shown)
    assert any("sst2 seed 1" in line and "done" in line and "accuracy" in line for line in shown)
    assert main(["sweep", "--plan", "plan.jsonl", *words]) == 0
    lines = [json.loads(line) for line in Path("plan.jsonl").read_text().splitlines()]
    assert [line["state"] for line in lines] == ["missing", "done"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--index", "0"], 2, "--index 0: needs a plan; give --plan FILE.jsonl"),
        (["--plan", "plan.jsonl", "--index", "7"], 2, "--index 7: no such line in plan.jsonl; must be 0 to 1"),
        (["--plan", "none.jsonl", "--index", "0"], 3, "--plan none.jsonl: cannot be read"),
        (["--plan", "plan.jsonl", "--index", "1"], 3, "plan.jsonl line 2: not a run that this glue-bench planned"),
        (["--plan", "plan.jsonl", "--index", "0", "task=rte"], 2, "task=rte: a plan's lines hold their whole"),
    ],
)
def test_a_line_that_cannot_be_run_is_one_line_of_error(
    words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("plan.jsonl").write_text('{"index": 0}\n{"format": 1}\n')
    assert main(["sweep", *words]) == code
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"run_id": "../../../victim"}, "run_id is '../../../victim'"),
        ({"run_id": "seed1-0123456789ab"}, "run_id is 'seed1-0123456789ab'"),
        ({"encoder": "../other"}, "encoder is '../other'"),
        ({"setting_id": "000000000000"}, "setting_id is '000000000000'"),
        ({"inputs": {"encoder": {}, "data": {}}}, "run_id is"),
        ({"inputs": 5}, "inputs is 5"),
        ({"parent": [1]}, "parent is [1]"),
        ({"config.trainer.epochs": 7}, "run_id is"),
        ({"config.seed": 2}, "run_id is"),
        ({"config.encoder.name": ".."}, "encoder.name=.."),
        ({"config": "x" * 10**5}, "config is 'xxx"),
        ({"format": 2}, "format is 2; this version's is 1: write the plan again"),
        ({"scores_version": 1}, "scores_version is 1; this version's is 2: write the plan again"),
    ],
    ids=str,
)
def test_an_edited_line_of_a_plan_is_refused_and_nothing_is_run(
    change: dict[str, Any], named: str, tiny_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", "--plan", "plan.jsonl", "tasks=[rte]", "seeds=[1]", *tiny_words]) == 0
    line = json.loads(Path("plan.jsonl").read_text())
    for key, value in change.items():
        *outer, last = key.split(".")
        holder = line
        for part in outer:
            holder = holder[part]
        holder[last] = value
    Path("plan.jsonl").write_text(json.dumps(line) + "\n")
    before = sorted(tmp_path.rglob("*"))
    assert main(["sweep", "--plan", "plan.jsonl", "--index", "0"]) == 3
    error = capsys.readouterr().err.splitlines()[-1]
    assert "plan.jsonl line 1: not a run that this glue-bench planned" in error
    assert (named in error, len(error) < 600) == (True, True)
    assert sorted(tmp_path.rglob("*")) == before


def lines_of_rte(plan: str) -> list[dict[str, Any]]:
    lines = map(json.loads, Path(plan).read_text().splitlines())
    return [line for line in lines if line["title"].startswith("tiny rte ")]


@pytest.mark.parametrize(
    ("words", "seeds", "init"),
    [
        ([], [2], "mnli"),
        ([], [1, 2], "mnli"),
        ([], [1], "sst2"),
        (["init_seed=2"], [1], "mnli"),
        (["init_seed=best"], [1, 1], "mnli"),
        (["init_seed=best"], [2, 1], "mnli"),
        (["init_seed=median"], [1], "mnli"),
    ],
)
def test_a_line_edited_to_start_from_another_run_is_refused(
    words: list[str],
    seeds: list[int],
    init: str,
    tiny_words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    every = ["tasks=[rte]", "seeds=[1,2]", "init={rte:mnli}", *tiny_words]
    assert main(["sweep", "--plan", "plain.jsonl", *every]) == 0
    assert main(["sweep", "--plan", "plan.jsonl", *every, *words]) == 0
    plain, (line, _) = map(lines_of_rte, ("plain.jsonl", "plan.jsonl"))
    line |= {"parent": None, "starts": [plain[seed - 1]["parent"] for seed in seeds]}
    line["config"]["init"] = init
    Path("edited.jsonl").write_text(json.dumps(line) + "\n")
    assert main(["sweep", "--plan", "edited.jsonl", "--index", "0"]) == 3
    error = capsys.readouterr().err
    assert ("starts from mnli in " in error, f"seeds {seeds}; its configuration" in error) == (True, True)
    assert not (tmp_path / "results" / "runs").exists()


@pytest.mark.parametrize(
    "content", ["[" * 100_000, "pipe", "\xff", '{"run_id": ' + "9" * 400 + "}"], ids=lambda c: c[:8]
)
def test_a_plan_that_cannot_be_read_is_one_line(
    content: str, tiny_words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path("plan.jsonl")
    os.mkfifo(path) if content == "pipe" else path.write_text(content, encoding="latin-1")
    assert main(["sweep", "--plan", "plan.jsonl", "--index", "0"]) == 3
    assert main(["sweep", "--plan", "plan.jsonl", "tasks=[rte]", "seeds=[1]", *tiny_words]) == 2
    assert [line.startswith("glue-bench: ") for line in capsys.readouterr().err.splitlines()] == [True, True]
