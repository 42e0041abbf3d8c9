"""What is wrong with a submission: where, in words, and no more of one kind than a person wants to read."""

from collections import Counter
from dataclasses import dataclass

SHOWN = 5  # faults of one kind in one file


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One reason for the leaderboard to refuse a submission."""

    file: str | None  # as the zip names it, made printable; None for the zip itself
    line: int | None  # from 1; None for the file as a whole
    problem: str

    def __str__(self) -> str:
        """`FILE line N: PROBLEM`."""
        where = " ".join([*([self.file] if self.file else []), *([f"line {self.line}"] if self.line else [])])
        return f"{where}: {self.problem}" if where else self.problem


class Findings:
    """The faults of one file, or of the zip itself, in the order in which they were found."""

    def __init__(self, file: str | None) -> None:
        """Start with none.

        Args:
            file: as the zip names it; None for the zip itself.
        """
        self._file = None if file is None else printable(file)
        self._shown = list[Fault]()
        self._counts = Counter[str]()

    def add(self, kind: str, problem: str, *, line: int | None = None) -> None:
        """Keep a fault; from the sixth of its kind on, only count it."""
        self._counts[kind] += 1
        if self._counts[kind] <= SHOWN:
            self._shown.append(Fault(file=self._file, line=line, problem=problem))

    @property
    def count(self) -> int:
        """All faults, shown or not."""
        return self._counts.total()

    def faults(self) -> list[Fault]:
        """The first of each kind by line, and how many more there are of it."""
        more = [
            Fault(file=self._file, line=None, problem=f"and {count - SHOWN:,} more: {kind}")
            for kind, count in self._counts.items()
            if count > SHOWN
        ]
        return [*sorted(self._shown, key=lambda fault: fault.line or 0), *more]


def printable(text: str, *, longest: int = 60) -> str:
    """A stranger's text for a terminal: plain ASCII as it is, anything else escaped, cut where it is long."""
    shown = text if text.isascii() and text.isprintable() else ascii(text)[1:-1]
    return shown if len(shown) <= longest else f"{shown[: longest - 3]}..."
