"""The files of the leaderboard's zip: which there are, how they are written, and the faults of a zip with others."""

import functools
import io
import re
import stat
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glue_bench.config.schema import TaskConfig
from glue_bench.errors import InputError, UsageError, close_match, did_you_mean, list_names
from glue_bench.reading import open_regular
from glue_bench.text import cut, first_line, plural, visible

HEADER = "index\tprediction"
DECIMALS = 3  # of a score
# Bytes of a line, its end included: a generous bound on what is unpacked of an untrusted zip.
_LONGEST_LINE = 40
SHOWN = 5  # faults of one kind in one file
_SHOWN_TEXT = 60  # characters of an untrusted text
_DIRECTORY = 65_536  # bytes for names and dates
_SCORE = re.compile(rf"\d+(\.\d{{1,{DECIMALS}}})?", re.ASCII)
_INDEX = re.compile(r"0|[1-9]\d{0,8}", re.ASCII)

_Fault = tuple[str, int, str]  # its kind, its line (0 for none), and what is wrong


@dataclass(frozen=True, kw_only=True)
class LeaderboardFile:
    """One file of the zip: a header, and a line for each test row in the order of the rows."""

    name: str  # with .tsv
    task: TaskConfig  # its model predicts the rows
    place: str  # SPLIT, or FOLDER/SPLIT of the data set
    rows: int

    @functools.cached_property
    def words(self) -> dict[str, str]:
        """What is written for each class, in the order of the codes; empty for scores."""
        labels = self.task.labels
        written = map(str, range(len(labels))) if self.task.leaderboard_labels == "codes" else labels
        return dict(zip(labels, written, strict=True))

    @property
    def allowed(self) -> str:
        """The allowed predictions, for a message."""
        if self.task.label_range is not None:
            return "a number from {:g} to {:g} with at most {} decimals".format(*self.task.label_range, DECIMALS)
        if all(word == label for label, word in self.words.items()):
            return " or ".join(self.words)
        return " or ".join(f"{word} ({label})" for label, word in self.words.items())

    @property
    def most_bytes(self) -> int:
        """The largest file that is read."""
        return _LONGEST_LINE * (self.rows + 100)

    def allows(self, prediction: str) -> bool:
        """Return whether a prediction is written as the leaderboard wants it."""
        if self.task.label_range is None:
            return prediction in self.words.values()
        low, high = self.task.label_range
        return _SCORE.fullmatch(prediction) is not None and low <= float(prediction) <= high


def lay_out(tasks: Sequence[TaskConfig]) -> tuple[LeaderboardFile, ...]:
    """List every file that these tasks name, sorted by name."""
    files = (
        LeaderboardFile(name=f"{name}.tsv", task=task, place=place, rows=task.rows[place])
        for task in tasks
        for name, place in task.leaderboard.items()
    )
    return tuple(sorted(files, key=lambda file: file.name))


def parse_fills(words: Sequence[str], files: Sequence[LeaderboardFile]) -> dict[str, str]:
    """Parse TASK or TASK=PREDICTION words: a class name or a score by task.

    PREDICTION is a class by its name or code, or a score. Without it, it is the class with the code 0, or the middle of
    the range. A UsageError if the task or its prediction is unknown.
    """
    by_task, fills = {file.task.name: file for file in files}, dict[str, str]()
    for word in words:
        task, equals, value = word.partition("=")
        if task not in by_task:
            raise UsageError(f"--fill {word}: unknown task{did_you_mean(task, by_task)}")
        if task in fills:
            raise UsageError(f"--fill {word}: {task} has a --fill already")
        file = by_task[task]
        by_code = {str(code): label for code, label in enumerate(file.words)}  # empty for scores
        middle = f"{sum(file.task.label_range or ()) / 2:.{DECIMALS}f}"
        fills[task] = by_code.get(value, value) if equals else by_code.get("0", middle)
        if not file.allows(file.words.get(fills[task], fills[task])):
            raise UsageError(f"--fill {word}: must be {file.allowed}{close_match(value, file.words)}")
        if not file.words:  # a score, as the file will have it
            fills[task] = f"{float(fills[task]):.{DECIMALS}f}"
    return fills


def write_rows(file: LeaderboardFile, predictions: Sequence[str] | NDArray[Any]) -> bytes:
    """Format a file of classes, or of scores, which are clipped to their range and rounded.

    `predictions` are (rows,) class names or scores in the order of the test rows. A ValueError for another number of
    rows, a name that the file does not allow, or a score that is not finite.
    """
    if file.task.label_range is None:
        if unknown := set(predictions) - file.words.keys():
            raise ValueError(f"{file.name}: {min(unknown)!r} is not one of {', '.join(file.words)}")
        words = [file.words[name] for name in predictions]
    else:
        scores = np.asarray(predictions, dtype=np.float64)
        if not np.isfinite(scores).all():
            raise ValueError(f"{file.name}: finite scores are needed")
        low, high = file.task.label_range
        clipped = np.clip(scores, low, high) + 0.0  # without a negative zero
        words = [f"{score:.{DECIMALS}f}" for score in clipped]
    if len(words) != file.rows:
        raise ValueError(f"{file.name}: {len(words)} predictions for {file.rows} rows")
    lines = (f"{index}\t{word}\n" for index, word in enumerate(words))
    return f"{HEADER}\n{''.join(lines)}".encode("ascii")


def pack_zip(contents: Mapping[str, bytes]) -> bytes:
    """Pack the files in the order of their names, with a fixed date and not compressed.

    Compressed bytes would depend on the version of zlib; four megabytes need no compression.
    """
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(contents):
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o100644 << 16  # a regular file of Unix
            archive.writestr(info, contents[name])
    return stream.getvalue()


