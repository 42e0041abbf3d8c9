"""The leaderboard keys of tasks, and that they change no run."""

import dataclasses

import pytest

from glue_bench.config.compose import compose_run, compose_task
from glue_bench.config.keys import build
from glue_bench.config.task import TaskConfig
from glue_bench.errors import UsageError
from glue_bench.runs.identity import make_requests
from glue_bench.submission.layout import lay_out

# From before tasks had leaderboard keys: data from the hub, DistilRoBERTa, recipe default, seed 1.
RUN_IDS = {
    "cola": "seed1-282b028215de",
    "mnli": "seed1-910aa60abffe",
    "mrpc": "seed1-c79878190f30",
    "qnli": "seed1-16834686e091",
    "qqp": "seed1-6715e8d28c58",
    "rte": "seed1-1a9ed22c5f58",
    "sst2": "seed1-5b9671b416b5",
    "stsb": "seed1-54a481ccb426",
    "wnli": "seed1-31fdc808d514",
}


@pytest.mark.parametrize("task", RUN_IDS)
def test_leaderboard_keys_of_a_task_change_no_run_id(task: str) -> None:
    config = compose_run([f"task={task}"])
    assert config.task.leaderboard
    plain = dataclasses.replace(config.task, leaderboard={}, leaderboard_labels="codes")
    for facts in (config.task, plain):
        (request,) = make_requests(dataclasses.replace(config, task=facts), [1])
        assert request.run_id == RUN_IDS[task]


@pytest.mark.parametrize(
    ("leaderboard", "message"),
    [
        ({"MNLI-m": "test"}, "task.leaderboard.MNLI-m=test: must be one of the test splits test_matched, test_mis"),
        ({"AX": "../test"}, "task.leaderboard.AX=../test: must be one of the test splits"),
        ({"AX": "ax/hard/test"}, "task.leaderboard.AX=ax/hard/test: must be one of the test splits"),
        ({"AX": "ax/dev"}, "task.leaderboard.AX=ax/dev: must be a split with official rows in task.rows"),
        ({"../AX": "ax/test"}, "task.leaderboard=../AX: must be made of letters, digits"),
    ],
)
def test_a_place_must_be_a_test_split_with_official_rows(leaderboard: dict[str, str], message: str) -> None:
    facts = dataclasses.replace(compose_task("mnli"), leaderboard=leaderboard)
    with pytest.raises(UsageError, match=message):
        build(TaskConfig, dataclasses.asdict(facts), where="task")


def test_labels_are_written_as_codes_or_by_name_only() -> None:
    facts = dataclasses.replace(compose_task("rte"), leaderboard_labels="name")  # type: ignore[arg-type]
    with pytest.raises(
        UsageError, match=r"task\.leaderboard_labels=name: must be one of codes, names; did you mean names"
    ):
        build(TaskConfig, dataclasses.asdict(facts), where="task")


def test_the_users_own_task_without_a_leaderboard_has_no_file() -> None:
    facts = dataclasses.replace(compose_task("rte"), leaderboard={})
    assert lay_out([facts]) == ()
