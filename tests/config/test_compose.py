"""Configuration: what composes, and what is refused in one line."""

import dataclasses
import re
from pathlib import Path

import pytest

from glue_bench.config import conf_folder, group_options
from glue_bench.config.compose import compose_run, compose_sweep, compose_task, shipped_encoders
from glue_bench.config.keys import fields_of
from glue_bench.config.overrides import expand_multirun
from glue_bench.config.schema import EncoderConfig, TrainerConfig, config_from_facts
from glue_bench.errors import UsageError
from glue_bench.training.course import rate_share

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
        (["task=rte", "trainer.warmup=1"], "trainer.warmup=1.0: must be 0 to 0.99999"),
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
        (["task=rte", "task.rows={train:1}"], "a task's definition cannot be overridden"),
        (["task=rte", "trainer._target_=os.system"], "trainer._target_: no such key"),
        (["task=rte", "trainer.engine=fast"], "trainer.engine=fast: must be one of auto, flat, padded"),
        (["task=rte", "+trainer.secret=1"], "only key=value is supported"),
        (["task=rte", "hydra.run.dir=elsewhere"], "Hydra's own settings are not supported"),
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
        (["tasks=[rte,mrcp]"], "task=mrcp: no such task; did you mean mrpc?"),
        (["tasks=[rte,rte]"], "tasks=['rte', 'rte']: must be at least one, each only once"),
        (["tasks=[]"], "tasks=[]: must be at least one"),
        (["seeds=[1,-2]"], "seeds=[1, -2]: must be at least one, each only once, 0 to 4294967295"),
        (["encoders=['']"], "encoder: with encoder=custom, give exactly one of encoder.path=FOLDER"),
        (["encoders=[minilmm]"], "encoder=minilmm: no such encoder; did you mean minilm?"),
        (["encoder=minilm", "encoders=[roberta]"], "give one of the two"),
        (["task=rte", "tasks=[rte]"], "give one of the two"),
        (["tasks=5.5"], "task=5.5: no such task"),
        (["seeds=5-1"], "seeds=5-1: a range must ascend"),
        (["seeds=1-3-5"], "seeds[0]=1-3-5: must be a whole number"),
        (["seeds=1-00000000051"], "seeds[0]=1-00000000051: must be a whole number"),
        (["seeds=[1-5000000]"], "seeds=1-5000000: a range must ascend and have at most 1,000 seeds"),
        (["encoders=[orgname]"], "any other: encoder=ORG/NAME on the hub, or encoder=./FOLDER"),
        (["encoders=[minilm,a/b/c]"], "encoder=a/b/c: no such encoder"),
        (["tasks=[boolq]"], "task=boolq: no such task. Allowed: cola,"),
        (["tasks=[boolq]"], "your own: task/NAME.yaml in the folder of --config-dir"),
        (["trainer.learning_rate=1e-5,2e-5"], "or `sweep` with grid.learning_rate=[A,B]; a list needs"),
        ([f"tasks=[{','.join(f't{n}' for n in range(300))}]", "tasks=[]"], "tasks=[]: must be at least one"),
        ([f"seeds=[{','.join(['7'] * 300)}]"], "7] and 290 more: must be at least one"),
        (["task=rte,boolq"], "task=boolq: no such task"),
        (["task=[rte"], "task=[rte: not a key=value override"),
        (["seed=[1,2"], "seed=[1,2: not a key=value override"),
        (["task=rte}"], "task=rte}: not a key=value override"),
        (["task="], "tasks=[]: must be at least one"),
    ],
)
def test_a_mistake_in_a_sweep_is_one_line(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        compose_sweep(words)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_multirun_expands_choices_like_hydra_and_nothing_without_an_end() -> None:
    jobs = expand_multirun(["task=rte,mrpc", "seed=1,2", "trainer.epochs=2"])
    assert jobs == [[f"task={task}", f"seed={seed}", "trainer.epochs=2"] for task in ("rte", "mrpc") for seed in (1, 2)]
    for odd in ("range(1,3)", "range(1,3,0)", "interval(1,3)", "glob(*)", "shuffle(range(1,1000000000))"):
        with pytest.raises(UsageError, match=r"must be values with commas, as in seed=A,B"):
            expand_multirun(["task=rte", f"seed={odd}"])


@pytest.mark.parametrize(
    "path", ["a b", "a=b", "a,b", "données", "it's", "[x]", "a\\b", "(x)", "100%", "b\\\\", "a\\'b"]
)
def test_any_path_is_taken_as_it_is(path: str) -> None:
    config = compose_run(["task=rte", "data=local", f"data.path={path}", f"results_dir={path}"])
    assert (config.data.path, config.results_dir) == (path, path)


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert compose_run([*LOCAL, "task=rte", "data.path=~/glue"]).data.path == "/home/ann/glue"


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
    rising = 1 + [rate_share(trainer, step, total=trainer.updates) for step in range(trainer.updates)].index(1)
    assert (trainer.learning_rate, trainer.batch_size, trainer.updates, rising) == FAIRSEQ[task]
    assert (trainer.betas, trainer.epsilon, trainer.weight_decay) == ([0.9, 0.98], 1e-6, 0.1)
    assert (trainer.clip_norm, trainer.max_length, config.selection) == (0.0, 512, "last")


def test_a_preset_that_counts_epochs_does_so_with_every_recipe() -> None:
    trainer = compose_sweep(["preset=sample", "recipe=fairseq", "tasks=[rte]"]).configs[0].trainer
    assert (trainer.epochs, trainer.updates) == (4, None)


@pytest.mark.parametrize("name", group_options("task"))
def test_a_task_read_alone_is_defined_as_in_a_run(name: str) -> None:
    assert compose_task(name) == compose_run([f"task={name}"]).task


def test_usual_values_of_rounding_keys_are_those_of_conf() -> None:
    defaults = compose_run(["task=rte"]).trainer
    usual = {item.name: item.usual for item in fields_of(TrainerConfig) if item.role == "rounding"}
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


def test_a_working_folder_that_is_gone_is_not_blamed_on_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(UsageError, match=r"^the working folder no longer exists: No such file or directory; change to"):
        compose_run(["task=rte"], config_dir=tmp_path)
