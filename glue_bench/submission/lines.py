"""The lines of one file of a submission against what the leaderboard wants. Knows no zip."""

import math
import re
from array import array

from glue_bench.submission.findings import Findings, printable
from glue_bench.submission.layout import DECIMALS, HEADER, LeaderboardFile

_MARKS = {
    b"\xef\xbb\xbf": "a byte order mark (UTF-8 with BOM)",
    b"\xff\xfe": "a byte order mark (UTF-16)",
    b"\xfe\xff": "a byte order mark (UTF-16)",
}
_PLAIN_NUMBER = re.compile(r"\d+(?:\.(\d+))?")


def check_lines(content: bytes, file: LeaderboardFile, findings: Findings) -> None:
    """Add everything that is wrong with a file's content to `findings`."""
    for mark, words in _MARKS.items():
        if content.startswith(mark):
            findings.add("mark", f"begins with {words}; plain ASCII is wanted", line=1)
            content = content.removeprefix(mark)
            if len(mark) == 2:
                return  # nothing of it is readable as lines
    if not content:
        findings.add("empty", f"empty; a header and {file.rows:,} lines are wanted")
        return
    lines = content.split(b"\n")
    if not lines[-1]:
        lines.pop()  # what follows the last line's end; a last line without an end is allowed
    has_header = _check_header(lines[0], findings)
    rows = _Rows(file, findings)
    for number, line in enumerate(lines[has_header:], start=1 + has_header):
        rows.check(line, number)
    rows.check_count(len(lines))


def _check_header(line: bytes, findings: Findings) -> bool:
    """Whether the first line is a header, good or bad, rather than a row."""
    if line == HEADER.encode():
        return True
    if line.endswith(b"\r"):
        findings.add("carriage returns", _RETURN, line=1)
        if line[:-1] == HEADER.encode():
            return True
    wanted = "it must be index, a tab, prediction"
    if line[:1].isdigit():
        findings.add("header", f"no header: {_shown(line)}; {wanted}", line=1)
        return False
    findings.add("header", f"the header is {_shown(line)}; {wanted}", line=1)
    return True


_RETURN = "ends with a carriage return (Windows); a line feed alone is wanted"


class _Rows:
    """The rows of one file, and which indexes were there."""

    def __init__(self, file: LeaderboardFile, findings: Findings) -> None:
        self._file, self._findings = file, findings
        self._words = {word.encode() for word in file.words}
        self._lines = array("l", [0]) * file.rows  # the line that an index was first on; 0 for none yet
        self._expected = 0

    def check(self, line: bytes, number: int) -> None:
        if line.endswith(b"\r"):
            self._findings.add("carriage returns", _RETURN, line=number)
            line = line[:-1]
        index, tab, prediction = line.partition(b"\t")
        if index == b"%d" % self._expected and self._expected < self._file.rows and prediction in self._words:
            self._lines[self._expected] = number  # as nearly all lines are
            self._expected += 1
        elif not line.strip():
            self._findings.add("blank lines", "blank", line=number)
        elif not tab or b"\t" in prediction:
            fields = line.count(b"\t") + 1
            problem = f"{fields} field{'s' * (fields > 1)}, not two with a tab between: {_shown(line)}"
            self._findings.add("lines without two fields", problem, line=number)
        else:
            self._check_index(index, number)
            self._check_prediction(prediction, number)

    def check_count(self, last: int) -> None:
        """Say how many rows are missing, once all were read."""
        missing = [index for index, line in enumerate(self._lines) if not line]
        if not missing:
            return
        first = ", ".join(str(index) for index in missing[:5]) + (", ..." if len(missing) > 5 else "")
        rows = self._file.rows
        problem = f"predictions for {rows - len(missing):,} of {rows:,} rows; missing: {first}"
        self._findings.add("count", problem, line=last)

    def _check_index(self, text: bytes, number: int) -> None:
        if not text.isdigit() or (text[:1] == b"0" and text != b"0") or len(text) > 9:
            problem = f"index is {_shown(text)}, not a plain whole number from 0"
            self._findings.add("indexes that are no plain numbers", problem, line=number)
            self._expected += 1
            return
        index, rows = int(text), self._file.rows
        if index >= rows:
            self._findings.add(
                "indexes too high", f"index {index}: the highest of {rows:,} rows is {rows - 1}", line=number
            )
            return
        if self._lines[index]:
            problem = f"index {index} is there twice; it was on line {self._lines[index]:,} already"
            self._findings.add("indexes that are there twice", problem, line=number)
            return
        self._lines[index] = number
        if index != self._expected:
            problem = f"index {index} where {self._expected} is expected (from 0, in the order of the test rows)"
            self._findings.add("indexes out of order", problem, line=number)
        self._expected = index + 1

    def _check_prediction(self, prediction: bytes, number: int) -> None:
        if self._file.score_range is not None:
            self._check_score(prediction, number)
        elif prediction not in self._words:
            problem = f"prediction is {_shown(prediction)}; allowed: {self._file.allowed}"
            self._findings.add("predictions that are not allowed", problem, line=number)

    def _check_score(self, prediction: bytes, number: int) -> None:
        text = prediction.decode("ascii", "replace")
        low, high = self._file.score_range or (-math.inf, math.inf)
        plain = _PLAIN_NUMBER.fullmatch(text)
        try:
            score = float(text)
        except ValueError:
            score = math.nan
        if math.isnan(score) or (plain is None and low <= score <= high):
            problem = f"prediction is {_shown(prediction)}, not a plain decimal number such as {high:.{DECIMALS}f}"
            self._findings.add("predictions that are no plain numbers", problem, line=number)
        elif not low <= score <= high:
            problem = f"prediction is {_shown(prediction)}; allowed is {self._file.allowed}"
            self._findings.add("scores out of range", problem, line=number)
        elif plain is not None and len(plain[1] or "") > DECIMALS:
            problem = f"prediction is {_shown(prediction)}; at most {DECIMALS} decimals are wanted"
            self._findings.add("scores with too many decimals", problem, line=number)


def _shown(text: bytes) -> str:
    return f"'{printable(text.decode('utf-8', 'backslashreplace'), longest=40)}'"
