"""A setting: how two rows of a table differ, and the words that repeat its runs."""

import dataclasses
from typing import Any

import pytest

from glue_bench.runs.finished import repeating_words
from glue_bench.runs.record import Record
from glue_bench.runs.setting import Setting, show_value, show_words, sort_place, tell_apart
from tests.support.making import make_record


def setting_of(*words: str, **changes: Any) -> Setting:
    return Setting.of(make_record(words=words, **changes))


def test_runs_that_differ_in_their_seed_alone_have_one_setting() -> None:
    assert len({setting_of(seed=1), setting_of(seed=2, device="cuda")}) == 1
    assert len({setting_of(), setting_of(precision="bfloat16"), setting_of("trainer.epochs=3")}) == 3
    assert len({setting_of(engine="flat"), setting_of(engine="padded")}) == 2
    assert len({setting_of(execution={"products": name}) for name in ("onednn", "torch")} | {setting_of()}) == 2
    explicit = [setting_of("trainer.engine=padded", engine=engine) for engine in ("padded", "")]
    assert explicit[0].difference(explicit[1], setting_of(engine="flat")).keys() == {"trainer.engine"}


def test_a_cell_and_the_same_values_outside_of_a_grid_are_two_settings() -> None:
    outside = setting_of("trainer.learning_rate=1e-5")
    cell = dataclasses.replace(outside, cell={"learning_rate": 1e-5}, recipe_changes={})
    assert cell != outside
    assert cell.difference(outside) == {"grid": ("learning_rate", "")} or cell.facts()["grid"] == "learning_rate"
    wider = dataclasses.replace(cell, grid={"learning_rate": [1e-5, 2e-5]})
    assert (cell == wider, hash(cell) == hash(wider)) == (True, True)


def test_cells_of_one_grid_share_all_but_their_values() -> None:
    def cell(rate: float, **changes: Any) -> Setting:
        return setting_of("recipe=roberta_paper", f"trainer.learning_rate={rate}", "trainer.batch_size=16", **changes)

    one, other = cell(1e-5), cell(2e-5, setting="111", precision="")
    assert one.cell == {"learning_rate": 1e-5, "batch_size": 16}
    assert one != other
    assert one.without_cell() == other.without_cell()
    assert one.without_cell() != cell(2e-5, selection="best").without_cell()


def test_the_difference_names_what_is_unlike_with_each_ones_value() -> None:
    three, ten = setting_of("trainer.epochs=3"), setting_of()
    assert three.difference(ten, ten) == {"trainer.epochs": (3, 10, 10)}
    assert three.difference(ten, but=["trainer.epochs"]) == {}
    held = setting_of(selection="holdout")
    assert ten.difference(held) == {"selection": ("last", "holdout"), "holdout": (None, held.holdout)}


def test_what_a_failed_run_does_not_know_is_no_difference() -> None:
    encoder = {"name": "tiny", "hub_id": None, "revision": None}
    failed = setting_of(status="failed", precision="", encoder=encoder)
    assert failed.difference(setting_of()) == {}


def test_the_weights_of_a_parent_run_are_not_those_of_the_encoder() -> None:
    def started(seed: int, **more: str) -> Record:
        encoder = {"name": "tiny", "hub_id": None, "revision": None, "weights_sha256": f"of seed {seed}", **more}
        return make_record(seed=seed, init=f"mnli:seed{seed}-abc", encoder=encoder)

    assert Setting.of(started(1)) == Setting.of(started(2))
    assert Setting.of(started(1, init_sha256="parent")).weights == "of seed 1"


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ((), []),
        (
            ("recipe=roberta_paper", "trainer.learning_rate=1e-5", "trainer.batch_size=16", "trainer.updates=7"),
            ["trainer.updates=7", "trainer.learning_rate=1e-05", "trainer.batch_size=16"],
        ),
        (("trainer.betas=[0.9,0.98]", "trainer.epochs=3"), ["trainer.epochs=3"]),
    ],
)
def test_its_words_are_those_that_repeat_the_run(words: tuple[str, ...], changes: list[str]) -> None:
    record = make_record(words=words, selection="best", init="mnli:seed1-abc")
    repeated = repeating_words(record, private=True)
    first = repeated.index(f"recipe={record.recipe}")
    assert repeated[first + 1 : first + 3] == ["init=mnli", "selection=best"]
    assert [word for word in repeated if word.startswith("trainer.")] == changes


def test_settings_are_told_apart_by_what_a_user_chose() -> None:
    plain, fewer = setting_of(), setting_of("trainer.epochs=3", "data.max_train_rows=100", setting="111")
    assert tell_apart([plain, fewer]) == [
        {"trainer.epochs": 10, "data.max_train_rows": None},
        {"trainer.epochs": 3, "data.max_train_rows": 100},
    ]
    other = setting_of("recipe=hf_2019", "trainer.learning_rate=1e-4", recipe="hf_2019", setting="222")
    assert [list(each) for each in tell_apart([plain, other])] == [["recipe", "trainer.learning_rate"]] * 2
    assert show_words(tell_apart([plain, other])[1]) == "recipe=hf_2019, learning_rate=1e-4"
    data = make_record().data
    rows = [setting_of(data={**data, "fingerprint": text}, setting=name) for text, name in ("bz", "ay", "bx")]
    assert [each["rows"] for each in tell_apart(rows)] == ["A", "B", "A"]
    assert [each["setting"] for each in tell_apart(rows)] == ["A", "", "B"]  # alike in all that has a name
    assert tell_apart([plain]) == [{}]
    copies = [setting_of("data=local", f"data.path={name}", setting=name) for name in ("tsv", "parquet")]
    assert tell_apart([*copies, fewer])[:2] == [
        {**tell_apart([plain, fewer])[0], "data.path": name} for name in ("tsv", "parquet")
    ]


def test_values_are_sorted_by_size_and_usual_ones_come_first() -> None:
    values = [1e-4, None, 3, "x", 2e-5]
    assert sorted(values, key=lambda value: sort_place({"trainer.updates": value})) == [2e-5, 1e-4, 3, "x", None]
    assert sorted(["best", "holdout", "last"], key=lambda value: sort_place({"selection": value}))[0] == "last"
    shown = [show_value(value) for value in (0.0001, 3e-05, 2.5e-7, 0.001, 0.1, 16, None, True, [0.9, 0.98], "a b")]
    assert shown == ["1e-4", "3e-5", "2.5e-7", "0.001", "0.1", "16", "null", "true", "[0.9,0.98]", "a b"]
