"""Words on the command line: short lists, keys of other programs, paths, and messages about them."""

import math
import re
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest

from glue_bench.config import group_options
from glue_bench.config.compose import compose_run, compose_sweep, compose_task
from glue_bench.config.keys import FRACTION, SCALARS, convert, walk
from glue_bench.config.overrides import check_key
from glue_bench.config.schema import SweepConfig
from glue_bench.errors import UsageError


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
        (["task=[rte,mrpc]", "seed=1,4-5"], ["rte", "mrpc"], [1, 4, 5]),
    ],
)
def test_short_lists_mean_what_they_say(words: list[str], tasks: list[str], seeds: list[int]) -> None:
    sweep = compose_sweep([*words, "encoders=minilm"])
    assert ([config.task.name for config in sweep.configs], sweep.seeds) == (tasks, seeds)
    assert {config.encoder.name for config in sweep.configs} == {"minilm"}


@pytest.mark.parametrize("task", ["rte", "mnli", "sst2", "stsb"])
def test_a_sweep_of_any_task_may_name_its_columns(task: str) -> None:
    columns = {name: f"my_{name}" for name in (*compose_task(task).texts, "label")}
    words = ", ".join(f"{name}: {other}" for name, other in columns.items())
    (config,) = compose_sweep([f"tasks=[{task}]", f"task.columns={{{words}}}"]).configs
    assert config.task.columns == columns


@pytest.mark.parametrize("last", ["", "null"])
def test_a_path_that_is_taken_back_is_gone(last: str) -> None:
    with pytest.raises(UsageError, match=rf"data\.path={last}: must be a folder with TASK/SPLIT"):
        compose_run(["task=rte", "data=local", "data.path=rows", f"data.path={last}"])
    assert compose_run(["task=rte", "results_dir=null", "results_dir=a"]).results_dir == "a"


@pytest.mark.parametrize("first", ["encoder=./other", "encoder=org/other", "encoder=minilm"])
@pytest.mark.parametrize(
    ("last", "path", "hub_id"),
    [("mine", "a", None), ("./b", "./b", None), ("org/c", None, "org/c"), ("minilm", None, None)],
)
def test_the_last_encoder_counts_and_nothing_of_one_before_it(
    first: str, last: str, path: str | None, hub_id: str | None, tmp_path: Path
) -> None:
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "mine.yaml").write_text("name: mine\npath: a\n")
    encoder = compose_run(["task=rte", first, f"encoder={last}"], config_dir=tmp_path).encoder
    assert (encoder.path, encoder.hub_id) == (path, hub_id)


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
        "encoder.package=a\udcffb",
        "executor.slurm.partition='a\udcffb'",
        "executor.slurm.options=['a=\udcff']",
        "peft.targets=['\udcff']",
        "task.columns={label: '\udcff'}",
        "recipe='\udcff'",
        "init={'\udcff': mnli}",
        "trainer.learning_rate='٣'",
        "encoder.hub_id=.",
        f"trainer.epochs={'[' * 3000}",
    ],
)
def test_a_value_that_would_lead_elsewhere_or_is_not_a_number_is_refused(word: str) -> None:
    with pytest.raises(UsageError) as caught:
        compose_run(["task=rte", "encoder=distilroberta", word])
    assert word.partition("=")[0] in str(caught.value)


@pytest.mark.parametrize(
    ("word", "ways"),
    [
        ("seeds=1,2", ", or `sweep` with seeds=[A,B]"),
        ("seed=1,2", ", or `sweep` with seeds=[A,B]"),
        ("encoder=minilm,bert", ", or `sweep` with encoders=[A,B]"),
        ("tasks=rte,mrpc", ", or `sweep` with tasks=[A,B]"),
        ("trainer.dropout=0,0.1", ", or `sweep` with grid.dropout=[A,B]"),
        ("grid.epochs=2,3", ", or `sweep` with grid.epochs=[A,B]"),
        ("trainer.betas=0.9,0.99", ""),
        ("trainer.log_every=1,2", ""),
        ("data.source=hub,local", ""),
    ],
)
def test_several_values_are_for_multirun_or_for_a_list_where_a_sweep_has_one(word: str, ways: str) -> None:
    with pytest.raises(UsageError) as caught:
        compose_run(["task=rte", word])
    assert str(caught.value) == f"{word}: several values need `run -m`{ways}; a list needs brackets"


@pytest.mark.parametrize(
    "word", ["task=[rte", "task=rte]", "seed=[1", "seed=1,2]", "seeds=[1,2", "seeds=1-3]", "tasks=[a"]
)
def test_half_of_a_list_is_shown_as_it_was_written(word: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(word)}: not a key=value override "):
        compose_sweep(["encoder=minilm", word])


def test_a_start_for_a_task_that_is_not_run_is_refused_unless_a_protocol_names_it() -> None:
    shared = ["encoder=minilm", "data=sample", "seeds=1"]
    with pytest.raises(UsageError, match=r"^init=\{mrpc:mnli\}: mrpc is not among the tasks \(rte, cola\)$"):
        compose_sweep([*shared, "init={mrpc:mnli}", "tasks=[rte,cola]"])
    chain = compose_sweep([*shared, "init={stsb:mrpc,mrpc:mnli}", "tasks=[stsb]"])
    assert [config.init for config in chain.configs] == ["mrpc"]
    few = compose_sweep([*shared, "protocol=deberta", "init={cola:mnli}", "tasks=[cola]"])
    assert [config.init for config in few.configs] == ["mnli"]


def test_three_question_marks_are_no_folder() -> None:
    with pytest.raises(UsageError, match=r"^results_dir=\?\?\?: must be given"):
        compose_run(["task=rte", "results_dir=???"])


def kinds_in(hint: Any) -> set[Any]:
    return {hint, get_origin(hint)}.union(*map(kinds_in, get_args(hint)))


NUMBERS = {item.name: item for item in walk(SweepConfig) if {int, float} & kinds_in(item.hint)}


@pytest.mark.parametrize("name", NUMBERS)
def test_no_number_is_larger_or_closer_to_zero_than_what_computes_with_it_can_hold(name: str) -> None:
    kinds = kinds_in(NUMBERS[name].hint)
    kind = float if float in kinds else int
    most, least = SCALARS[kind].most, kind(SCALARS[kind].least)
    assert [convert(kind, number, key="") for number in (most, -most, least, "0")] == [most, -most, least, 0]
    wrong: list[tuple[Any, str]] = [(number, "of at most") for number in (kind(most * 1.01), -10 * most)]
    if kind is float:
        wrong += [(number, "of at most") for number in ("inf", -math.inf, 1e308)]
        wrong += [(number, "no closer to 0") for number in (least / 2, -1e-320)]
    for number, words in wrong:
        value = [number] if list in kinds else {"a": number} if dict in kinds else number
        with pytest.raises(UsageError, match=f"must be a (whole )?number {words}"):
            convert(NUMBERS[name].hint, value, key=name)
    if NUMBERS[name].must is FRACTION:
        assert not FRACTION.holds(0.9999999999)
