"""Protocols: every shipped one plans its table, has its source's values, and leads to its published row."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from glue_bench.cli import main
from glue_bench.config import conf_folder, group_options
from glue_bench.config.compose import compose_run, compose_sweep
from glue_bench.errors import UsageError
from glue_bench.report.table import build_report
from glue_bench.tasks.published import load_published
from tests.support.making import make_record

PROTOCOLS = group_options("protocol")
WITHOUT_ROW = {"cramming", "babylm_2025"}  # no row of theirs has been read


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_plans_a_sweep(protocol: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"protocol={protocol}", "tasks=[rte]", "encoder=distilroberta", f"results_dir={tmp_path}"]
    assert main(["sweep", *words, "--dry-run"]) == 0
    sweep = compose_sweep(words)
    seeds = {
        seed if config.init_seed is None else config.init_seed
        for config in sweep.configs
        if config.init != "pretrained"
        for seed in sweep.seeds
    }
    runs = len(sweep.configs) * len(sweep.seeds) + len(seeds)
    assert f"{runs} run{'s' if runs > 1 else ''}: 0 done, {runs} to run" in capsys.readouterr().err


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_protocol_is_data_with_a_source_and_a_recipe_by_which_its_row_is_found(protocol: str) -> None:
    path = conf_folder() / "protocol" / f"{protocol}.yaml"
    keys = {*yaml.safe_load(path.read_text())}
    for own in path.with_suffix("").glob("*.yaml"):
        keys |= {*yaml.safe_load(own.read_text())}
    assert keys <= {
        "defaults",
        "tasks",
        "seeds",
        "init",
        "init_seed",
        "selection",
        "data",
        "grid",
        "peft",
    }  # a recipe has the others
    rows = [table for table in load_published() if table.protocol_name == protocol]
    assert bool(rows) == (protocol not in WITHOUT_ROW)
    config = compose_run([f"protocol={protocol}", "task=rte"])
    assert {table.recipe for table in rows} <= {config.recipe}
    assert config.recipe_changes == {}


# What the sources state: a task's values, seeds and start.
STATED: list[tuple[str, str, dict[str, Any]]] = [
    ("hf_flax", "rte", {"epochs": 3, "batch_size": 32, "learning_rate": 2e-5, "epsilon": 1e-6, "clip_norm": 0.0}),
    ("hf_flax", "mrpc", {"epochs": 5, "warmup": 0.0, "weight_decay": 0.0, "max_length": 128}),
    ("lora", "rte", {"epochs": 80, "batch_size": 32, "learning_rate": 5e-4, "weight_decay": 0.1, "init": "mnli"}),
    ("lora", "stsb", {"epochs": 40, "batch_size": 16, "learning_rate": 4e-4, "selection": "best", "init": "mnli"}),
    ("hf_2019", "mrpc", {"epochs": 5, "batch_size": 32, "learning_rate": 2e-5, "max_length": 128}),
    ("fairseq", "rte", {"updates": 2036, "batch_size": 16, "learning_rate": 2e-5, "selection": "best"}),
    ("electra", "rte", {"epochs": 10, "learning_rate": 1e-4, "layer_decay": 0.8, "max_length": 128, "warmup": 0.1}),
    ("electra", "mnli", {"epochs": 3, "batch_size": 32, "weight_decay": 0.01, "epsilon": 1e-6, "init": "pretrained"}),
    ("deberta", "rte", {"learning_rate": 1e-5, "warmup_updates": 50, "max_length": 320, "init": "mnli", "epochs": 6}),
    ("deberta", "stsb", {"learning_rate": 7e-6, "head_dropout": 0.15, "epochs": 4, "init": "mnli", "batch_size": 32}),
    ("deberta", "qnli", {"epochs": 4, "warmup_updates": 500, "max_length": 512, "init": "pretrained"}),
    (
        "mosaicbert",
        "mrpc",
        {"learning_rate": 8e-5, "weight_decay": 0.1, "epochs": 10, "batch_size": 32, "init": "mnli"},
    ),
    ("mosaicbert", "rte", {"learning_rate": 1e-5, "weight_decay": 1.0, "epochs": 3, "decay_biases": True}),
    ("modernbert", "rte", {"learning_rate": 5e-5, "weight_decay": 0.2, "epochs": 3, "batch_size": 64, "init": "mnli"}),
    ("modernbert", "cola", {"learning_rate": 8e-5, "weight_decay": 0.0125, "epochs": 5, "init": "pretrained"}),
    ("neobert", "qnli", {"init": "mnli", "patience": 1, "floor": 0.1, "betas": [0.9, 0.95], "selection": "best"}),
    ("neobert", "cola", {"init": "pretrained", "patience": None, "epochs": 10, "warmup": 0.06, "head_dropout": 0.1}),
    ("cramming", "sst2", {"epochs": 5, "batch_size": 16, "learning_rate": 4e-5, "schedule": "cosine", "head": "first"}),
    ("babylm_2025", "mnli", {"epochs": 10, "schedule": "cosine", "floor": 0.1, "selection": "best", "warmup": 0.06}),
    ("roberta_paper", "cola", {"epochs": 10, "warmup": 0.06, "selection": "best", "betas": [0.9, 0.98]}),
]


@pytest.mark.parametrize(("protocol", "task", "values"), STATED, ids=[f"{name} {task}" for name, task, _ in STATED])
def test_a_protocol_has_the_values_of_its_source(protocol: str, task: str, values: dict[str, Any]) -> None:
    config = compose_run([f"protocol={protocol}", f"task={task}"])
    known = {**dataclasses.asdict(config), **dataclasses.asdict(config.trainer)}
    assert {key: known[key] for key in values} == values


def test_a_users_own_protocol_is_one_file_and_its_runs_are_compared_with_its_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {
        "conf/recipe/mine.yaml": "# @package _global_\nrecipe: mine\ntrainer: {epochs: 2, batch_size: 8, "
        "learning_rate: 1.0e-5, warmup: 0.0, weight_decay: 0.0, betas: [0.9, 0.9], epsilon: 1.0e-8, clip_norm: 1.0}\n",
        "conf/protocol/mine.yaml": "# @package _global_\ndefaults: [{override /recipe: mine}]\ntasks: [qnli, rte]\n"
        "seeds: [7]\ninit: {qnli: mnli}\n",
        "conf/protocol/mine/rte.yaml": "# @package _global_\ngrid: {epochs: [1, 2]}\n",
        "published/mine.json": json.dumps(
            {
                "title": "Mine",
                "hub_ids": ["google-bert/bert-base-cased"],
                "protocol": "ours",
                "protocol_name": "mine",
                "convention_evidence": "",
                "scores": {"rte": [70.4]},
            }
        ),
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    words = ["sweep", "protocol=mine", "encoder=distilroberta", f"results_dir={tmp_path}", "--dry-run"]
    assert main([*words, "--config-dir", str(tmp_path / "conf")]) == 0
    out, err = capsys.readouterr()
    assert "4 runs: 0 done, 4 to run" in err  # MNLI, QNLI from it, and two cells of RTE
    assert [out.count(f"distilroberta {task} seed 7") for task in ("mnli", "qnli", "rte")] == [1, 1, 2]
    encoder = {"name": "mine", "hub_id": "google-bert/bert-base-cased", "revision": "1"}
    record = make_record(task="rte", encoder=encoder, recipe="mine")
    (section,) = build_report([record], load_published(tmp_path / "published")).sections
    assert section.table is not None
    assert section.table.title == "Mine"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("init={qnli:mnly}", "init.qnli=mnly: must be one of pretrained, cola, mnli"),
        ("init={qnly:mnli}", "init={qnly:mnli}: no such task; did you mean qnli?"),
        ("init={qnli:qnli}", "init.qnli=qnli: must be one of pretrained, cola, mnli"),
        ("init={qnli:qnli}", "; qnli from qnli is a loop"),
        ("init={rte:mnli,mnli:rte}", "; rte from mnli from rte is a loop"),
        ("init={wnli:rte,rte:mnli,mnli:rte}", "; rte from mnli from rte is a loop"),
        ("init={qnli:mnli,mnli:qqp,qqp:qnli}", "init.qnli=mnli: must be one of pretrained, cola, mrpc"),
        ("init={qnli:mnli,mnli:qqp,qqp:qnli}", "; qnli from mnli from qqp from qnli is a loop"),
        ("init={cola:mnly}", "init.cola=mnly: must be one of pretrained, mnli"),
        ("init={rte:mnli,mnli:qnli,qnli:mnli}", "init.mnli=qnli: must be one of pretrained, cola, mrpc, qqp, sst2"),
        ("init_seed=worst", "init_seed=worst: must be median, best, or a whole number"),
        ("init_seed=-1", "init_seed=-1: must be 0 to 4294967295, median or best"),
        ("init={}", "init={}: must be a task, pretrained, or {TASK:START}"),
        ("init={qnli:[mnli]}", "init.qnli=['mnli']: must be text"),
    ],
)
def test_a_start_that_is_not_allowed_is_one_line(word: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        compose_sweep(["tasks=[qnli]", word])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_start_of_one_task_may_be_any_other_and_leaves_the_rest_pretrained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["init={sst2:qqp}", "seeds=[1]", "encoder=distilroberta", f"results_dir={tmp_path}"]
    assert {c.task.name: c.init for c in compose_sweep(["tasks=[sst2,rte]", *words]).configs} == {
        "sst2": "qqp",
        "rte": "pretrained",
    }
    assert main(["sweep", "tasks=[sst2,rte]", *words, "--dry-run"]) == 0
    assert "distilroberta qqp seed 1" in capsys.readouterr().out
    assert main(["sweep", "tasks=[sst2]", *words, "seeds=[1,2]", "init_seed=7", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert [out.count(f"distilroberta {run}") for run in ("sst2 seed", "qqp seed 7", "qqp seed")] == [2, 1, 1]
    # The command line comes after the protocol, task by task, or for all.
    assert compose_run(["task=rte", "protocol=card", "init={rte:mnli}"]).init == "mnli"
    assert compose_run(["task=rte", "init={rte:mnli}", "init=pretrained"]).init == "pretrained"


def test_the_page_of_protocols_lists_each_of_them() -> None:
    text = (Path(__file__).parents[2] / "docs" / "protocols.md").read_text()
    assert [name for name in PROTOCOLS if f"| `{name}` |" not in text] == []
