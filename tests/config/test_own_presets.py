"""Presets, protocols and recipes of a user, for all tasks and for one: where a mistake in them is found."""

from pathlib import Path

import pytest

from glue_bench.config import conf_folder
from glue_bench.config.compose import compose_run, compose_sweep
from glue_bench.errors import UsageError


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "trainer:\n  epochs: 3\n",
            "mine.yaml line 1: the first line of a preset must be `# @package _global_`",
        ),
        ("# @package _global_\ntrainer:\n  epochs: .inf\n", "preset/mine.yaml line 3: trainer.epochs=inf: must be a"),
        ("# @package _global_\nseed: null\n", "preset/mine.yaml line 2: seed=null: must be a whole number"),
        (
            "# @package _global_\ntrainer: {warmup: .nan}\n",
            "mine.yaml line 2: trainer.warmup=nan: must be 0 to 0.99999",
        ),
        (
            "# @package _global_\nlr: 1\n",
            "mine.yaml line 2: lr: no such key; did you mean trainer.learning_rate?",
        ),
        (
            "# @package _global_\ntrainer: {lr: !!python/name:os.system }\n",
            "line 2: !!python/name:os.system: write a plain value, not a tag",
        ),
        ("# @package _global_\ndefaults: [nope]\n", "preset/mine.yaml: preset=nope: no such preset. Allowed: card, "),
        (
            "# @package _global_\nrecipe: hf_2019\n",
            "line 2: recipe=hf_2019: must be chosen in the list `defaults`, by",
        ),
        ("# @package _global_\ndefaults:\n  - override /recipe: x\n", "recipe=x: no such recipe. Allowed: babylm_2025"),
        ("# @package _global_\ntrainer: [3]\n", "preset/mine.yaml line 2: trainer: found a list; must be KEY: VALUE"),
        (
            "# @package _global_\ndata: sample\n",
            "data=sample: must be chosen in the list `defaults`, by `override /d",
        ),
        (
            "# @package _global_\ngrid:\n  seed: 1\ntasks: {a: 1}\n",
            "line 4: tasks: found KEY: VALUE lines; must be a",
        ),
        (
            "# @package _global_\ntrainer:\n  betas: {a: 1}\n",
            "line 3: trainer.betas: found KEY: VALUE lines; must be a list",
        ),
        ("# @package _global_\ndefaults:\n- [[/hydra/x]]\n", "preset/mine.yaml: defaults name /hydra/x; must be files"),
        ("# @package _global_\nseed: &a [*a]\n", "preset/mine.yaml line 2: *a: write the value itself, not an alias"),
    ],
)
def test_a_mistake_in_the_users_own_preset_names_file_and_line(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "preset").mkdir()
    (tmp_path / "preset" / "mine.yaml").write_text(content)
    with pytest.raises(UsageError) as caught:
        compose_run(["task=rte", "preset=mine"], config_dir=tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("task", ["cola", "rte"])
def test_the_file_of_a_protocol_for_one_task_sets_no_list_of_the_sweep(task: str, tmp_path: Path) -> None:
    (tmp_path / "protocol" / "mine").mkdir(parents=True)
    (tmp_path / "protocol" / "mine.yaml").write_text("# @package _global_\ntasks: [rte]\nseeds: [1]\n")
    (tmp_path / "protocol" / "mine" / f"{task}.yaml").write_text("# @package _global_\nseeds: [7]\n")
    with pytest.raises(UsageError) as caught:
        compose_sweep(["protocol=mine"], config_dir=tmp_path)
    where = f"protocol/mine/{task}.yaml line 2: seeds"
    assert str(caught.value) == f"{where}: the same for all tasks; must be in protocol/mine.yaml"


def test_a_mistake_in_the_file_of_a_recipe_for_one_task_is_located_there(tmp_path: Path) -> None:
    (tmp_path / "recipe" / "mine").mkdir(parents=True)
    text = (conf_folder() / "recipe" / "hf_2019.yaml").read_text()
    (tmp_path / "recipe" / "mine.yaml").write_text(text.replace("recipe: hf_2019", "recipe: mine"))
    (tmp_path / "recipe" / "mine" / "rte.yaml").write_text("trainer: {epochs: 7}\n")
    with pytest.raises(UsageError, match=r"^recipe/mine/rte\.yaml line 1: trainer\.trainer: no such key"):
        compose_run(["task=rte", "recipe=mine"], config_dir=tmp_path)


def test_a_preset_for_one_task_is_checked_with_that_task_only(tmp_path: Path) -> None:
    (tmp_path / "preset").mkdir()
    (tmp_path / "preset" / "mine.yaml").write_text("# @package _global_\ntask: {init_from: [cola]}\n")
    (config,) = compose_sweep(["tasks=[rte]", "preset=mine"], config_dir=tmp_path).configs
    assert config.task.init_from == ["cola"]
    with pytest.raises(UsageError, match=r"^task/cola\.yaml: init_from=cola: must be another task"):
        compose_run(["task=cola", "preset=mine"], config_dir=tmp_path)
