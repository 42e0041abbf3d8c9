"""Columns of a file to checked rows of a task: labels by name, nothing missing, nothing out of range."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from glue_bench.config.schema import DataConfig, TaskConfig
from glue_bench.data.rows import Split, TaskData, Texts, fingerprint_splits
from glue_bench.data.sample import generate
from glue_bench.data.sources import DataSource
from glue_bench.data.tables import Table, read_table
from glue_bench.errors import InputError


def load_task_data(source: DataSource, data: DataConfig, task: TaskConfig) -> TaskData:
    """Load the training and validation splits, limited as configured.

    Raises:
        InputError: naming the file and the row (counted from 1) that a model could not be trained on.
    """
    if source.files:
        tables = {split: (str(path), read_table(path)) for split, path in source.files.items()}
    else:
        generated: Mapping[str, Mapping[str, list[object]]] = generate(task.name)
        tables = {
            split: (f"sample {task.name}/{split}", Table(columns=columns)) for split, columns in generated.items()
        }
    limits = dict.fromkeys(task.validation, data.max_eval_rows) | {task.train: data.max_train_rows}
    splits = {split: check_rows(table, task, where).head(limits[split]) for split, (where, table) in tables.items()}
    return TaskData(
        splits=splits,
        source=source.source,
        dataset=source.dataset,
        revision=source.revision,
        fingerprint=fingerprint_splits(splits),
        rows={split: len(rows) for split, rows in splits.items()},
    )


def check_rows(table: Table, task: TaskConfig, where: str) -> Split:
    """The rows of one file as a Split.

    Args:
        where: what the error messages call the file.

    Raises:
        InputError: for a missing column, an empty file, a missing text, or a label that is missing, hidden (-1),
            unknown or out of range.
    """
    _check_columns(table, [*task.texts, "label"], where)
    rows = check_texts(table, task, where)
    if task.kind == "regression":
        labels: NDArray[np.int64] | NDArray[np.float64] = _check_scores(table.columns["label"], task, where)
    else:
        labels = _check_classes(table, task, where)
    return Split(texts=rows.texts, labels=labels, idx=rows.idx)


def check_texts(table: Table, task: TaskConfig, where: str) -> Texts:
    """The texts of one file, whose labels, if it has any, are not looked at.

    Args:
        where: what the error messages call the file.

    Raises:
        InputError: for a missing column, an empty file, or a missing text.
    """
    _check_columns(table, task.texts, where)
    texts = tuple(_check_column(table.columns[name], name, where) for name in task.texts)
    return Texts(texts=texts, idx=_check_idx(table, len(texts[0]), where))


def _check_columns(table: Table, names: Sequence[str], where: str) -> None:
    for name in names:
        if name not in table.columns:
            raise InputError(f"{where}: no column {name!r}; it has {', '.join(table.columns) or 'none'}")
    if not table.columns[names[0]]:
        raise InputError(f"{where}: no rows")


def _check_column(values: Sequence[object], name: str, where: str) -> list[str]:
    for number, value in enumerate(values, start=1):
        if not isinstance(value, str):
            raise InputError(f"{where} row {number}: {name} is {value!r}, not text")
        if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
            raise InputError(f"{where} row {number}: {name} is {value!r}, not valid Unicode")
    return list(values)  # type: ignore[arg-type]


def _check_scores(values: Sequence[object], task: TaskConfig, where: str) -> NDArray[np.float64]:
    low, high = task.label_range or (-math.inf, math.inf)
    scores = np.empty(len(values), dtype=np.float64)
    for row, value in enumerate(values):
        try:
            score = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            score = math.nan
        if not low <= score <= high:
            raise InputError(f"{where} row {row + 1}: label is {value!r}; allowed is a number from {low:g} to {high:g}")
        scores[row] = score
    return scores


def _check_classes(table: Table, task: TaskConfig, where: str) -> NDArray[np.int64]:
    """Codes in the task's order: names are mapped by name, numbers by the order that the file declares."""
    declared = table.label_names or task.labels
    if sorted(declared) != sorted(task.labels):
        raise InputError(f"{where}: its labels are {', '.join(declared)}; {task.name} has {', '.join(task.labels)}")
    code_of = _codes_by_label(task.labels, declared)
    allowed = ", ".join(f"{number} ({name})" for number, name in enumerate(declared))
    codes = np.empty(len(table.columns["label"]), dtype=np.int64)
    for row, value in enumerate(table.columns["label"]):
        known = isinstance(value, str | int | float) and not isinstance(value, bool)
        code = code_of.get(value) if known else None
        if code is None:
            hidden = ", a hidden test label" if value in (-1, "-1") else ""
            raise InputError(f"{where} row {row + 1}: label is {value!r}{hidden}; allowed: {allowed}")
        codes[row] = code
    return codes


def _codes_by_label(labels: list[str], declared: list[str]) -> dict[object, int]:
    """Everything that a file may call a class, to its code in the task's order.

    Names count first. A number is a place in the order that the file declares, unless names themselves are numbers.
    """
    by_name: dict[object, int] = {name: code for code, name in enumerate(labels)}
    if any(name.lstrip("-").isdigit() for name in labels):
        return by_name | {int(str(name)): code for name, code in by_name.items() if str(name).lstrip("-").isdigit()}
    by_number: dict[object, int] = {number: labels.index(name) for number, name in enumerate(declared)}
    return by_number | {str(number): code for number, code in by_number.items()} | by_name


def _check_idx(table: Table, rows: int, where: str) -> NDArray[np.int64]:
    """The source's own row numbers; 0, 1, ... where it has none."""
    if "idx" not in table.columns:
        return np.arange(rows, dtype=np.int64)
    idx = np.empty(rows, dtype=np.int64)
    for row, value in enumerate(table.columns["idx"]):
        try:
            idx[row] = int(value)  # type: ignore[call-overload]
        except (TypeError, ValueError, OverflowError):
            raise InputError(f"{where} row {row + 1}: idx is {value!r}, not a whole number") from None
    return idx
