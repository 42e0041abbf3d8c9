"""One prediction for every row of a task that nobody trained a model for. Knows no files of rows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from glue_bench.errors import UsageError, did_you_mean
from glue_bench.submission.layout import DECIMALS, LeaderboardFile
from glue_bench.submission.write import write_classes, write_scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """What stands in every line of a task's files."""

    task: str
    label: str | None = None  # a class name
    score: float | None = None

    @property
    def words(self) -> str:
        """The prediction, for a remark."""
        return f"{self.score:.{DECIMALS}f}" if self.score is not None else str(self.label)

    def write(self, file: LeaderboardFile) -> bytes:
        """A file of nothing else."""
        if self.score is not None:
            return write_scores(file, np.full(file.rows, self.score))
        return write_classes(file, [str(self.label)] * file.rows)


def parse_fills(words: Sequence[str], files: Sequence[LeaderboardFile]) -> dict[str, Fill]:
    """TASK or TASK=PREDICTION each, by task.

    The prediction is a class by its name or code, or a score. Without it the class with the code 0, or the middle of
    the range.

    Raises:
        UsageError: no such task, or not a prediction of it.
    """
    by_task = {file.task: file for file in files}
    fills = {}
    for word in words:
        task, equals, value = word.partition("=")
        if task not in by_task:
            raise UsageError(f"--fill {word}: no such task{did_you_mean(task, by_task)}")
        if task in fills:
            raise UsageError(f"--fill {word}: {task} is filled already")
        file = by_task[task]
        if file.score_range is not None:
            fills[task] = Fill(task=task, score=_score(value, file, word) if equals else sum(file.score_range) / 2)
        else:
            fills[task] = Fill(task=task, label=_label(value, file, word) if equals else file.labels[0])
    return fills


def _label(value: str, file: LeaderboardFile, word: str) -> str:
    by_word = {str(code): label for code, label in enumerate(file.labels)} | {label: label for label in file.labels}
    if value not in by_word:
        raise UsageError(f"--fill {word}: no such class{did_you_mean(value, file.labels)}")
    return by_word[value]


def _score(value: str, file: LeaderboardFile, word: str) -> float:
    low, high = file.score_range or (-math.inf, math.inf)
    try:
        score = float(value)
    except ValueError:
        score = math.nan
    if not low <= score <= high:
        raise UsageError(f"--fill {word}: allowed is {file.allowed}")
    return score
