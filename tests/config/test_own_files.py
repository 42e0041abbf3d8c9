"""Tasks, encoders, recipes and presets of a user: what they add, and mistakes in them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from glue_bench.config import group_options
from glue_bench.config.compose import compose_run, compose_sweep, compose_task
from glue_bench.errors import UsageError


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
    ("line", "word", "message"),
    [
        ("trainer:", "trainer.epochs=3", "trainer=null: must be KEY: VALUE lines"),
        ("executor: {slurm: 5}", "executor.slurm.hours=3", "executor.slurm=5: must be KEY: VALUE lines"),
        ("grid:", "grid.epochs=[1]", "grid=null: must be KEY: VALUE lines"),
    ],
)
def test_a_key_given_inside_of_what_a_users_file_makes_no_mapping_is_named(
    line: str, word: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "preset").mkdir()
    (tmp_path / "preset" / "own.yaml").write_text(f"# @package _global_\n{line}\n")
    with pytest.raises(UsageError, match=f"^preset/own.yaml line 2: {message}$"):
        compose_run(["task=rte", "preset=own", word], config_dir=tmp_path)


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
        ({"columns": None}, "task/own.yaml line 1: task.columns=null: must be KEY: VALUE lines"),
        ({"conventions": 3}, "task.conventions=3: must be KEY: VALUE lines"),
        ({"columns": ["a"]}, "task.columns: found a list; must be KEY: VALUE lines"),
        ({"title": ""}, "task.title: must be given"),
    ],
)
def test_a_mistake_in_the_users_own_task_is_one_line(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        compose_run(["task=own"], config_dir=write_task(tmp_path, changes))
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("how", ["alone", "composed"])
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("metrics: !!python/object:os.system {}", "line 6: !!python/object:os.system: write a plain value, not a tag"),
        ("metrics: !!python/name:os.system", "line 6: !!python/name:os.system: write a plain value, not a tag"),
        ("metrics: !mine [accuracy]", "line 6: !mine: write a plain value, not a tag"),
        ("metrics: !!set {accuracy}", "line 6: !!set: write a plain value, not a tag"),
        ("metrics: !!binary x", "line 6: !!binary: write a plain value, not a tag"),
        ("metrics: !!int accuracy", "line 6: !!int: write a plain value, not a tag"),
        ("metrics: [!!timestamp accuracy]", "line 6: !!timestamp: write a plain value, not a tag"),
        ("metrics: !<tag:example.org,2000:x> y", "line 6: tag:example.org,2000:x: write a plain value, not a tag"),
        ("metrics: 2020-13-45", "line 6: task.metrics=2020-13-45: must be a list"),
        ("metrics: !!str [accuracy]", "line 6: not a readable YAML file (expected a scalar node, but found sequence)"),
        ("<<: accuracy", "line 7: not a readable YAML file (expected a mapping or list of mappings for merging"),
        ("labels: [{? [no] : yes}]", "line 6: not a readable YAML file (found unhashable key)"),
        ("labels: [{? {no: yes} : yes}]", "line 6: not a readable YAML file (found unhashable key)"),
    ],
)
def test_what_only_yaml_knows_is_one_line(line: str, message: str, how: str, tmp_path: Path) -> None:
    path = write_task(tmp_path) / "task" / "own.yaml"
    facts = {key: fact for key, fact in json.loads(path.read_text()).items() if key != line.partition(":")[0]}
    path.write_text("".join(f"{key}: {json.dumps(fact)}\n" for key, fact in facts.items()) + line + "\n")
    with pytest.raises(UsageError) as caught:
        compose_task("own", config_dir=tmp_path) if how == "alone" else compose_run(["task=own"], config_dir=tmp_path)
    assert f"task/own.yaml {message}" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_text_may_be_tagged_as_one(tmp_path: Path) -> None:
    path = write_task(tmp_path) / "task" / "own.yaml"
    path.write_text(path.read_text().replace('"accuracy"', "!!str accuracy").replace('"Own"', '! "Own"'))
    assert compose_task("own", config_dir=tmp_path).metrics == ["accuracy"]


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
    with pytest.raises(UsageError, match="no such folder"):
        compose_sweep(["tasks=[rte]"], config_dir=tmp_path / "nowhere")  # without Hydra's warning, too


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


BOMB = "title: &a [x,x,x]\n" + "".join(f"{key}: &{key} [*a,*a,*a]\n" for key in "bcdefgh")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("title: ${oc.env:HOME}", "interpolation is not supported"),
        ("texts: ['${oc.decode:1}', b]", "interpolation is not supported"),
        ("${name}: 5", "interpolation is not supported"),
        (BOMB, "write the value itself, not an alias"),
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


@pytest.mark.parametrize("others", [[], ["other"], ["other", "third"]], ids=len)
@pytest.mark.parametrize("group", ["preset", "recipe", "protocol", "encoder", "task", "trainer", "executor"])
def test_defaults_that_lead_back_to_their_own_file_are_one_line(group: str, others: list[str], tmp_path: Path) -> None:
    (tmp_path / group).mkdir()
    for name, following in zip(["mine", *others], [*others, "mine"], strict=True):
        (tmp_path / group / f"{name}.yaml").write_text(f"# @package _global_\ndefaults: [{following}]\n")
    task = "mine" if group == "task" else "rte"
    with pytest.raises(UsageError) as caught:
        compose_run([f"task={task}", f"{group}=mine"], config_dir=tmp_path)
    wanted = f"{group}/mine.yaml: cannot be composed (its `defaults` lead back to itself)"
    assert str(caught.value) == wanted


@pytest.mark.parametrize(
    ("group", "line", "key"),
    [
        ("task", r'title: "\ud800x"', "task.title"),
        ("task", r'labels: ["\ud800", b]', "task.labels[0]"),
        ("task", r'rows: {train: 4, "\udfff": 5}', "task.rows"),
        ("task", r'columns: {a: "\ud83d\ude00"}', "task.columns.a"),
        ("encoder", r'package: "\udcff/x"', "encoder.package"),
        ("preset", r'executor: {slurm: {options: ["a=\ud800"]}}', "executor.slurm.options[0]"),
    ],
)
def test_a_lone_surrogate_which_no_record_can_hold_is_refused(group: str, line: str, key: str, tmp_path: Path) -> None:
    head = {"preset": "# @package _global_\n", "encoder": "name: mine\n", "task": "name: mine\n"}[group]
    (tmp_path / group).mkdir()
    (tmp_path / group / "mine.yaml").write_text(f"{head}{line}\n")
    for compose in (
        lambda: compose_run(["task=rte", f"{group}=mine"], config_dir=tmp_path),
        lambda: compose_task("mine", config_dir=tmp_path),
    )[: 2 if group == "task" else 1]:
        with pytest.raises(UsageError) as caught:
            compose()
        assert str(caught.value).startswith(f"{group}/mine.yaml line 2: {key}=")
        assert "must be text in UTF-8" in str(caught.value)
        assert str(caught.value).isprintable()


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
def test_impossible_definitions_of_a_task_are_refused(facts: dict[str, Any], tmp_path: Path) -> None:
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


@pytest.mark.parametrize("name", ["1", "null", "nan", "TRUE", "1e5", "1_0"])
@pytest.mark.parametrize("group", ["task", "encoder", "recipe", "executor"])
def test_a_file_whose_name_is_not_text_to_hydra_cannot_be_chosen(name: str, group: str, tmp_path: Path) -> None:
    (tmp_path / group).mkdir()
    (tmp_path / group / f"{name}.yaml").touch()
    with pytest.raises(UsageError, match=rf"^{group}={re.escape(name)}: the name of a file must be text"):
        compose_run(["task=rte", f"{group}={name}"], config_dir=tmp_path)


@pytest.mark.parametrize("name", ["1st", "v1.0", "2024_a", "a-b", "nano", "e5", "x.yml"])
def test_a_name_that_is_text_may_begin_with_digits_or_look_like_a_version(name: str, tmp_path: Path) -> None:
    (tmp_path / "preset").mkdir()
    (tmp_path / "preset" / f"{name}.yaml").write_text("# @package _global_\ntrainer: {epochs: 7}\n")
    assert compose_run(["task=rte", f"preset={name}"], config_dir=tmp_path).trainer.epochs == 7


@pytest.mark.parametrize("name", ["1e5", "null", "1_0", "nan", "true"])
def test_a_name_that_does_not_exist_is_shown_as_it_was_written(name: str) -> None:
    with pytest.raises(UsageError, match=f"^task={name}: no such task"):
        compose_run([f"task={name}"])
