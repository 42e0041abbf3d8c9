"""Requests of runs for plans."""

from collections.abc import Sequence

from glue_bench.runs.identity import RunRequest
from tests.support.making import make_request


def request(task: str, seed: int = 1, *, starts: tuple[RunRequest, ...] = ()) -> RunRequest:
    return make_request(task=task, seed=seed, setting=task, starts=starts)


def names(requests: Sequence[RunRequest]) -> list[str]:
    return [f"{each.config.task.name}-{each.config.seed}" for each in requests]
