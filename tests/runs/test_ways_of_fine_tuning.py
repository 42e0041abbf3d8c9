"""The keys of the ways of fine-tuning: part of a run's identity, absent from it at their defaults, told to readers."""

import dataclasses

import pytest

from glue_bench.config.compose import compose_run, compose_sweep
from glue_bench.config.keys import fields_of
from glue_bench.config.schema import LATER, RunConfig, TrainerConfig, config_from_facts
from glue_bench.errors import UsageError
from glue_bench.runs.identity import identify
from glue_bench.runs.setting import Setting
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
}


def id_of(config: RunConfig) -> str:
    return identify(config, INPUTS).run_id


def test_every_way_changes_the_run_and_its_default_does_not() -> None:
    config = compose_run(["task=rte"])
    assert OTHER.keys() == LATER.keys()
    plain = id_of(config)
    others = [dataclasses.replace(config.trainer, **{key: value}) for key, value in OTHER.items()]  # type: ignore[arg-type]
    ids = [id_of(dataclasses.replace(config, trainer=each)) for each in others]
    assert len({plain, *ids}) == 1 + len(OTHER)
    facts = dataclasses.asdict(config)
    before = {key: value for key, value in facts["trainer"].items() if key not in LATER}
    assert id_of(config_from_facts({**facts, "trainer": before})) == plain  # a plan of an earlier version
    assert {key: getattr(config.trainer, key) for key in LATER} == LATER  # conf/ says the same


def test_the_share_of_warmup_is_no_part_of_a_run_that_counts_its_updates() -> None:
    config = compose_run(["task=rte", "trainer.warmup_updates=5"])
    other = dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, warmup=0.5))
    assert id_of(config) == id_of(other)


def test_a_record_of_before_has_the_setting_of_today() -> None:
    new = make_record()
    before = {key: value for key, value in new.config["trainer"].items() if key not in LATER}
    old = dataclasses.replace(new, config={**new.config, "trainer": before})
    assert Setting.of(old) == Setting.of(new)
    assert not Setting.of(old).difference(Setting.of(new))


def test_a_setting_names_its_ways_in_the_words_of_the_command_line() -> None:
    words = ["trainer.schedule=cosine", "trainer.class_weights=[1.0,2.0]", "trainer.decay_biases=true"]
    config = compose_run(["task=rte", *words])
    record = dataclasses.replace(make_record(), config=dataclasses.asdict(config))
    assert {*words} <= {*Setting.of(record).words()}
    again = compose_run(["task=rte", *(word for word in Setting.of(record).words() if word.startswith("trainer."))])
    assert again.trainer == config.trainer


def test_a_grid_may_list_them() -> None:
    configs = compose_sweep(["tasks=[rte]", "grid.head_dropout=[0,0.15]", "grid.warmup_updates=[50,100]"]).configs
    assert [(c.trainer.head_dropout, c.trainer.warmup_updates) for c in configs] == [
        (0.0, 50), (0.0, 100), (0.15, 50), (0.15, 100),
    ]  # fmt: skip
    listed = {item.name for item in fields_of(TrainerConfig) if item.about.grid and item.about.later}
    assert listed == {*LATER} - {"schedule", "decay_biases", "class_weights", "patience"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task=rte", "trainer.schedule=step"], "trainer.schedule=step: must be one of linear, cosine, constant"),
        (["task=rte", "trainer.schedule=constant", "trainer.floor=0.1"], "trainer.floor=0.1: must be 0 with tr"),
        (["task=rte", "trainer.floor=1"], "trainer.floor=1.0: must be 0 or more and below 1"),
        (["task=rte", "trainer.warmup_updates=5", "trainer.warmup=0.1"], "trainer.warmup=0.1: has no effect"),
        (["task=rte", "trainer.warmup_steps=5"], "trainer.warmup_steps: no such key; did you mean trainer.war"),
        (["task=rte", "trainer.layer_decay=0"], "trainer.layer_decay=0.0: must be above 0 and at most 1"),
        (["task=rte", "trainer.dropout=1"], "trainer.dropout=1.0: must be 0 or more and below 1, or null"),
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
