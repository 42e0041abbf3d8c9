"""Which cell of a grid stands in the table, and what its choice rests on. Knows no published numbers, no formats."""

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from glue_bench.config.keys import NOT_IN_IDENTITY, keys_of
from glue_bench.config.schema import TrainerConfig
from glue_bench.runs.record import Record

# Trainer values that may differ among the runs of a row.
EXECUTION = keys_of(TrainerConfig, *NOT_IN_IDENTITY)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowRuns:
    """The runs of one row: all seeds of a setting, or of the chosen cell of a grid."""

    runs: list[Record]
    cell: Mapping[str, Any]  # the chosen trainer values; empty without a grid, or if no cell has a finished run
    cells: int = 0  # that were tried; 0 without a grid
    planned: int = 0  # that the grid has
    incomplete: Sequence[str] = ()  # cells with fewer finished seeds than others, in words

    @property
    def optimistic(self) -> bool:
        """Whether the epoch or the cell was chosen on the very rows that the score is of."""
        selection = self.runs[0].selection
        return bool(_finished(self.runs)) and (selection == "best" or (selection == "last" and self.cells > 1))

    def notes(self) -> list[str]:
        """What was chosen, from what and on which rows."""
        if not _finished(self.runs):
            return [f"{_count(self.cells)}, none finished"] if self.cells else []
        notes = []
        if self.cells:
            best = f"best of {_count(self.cells)}" if self.cells > 1 else "one cell"
            missing = f" (the grid has {self.planned})" if self.cells < self.planned else ""
            notes.append(f"{best}{missing}: {_words(self.cell)}")
        elif self.runs[0].selection != "last":
            notes.append("best epoch")
        if self.optimistic:
            notes.append("selected on the dev split: optimistic")
        elif self.runs[0].selection == "holdout":
            notes.append("selected on held-out training rows")
        if self.incomplete:
            notes.append(f"incomplete: {', '.join(self.incomplete)}")
        return notes


def choose_cells(groups: list[list[Record]], score: Callable[[Record], float]) -> list[RowRuns]:
    """Settings to rows: the settings that differ in nothing but their cell are one row, of the best cell.

    The best has the highest median score over its seeds; a cell with fewer finished seeds than another is not chosen.

    Args:
        groups: the runs of each setting.
        score: of a finished run, what cells are chosen by; higher is better.
    """
    rows, grids = list[RowRuns](), defaultdict[str, list[list[Record]]](list)
    for runs in groups:
        if _cell(runs[0]):
            grids[_setting_without_cell(runs[0])].append(runs)
        else:
            rows.append(RowRuns(runs=runs, cell={}))
    return rows + [_choose(cells, score) for alike in grids.values() for cells in _split_by_inputs(alike)]


def selection_score(record: Record, headline: float) -> float:
    """What the cells of a grid are chosen by: the selected epoch's score, or the headline where none was selected."""
    if record.selection == "last":
        return headline
    score = record.selected.get("score")
    return float(score) if isinstance(score, int | float) and math.isfinite(score) else -math.inf


def count_unfinished(runs: Sequence[Record]) -> dict[str, int]:
    """Status to number of runs, of those that have no score."""
    statuses = ("failed", "diverged", "interrupted")
    return {status: count for status in statuses if (count := sum(run.status == status for run in runs))}


def _choose(cells: list[list[Record]], score: Callable[[Record], float]) -> RowRuns:
    cells = sorted(cells, key=lambda runs: list(_cell(runs[0]).values()))
    most = max(len(_finished(runs)) for runs in cells)
    if most == 0:
        return RowRuns(runs=[run for runs in cells for run in runs], cell={}, cells=len(cells))
    complete = [runs for runs in cells if len(_finished(runs)) == most]
    chosen = max(complete, key=lambda runs: statistics.median(score(run) for run in _finished(runs)))
    incomplete = [_describe_incomplete(runs, most) for runs in cells if len(_finished(runs)) < most]
    planned = max(_planned(runs[0]) for runs in cells)
    return RowRuns(runs=chosen, cell=_cell(chosen[0]), cells=len(cells), planned=planned, incomplete=incomplete)


def _split_by_inputs(groups: list[list[Record]]) -> list[list[list[Record]]]:
    """The groups by what only runs that read their inputs know; groups without such a run go with the first."""
    split = defaultdict[tuple[str, ...], list[list[Record]]](list)
    unknown = []
    for runs in groups:
        known = next(iter(_finished(runs)), None)
        if known is None:
            unknown.append(runs)
        else:
            weights, rows = known.encoder.get("weights_sha256"), known.data.get("fingerprint")
            split[str(weights), str(rows), known.precision].append(runs)
    if not split:
        return [unknown]
    first, *others = split.values()
    return [first + unknown, *others]


def _setting_without_cell(record: Record) -> str:
    """What two cells of one grid have in common."""
    config, cell = record.config, _cell(record)
    trainer = {key: value for key, value in config["trainer"].items() if key not in cell and key not in EXECUTION}
    # A value that the grid does not hold is a change of the recipe, and stands in a row that says so.
    common = [record.task, record.init_kind, record.selection, trainer, config.get("recipe_changes")]
    common += [sorted(cell), config.get("holdout") if record.selection == "holdout" else None]
    common += [config["data"].get(key) for key in ("max_train_rows", "max_eval_rows")]
    return json.dumps(common, sort_keys=True, default=str)


def _describe_incomplete(runs: list[Record], most: int) -> str:
    ended = [f"{count} {status}" for status, count in count_unfinished(runs).items()]
    return f"{_words(_cell(runs[0]))} ({', '.join([f'{len(_finished(runs))} of {most} seeds', *ended])})"


def _finished(runs: list[Record]) -> list[Record]:
    return [run for run in runs if run.status == "finished"]


def _planned(record: Record) -> int:
    """Cells of a run's grid, whether a sweep narrows it or not."""
    return math.prod(len(values) for values in record.config.get("grid", {}).values())


def _cell(record: Record) -> dict[str, Any]:
    return dict(record.config.get("cell") or {})


def _words(cell: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in cell.items())


def _count(cells: int) -> str:
    return f"{cells} {'cell' if cells == 1 else 'cells'}"
