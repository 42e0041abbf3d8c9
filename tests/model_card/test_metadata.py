"""What a card says of each score, read as the hub reads it."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from glue_bench.model_card import render_card, write_card
from glue_bench.runs.record import Record, task_of
from tests.support.cards import run_of
from tests.support.making import DISTILROBERTA, make_record


def data_of(text: str) -> Any:
    """Return the metadata as the hub's client reads it; its attributes depend on the text."""
    return ModelCard(text).data


def card_of(record: Record) -> str:
    """Render the README.md of a record."""
    return render_card(record, task_of(record), place=".")


def test_the_hubs_own_reader_finds_every_score_with_its_circumstances(results: Path, tmp_path: Path) -> None:
    run = run_of(results, "mnli")
    folder = write_card(run, tmp_path / "model")
    data: Any = ModelCard.load(folder / "README.md").data
    assert (data.library_name, data.pipeline_tag, data.tags) == ("transformers", "text-classification", ["glue-bench"])
    assert data.model_name == "tiny-mnli-seed1"
    assert (data.base_model, data.datasets, data.license) == (None, None, None)  # a local encoder and local rows
    found = {(each.dataset_split, each.metric_type): each for each in data.eval_results}
    assert list(found) == [("validation_matched", "accuracy"), ("validation_mismatched", "accuracy")]
    each = found["validation_mismatched", "accuracy"]
    assert each.metric_value == round(run.record.scores["validation_mismatched"]["accuracy"], 6)
    assert each.metric_args["rows"] == 9
    assert (each.metric_args["seed"], each.metric_args["recipe"]) == (1, "default")
    assert each.metric_args["recipe_changes"] == {"epochs": "1"}
    assert each.metric_args["not_comparable_because"] == run.record.not_comparable_because
    assert each.dataset_type == "local-files"
    assert each.dataset_name.startswith("MNLI, local files; not comparable: train has 48 rows, official")
    assert json.loads((folder / "config.json").read_text())["id2label"] == {
        "0": "entailment",
        "1": "neutral",
        "2": "contradiction",
    }


def hub_record(**changes: Any) -> Record:
    scores = {"validation": {"accuracy": 0.8725490196078431, "f1": 0.9}}
    return make_record(
        task="mrpc",
        scores=scores,
        encoder={**DISTILROBERTA, "weights_sha256": "a" * 64},
        ended="2026-11-02T10:00:00.000+00:00",
        **changes,
    )


def test_a_comparable_run_on_the_hubs_rows_names_them_at_each_score() -> None:
    data = data_of(card_of(hub_record()))
    assert (data.base_model, data["base_model_relation"]) == ("distilbert/distilroberta-base", "finetune")
    assert data.datasets == ["nyu-mll/glue"]
    assert [(each.metric_type, each.metric_value) for each in data.eval_results] == [
        ("accuracy", 0.872549),
        ("f1", 0.9),
    ]
    assert {each.dataset_revision for each in data.eval_results} == {"bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"}


@pytest.mark.parametrize(
    "changes",
    [
        {"reasons": ("train has 40 rows, official 3,668",)},
        {"reasons": ("sample data",), "data": {"source": "sample", "dataset": None, "revision": None}},
        {"reasons": ("starts from the fine-tuned mnli model, the published numbers do not",), "init": "mnli:seed1-1"},
    ],
    ids=["subset", "sample", "init"],
)
def test_scores_that_may_not_be_compared_say_so_wherever_they_appear(changes: dict[str, Any]) -> None:
    if "data" in changes:
        rows = {"train": 640, "validation": 200}
        changes = {**changes, "data": {**changes["data"], "fingerprint": "0", "rows": rows}}
    record = hub_record(**changes)
    text = card_of(record)
    assert f"Not comparable with published GLUE numbers: {changes['reasons'][0]}." in text
    assert [line.endswith("not comparable |") for line in text.splitlines() if line.startswith("| validation |")] == [
        True,
        True,
    ]
    for each in data_of(text).eval_results:
        assert "not comparable" in each.dataset_name
        assert each.metric_args["comparable"] is False
        assert (each.dataset_type == "nyu-mll/glue") == (record.data["source"] == "hub")


def test_no_card_claims_that_somebody_verified_it() -> None:
    text = card_of(hub_record())
    assert "verif" not in text.lower()
    assert "evaluation_framework" not in text


def test_weights_chosen_on_the_scored_rows_are_called_optimistic() -> None:
    selected = {"epoch": 2, "step": 5, "on": "validation", "rows": 408, "score": 0.5, "scores": [0.4, 0.5]}
    record = hub_record(selection="best", selected=selected)
    assert "The epoch was chosen on the rows that are scored: the scores are optimistic." in card_of(record)


def test_regression_metrics_have_the_hubs_names() -> None:
    data = data_of(card_of(make_record(task="stsb")))
    assert [each.metric_type for each in data.eval_results] == ["pearsonr", "spearmanr"]
    assert data.metrics == ["pearsonr", "spearmanr"]


HOSTILE = (
    "x`|</td><script>alert(1)</script>\n---\nlicense: mit\n[a](javascript:b) *c* \"d\" 'e' {f}: #g ```\n# h\x1b[31m"
)


def test_hostile_names_stay_text_in_yaml_and_markdown() -> None:
    plain = hub_record()
    task = {**plain.config["task"], "title": HOSTILE, "labels": ["no|`<b>", "=yes\n---\n"]}
    encoder = {**DISTILROBERTA, "name": HOSTILE, "hub_id": HOSTILE, "revision": HOSTILE, "weights_sha256": HOSTILE}
    record = dataclasses.replace(
        plain,
        encoder=encoder,
        data={**plain.data, "dataset": HOSTILE, "revision": HOSTILE},
        config={**plain.config, "task": task, "encoder": {**plain.config["encoder"], "hub_id": HOSTILE}},
        not_comparable_because=[HOSTILE],
        comparable=False,
        recipe=HOSTILE,
        versions={HOSTILE: HOSTILE},
        device=HOSTILE,
        git=HOSTILE,
    )
    text = card_of(record)
    data = data_of(text)
    assert data.license is None
    assert data.base_model == HOSTILE
    assert {each.dataset_type for each in data.eval_results} == {HOSTILE}
    prose = re.sub(
        r"(?ms)^(`{3,})\w+\n.*?^\1$", "", ModelCard(text).text
    )  # without the fenced code, whose fences are longer
    assert "<script" not in prose.replace("\\<", "")
    assert "\x1b" not in prose
    assert not re.search(r"(?<!\\)[`<>\[\]*]", prose)
    headings = [line for line in prose.splitlines() if line.startswith("#")]
    assert [line.split()[0] for line in headings] == ["#", *["##"] * 6]
    for line in prose.splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) in (3, 7), line