def check_submission(path: Path, files: Sequence[LeaderboardFile]) -> list[str]:
    """List every reason to refuse the zip, which must hold `files`; of one kind in one file, the first few and a count.

    Each is `FILE line N: PROBLEM`; without the line, or without both, if the fault is not in one. An InputError if the
    zip does not exist, or cannot be read.
    """
    most_bytes = _DIRECTORY + sum(file.most_bytes for file in files)
    try:
        with open_regular(path) as stream:
            content = stream.read(most_bytes + 1)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(content) > most_bytes:
        return [f"more than {most_bytes:,} bytes; at most {most_bytes:,} are read"]
    if not content.startswith(b"PK"):  # zipfile would accept other bytes before a zip
        return ["not a readable zip file"]
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except Exception as error:  # zipfile raises many kinds on damaged bytes
        return [f"not a readable zip file ({printable(first_line(error))})"]
    with archive:
        found = {info.orig_filename: info for info in reversed(archive.infolist())}  # of duplicates the first
        names = [info.orig_filename for info in archive.infolist()]
        faults = [*_word(_check_names(names, [file.name for file in files]))]
        for file in files:
            if file.name in found:
                try:
                    lines = _read_lines(file, found[file.name], archive=archive)
                    faults += _word(_check_lines(lines, file), file=file.name)
                except InputError as error:
                    faults.append(f"{file.name}: {error}")
    return faults


def _word(faults: Iterable[_Fault], *, file: str = "") -> Iterator[str]:
    """Word the first few faults of each kind, then count the others."""
    start, counts = f"{file}: " if file else "", Counter[str]()
    for kind, line, problem in faults:
        counts[kind] += 1
        if counts[kind] <= SHOWN:
            yield f"{file} line {line}: {problem}" if line else start + problem
    yield from (f"{start}and {count - SHOWN:,} more: {kind}" for kind, count in counts.items() if count > SHOWN)


def _check_names(names: Sequence[str], wanted: Sequence[str]) -> Iterator[_Fault]:
    missing = [name for name in wanted if name not in names]
    for name in wanted:
        yield from [("duplicate files", 0, f"duplicate file {name}")] * (names.count(name) - 1)
    for name in names:
        problem = f"not one of the leaderboard's files{did_you_mean(printable(name), missing or wanted)}"
        if "/" in name or "\\" in name:
            problem = "in a folder; all files must be at the root of the zip (zip -X, if macOS added it)"
        if name not in wanted:
            yield "files that do not belong", 0, f"{printable(name)}: {problem}"
    yield from (("missing files", 0, f"{name} is missing") for name in missing)


def _read_lines(file: LeaderboardFile, info: zipfile.ZipInfo, *, archive: zipfile.ZipFile) -> list[str]:
    link, encrypted = stat.S_ISLNK(info.external_attr >> 16), info.flag_bits & 1
    if link or encrypted or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError("must be a plain file without a password, compressed with deflate or not at all")
    if info.file_size > file.most_bytes:
        raise InputError(f"{info.file_size:,} bytes uncompressed; at most {file.most_bytes:,} are read")
    try:
        with archive.open(info) as stream:
            content = stream.read(file.most_bytes + 1)  # never more than the directory's entry says
    except Exception as error:  # zipfile raises many kinds on damaged bytes
        raise InputError(f"cannot be read ({printable(first_line(error))})") from error
    if len(content) != info.file_size:
        raise InputError(f"damaged: {len(content):,} bytes uncompressed, but {info.file_size:,} announced")
    return content.removesuffix(b"\n").decode("utf-8", "backslashreplace").split("\n")


def _check_lines(lines: Sequence[str], file: LeaderboardFile) -> Iterator[_Fault]:
    expected, line_of = 0, dict[int, int]()  # the line of each index
    for number, ended in enumerate(lines, start=1):
        line = ended.removesuffix("\r")
        if line != ended:
            yield "carriage returns", number, "ends with a carriage return (Windows); must be a line feed"
        if number == 1 and line != HEADER:
            yield "header", 1, f"the header is '{printable(line)}'; must be index, a tab, prediction"
        if number == 1 and not line[:1].isdigit():  # without a header, rows begin at once
            continue
        if line.count("\t") != 1:
            fields = plural(line.count("\t") + 1, "field")
            yield "lines without two fields", number, f"{fields}, not two with a tab between: '{printable(line)}'"
            continue
        text, _, prediction = line.partition("\t")
        index = int(text) if _INDEX.fullmatch(text) else file.rows
        if index >= file.rows:
            problem = f"index is '{printable(text)}'; must be a plain whole number from 0 to {file.rows - 1}"
            yield "wrong indexes", number, problem
            expected += 1
        elif index in line_of:
            yield "duplicate indexes", number, f"duplicate index {index}; first on line {line_of[index]:,}"
        else:
            if index != expected:
                problem = f"index {index}; must be {expected} (from 0, in the order of the test rows)"
                yield "indexes out of order", number, problem
            line_of[index], expected = number, index + 1
        if not file.allows(prediction):
            yield "wrong predictions", number, f"prediction is '{printable(prediction)}'; must be {file.allowed}"
    if missing := [str(index) for index in range(file.rows) if index not in line_of]:
        found = f"{len(line_of):,} of {file.rows:,} rows"
        yield "count", len(lines), f"predictions for {found}; missing: {list_names(missing, 5)}"


def printable(text: str) -> str:
    """Make untrusted text safe for a terminal: in ASCII with escapes, without the middle of a long one."""
    return cut(visible(text.encode("ascii", "backslashreplace").decode()), _SHOWN_TEXT)
