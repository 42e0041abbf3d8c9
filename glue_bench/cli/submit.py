"""`glue-bench submit`: the GLUE leaderboard's zip, built or checked."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from glue_bench.compose import compose_task, group_options
from glue_bench.errors import InputError, UsageError, did_you_mean
from glue_bench.submission import LeaderboardFile, check_submission, lay_out


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
    if not words:
        raise UsageError("submit check: say which file, as in `glue-bench submit check FILE.zip`")
    if len(words) > 1:
        raise UsageError(f"submit check: one file at a time, not {' and '.join(words)}")
    path, files = Path(words[0]), _leaderboard_files(arguments.config_dir)
    faults = check_submission(path, files)
    for fault in faults:
        sys.stdout.write(f"{fault}\n")
    if faults:
        count = f"{len(faults)} fault{'s' * (len(faults) > 1)}, listed above"
        raise InputError(f"{path}: the leaderboard would refuse it; {count}")
    rows = sum(file.rows for file in files)
    sys.stdout.write(f"{path}: as the leaderboard wants it: {len(files)} files, {rows:,} predictions\n")
    return 0


def _leaderboard_files(config_dir: Path | None) -> tuple[LeaderboardFile, ...]:
    names = group_options("task", config_dir)
    return lay_out([compose_task(name, config_dir=config_dir) for name in names])


_ACTIONS: dict[str, Callable[[list[str], argparse.Namespace], int]] = {"check": _check}
