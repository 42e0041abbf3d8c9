"""Grids: their cells, and how a command line narrows or replaces them."""

import pytest

from glue_bench.config.compose import compose_run, compose_sweep
from glue_bench.errors import UsageError
from glue_bench.runs.identity import make_requests


def cells(*words: str) -> list[tuple[float, int]]:
    configs = compose_sweep(["recipe=roberta_paper", "tasks=[rte]", *words]).configs
    for config in configs:
        assert config.cell == {
            "learning_rate": config.trainer.learning_rate,
            "batch_size": config.trainer.batch_size,
        }
    return [(config.trainer.learning_rate, config.trainer.batch_size) for config in configs]


def test_a_sweep_expands_the_grid_of_its_recipe_for_every_encoder_and_task() -> None:
    assert cells() == [(1e-5, 16), (1e-5, 32), (2e-5, 16), (2e-5, 32), (3e-5, 16), (3e-5, 32)]
    configs = compose_sweep(["recipe=roberta_paper", "tasks=[rte,mrpc]", "encoders=[roberta,minilm]"]).configs
    found = [(c.encoder.name, c.task.name) for c in configs]
    assert found == [(e, t) for e in ("roberta", "minilm") for t in ("rte", "mrpc") for _ in range(6)]
    assert all(c.selection == "best" and c.trainer.epochs == 10 and c.recipe_changes == {} for c in configs)
    ids = {make_requests(c, [1])[0].setting_id for c in configs if c.encoder.name == "roberta"}
    assert len(ids) == 12


def test_a_run_has_the_recipes_own_cell_and_is_one_of_the_sweeps() -> None:
    config = compose_run(["task=rte", "recipe=roberta_paper"])
    assert (config.cell, config.recipe_changes) == ({"learning_rate": 2e-5, "batch_size": 16}, {})
    swept = compose_sweep(["tasks=[rte]", "recipe=roberta_paper"]).configs
    (same,) = [c for c in swept if c.cell == config.cell]
    assert make_requests(same, [1])[0].run_id == make_requests(config, [1])[0].run_id


def test_a_value_on_the_command_line_narrows_the_grid_and_is_a_change_only_outside_of_it() -> None:
    assert cells("trainer.learning_rate=3e-5") == [(3e-5, 16), (3e-5, 32)]
    assert cells("trainer.learning_rate=3e-5", "trainer.batch_size=32") == [(3e-5, 32)]
    assert cells("trainer.learning_rate=5e-5") == [(5e-5, 16), (5e-5, 32)]

    def changes(*words: str) -> dict[str, str]:
        return compose_sweep(["recipe=roberta_paper", "tasks=[rte]", *words]).configs[0].recipe_changes

    assert changes("trainer.learning_rate=3e-5") == {}
    assert changes("trainer.learning_rate=5e-5", "trainer.epochs=3") == {"epochs": "3", "learning_rate": "5e-05"}


def test_the_users_grid_replaces_the_recipes() -> None:
    assert cells("grid.learning_rate=[4e-5,1]", "grid.batch_size=[8]") == [(4e-5, 8), (1.0, 8)]
    own = compose_sweep(["tasks=[rte]", "grid.warmup=[0,0.1]"]).configs
    assert [(c.cell, c.trainer.warmup, c.recipe_changes) for c in own] == [
        ({"warmup": value}, value, {}) for value in (0.0, 0.1)
    ]
    assert compose_sweep(["tasks=[rte]"]).configs[0].cell == {}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["grid.learnig_rate=[1]"], "grid.learnig_rate: a grid has no such key; did you mean learning_rate?"),
        (["grid.lr=[1]"], "grid.lr: a grid has no such key; did you mean learning_rate?"),
        (["grid.trainer.bs=[1]"], "grid.trainer.bs: a grid has no such key; did you mean batch_size?"),
        (["grid.learning_rate=[1" + "0" * 400 + "]"], "grid.learning_rate=10000"),
        (["grid.device=[cpu]"], "grid.device: a grid has no such key"),
        (["grid.learning_rate=[]"], "grid.learning_rate=[]: must be a list with at least one, each only once"),
        (
            ["grid.learning_rate=[1e-5,0.00001]"],
            "grid.learning_rate=[1e-05, 1e-05]: must be a list with at least one, each only once",
        ),
        (["grid.learning_rate=[fast]"], "grid.learning_rate=fast: must be a number"),
        (["grid.learning_rate=[0]"], "trainer.learning_rate=0.0: must be above 0"),
        (["grid.batch_size=[16.5]"], "grid.batch_size=16.5: must be a whole number"),
        (["grid.batch_size=16"], "grid.batch_size=16: must be a list, as in grid.batch_size=[A,B]"),
        (["grid=null"], "grid=null: one key at a time, as in grid.learning_rate=[1e-5,2e-5]"),
        (["grid={learning_rate:[3]}"], "grid={learning_rate:[3]}: one key at a time, as in grid.learning_rate="),
        (["grid.epochs=[1,2]", "trainer.updates=9"], "grid.epochs=[1, 2]: has no effect with trainer.updates"),
        (["grid.batch_size=[4]", "trainer.accumulation=8"], "trainer.accumulation=8: must be at most"),
        (["cell.batch_size=4"], "cell.batch_size: no such key; did you mean trainer.batch_size?"),
        (["selection=bset"], "selection=bset: must be one of last, best, holdout, halves; did you mean best?"),
        (["selection=holdout", "holdout=1"], "holdout=1.0: must be above 0 and below 1"),
        (["trainer.updates=0"], "trainer.updates=0: must be 1 or more, or null"),
        (
            ["recipe=fairseq", "trainer.epochs=3"],
            "trainer.epochs=3: has no effect with trainer.updates; add trainer.updates=null",
        ),
    ],
)
def test_a_mistake_in_a_grid_or_a_selection_is_one_line(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        compose_sweep(["tasks=[rte]", *words])
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
