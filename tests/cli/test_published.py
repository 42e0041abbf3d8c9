"""`glue-bench published`: list, show, check."""

import csv
import io
import json
from pathlib import Path

import pytest

from glue_bench.cli import main
from glue_bench.config.compose import compose_sweep
from glue_bench.tasks.published import PUBLISHED_ROWS


def output(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main(["published", *words]) == code
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("protocol=electra", "electra-large electra-base electra-small electra-small-owt"),
        ("encoder=minilm_l12", "minilm-l12-h384"),
        ("encoder=bert_cased protocol=hf_flax", "bert-base-cased@flax"),
        ("encoder=FacebookAI/ROBERTA-large task=rte protocol=fairseq", "roberta-large"),
        ("encoder=xlm_roberta", ""),
        ("protocol=electra task=wnli", ""),
    ],
)
def test_filters_choose_rows(words: str, names: str, capsys: pytest.CaptureFixture[str]) -> None:
    listed = json.loads(output(capsys, *words.split(), "--format", "json"))
    assert [row["name"] for row in listed] == names.split()


def test_the_list_is_a_table_of_the_eight_tasks(capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, "encoder=deberta_v3")
    assert "7 published rows" in text
    assert "MNLI" in text
    rows = list(csv.DictReader(io.StringIO(output(capsys, "task=wnli", "--format", "csv"))))
    assert {row["name"] for row in rows if row["task"] == "wnli"} > {"bert-base-cased@flax", "roberta"}


def test_a_row_is_shown_with_everything_known_and_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, "bert-base-cased@flax")
    for words in ("mean", "hf_flax", "02c06729", "0.72", "85.78", "rte 64.76 cannot be the accuracy of one run on 277"):
        assert words in text
    row = json.loads(output(capsys, "bert-base-cased@flax", "--format", "json"))
    assert (row["runs"], row["statistic"], row["status"]) == (5, "mean", "read")
    assert row["scores"][2]["deviation"] == 0.72
    assert row["command"] in text
    sweep = compose_sweep(row["command"].split()[2:])
    assert sweep.seeds == [1, 2, 3, 4, 5]
    assert {config.encoder.hub_id for config in sweep.configs} == {"google-bert/bert-base-cased"}
    assert {config.task.name for config in sweep.configs} == {score["task"] for score in row["scores"]}


@pytest.mark.parametrize("name", ["roberta-base@bitfit", "minilm-l6-h384", "xlnet-large@albert"])
def test_no_command_is_given_where_no_protocol_is_followed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(output(capsys, name, "--format", "json"))["command"] is None
    assert "No protocol of conf/protocol follows it." in output(capsys, name)


def test_what_is_not_stated_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, "albert-base-v2")
    assert "statistic: not stated" in text
    assert "runs: not stated" in text


def test_a_users_own_rows_are_listed_and_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "published").mkdir()
    mine = tmp_path / "published" / "mine.json"
    row = {"title": "Mine", "hub_ids": ["me/mine"], "protocol": "", "convention_evidence": ""}
    mine.write_text(json.dumps({**row, "scores": {"rte": [70.1], "mrpc": [86.6]}, "metrics": {"mrpc": ["card"]}}))
    listed = json.loads(output(capsys, "encoder=me/mine", f"results_dir={tmp_path}", "--format", "json"))
    assert [each["name"] for each in listed] == ["mine"]
    assert output(capsys, "check", str(mine)) == "mine: rte 70.1 cannot be the accuracy of one run on 277 rows\n"
    mine.write_text(json.dumps({**row, "name": "a\x1b[31m", "scores": {"rte": [70.1]}}))
    assert "\x1b" not in output(capsys, "check", str(mine)) + output(capsys, f"results_dir={tmp_path}")
    mine.write_text(json.dumps({**row, "scores": {"rte": [70.0]}}))
    assert output(capsys, "check", str(mine)) == ""
    output(capsys, "check", str(PUBLISHED_ROWS / "roberta.json"))


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["protocol=electr"], 2, "protocol=electr: no published row matches; did you mean electra?"),
        (["task=rtee"], 2, "task=rtee: no published row matches; did you mean rte?"),
        (["encoder=nobody/nothing"], 2, "encoder=nobody/nothing: no published row matches"),
        (["bert-base-cased@flx"], 2, "no published row matches; did you mean bert-base-cased@flax?"),
        (["roberta", "task=rte"], 2, "takes one row's name, or filters"),
        (["check"], 2, "published check: takes one FILE"),
        (["check", "nowhere.json"], 3, "nowhere.json: not a table of published numbers"),
    ],
)
def test_mistakes_are_one_line(words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["published", *words]) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
