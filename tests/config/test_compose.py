"""Configuration: what composes, and what is refused in one line."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from glue_bench.config import conf_folder, group_options
from glue_bench.config.compose import compose_run, compose_sweep, compose_task, shipped_encoders
from glue_bench.config.keys import fields_of
from glue_bench.config.overrides import check_key, expand_multirun
from glue_bench.config.schema import EncoderConfig, TrainerConfig, config_from_facts
from glue_bench.errors import UsageError
from glue_bench.runs.identity import make_requests
from glue_bench.training.schedule import Schedule

CUSTOM = ["encoder=custom", "encoder.path=somewhere"]
LOCAL = ["data=local", "data.path=somewhere"]


@pytest.mark.parametrize("task", sorted(path.stem for path in (conf_folder() / "task").glob("*.yaml")))
@pytest.mark.parametrize("recipe", sorted(path.stem for path in (conf_folder() / "recipe").glob("*.yaml")))
def test_every_task_composes_with_every_recipe(task: str, recipe: str) -> None:
    config = compose_run([f"task={task}", f"recipe={recipe}"])
    assert (config.task.name, config.recipe) == (task, recipe)


@pytest.mark.parametrize("preset", sorted(path.stem for path in (conf_folder() / "preset").glob("*.yaml")))
def test_every_preset_composes_a_sweep(preset: str) -> None:
    sweep = compose_sweep([f"preset={preset}"])
    expected = {"card": (8, [1, 2, 3, 4, 5]), "sample": (8, [1]), "smoke": (2, [1])}
    assert (len({config.task.name for config in sweep.configs}), sweep.seeds) == expected[preset]


@pytest.mark.parametrize("encoder", sorted({*group_options("encoder")} - {"custom"}))
def test_every_shipped_encoder_composes_under_its_own_name(encoder: str) -> None:
    composed = compose_run(["task=rte", f"encoder={encoder}"]).encoder
    assert composed.name == encoder
    assert composed == shipped_encoders()[encoder]


def place_of(encoder: EncoderConfig) -> tuple[str | None, str | None]:
    return encoder.hub_id, encoder.path


def test_an_encoder_is_a_name_on_the_hub_or_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "deep" / "er" / "my model=2").mkdir(parents=True)
    for word, hub_id, path in (
        ("google-bert/bert-base-uncased", "google-bert/bert-base-uncased", None),
        ("'BAAI/bge-small-en-v1.5'", "BAAI/bge-small-en-v1.5", None),
        ("mine", None, "mine"),
        ("./mine", None, "./mine"),
        ("../elsewhere", None, "../elsewhere"),
        (".", None, "."),
        ("/a/b", None, "/a/b"),
        ("~/m", None, str(tmp_path / "home" / "m")),
        ("deep/er/my model=2", None, "deep/er/my model=2"),
    ):
        encoder = compose_run(["task=rte", f"encoder={word}", "encoder.revision=v1"]).encoder
        assert (place_of(encoder), encoder.revision) == ((hub_id, path), "v1"), word
    sweep = compose_sweep(["tasks=rte", "encoders=[org/a,./mine,roberta,mine,'deep/er/my model=2']"])
    found = [(c.encoder.name, *place_of(c.encoder)) for c in sweep.configs]
    assert found == [
        (None, "org/a", None),
        (None, None, "./mine"),
        ("roberta", "FacebookAI/roberta-base", None),
        (None, None, "mine"),
        (None, None, "deep/er/my model=2"),
    ]
    assert [place_of(c.encoder) for c in compose_sweep(["tasks=rte", "encoders=org/a"]).configs] == [("org/a", None)]


def test_a_folder_with_the_name_of_a_repository_on_the_hub_is_not_guessed_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exp" / "one").mkdir(parents=True)
    message = (
        "there is a folder of this name; for the folder write encoder=./exp/one, for that on the hub encoder=custom"
    )
    with pytest.raises(UsageError, match=re.escape(message)):
        compose_run(["task=rte", "encoder=exp/one"])
    assert compose_run(["task=rte", "encoder=./exp/one"]).encoder.path == "./exp/one"


def test_a_recipe_sets_its_tasks_and_the_command_line_still_wins() -> None:
    rte, mnli = compose_run(["task=rte"]).trainer, compose_run(["task=mnli"]).trainer
    assert (rte.epochs, rte.batch_size, rte.learning_rate) == (10, 16, 2e-5)
    assert (mnli.epochs, mnli.batch_size, mnli.learning_rate) == (3, 32, 3e-5)
    assert compose_run(["task=mrpc", "recipe=hf_2019"]).trainer.epochs == 5
    assert compose_run(["task=mrpc", "recipe=hf_2019", "trainer.epochs=2"]).trainer.epochs == 2


def test_changes_to_a_recipe_are_recorded() -> None:
    assert compose_run(["task=rte"]).recipe_changes == {}
    changed = compose_run(["task=rte", "trainer.epochs=4", "trainer.device=cpu", "trainer.batch_size=16"])
    assert changed.recipe_changes == {"epochs": "4"}
    with pytest.raises(UsageError, match="recipe_changes"):
        compose_run(["task=rte", "recipe_changes={}"])
    preset = compose_sweep(["preset=sample", "tasks=[mnli]"]).configs[0].recipe_changes
    assert preset == {"epochs": "4", "batch_size": "16", "learning_rate": "0.0001"}


def test_a_preset_yields_to_the_command_line() -> None:
    sweep = compose_sweep(["preset=sample", "tasks=[rte]", "trainer.epochs=1", "seeds=[4,5]"])
    (config,) = sweep.configs
    assert (config.task.name, config.trainer.epochs, sweep.seeds) == ("rte", 1, [4, 5])


def test_a_sweep_without_words_is_the_model_cards_table() -> None:
    sweep = compose_sweep([])
    assert sweep.seeds == [1, 2, 3, 4, 5]
    assert [c.task.name for c in sweep.configs] == ["mnli", "qqp", "qnli", "sst2", "cola", "stsb", "mrpc", "rte"]
    for config in sweep.configs:
        assert config.encoder.revision == "fb53ab8802853c8e4fbdbcd0529f21fc6f459b2b"
        assert config.data.revision == "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"


def test_a_sweep_takes_one_task_one_seed_and_several_encoders() -> None:
    sweep = compose_sweep(["task=rte", "seed=7", "encoders=[distilroberta,roberta]"])
    assert [(c.encoder.name, c.task.name) for c in sweep.configs] == [("distilroberta", "rte"), ("roberta", "rte")]
    assert sweep.seeds == [7]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task=rtee"], "task=rtee: no such task; did you mean rte?"),
        (["task=../../../etc"], "task=../../../etc: no such task"),
        ([], "task: must be given, as task=NAME. Allowed: cola,"),
        (["task=rte", "trainer.epoch=3"], "trainer.epoch: no such key; did you mean trainer.epochs?"),
        (["task=rte", "sed=3"], "sed: no such key; did you mean seed?"),
        (["task=rte", "seed=x"], "seed=x: must be a whole number"),
        (["task=rte", "seed=-1"], "seed=-1: must be 0 to"),
        (["task=rte", "trainer.epochs=0"], "trainer.epochs=0: must be 1 or more"),
        (["task=rte", "trainer.epochs=null"], "trainer.epochs=null: must be a whole number"),
        (["task=rte", "trainer.learning_rate=nan"], "trainer.learning_rate=nan: must be above 0"),
        (["task=rte", "trainer.warmup=1"], "trainer.warmup=1.0: must be 0 or more and below 1"),
        (["task=rte", "trainer.betas=[0.9]"], "trainer.betas=[0.9]: must be two numbers"),
        (["task=rte", "trainer.device=gpu"], "trainer.device=gpu: must be auto"),
        (["task=rte", "trainer.precision=half"], "trainer.precision=half: must be one of auto, float32, bfloat16"),
        (["task=rte", "trainer.accumulation=64"], "trainer.accumulation=64: must be at most trainer.batch_size"),
        (["task=rte", "data=local"], "data.path=null: must be a folder with TASK/SPLIT.parquet"),
        (["task=rte", "data.path=x"], "data.path=x: only read with data=local"),
        (["task=rte", "data.max_eval_rows=0"], "data.max_eval_rows=0: must be 1 or more"),
        (["task=rte", "encoder=custom"], "encoder: with encoder=custom, give exactly one of"),
        (["task=rte", *CUSTOM, "encoder.hub_id=a/b"], "found encoder.path and encoder.hub_id"),
        (["task=rte", *CUSTOM, "encoder.name=../up"], "encoder.name=../up: must be made of letters"),
        (["task=rte", "encoder=custom", "encoder.hub_id=a/b/c"], "encoder.hub_id=a/b/c: must be NAME or ORG/NAME"),
        (["task=rte", "task.rows={train:1}"], "the facts of a task are not overridden"),
        (["task=rte", "trainer._target_=os.system"], "trainer._target_: no such key"),
        (["task=rte", "trainer.engine=fast"], "trainer.engine=fast: must be one of auto, flat, padded"),
        (["task=rte", "+trainer.secret=1"], "only key=value is used here"),
        (["task=rte", "hydra.run.dir=elsewhere"], "Hydra's own settings are not used here"),
        (["task=rte,mrpc"], "several values need `run -m`"),
        (["task=rte", "trainer.epochs=one"], "trainer.epochs=one: must be a whole number"),
        (["task=rte", "trainer.warmup=some"], "trainer.warmup=some: must be a number"),
        (["task=rte", "save_model=perhaps"], "save_model=perhaps: must be true or false"),
        (["task=rte", "seeds=[1,x]"], "seeds[1]=x: must be a whole number"),
        (["task=rte", "nonsense"], "nonsense: not KEY=VALUE"),
        (["rte"], "rte: not KEY=VALUE; did you mean task=rte?"),
        (["task=rte", "minilm"], "minilm: not KEY=VALUE; did you mean encoder=minilm?"),
        (["task=rte", "epochs=1"], "epochs: no such key; did you mean trainer.epochs?"),
        (["task=rte", "path=x"], "path: no such key; did you mean encoder.path or data.path?"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        compose_run(words)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tasks=[rte,mrcp]"], "tasks: no such task mrcp; did you mean mrpc?"),
        (["tasks=[rte,rte]"], "tasks=['rte', 'rte']: must be at least one, each only once"),
        (["tasks=[]"], "tasks=[]: must be at least one"),
        (["seeds=[1,-2]"], "seeds=[1, -2]: must be at least one, each only once, 0 to 4294967295"),
        (["encoders=[minilmm]"], "encoders: no such encoder minilmm; did you mean minilm?"),
        (["encoder=minilm", "encoders=[roberta]"], "give one of the two"),
        (["task=rte", "tasks=[rte]"], "give one of the two"),
        (["tasks=5.5"], "tasks: no such task 5.5"),
        (["seeds=5-1"], "seeds=5-1: a range must ascend"),
        (["seeds=[1-5000000]"], "seeds=[1-5000000]: a range must ascend and have at most 1,000 seeds"),
        (["encoders=[orgname]"], "any other: encoder=ORG/NAME on the hub, or encoder=./FOLDER"),
        (["encoders=[minilm,a/b/c]"], "encoders: no such encoder a/b/c"),
        (["tasks=[boolq]"], "no such task boolq. Allowed: cola,"),
        (["tasks=[boolq]"], "your own: task/NAME.yaml in the folder of --config-dir"),
        (["trainer.learning_rate=1e-5,2e-5"], "or a list as in grid.learning_rate=[A,B] with `sweep`"),
        ([f"tasks=[{','.join(f't{n}' for n in range(300))}]", "tasks=[]"], "tasks=[]: must be at least one"),
        ([f"seeds=[{','.join(['9' * 11] * 300)}]"], "99999999999] and 290 more: must be at least one"),
        (["task=[rte,mrpc]"], "task=[rte,mrpc]: must be one name or number; for several write tasks=[A,B]"),
    ],
)
def test_a_mistake_in_a_sweep_is_one_line(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        compose_sweep(words)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_multirun_expands_choices_ranges_and_globs_like_hydra() -> None:
    jobs = expand_multirun(["task=rte,mrpc", "seed=range(1,3)", "trainer.epochs=2"])
    assert jobs == [[f"task={task}", f"seed={seed}", "trainer.epochs=2"] for task in ("rte", "mrpc") for seed in (1, 2)]
    assert expand_multirun(["encoder=glob(distil*)"]) == [["encoder=distilbert"], ["encoder=distilroberta"]]
    with pytest.raises(UsageError, match="matches none of the names of task"):
        expand_multirun(["task=glob(zzz)"])


@pytest.mark.parametrize(
    "path", ["a b", "a=b", "a,b", "données", "it's", "[x]", "a\\b", "(x)", "100%", "b\\\\", "a\\'b"]
)
def test_any_path_is_taken_as_it_is(path: str) -> None:
    config = compose_run(["task=rte", "data=local", f"data.path={path}", f"results_dir={path}"])
    assert (config.data.path, config.results_dir) == (path, path)


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert compose_run([*LOCAL, "task=rte", "data.path=~/glue"]).data.path == "/home/ann/glue"


def test_the_users_own_folder_adds_tasks_encoders_and_recipes_for_them(tmp_path: Path) -> None:
    own = tmp_path / "it's mine, all of it"
    (own / "task").mkdir(parents=True)
    (own / "encoder").mkdir()
    (own / "recipe" / "default").mkdir(parents=True)
    (own / "task" / "boolq.yaml").write_text(
        "name: boolq\ntitle: BoolQ\nkind: classification\ntexts: [question, passage]\nlabels: ['no', 'yes']\n"
        "metrics: [accuracy]\n"
    )
    (own / "encoder" / "mine.yaml").write_text("name: mine\nhub_id: me/mine\nrevision: main\n")
    (own / "recipe" / "default" / "boolq.yaml").write_text("epochs: 4\n")
    config = compose_run(["task=boolq", "encoder=mine"], config_dir=own)
    assert (config.task.labels, config.encoder.hub_id, config.trainer.epochs) == (["no", "yes"], "me/mine", 4)
    assert "boolq" in group_options("task", own)
    assert compose_task("boolq", config_dir=own).title == "BoolQ"


TASK = {"name": "own", "title": "Own", "kind": "classification", "texts": ["text"], "labels": ["a", "b"]}


def write_task(folder: Path, changes: dict[str, object] | None = None, file: str = "own") -> Path:
    (folder / "task").mkdir(parents=True, exist_ok=True)
    facts = {**TASK, "metrics": ["accuracy"], **(changes or {})}
    (folder / "task" / f"{file}.yaml").write_text(json.dumps({key: fact for key, fact in facts.items() if fact != ""}))
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "other"}, "task/own.yaml: name=other: must be own, like the file"),
        ({"name": "../up"}, "task.name=../up: must be made of letters"),
        ({"kind": "ranking"}, "task.kind=ranking: must be one of classification, regression"),
        ({"texts": ["a", "b", "c"]}, "task.texts=['a', 'b', 'c']: must be one or two different column names"),
        ({"labels": ["a", "a"]}, "task.labels=['a', 'a']: must be two or more different names"),
        ({"metrics": ["acuracy"]}, "task.metrics[0]=acuracy: must be one of accuracy, balanced_accuracy, f1,"),
        ({"metrics": ["pearson"]}, "task.metrics=pearson: must be a metric of classification"),
        (
            {"labels": ["a", "b", "c"], "metrics": ["f1"]},
            "must be used with two labels only; macro_f1 takes any number",
        ),
        ({"headline": "recall"}, "task.headline=recall: must be one of task.metrics"),
        (
            {"kind": "regression", "labels": [], "metrics": ["pearson"]},
            "task.label_range=[]: must be [lowest, highest]",
        ),
        ({"train": "validation"}, "task.validation=['validation']: must be at least one split"),
        ({"conventions": {"card": ["test.accuracy"]}}, "task.conventions.card=test.accuracy: must be one of"),
        ({"fingerprints": {"train": "0" * 16}}, "task.fingerprints=train: must be a split with official rows"),
        ({"rows": {"train": 9}, "fingerprints": {"train": "0" * 15}}, "task.fingerprints.train=0000"),
        ({"titel": "Own"}, "task/own.yaml line 1: task.titel: no such key; did you mean task.title?"),
        ({"labels": 5}, "task.labels=5: must be a list"),
        ({"title": ""}, "task.title: must be given"),
    ],
)
def test_a_mistake_in_the_users_own_task_is_one_line(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        compose_run(["task=own"], config_dir=write_task(tmp_path, changes))
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("content", [b"name: [", b"name: \xff"], ids=["broken", "not-utf-8"])
def test_a_file_that_is_not_yaml_is_named(content: bytes, tmp_path: Path) -> None:
    write_task(tmp_path)
    (tmp_path / "task" / "own.yaml").write_bytes(content)
    with pytest.raises(UsageError, match="not a readable YAML file"):
        compose_run(["task=own"], config_dir=tmp_path)


def test_a_name_that_ships_already_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"rte\.yaml: task=rte ships with glue-bench; choose another name"):
        compose_run(["task=rte"], config_dir=write_task(tmp_path, file="rte"))


def test_a_missing_folder_of_the_user_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        compose_run(["task=rte"], config_dir=tmp_path / "nowhere")


# examples/roberta/README.glue.md: learning rate, batch, updates, warmup updates
FAIRSEQ = {
    "mnli": (1e-5, 32, 123873, 7432),
    "qnli": (1e-5, 32, 33112, 1986),
    "qqp": (1e-5, 32, 113272, 28318),
    "rte": (2e-5, 16, 2036, 122),
    "sst2": (1e-5, 32, 20935, 1256),
    "mrpc": (1e-5, 16, 2296, 137),
    "cola": (1e-5, 16, 5336, 320),
    "stsb": (2e-5, 16, 3598, 214),
}


@pytest.mark.parametrize("task", list(FAIRSEQ))
def test_the_recipe_fairseq_has_every_number_of_its_table(task: str) -> None:
    config = compose_run([f"task={task}", "recipe=fairseq"])
    trainer = config.trainer
    assert trainer.updates is not None
    rising = Schedule.of(trainer, total=trainer.updates).warmup
    assert (trainer.learning_rate, trainer.batch_size, trainer.updates, rising) == FAIRSEQ[task]
    assert (trainer.betas, trainer.epsilon, trainer.weight_decay) == ([0.9, 0.98], 1e-6, 0.1)
    assert (trainer.clip_norm, trainer.max_length, config.selection) == (0.0, 512, "last")


def test_a_preset_that_counts_epochs_does_so_with_every_recipe() -> None:
    trainer = compose_sweep(["preset=sample", "recipe=fairseq", "tasks=[rte]"]).configs[0].trainer
    assert (trainer.epochs, trainer.updates) == (4, None)


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
        (["grid.device=[cpu]"], "grid.device: a grid has no such key"),
        (["grid.learning_rate=[]"], "grid.learning_rate=[]: must be a list with at least one value"),
        (["grid.learning_rate=[1e-5,0.00001]"], "grid.learning_rate=[1e-05, 1e-05]: must be each only once"),
        (["grid.learning_rate=[fast]"], "grid.learning_rate=fast: must be a number"),
        (["grid.learning_rate=[0]"], "trainer.learning_rate=0.0: must be above 0"),
        (["grid.batch_size=[16.5]"], "grid.batch_size=16.5: must be a whole number"),
        (["grid.batch_size=16"], "grid.batch_size=16: must be a list, as in grid.batch_size=[A,B]"),
        (["grid=null"], "grid=null: one key at a time, as in grid.learning_rate=[1e-5,2e-5]"),
        (["grid.epochs=[1,2]", "trainer.updates=9"], "grid.epochs=[1, 2]: has no effect with trainer.updates"),
        (["grid.batch_size=[4]", "trainer.accumulation=8"], "trainer.accumulation=8: must be at most"),
        (["cell.batch_size=4"], "cell.batch_size: no such key; did you mean trainer.batch_size?"),
        (["selection=bset"], "selection=bset: must be one of last, best, holdout; did you mean best?"),
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


@pytest.mark.parametrize("name", group_options("task"))
def test_a_task_read_alone_has_the_facts_that_it_has_in_a_run(name: str) -> None:
    assert compose_task(name) == compose_run([f"task={name}"]).task


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ("name: own\nbad: 1\n", "task/own.yaml line 2: task.bad: no such key"),
        ("name: 'own\n", "own.yaml line 2: not a readable YAML file (found unexpected end of stream)"),
        ("name: own\ntitle: Own\ntexts: text\n", "task/own.yaml line 3: task.texts=text: must be a list, as in"),
        ("[1, 2]\n", "task/own.yaml: found a list; must be KEY: VALUE lines"),
    ],
)
def test_a_mistake_in_a_task_read_alone_is_one_line(facts: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "own_conf" / "task" / "own.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(facts)
    with pytest.raises(UsageError) as caught:
        compose_task("own", config_dir=tmp_path / "own_conf")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_usual_values_of_rounding_keys_are_those_of_conf() -> None:
    defaults = compose_run(["task=rte"]).trainer
    usual = {item.name: item.about.usual for item in fields_of(TrainerConfig) if item.about.role == "rounding"}
    assert usual == {name: getattr(defaults, name) for name in ("accumulation", "precision", "engine", "products")}


def test_a_configuration_is_rebuilt_from_its_facts_and_from_those_of_an_earlier_version() -> None:
    config = compose_run(["task=rte", "recipe=roberta_paper"])
    facts = dataclasses.asdict(config)
    assert config_from_facts(facts) == config
    assert config_from_facts({**facts, "tasks": ["rte"], "seeds": [1], "encoders": None}) == config
    with pytest.raises(UsageError, match=r"trainer\.epochs=ten: must be a whole number"):
        config_from_facts({**facts, "trainer": {**facts["trainer"], "epochs": "ten"}})
    with pytest.raises(UsageError, match="colour: no such key"):
        config_from_facts({**facts, "colour": "red"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "name: mine\nhub_idd: a/b\n",
            "encoder/mine.yaml line 2: encoder.hub_idd: no such key; did you mean encoder.hub_i",
        ),
        ("[1, 2]\n", "encoder/mine.yaml: found a list; must be KEY: VALUE lines"),
        ("name: [mine]\nhub_id: a/b\n", "encoder/mine.yaml line 1: encoder.name=['mine']: must be text"),
        ("name: mine\nnull: a/b\n", "encoder/mine.yaml line 2: a key must be text"),
        ("name: mine\n? [a]\n: 5\n", "encoder/mine.yaml line 2: a key must be text"),
        ("name: mine\npath: a\nname: b\n", "encoder/mine.yaml line 3: encoder.name: already set in line 1"),
        ("name: mine\n", "encoder/mine.yaml: encoder: with encoder=custom, give exactly one of"),
    ],
)
def test_a_mistake_in_the_users_own_encoder_is_one_line(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "mine.yaml").write_text(content)
    with pytest.raises(UsageError) as caught:
        compose_run(["task=rte", "encoder=mine"], config_dir=tmp_path)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "trainer:\n  epochs: 3\n",
            "mine.yaml line 1: the first line of a preset must be `# @package _global_`",
        ),
        ("# @package _global_\ntrainer:\n  epochs: .inf\n", "preset/mine.yaml line 3: trainer.epochs=inf: must be a"),
        ("# @package _global_\nseed: null\n", "preset/mine.yaml line 2: seed=null: must be a whole number"),
        ("# @package _global_\ntrainer: {warmup: .nan}\n", "mine.yaml line 2: trainer.warmup=nan: must be 0 or more"),
        (
            "# @package _global_\nlr: 1\n",
            "mine.yaml line 2: lr: no such key; did you mean trainer.learning_rate?",
        ),
        (
            "# @package _global_\ntrainer: {lr: !!python/name:os.system }\n",
            "line 2: not a readable YAML file",
        ),
        ("# @package _global_\ndefaults: [nope]\n", "preset/nope"),
        ("# @package _global_\nseed: &a [*a]\n", "preset/mine.yaml line 2: *a: write the value itself, no alias"),
    ],
)
def test_a_mistake_in_the_users_own_preset_names_file_and_line(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "preset").mkdir()
    (tmp_path / "preset" / "mine.yaml").write_text(content)
    with pytest.raises(UsageError) as caught:
        compose_run(["task=rte", "preset=mine"], config_dir=tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mistake_on_the_command_line_is_not_blamed_on_the_users_file(tmp_path: Path) -> None:
    (tmp_path / "preset").mkdir()
    (tmp_path / "preset" / "mine.yaml").write_text("# @package _global_\ntrainer: {epochs: 3}\n")
    with pytest.raises(UsageError) as caught:
        compose_run(["task=rte", "preset=mine", "trainer.epochs=0"], config_dir=tmp_path)
    assert str(caught.value) == "trainer.epochs=0: must be 1 or more"


@pytest.mark.parametrize(
    ("words", "tasks", "seeds"),
    [
        (["tasks=rte", "seeds=1-3"], ["rte"], [1, 2, 3]),
        (["tasks=rte", "seeds=5"], ["rte"], [5]),
        (["tasks=[mrpc,rte]", "seeds=[0,7-8]"], ["mrpc", "rte"], [0, 7, 8]),
        (["tasks=all", "seed=2"], group_options("task"), [2]),
    ],
)
def test_short_lists_mean_what_they_say(words: list[str], tasks: list[str], seeds: list[int]) -> None:
    sweep = compose_sweep([*words, "encoders=minilm"])
    assert ([config.task.name for config in sweep.configs], sweep.seeds) == (tasks, seeds)
    assert {config.encoder.name for config in sweep.configs} == {"minilm"}


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("lr", "trainer.learning_rate"),
        ("trainer.bs", "trainer.batch_size"),
        ("wd", "trainer.weight_decay"),
        ("trainer.max_len", "trainer.max_length"),
        ("num_epochs", "trainer.epochs"),
        ("trainer.num_epoch", "trainer.epochs"),
        ("per-device-train-batch-size", "trainer.batch_size"),
        ("trainer.leraning_rate", "trainer.learning_rate"),
        ("data.max_train_samples", "data.max_train_rows"),
        ("output_dir", "results_dir"),
        ("executor.worker", "executor.workers"),
        ("model_name_or_path", "encoder"),
    ],
)
def test_a_key_of_another_program_or_nearly_right_gets_the_right_one(key: str, meant: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_key(key)
    assert str(caught.value) == f"{key}: no such key; did you mean {meant}?"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("trainer.learning_rate=[1,2]", "must be one value; `sweep` tries several with grid.learning_rate=[1,2]"),
        ("trainer.device=[cpu,cuda]", "trainer.device=[cpu,cuda]: must be one value"),
        ("encoder=something", "any other: encoder=ORG/NAME on the hub, or encoder=./FOLDER"),
        ("encoder=some/thing/else", "encoder=some/thing/else: no such encoder"),
        ("encoder=../x\0", "encoder.path=../x"),
        ("task=boolq", "your own: task/NAME.yaml in the folder of --config-dir"),
        (f"trainer.epochs={'9' * 5000}", "999: not a key=value override"),
        (f"seed={'x' * 5000}", "xxx: must be a whole number"),
        (f"{'k' * 5000}=1", ": no such key. Allowed: task, encoder,"),
        (f"task={'x' * 5000}", "no such task. Allowed: cola,"),
        ("seed='a\x1b[31mb'", r"seed=a\x1b[31mb: must be a whole number"),
        ("x" * 5000, ": not KEY=VALUE"),
    ],
)
def test_a_value_in_a_message_is_short_and_visible_and_the_hint_is_kept(word: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        compose_run(["task=rte", word])
    assert message in str(caught.value)
    assert len(str(caught.value)) < 500
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("executor.slurm=5", "executor.slurm=5: must be KEY: VALUE lines"),
        ("executor.slurm.cpus.x=5", "executor.slurm.cpus.x: no such key; executor.slurm.cpus holds a single value"),
        ("trainer.betas=0.9", "trainer.betas=0.9: must be a list, as in trainer.betas=[A,B]"),
        ("trainer.epochs=1.5", "trainer.epochs=1.5: must be a whole number"),
        ("trainer.epochs=${seeed}", "trainer.epochs: Interpolation key 'seeed' not found"),
    ],
)
def test_no_word_of_hydra_reaches_the_user(word: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        compose_run(["task=rte", word])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


BOMB = "title: &a [x,x,x]\n" + "".join(f"{key}: &{key} [*a,*a,*a]\n" for key in "bcdefgh")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("title: ${oc.env:HOME}", "interpolation is not used here"),
        ("texts: ['${oc.decode:1}', b]", "interpolation is not used here"),
        ("${name}: 5", "interpolation is not used here"),
        (BOMB, "write the value itself, no alias"),
        ("a: " + "[" * 100_000, "nested deeper than 50 levels"),
        ("{a: " * 60 + "1" + "}" * 60, "nested deeper than 50 levels"),
        ("defaults: [/hydra/job_logging: none]", "defaults name /hydra/job_logging"),
        ("defaults: [override /../x@y: z]", "defaults name /../x@y"),
        ("#" * (2**20 + 1), "not a regular file of at most 1 MiB"),
        ("cell: {a: 1}", "cell: no such key"),
        ("recipe_changes: {a: 1}", "recipe_changes: no such key"),
        ("seed: " + "9" * 5000, "cannot be composed"),
    ],
    ids=lambda text: text[:20],
)
def test_a_users_file_inserts_nothing_and_stands_for_no_more_than_it_holds(
    content: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "preset").mkdir()
    (tmp_path / "preset" / "mine.yaml").write_text(f"# @package _global_\n{content}\n")
    with pytest.raises(UsageError) as caught:
        compose_run(["task=rte", "preset=mine"], config_dir=tmp_path)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("text", ["a${b}c", "${oc.env:HOME}", "$HOME/x", "a\\${b}", "it's ${x", "a=b,c[d]", "é:1"])
def test_a_path_is_taken_literally(text: str) -> None:
    config = compose_run(["task=rte", f"results_dir={text}", "data=local", f"data.path={text}"])
    assert (config.results_dir, config.data.path) == (text, text)


@pytest.mark.parametrize(
    "word",
    [
        "encoder.revision=..",
        "encoder.revision=refs/../../x",
        "encoder.revision=/etc",
        "data.revision='a\nb'",
        "data.revision=a//b",
        "data.dataset=../x",
        "data.dataset=a/b/c",
        "trainer.device=cuda:99999999999",
        "trainer.device=cuda:²",
        "executor.workers=²",
        "trainer.betas=[[0.9],0.9]",
        "trainer.epochs='٣'",
        "trainer.epochs=1000000000000000000000",
        "results_dir=~nosuchuser/x",
        "results_dir=a\udcffb",
        "trainer.learning_rate='٣'",
        "encoder.hub_id=.",
        f"trainer.epochs={'[' * 3000}",
    ],
)
def test_a_value_that_would_lead_elsewhere_or_is_no_number_is_refused(word: str) -> None:
    with pytest.raises(UsageError) as caught:
        compose_run(["task=rte", "encoder=distilroberta", word])
    assert word.partition("=")[0] in str(caught.value)


@pytest.mark.parametrize(
    "facts",
    [
        {"texts": ["label"]},
        {"texts": [""]},
        {"labels": ["a", ""]},
        {"rows": {"train": -1}},
        {"init_from": ["nope"]},
        {"metrics": ["accuracy", "accuracy"]},
        {"labels": [{"a": 1}, "b"]},
        {"conventions": {"card": ["validation.accuracy"] * 2}},
        {"kind": "regression", "labels": [], "metrics": ["pearson"], "label_range": [0, float("inf")]},
        {"init_from": ["mine"]},
    ],
    ids=str,
)
def test_impossible_facts_of_a_task_are_refused(facts: dict[str, Any], tmp_path: Path) -> None:
    good = {
        "name": "mine",
        "title": "M",
        "kind": "classification",
        "texts": ["a"],
        "labels": ["x", "y"],
        "metrics": ["accuracy"],
    }
    (tmp_path / "task").mkdir()
    path = tmp_path / "task" / "mine.yaml"
    path.write_text(yaml.safe_dump(good))
    assert compose_task("mine", config_dir=tmp_path).name == "mine"
    path.write_text(yaml.safe_dump({**good, **facts}))
    for compose in (
        lambda: compose_task("mine", config_dir=tmp_path),
        lambda: compose_run(["task=mine"], config_dir=tmp_path),
    ):
        with pytest.raises(UsageError, match=next(reversed(facts))):
            compose()
