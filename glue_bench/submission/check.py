"""Check a zip against what the leaderboard wants, and report every fault with file and line. Changes nothing."""

import os
import re
import stat
import zipfile
from array import array
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from glue_bench.errors import InputError, did_you_mean
from glue_bench.reading import open_regular
from glue_bench.submission.layout import DECIMALS, HEADER, LeaderboardFile
from glue_bench.text import first_line, plural

SHOWN = 5  # faults of one kind in one file
_DIRECTORY = 65_536  # bytes for names and dates
_READABLE = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_SCORE = re.compile(rb"\d+(\.\d{1,%d})?" % DECIMALS)
_INDEX = re.compile(rb"0|[1-9]\d{0,8}")


class _Findings:
    """The faults of one file, or of the zip itself: the first few of each kind, and how many more there are."""

    def __init__(self, file: str = "") -> None:
        self._file, self._shown, self._counts = file, list[tuple[int, str]](), Counter[str]()

    def add(self, kind: str, problem: str, *, line: int = 0) -> None:
        self._counts[kind] += 1
        if self._counts[kind] <= SHOWN:
            where = f"{self._file} line {line}: " if line else f"{self._file}: " if self._file else ""
            self._shown.append((line, where + problem))

    def faults(self) -> list[str]:
        rest = {kind: count - SHOWN for kind, count in self._counts.items() if count > SHOWN}
        start = f"{self._file}: " if self._file else ""
        shown = [problem for _, problem in sorted(self._shown, key=lambda each: each[0])]
        return [*shown, *(f"{start}and {count:,} more: {kind}" for kind, count in rest.items())]


def check_submission(path: Path, files: Sequence[LeaderboardFile]) -> list[str]:
    """List every reason to refuse the zip, which must hold `files`; of one kind in one file, the first few and a count.

    Each is `FILE line N: PROBLEM`; without the line, or without both, if the fault is not in one. An InputError if the
    zip does not exist, or cannot be read.
    """
    whole = _Findings()
    archive = _open(path, whole, most_bytes=_DIRECTORY + sum(file.most_bytes for file in files))
    if archive is None:
        return whole.faults()
    with archive:
        found = _match_members(archive, [file.name for file in files], findings=whole)
        faults = whole.faults()
        for file in files:
            if file.name in found:
                findings = _Findings(file.name)
                content = _read(archive, found[file.name], findings=findings, most_bytes=file.most_bytes)
                if content is not None:
                    _check_lines(content, file, findings=findings)
                faults += findings.faults()
    return faults


def _open(path: Path, findings: _Findings, *, most_bytes: int) -> zipfile.ZipFile | None:
    try:
        with open_regular(path) as stream:
            size, start = os.fstat(stream.fileno()).st_size, stream.read(2)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if size > most_bytes:
        findings.add("size", f"{size:,} bytes; at most {most_bytes:,} are read")
    elif start != b"PK":  # zipfile would accept other bytes before a zip
        findings.add("format", "not a readable zip file")
    else:
        try:
            return zipfile.ZipFile(path)
        except Exception as error:  # zipfile raises many kinds on damaged bytes
            findings.add("format", f"not a readable zip file ({printable(first_line(error))})")
    return None


def _match_members(
    archive: zipfile.ZipFile, wanted: Sequence[str], *, findings: _Findings
) -> dict[str, zipfile.ZipInfo]:
    found, others = dict[str, zipfile.ZipInfo](), list[str]()
    for info in archive.infolist():
        name = info.orig_filename
        if name not in wanted:
            others.append(name)
        elif name in found:
            findings.add("duplicate files", f"duplicate file {name}")
        else:
            found[name] = info
    missing = [name for name in wanted if name not in found]
    for name in others:
        if "__MACOSX" in name or name.endswith(".DS_Store"):
            problem = "added by macOS; zip without it (zip -X)"
        elif "/" in name or "\\" in name:
            problem = "in a folder; all files must be at the root of the zip"
        else:
            problem = f"not one of the leaderboard's files{did_you_mean(printable(name), missing or wanted)}"
        findings.add("files that do not belong", f"{printable(name)}: {problem}")
    for name in missing:
        findings.add("missing files", f"{name} is missing")
    return found


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, *, findings: _Findings, most_bytes: int) -> bytes | None:
    link, encrypted = stat.S_ISLNK(info.external_attr >> 16), info.flag_bits & 1
    if link or encrypted or info.compress_type not in _READABLE:
        findings.add("kind", "must be a plain file without a password, compressed with deflate or not at all")
    elif info.file_size > most_bytes:
        findings.add("size", f"{info.file_size:,} bytes uncompressed; at most {most_bytes:,} are read")
    else:
        try:
            with archive.open(info) as stream:
                content = stream.read(most_bytes + 1)  # never more than the directory's entry says
            if len(content) == info.file_size:
                return content
            findings.add("kind", f"damaged: {len(content):,} bytes uncompressed, but {info.file_size:,} announced")
        except Exception as error:  # zipfile raises many kinds on damaged bytes
            findings.add("kind", f"cannot be read ({printable(first_line(error))})")
    return None


