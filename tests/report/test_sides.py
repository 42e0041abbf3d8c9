"""Which two groups of runs are compared: encoders, settings, values of a key, results folders."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from glue_bench.report.table import build_report
from glue_bench.runs.store import RunStore
from tests.support.making import DISTILROBERTA, ROBERTA, make_record
from tests.support.results_of_v1 import call
from tests.support.scored_runs import keep_run, rate_run


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("trainer.learning_rate=3e-5,1e-4", ("learning_rate=3e-5", "learning_rate=1e-4")),
        ("trainer.learning_rate=[0.0003,1e-5]", ("learning_rate=0.0003", "learning_rate=1e-5")),
    ],
)
def test_two_values_of_a_key_are_compared(by: str, names: tuple[str, str], four: RunStore) -> None:
    code_words = ["compare", "tiny", "tiny", "--by", by, "--format", "json", f"results_dir={four.root.parent}"]
    out = json.loads(call(*code_words)[1])
    assert (out["first"], out["second"], out["subject"]) == (*names, "tiny")
    (rte,) = [task for task in out["tasks"] if task["task"] == "rte"]
    assert (rte["seeds"], rte["note"], rte["alike"]) == ([1, 2], "", True)
    rows = {row.differs["trainer.learning_rate"]: row for row in build_report(four.load_all(), []).sections[0].rows[2:]}
    first, second = (rows[float(name.partition("=")[2])].median for name in names)
    assert (rte["first"], rte["second"]) == (pytest.approx(first), pytest.approx(second))
    assert out["published_kept"] is None


def test_a_key_with_two_values_needs_no_choice_and_settings_have_ids(four: RunStore) -> None:
    place = f"results_dir={four.root.parent}"
    two = json.loads(
        call(*["compare", "tiny", "tiny", "--by", "trainer.learning_rate", "task=mrpc", "--format", "json", place])[1]
    )
    ids = json.loads(call(*["compare", "mrpcc", "mrpcd", "--format", "json", place])[1])
    assert two == ids
    assert (two["first"], two["second"]) == ("learning_rate=1e-5", "learning_rate=1e-4")


def test_two_results_folders_are_compared(four: RunStore, tmp_path: Path) -> None:
    for seed in (1, 2):
        rate_run(RunStore(tmp_path / "new"), "3e-5", seed=seed, share=0.9)
    old, new = str(four.root.parent), str(tmp_path / "new")
    out = json.loads(call(*["compare", old, new, "--format", "json"])[1])
    assert (out["first"], out["second"], [task["task"] for task in out["tasks"]]) == (old, new, ["rte"])
    assert out["tasks"][0]["difference"] < -5
    assert out["tasks"][0]["note"] == "one of 4 settings of tiny: trainer.learning_rate=3e-5"  # the one that is alike
    keep_run(RunStore(tmp_path / "new"), task="rte", encoder=ROBERTA)
    code, _, errors = call(*["compare", old, new])
    assert (code, "has runs of roberta, tiny; choose one, as in encoder=roberta" in errors) == (2, True)
    assert call(*["compare", old, new, "encoder=tiny"])[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("tiny tiny", "compared with itself; its runs differ in trainer.learning_rate: add --by trainer.learning_rate"),
        (
            "tiny tiny --by trainer.learning_rate",
            "4 values of trainer.learning_rate: 1e-5, 3e-5, 1e-4, 3e-4; choose two: --by trainer.learning_rate=1e-5,",
        ),
        ("tiny --by trainer.epochs", "have 1 value of trainer.epochs: 10"),
        ("tiny tiny --by learning_rate", "did you mean trainer.learning_rate?"),
        ("tiny tiny --by trainer.learning_rate=1e-5,7", "no run in"),
        ("tiny rtea", "tiny and rtea: have 2 runs in common; name two groups that share none"),
        ("rteb tiny", "rteb and tiny: have 2 runs in common"),
        ("tiny RESULTS", "have 12 runs in common"),
        ("RESULTS RESULTS/.", "have 12 runs in common"),
        ("tiny --by trainer.learning_rate=1e-5,0.00001", "have 4 runs in common"),
        ("a=b tiny", "a=b: there are no finished runs of this encoder"),
        ("tiny trainr.epochs=3", "did you mean trainer.epochs?"),
        ("task!=rte tinny encodr!=x", "did you mean encoder?"),
        ("tiny nothing", "nothing: there are no finished runs of this encoder"),
        ("", "name two encoders"),
    ],
)
def test_a_comparison_that_is_not_clear_says_how_to_make_it_so(words: str, message: str, four: RunStore) -> None:
    results = str(four.root.parent)
    code, _, errors = call("compare", *words.replace("RESULTS", results).split(), f"results_dir={results}")
    assert (code, message in errors) == (2, True), errors


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("trainer.betas", ("[0.8,0.99]", "[0.9,0.98]", "[0.9,0.999]")),
        ("data.max_train_rows", ("100", "1000", "null")),
        ("data.revision", ("a", "a b", "d,'c'")),
    ],
    ids=["lists", "numbers and null", "texts"],
)
def test_the_two_values_that_an_error_proposes_are_compared(key: str, values: tuple[str, ...], tmp_path: Path) -> None:
    for value in values:
        own: dict[str, Any] = {"words": (f"{key}={value}",)} if key != "data.revision" else {}
        data = {**make_record().data, **({} if own else {"revision": value})}
        keep_run(RunStore(tmp_path), task="rte", setting=f"of {value}", data=data, **own)
    words = ["compare", "tiny", f"results_dir={tmp_path}", "--format", "json"]
    code, _, errors = call(*words, "--by", key)
    proposed = shlex.split(errors.partition("choose two: ")[2])
    assert (code, proposed) == (2, ["--by", f"{key}={values[0]},{values[-1]}"])
    code, out, errors = call(*words, *proposed)
    assert code == 0, errors
    names = [f"{key.partition('.')[2]}={value}" for value in (values[0], values[-1])]
    assert [json.loads(out)[side] for side in ("first", "second")] == names


def test_an_encoder_with_an_equals_sign_in_its_name_can_be_compared(tmp_path: Path) -> None:
    for name in ("tiny", "lr=3", "task"):
        keep_run(RunStore(tmp_path), task="rte", encoder={**DISTILROBERTA, "name": name})
    for names in (("tiny", "lr=3"), ("lr=3", "task")):
        code, out, errors = call("compare", *names, "task=rte", "--format", "json", f"results_dir={tmp_path}")
        assert code == 0, errors
        assert (json.loads(out)["first"], json.loads(out)["second"]) == names


def test_rows_that_were_trained_on_more_data_are_compared_on_the_same_dev_rows(tmp_path: Path) -> None:
    store, dev = RunStore(tmp_path), {"validation": "dev"}
    for rows in (100, 1000):
        data = {**make_record().data, "fingerprint": f"of {rows}", "fingerprints": {"train": f"of {rows}", **dev}}
        words = (f"data.max_train_rows={rows}",)
        keep_run(store, task="rte", setting=f"{rows}", share=0.75 + rows / 10000, data=data, words=words)
    out = call(*["compare", "tiny", "--by", "data.max_train_rows", "--format", "json", f"results_dir={tmp_path}"])
    (task,) = json.loads(out[1])["tasks"]
    assert (task["note"], task["first"] < task["second"]) == ("", True)
