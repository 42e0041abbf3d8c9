"""The files of the leaderboard's zip, from the task configurations: what they contain, how they are written and filled.

The same predictions give the same bytes.
"""

import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glue_bench.config.schema import TaskConfig
from glue_bench.errors import UsageError, did_you_mean

HEADER = "index\tprediction"
DECIMALS = 3  # of a score
# Bytes of a line, its end included: a generous bound on what is unpacked of an untrusted zip.
_LONGEST_LINE = 40
_REGULAR_FILE = 0o100644
_UNIX = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderboardFile:
    """One file of the zip: a header, and a line for each test row in the order of the rows."""

    name: str  # with .tsv
    task: str  # its model predicts the rows
    place: str  # SPLIT, or FOLDER/SPLIT of the data set
    rows: int
    labels: tuple[str, ...] = ()  # the classes in the order of the codes; empty for scores
    codes: bool = False  # whether classes are written as 0, 1, ... rather than by name
    score_range: tuple[float, float] | None = None  # lowest and highest score; None for classes

    @property
    def words(self) -> tuple[str, ...]:
        """The predictions as they are written, in the order of the codes; empty for scores."""
        return tuple(str(code) for code in range(len(self.labels))) if self.codes else self.labels

    @property
    def allowed(self) -> str:
        """The allowed predictions, for a message."""
        if self.score_range is not None:
            low, high = self.score_range
            return f"a number from {low:g} to {high:g}"
        if self.codes:
            return " or ".join(f"{code} ({label})" for code, label in enumerate(self.labels))
        return ", ".join(self.labels)

    @property
    def most_bytes(self) -> int:
        """The largest file that is read."""
        return _LONGEST_LINE * (self.rows + 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """One prediction for every row of a task that has no run."""

    task: str
    label: str = ""  # a class name
    score: float | None = None

    @property
    def words(self) -> str:
        """The prediction, for a message."""
        return self.label if self.score is None else f"{self.score:.{DECIMALS}f}"

    def write(self, file: LeaderboardFile) -> bytes:
        """A file with this prediction in every line."""
        if self.score is not None:
            return write_scores(file, np.full(file.rows, self.score))
        return write_classes(file, [self.label] * file.rows)


def lay_out(tasks: Sequence[TaskConfig]) -> tuple[LeaderboardFile, ...]:
    """Every file that these tasks name, sorted by name."""
    files = [
        LeaderboardFile(
            name=f"{name}.tsv",
            task=task.name,
            place=place,
            rows=task.rows[place],
            labels=tuple(task.labels),
            codes=task.leaderboard_labels == "codes",
            score_range=(task.label_range[0], task.label_range[1]) if task.label_range else None,
        )
        for task in tasks
        for name, place in task.leaderboard.items()
    ]
    return tuple(sorted(files, key=lambda file: file.name))


def parse_fills(words: Sequence[str], files: Sequence[LeaderboardFile]) -> dict[str, Fill]:
    """Parse TASK or TASK=PREDICTION words, by task.

    PREDICTION is a class by its name or code, or a score. Without it, it is the class with the code 0, or the middle of
    the range.

    Raises:
        UsageError: the task or its prediction is unknown.
    """
    by_task = {file.task: file for file in files}
    fills = dict[str, Fill]()
    for word in words:
        task, equals, value = word.partition("=")
        if task not in by_task:
            raise UsageError(f"--fill {word}: unknown task{did_you_mean(task, by_task)}")
        if task in fills:
            raise UsageError(f"--fill {word}: {task} is filled already")
        file = by_task[task]
        if file.score_range is not None:
            score = _parse_score(value) if equals else sum(file.score_range) / 2
            if not file.score_range[0] <= score <= file.score_range[1]:
                raise UsageError(f"--fill {word}: must be {file.allowed}")
            fills[task] = Fill(task=task, score=score)
        else:
            names = dict(zip(map(str, range(len(file.labels))), file.labels, strict=True))
            label = names.get(value, value) if equals else file.labels[0]
            if label not in file.labels:
                raise UsageError(f"--fill {word}: unknown class{did_you_mean(value, file.labels)}")
            fills[task] = Fill(task=task, label=label)
    return fills


def write_classes(file: LeaderboardFile, names: Sequence[str]) -> bytes:
    """A file of classes.

    Args:
        names: (rows,) class names in the order of the test rows.

    Raises:
        ValueError: another number of rows, or a name that the file does not know.
    """
    word_of = dict(zip(file.labels, file.words, strict=True))
    unknown = set(names) - word_of.keys()
    if unknown:
        raise ValueError(f"{file.name}: {min(unknown)!r} is none of {', '.join(file.labels)}")
    return _join(file, [word_of[name] for name in names])


def write_scores(file: LeaderboardFile, scores: NDArray[np.float64]) -> bytes:
    """A file of scores, clipped to their range and rounded.

    Args:
        scores: (rows,) in the order of the test rows.

    Raises:
        ValueError: another number of rows, or a score that is not finite.
    """
    if file.score_range is None or not np.isfinite(scores).all():
        raise ValueError(f"{file.name}: finite scores in a range are needed")
    clipped = np.clip(scores, *file.score_range) + 0.0  # without a negative zero
    return _join(file, [f"{score:.{DECIMALS}f}" for score in clipped])


def write_zip(path: Path, contents: Mapping[str, bytes]) -> None:
    """Write the files in the order of their names, with a fixed date and not compressed.

    Compressed bytes would depend on the version of zlib; four megabytes need no compression.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(contents):
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = _UNIX, _REGULAR_FILE << 16
            archive.writestr(info, contents[name])


def _join(file: LeaderboardFile, words: Sequence[str]) -> bytes:
    if len(words) != file.rows:
        raise ValueError(f"{file.name}: {len(words)} predictions for {file.rows} rows")
    lines = (f"{index}\t{word}\n" for index, word in enumerate(words))
    return f"{HEADER}\n{''.join(lines)}".encode("ascii")


def _parse_score(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