def _check_lines(content: bytes, file: LeaderboardFile, *, findings: _Findings) -> None:
    """Add everything that is wrong with a file's content to `findings`."""
    lines = content.split(b"\n")
    if not lines[-1]:
        lines.pop()  # a last line without a line feed is allowed too
    if not lines:
        findings.add("empty", f"empty; must be a header and {file.rows:,} lines")
        return
    for number, line in enumerate(lines, start=1):
        if line.endswith(b"\r"):
            findings.add("carriage returns", "ends with a carriage return (Windows); must be a line feed", line=number)
            lines[number - 1] = line[:-1]
    header = lines[0]
    if header != HEADER.encode():
        findings.add("header", f"the header is {_quote(header)}; must be index, a tab, prediction", line=1)
    rows = _Rows(file, findings)
    first = 1 if header[:1].isdigit() else 2  # without a header, rows begin at once
    for number, line in enumerate(lines[first - 1 :], start=first):
        rows.check(line, number)
    rows.check_count(len(lines))


class _Rows:
    """The rows of one file, in turn."""

    def __init__(self, file: LeaderboardFile, findings: _Findings) -> None:
        self._file, self._findings = file, findings
        self._words = {word.encode() for word in file.words}
        self._lines = array("l", [0]) * file.rows  # the line of each index; 0 for none yet
        self._expected = 0

    def check(self, line: bytes, number: int) -> None:
        index, _, prediction = line.partition(b"\t")
        if index == b"%d" % self._expected and self._expected < self._file.rows and prediction in self._words:
            self._lines[self._expected] = number  # the usual case
            self._expected += 1
        elif line.count(b"\t") != 1:
            fields = plural(line.count(b"\t") + 1, "field")
            problem = f"{fields}, not two with a tab between: {_quote(line)}"
            self._findings.add("lines without two fields", problem, line=number)
        else:
            self._check_index(index, number)
            low, high = self._file.score_range or (0, 0)
            is_score = _SCORE.fullmatch(prediction) is not None and low <= float(prediction) <= high
            if not (is_score if self._file.score_range else prediction in self._words):
                decimals = f" with at most {DECIMALS} decimals" if self._file.score_range else ""
                problem = f"prediction is {_quote(prediction)}; must be {self._file.allowed}{decimals}"
                self._findings.add("wrong predictions", problem, line=number)

    def check_count(self, last: int) -> None:
        """Report missing rows, once all lines are read."""
        missing = [str(index) for index, line in enumerate(self._lines) if not line]
        if missing:
            first, rows = ", ".join(missing[:5] + ["..."] * (len(missing) > 5)), self._file.rows
            problem = f"predictions for {rows - len(missing):,} of {rows:,} rows; missing: {first}"
            self._findings.add("count", problem, line=last)

    def _check_index(self, text: bytes, number: int) -> None:
        rows = self._file.rows
        index = int(text) if _INDEX.fullmatch(text) else rows
        if index >= rows:
            problem = f"index is {_quote(text)}; must be a plain whole number from 0 to {rows - 1}"
            self._findings.add("wrong indexes", problem, line=number)
            self._expected += 1
        elif self._lines[index]:
            problem = f"duplicate index {index}; first on line {self._lines[index]:,}"
            self._findings.add("duplicate indexes", problem, line=number)
        else:
            self._lines[index] = number
            if index != self._expected:
                problem = f"index {index}; must be {self._expected} (from 0, in the order of the test rows)"
                self._findings.add("indexes out of order", problem, line=number)
            self._expected = index + 1


def printable(text: str, *, longest: int = 60) -> str:
    """Make untrusted text safe for a terminal: plain ASCII unchanged, anything else escaped; long text is cut."""
    shown = text if text.isascii() and text.isprintable() else ascii(text)[1:-1]
    return shown if len(shown) <= longest else f"{shown[: longest - 3]}..."


def _quote(text: bytes) -> str:
    return f"'{printable(text.decode('utf-8', 'backslashreplace'), longest=40)}'"
