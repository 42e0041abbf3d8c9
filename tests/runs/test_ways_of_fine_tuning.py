"""The keys of the ways of fine-tuning: part of a run's identity, absent from it at their defaults, shown in tables."""

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModel

import glue_bench
from glue_bench.cli import main
from glue_bench.config.compose import compose_run, compose_sweep
from glue_bench.config.keys import fields_of
from glue_bench.config.schema import LATER, WAYS, RunConfig, TrainerConfig, config_from_facts
from glue_bench.errors import UsageError
from glue_bench.models.classifier import load_classifier
from glue_bench.report.page.entries import read_texts
from glue_bench.runs.finished import find_finished, repeating_words
from glue_bench.runs.identity import identify
from glue_bench.runs.inference import FineTuned
from glue_bench.runs.setting import Setting
from glue_bench.runs.store import RunStore
from tests.support.making import make_record

INPUTS: dict[str, dict[str, object]] = {"encoder": {"files": "e"}, "data": {"files": "d"}}
OTHER: dict[str, object] = {
    "schedule": "cosine",
    "floor": 0.1,
    "warmup_updates": 5,
    "layer_decay": 0.9,
    "decay_biases": True,
    "dropout": 0.2,
    "head_dropout": 0.2,
    "label_smoothing": 0.1,
    "class_weights": "balanced",
    "patience": 3,
    "products": "torch",
}
MODEL: dict[str, object] = {"head": "mean", "freeze": "encoder"}


def id_of(config: RunConfig) -> str:
    return identify(config, INPUTS).run_id


def test_every_way_changes_the_run_and_its_default_does_not() -> None:
    config = compose_run(["task=rte"])
    assert (OTHER.keys(), MODEL.keys()) == (LATER.keys(), WAYS.keys())
    plain = id_of(config)
    others = [dataclasses.replace(config.trainer, **{key: value}) for key, value in OTHER.items()]  # type: ignore[arg-type]
    ids = [id_of(dataclasses.replace(config, trainer=each)) for each in others]
    ids += [id_of(dataclasses.replace(config, **{key: value})) for key, value in MODEL.items()]  # type: ignore[arg-type]
    assert len({plain, *ids}) == 1 + len(OTHER) + len(MODEL)
    facts = dataclasses.asdict(config)
    before = {key: value for key, value in facts["trainer"].items() if key not in LATER}
    old = {**{key: value for key, value in facts.items() if key not in WAYS}, "trainer": before}
    assert id_of(config_from_facts(old)) == plain  # a plan of an earlier version
    assert {key: getattr(config.trainer, key) for key in LATER} == LATER  # conf/ says the same
    assert {key: getattr(config, key) for key in WAYS} == WAYS


def test_the_share_of_warmup_is_no_part_of_a_run_that_counts_its_updates() -> None:
    config = compose_run(["task=rte", "trainer.warmup_updates=5"])
    other = dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, warmup=0.5))
    assert id_of(config) == id_of(other)


def test_a_record_of_an_earlier_version_has_the_same_setting() -> None:
    new = make_record()
    before = {key: value for key, value in new.config["trainer"].items() if key not in LATER}
    kept = {key: value for key, value in new.config.items() if key not in WAYS}
    old = dataclasses.replace(new, config={**kept, "trainer": before})
    assert Setting.of(old) == Setting.of(new)
    assert not Setting.of(old).difference(Setting.of(new))


def test_a_setting_names_its_ways_in_the_words_of_the_command_line() -> None:
    words = ["trainer.schedule=cosine", "trainer.class_weights=[1.0,2.0]", "trainer.decay_biases=true"]
    words += ["head=mean", "freeze=embeddings"]
    config = compose_run(["task=rte", *words])
    record = dataclasses.replace(make_record(), config=dataclasses.asdict(config))
    repeating = repeating_words(record, private=True)
    assert {*words} <= {*repeating}
    again = compose_run(["task=rte", *(word for word in repeating if word in words)])
    assert again == config


