"""`glue-bench submit`: the GLUE leaderboard's zip, built or checked."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from glue_bench.config.compose import compose_task
from glue_bench.config.overrides import group_options
from glue_bench.config.schema import TaskConfig
from glue_bench.errors import InputError, UsageError, did_you_mean
from glue_bench.submission import check_submission, lay_out


def execute(arguments: argparse.Namespace) -> int:
    """Do what the first word says with the rest."""
    action, *words = arguments.overrides or [""]
    if not action:
        raise UsageError(f"submit: say which. Allowed: {', '.join(_ACTIONS)}")
    if action not in _ACTIONS:
        raise UsageError(f"submit {action}: unknown{did_you_mean(action, _ACTIONS)}")
    return _ACTIONS[action](words, arguments)


def _check(words: list[str], arguments: argparse.Namespace) -> int:
    """List what is wrong with a zip on stdout."""
    for option, given in (("--out", arguments.out), ("--fill", arguments.fill), ("--pick", arguments.pick)):
        if given:
            raise UsageError(f"{option}: for `submit build`, not for `submit check`")
    if not words:
        raise UsageError("submit check: say which file, as in `glue-bench submit check FILE.zip`")
    if len(words) > 1:
        raise UsageError(f"submit check: one file at a time, not {' and '.join(words)}")
    path, files = Path(words[0]), lay_out(list(_leaderboard_tasks(arguments.config_dir).values()))
    faults = check_submission(path, files)
    for fault in faults:
        sys.stdout.write(f"{fault}\n")
    if faults:
        count = f"{len(faults)} fault{'s' * (len(faults) > 1)}, listed above"
        raise InputError(f"{path}: the leaderboard would refuse it; {count}")
    rows = sum(file.rows for file in files)
    sys.stdout.write(f"{path}: as the leaderboard wants it: {len(files)} files, {rows:,} predictions\n")
    return 0


def _build(words: list[str], arguments: argparse.Namespace) -> int:
    from glue_bench.cli import submit_build

    return submit_build.execute(words, _leaderboard_tasks(arguments.config_dir), arguments)


def _leaderboard_tasks(config_dir: Path | None) -> dict[str, TaskConfig]:
    """The tasks that the leaderboard has files for."""
    names = group_options("task", config_dir)
    tasks = {name: compose_task(name, config_dir=config_dir) for name in names}
    return {name: task for name, task in tasks.items() if task.leaderboard}


_ACTIONS: dict[str, Callable[[list[str], argparse.Namespace], int]] = {"build": _build, "check": _check}
