"""The command under every number repeats the runs that made it."""

import dataclasses
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from glue_bench.cli.report import read_defaults
from glue_bench.config.compose import compose_starts, compose_sweep
from glue_bench.runs.finished import RESULTS_DIR, Defaults, join_command, sweep_words
from glue_bench.runs.identity import RunRequest, make_requests
from glue_bench.runs.record import Record, request_facts


@pytest.fixture(scope="module")
def defaults() -> Defaults:
    return read_defaults()


def requests_of(words: Sequence[str]) -> list[RunRequest]:
    sweep = compose_sweep(words)
    return [
        request
        for config in sweep.configs
        for request in make_requests(config, sweep.seeds, starts=compose_starts(config, words))
    ]


def check_repeats(words: Sequence[str], defaults: Defaults) -> str:
    """Check that the command of the last rows of the words repeats those rows' runs; return the first of them."""
    commands = []
    rows: dict[str, list[RunRequest]] = {}
    for request in requests_of(words):
        rows.setdefault(request.setting_id, []).append(request)
    for requests in list(rows.values())[-2:]:
        record = Record(**request_facts(requests[0]), status="failed")
        seeds = [request.config.seed for request in requests]
        command = join_command(sweep_words(record, defaults, seeds=seeds), own_task=False)
        program, verb, *again = shlex.split(command)
        assert (program, verb) == ("glue-bench", "sweep")
        assert {request.run_id for request in requests_of(again)} == {request.run_id for request in requests}
        assert {request.config.results_dir for request in requests_of(again)} == {RESULTS_DIR}
        commands.append(command)
    return commands[0]


@pytest.mark.parametrize(
    "words",
    [
        ["tasks=[rte,mnli]", "seeds=[1,2]"],
        ["encoders=[roberta,distilroberta]", "tasks=[stsb]", "recipe=fairseq", "seed=7"],
        ["recipe=fairseq", "tasks=[cola]", "trainer.updates=null", "trainer.epochs=4"],
        ["tasks=[cola]", "trainer.updates=100", "preset=card", "seeds=[3]"],
        ["recipe=roberta_paper", "tasks=[rte]", "seeds=[1]", "encoder=roberta"],
        ["recipe=roberta_paper", "tasks=[rte]", "seeds=[1]", "selection=last"],
        ["recipe=roberta_paper", "tasks=[rte]", "seeds=[1]", "grid.learning_rate=[1e-5,4e-5]", "selection=holdout"],
        ["tasks=[mrpc]", "init=mnli", "seeds=[1,2]", "trainer.weight_decay=0.0"],
        ["tasks=[qnli]", "init={qnli:mnli}", "init_seed=3", "seeds=[1,2]"],
        ["protocol=mosaicbert", "tasks=[rte]"],
        ["tasks=[sst2]", "selection=holdout", "holdout=0.25", "trainer.precision=bfloat16", "trainer.accumulation=4"],
        ["tasks=[sst2]", f"data.revision={'0' * 40}", "data.max_train_rows=100", "seeds=[1]"],
        [
            "tasks=[sst2]",
            "encoder=custom",
            "encoder.hub_id=me/mine",
            f"encoder.revision={'1' * 40}",
            "encoder.name=null",
        ],
        [
            "tasks=[sst2]",
            "encoder=custom",
            "encoder.hub_id=me/mine",
            f"encoder.revision={'1' * 40}",
            "encoder.name='1e5'",
        ],
        ["preset=sample", "tasks=[rte,stsb]", "encoder=distilroberta", "trainer.betas=[0.9,0.999]"],
    ],
    ids=lambda words: " ".join(words),
)
def test_the_command_composes_to_the_same_run_ids(words: list[str], defaults: Defaults) -> None:
    check_repeats(words, defaults)


def test_local_files_and_folders_with_strange_names_are_found_again(
    tiny_bert: Path, local_glue: Path, tmp_path: Path, defaults: Defaults
) -> None:
    odd = tmp_path / "it's a=b, [c] {d} $e\\"
    odd.mkdir()
    (odd / "glue").symlink_to(local_glue)
    (odd / "bert").symlink_to(tiny_bert)
    words = ["encoder=custom", f"encoder.path={odd / 'bert'}", "data=local", f"data.path={odd / 'glue'}"]
    check_repeats([*words, "tasks=[rte,mnli]", "seeds=[1,2]", "trainer.epochs=1"], defaults)


def test_a_shipped_encoder_goes_by_its_name_and_a_changed_one_in_full(defaults: Defaults) -> None:
    plain = check_repeats(["tasks=[rte]", "seeds=[1]"], defaults)
    assert "encoder=distilroberta encoder.revision=" in plain
    changed = check_repeats(["tasks=[rte]", "seeds=[1]", "encoder.hub_id=me/distilroberta"], defaults)
    assert "encoder=custom encoder.name=distilroberta encoder.hub_id=me/distilroberta" in changed


def test_a_task_of_the_users_own_needs_its_folder(defaults: Defaults) -> None:
    request = requests_of(["tasks=[rte]", "seeds=[1]"])[0]
    record = dataclasses.replace(Record(**request_facts(request), status="failed"), task="boolq")
    command = join_command(sweep_words(record, defaults, seeds=[1]), own_task=True)
    assert shlex.split(command)[2] == "tasks=[boolq]"
    assert command.endswith("--config-dir my_conf")


def test_no_settings_of_matplotlib_are_read_or_made(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "matplotlibrc").write_text("backend: nonsense\nfont.size: [")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MPL", "MATPLOTLIB", "XDG"))}
    environment |= {"HOME": str(home), "GLUE_BENCH_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "glue_bench", "report", "--format", "html"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "matplotlibrc" not in done.stderr
    assert list(home.rglob("*")) == []