def test_a_grid_may_list_them() -> None:
    configs = compose_sweep(["tasks=[rte]", "grid.head_dropout=[0,0.15]", "grid.warmup_updates=[50,100]"]).configs
    assert [(c.trainer.head_dropout, c.trainer.warmup_updates) for c in configs] == [
        (0.0, 50), (0.0, 100), (0.15, 50), (0.15, 100),
    ]  # fmt: skip
    listed = {item.name for item in fields_of(TrainerConfig) if item.grid and item.later}
    assert listed == {*LATER} - {"schedule", "decay_biases", "class_weights", "patience", "products"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task=rte", "trainer.schedule=step"], "trainer.schedule=step: must be one of linear, cosine, constant"),
        (["task=rte", "trainer.schedule=constant", "trainer.floor=0.1"], "trainer.floor=0.1: must be 0 with tr"),
        (["task=rte", "trainer.floor=1"], "trainer.floor=1.0: must be 0 to 0.99999"),
        (["task=rte", "trainer.warmup_updates=5", "trainer.warmup=0.1"], "trainer.warmup=0.1: has no effect"),
        (["task=rte", "trainer.warmup_steps=5"], "trainer.warmup_steps: no such key; did you mean trainer.war"),
        (["task=rte", "trainer.layer_decay=0"], "trainer.layer_decay=0.0: must be above 0 and at most 1"),
        (["task=rte", "trainer.dropout=1"], "trainer.dropout=1.0: must be 0 to 0.99999, or null"),
        (["task=stsb", "trainer.label_smoothing=0.1"], "trainer.label_smoothing=0.1: must be 0 for stsb, wh"),
        (["task=stsb", "trainer.class_weights=balanced"], "trainer.class_weights=balanced: must be null for stsb"),
        (["task=mnli", "trainer.class_weights=[1,2]"], "trainer.class_weights=[1.0, 2.0]: must be one number for"),
        (["task=rte", "trainer.class_weights=[1,0]"], "trainer.class_weights=[1.0, 0.0]: must be balanced, or"),
        (["task=rte", "trainer.patience=3"], "trainer.patience=3: must be null with selection=last; selection=best, "),
        (["task=rte", "trainer.class_weights=even"], "trainer.class_weights=even: must be balanced, or a list"),
        (["task=rte", "trainer.class_weights=[1,x]"], "trainer.class_weights[1]=x: must be a number"),
    ],
)  # fmt: skip
def test_a_way_that_makes_no_sense_is_refused_in_one_line(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        compose_run(words)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_weights_for_three_classes_need_not_fit_tasks_that_are_not_swept() -> None:
    (config,) = compose_sweep(["tasks=[mnli]", "trainer.class_weights=[1,2,3]"]).configs
    assert config.trainer.class_weights == [1.0, 2.0, 3.0]
    with pytest.raises(UsageError, match="one number for each of the 2 classes of rte"):
        compose_sweep(["tasks=[mnli,rte]", "trainer.class_weights=[1,2,3]"])


def test_linear_probing_with_a_head_of_ours_through_the_command_line(
    tiny_words: list[str], tiny_roberta: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = f"results_dir={tmp_path / 'results'}"
    assert main(["run", "task=rte", "freeze=encoder", "head=mean", "save_model=true", *tiny_words]) == 0
    (record,) = RunStore(tmp_path / "results").load_all()
    assert record.encoder["trained"] == 32 * 32 + 32 + 32 * 2 + 2 < record.encoder["parameters"]
    run = find_finished(RunStore(tmp_path / "results"), task="rte")
    saved, before = (AutoModel.from_pretrained(folder).state_dict() for folder in (run.folder / "model", tiny_roberta))
    assert all(torch.equal(saved[name], before[name]) for name in before if not name.startswith("pooler."))
    rows = pq.read_table(run.folder / "predictions" / "validation.parquet").to_pydict()
    logits = FineTuned(run, device="cpu").predict(read_texts(record)["validation"])
    np.testing.assert_allclose(logits, np.stack([rows["logit_0"], rows["logit_1"]], axis=1), atol=1e-5)
    capsys.readouterr()
    assert main(["card", "task=rte", place, "--out", "card"]) == 2
    assert "head=mean: transformers has no class for this head" in capsys.readouterr().err
    assert main(["run", "task=rte", *tiny_words]) == 0
    capsys.readouterr()
    assert main(["report", place, "--format", "markdown"]) == 0
    assert main(["report", place, "--format", "html", "--out", "page.html"]) == 0
    assert f"M, of them {record.encoder['trained'] / 1e6:.3g} M trained" in Path("page.html").read_text()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert all(f" {name} " in lines[0] for name in ("trained", "head", "freeze"))
    (ours,), (full,) = ([line for line in lines if f" {head} " in line] for head in ("mean", "default"))
    assert f"{record.encoder['trained']:,}" in ours
    assert "freeze=encoder" in ours
    assert (
        f"{sum(weight.numel() for weight in load_classifier(tiny_roberta, outputs=2, head_seed=1).parameters()):,}"
        in full
    )
    assert {*glue_bench.load_results(tmp_path / "results", "freeze=encoder").trained} == {record.encoder["trained"]}
