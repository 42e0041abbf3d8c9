"""Which rows a run trains on, which choose its epoch, and which are scored in the end. Knows no model."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from glue_bench.config.schema import RunConfig
from glue_bench.data.encoding import Encoded
from glue_bench.data.rows import draw_halves
from glue_bench.errors import InputError
from glue_bench.training.course import holdout_stream
from glue_bench.training.selection import draw_holdout, take_rows


class Rows(NamedTuple):
    """Rows without their texts."""

    encoded: Encoded
    labels: NDArray[Any]
    idx: NDArray[np.int64]

    def take(self, places: NDArray[np.int64]) -> "Rows":
        """Return some rows, in this order."""
        return Rows(take_rows(self.encoded, places), self.labels[places], self.idx[places])


class Division(NamedTuple):
    """The rows of a run by what they are for."""

    train: Rows
    choosing: Mapping[str, Rows]  # of each validation split, or one for all; empty where the last epoch is kept
    scored: Mapping[str, Rows]  # of each validation split


def divide_rows(config: RunConfig, every: Mapping[str, Rows]) -> Division:
    """Divide the rows of the splits as the selection says; an InputError if there are too few."""
    task, selection, seed = config.task, config.selection, config.seed
    train, scored = every[task.train], {name: every[name] for name in task.validation}
    for name in {"holdout": [task.train], "halves": task.validation}.get(selection, ()):
        if (rows := len(every[name].idx)) < 2:
            raise InputError(f"selection={selection}: {name} has {rows} row, and one is needed on each side")
    if selection == "holdout":
        kept, held = draw_holdout(len(train.idx), fraction=config.holdout, seed=holdout_stream(seed))
        return Division(train.take(kept), {"holdout": train.take(held)}, scored)
    if selection == "halves":
        halves = {name: draw_halves(len(rows.idx), seed=seed) for name, rows in scored.items()}
        choosing, scored = ({name: scored[name].take(half[side]) for name, half in halves.items()} for side in (0, 1))
        return Division(train, choosing, scored)
    return Division(train, scored if selection == "best" else {}, scored)
