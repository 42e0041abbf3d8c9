"""Which files the leaderboard's zip holds and what may stand in them, from the facts of the tasks. Knows no files."""

from collections.abc import Sequence
from dataclasses import dataclass

from glue_bench.config.schema import TaskConfig

HEADER = "index\tprediction"
DECIMALS = 3  # of a score
# Bytes of a line, its end included: a generous bound on what is unpacked of a stranger's zip.
_LONGEST_LINE = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderboardFile:
    """One file of the zip: a header, and a line for each test row in the rows' order."""

    name: str  # with .tsv
    task: str  # whose model predicts it
    place: str  # SPLIT, or FOLDER/SPLIT of the data set
    rows: int
    labels: tuple[str, ...] = ()  # what a prediction may be, in the order of the codes; empty for scores
    codes: bool = False  # whether classes are written as 0, 1, ... rather than by name
    score_range: tuple[float, float] | None = None  # lowest and highest score; None for classes

    @property
    def words(self) -> tuple[str, ...]:
        """The predictions as they are written, in the order of the codes; empty for scores."""
        return tuple(str(code) for code in range(len(self.labels))) if self.codes else self.labels

    @property
    def allowed(self) -> str:
        """What a prediction may be, for a message."""
        if self.score_range is not None:
            low, high = self.score_range
            return f"a number from {low:g} to {high:g}"
        if self.codes:
            return " or ".join(f"{code} ({label})" for code, label in enumerate(self.labels))
        return ", ".join(self.labels)

    @property
    def most_bytes(self) -> int:
        """The largest file that is looked into."""
        return _LONGEST_LINE * (self.rows + 100)


def lay_out(tasks: Sequence[TaskConfig]) -> tuple[LeaderboardFile, ...]:
    """Every file that these tasks' facts name, sorted by name."""
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
