"""Which rows a run trains on, which choose its epoch, and which are scored in the end. Knows no model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from numpy.typing import NDArray

from glue_bench.config.schema import RunConfig
from glue_bench.config.task import TaskConfig
from glue_bench.data.encoding import Encoded
from glue_bench.data.rows import Split, TaskData, draw_halves
from glue_bench.errors import InputError
from glue_bench.training.course import holdout_stream
from glue_bench.training.selection import draw_holdout, take_rows


class Judged(NamedTuple):
    """Encoded rows with their labels, and the validation splits that they stand for."""

    splits: Sequence[str]
    rows: Encoded
    labels: NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """The rows of a run by what they are for."""

    train: Encoded
    labels: NDArray[Any]  # of these rows
    choosing: Sequence[Judged]  # empty where the last epoch is kept
    judged: Sequence[Judged]  # those that are scored
    on: str  # validation, or holdout: rows of the training split
    scored: Mapping[str, tuple[Split, Encoded]]  # by validation split

    def counts(self, data: TaskData) -> dict[str, dict[str, int]]:
        """Return the numbers of rows for the record: of each split, and of the halves that choose the epoch."""
        rows = data.rows | {name: len(split) for name, (split, _) in self.scored.items()}
        halves = {name: data.rows[name] - rows[name] for name in self.scored if rows[name] < data.rows[name]}
        return {"rows": rows, **({"choosing": halves} if halves else {})}


def divide_rows(task: TaskConfig, config: RunConfig, *, encoded: Mapping[str, Encoded], data: TaskData) -> Division:
    """Divide the rows as the selection says; an InputError if there are too few."""
    train, labels, on = encoded[task.train], data.splits[task.train].labels, "validation"
    scored = {name: (data.splits[name], encoded[name]) for name in task.validation}
    choosing = list[Judged]()
    if config.selection == "holdout":
        _require_two(config.selection, task.train, rows=len(train))
        kept, held = draw_holdout(len(train), fraction=config.holdout, seed=holdout_stream(config.seed))
        choosing = [Judged(task.validation, take_rows(train, held), labels[held])]  # in place of every split
        train, labels, on = take_rows(train, kept), labels[kept], "holdout"
    if config.selection == "halves":
        for name, (split, rows) in scored.items():
            _require_two(config.selection, name, rows=len(rows))
            choose, score = draw_halves(len(rows), seed=config.seed)
            choosing.append(Judged([name], take_rows(rows, choose), split.labels[choose]))
            scored[name] = split.take(score), take_rows(rows, score)
    judged = [Judged([name], rows, split.labels) for name, (split, rows) in scored.items()]
    choosing = judged if config.selection == "best" else choosing
    return Division(train=train, labels=labels, choosing=choosing, judged=judged, on=on, scored=scored)


def _require_two(selection: str, split: str, *, rows: int) -> None:
    if rows < 2:
        raise InputError(f"selection={selection}: {split} has {rows} row, and one is needed on each side")
