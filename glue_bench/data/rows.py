"""Turn a file's columns into checked rows of a task: labels mapped by name, nothing missing or out of range."""

import hashlib
import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from glue_bench.config.schema import DataConfig, TaskConfig
from glue_bench.data.sources import DataSource
from glue_bench.data.tables import Table, read_table
from glue_bench.errors import InputError, list_names
from glue_bench.reading import whole_number
from glue_bench.text import quote

_WHOLE = re.compile(r"[0-9]{1,9}\.0*")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Texts:
    """The texts of n rows, in file order."""

    texts: tuple[list[str], ...]  # one or two columns of n strings
    idx: NDArray[np.int64]  # (n,) the source's own row numbers; 0, 1, ... where it has none

    def __len__(self) -> int:
        return len(self.idx)

    @cached_property
    def text_digest(self) -> str:
        """SHA-256 of the texts alone."""
        digest = hashlib.sha256()
        for column in self.texts:
            digest.update(np.array([len(text) for text in column], dtype=np.int64).tobytes())
            digest.update("".join(column).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class Split(Texts):
    """n rows in file order, with their labels."""

    labels: NDArray[np.int64] | NDArray[np.float64]  # (n,) codes 0..k-1, or scores for regression

    def head(self, rows: int | None) -> "Split":
        """Return the first `rows` rows; all of them for None."""
        return Split(texts=tuple(text[:rows] for text in self.texts), labels=self.labels[:rows], idx=self.idx[:rows])

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits of texts and labels in their order, the same for every file format."""
        return _fingerprint({"": self})


@dataclass(frozen=True, kw_only=True)
class TaskData:
    """The rows that a run trains and is evaluated on."""

    splits: Mapping[str, Split]
    source: str  # hub, local or sample
    dataset: str | None  # the hub's dataset id
    revision: str | None  # the hub's commit

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits of every text and label that is used."""
        return _fingerprint(self.splits)

    @property
    def fingerprints(self) -> dict[str, str]:
        """The fingerprint of each split."""
        return {name: split.fingerprint for name, split in self.splits.items()}

    @property
    def rows(self) -> dict[str, int]:
        """The number of rows of each split."""
        return {name: len(split) for name, split in self.splits.items()}


def load_task_data(source: DataSource, data: DataConfig, *, task: TaskConfig) -> TaskData:
    """Load the training and validation splits, limited as configured.

    Raises:
        InputError: naming the file and its first unusable row (counted from 1).
    """
    splits = {}
    for name, path in source.files.items():
        limit = data.max_train_rows if name == task.train else data.max_eval_rows
        splits[name] = check_rows(read_table(path), task, where=str(path)).head(limit)
        if empty := empty_rows(splits[name]):
            more = f" and {len(empty) - 1:,} more" if len(empty) > 1 else ""
            said = (path, empty[0], more)
            logger.warning("%s: row %d%s: a text is empty, and is used as it is", *said, extra={"shared": True})
    return TaskData(splits=splits, source=source.source, dataset=source.dataset, revision=source.revision)


def empty_rows(rows: Texts) -> list[int]:
    """Return the rows, counted from 1, with an empty text: training on them and predictions for them mean little."""
    empty = np.array([[not text.strip() for text in column] for column in rows.texts]).any(axis=0)
    return [int(row) + 1 for row in np.flatnonzero(empty)]


def check_rows(table: Table, task: TaskConfig, *, where: str) -> Split:
    """Return the rows of one file as a Split.

    Args:
        where: the file's name in error messages.

    Raises:
        InputError: a column or text is missing, the file is empty, or a label is missing, hidden (-1), unknown or out
            of range.
    """
    _check_columns(table, [*task.texts, "label"], where=where)
    rows = check_texts(table, task, where=where)
    check = _check_scores if task.kind == "regression" else _check_classes
    return Split(texts=rows.texts, labels=check(table, task, where=where), idx=rows.idx)


def check_texts(table: Table, task: TaskConfig, *, where: str) -> Texts:
    """Return the texts of one file. Its labels, if any, are ignored.

    Args:
        where: the file's name in error messages.

    Raises:
        InputError: a column or text is missing, or the file is empty.
    """
    _check_columns(table, task.texts, where=where)
    texts = tuple(_check_column(table.columns[name], name, where=where) for name in task.texts)
    return Texts(texts=texts, idx=_check_idx(table, len(texts[0]), where=where))


def _fingerprint(splits: Mapping[str, Split]) -> str:
    digest = hashlib.sha256()
    for name in sorted(splits):
        digest.update(f"{name}\0{splits[name].text_digest}\0".encode())
        digest.update(splits[name].labels.astype(np.float64).tobytes())
    return digest.hexdigest()[:16]


def _check_columns(table: Table, names: Sequence[str], *, where: str) -> None:
    for name in names:
        if name not in table.columns:
            raise InputError(f"{where}: no column {name!r}; it has {list_names(map(quote, table.columns)) or 'none'}")
    if not table.columns[names[0]]:
        raise InputError(f"{where}: no rows")


def _check_column(values: Sequence[object], name: str, *, where: str) -> list[str]:
    for number, value in enumerate(values, start=1):
        if not isinstance(value, str):
            raise InputError(f"{where} row {number}: {name} is {quote(repr(value))}, not text")
        if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
            raise InputError(f"{where} row {number}: {name} is {quote(repr(value))}, not valid Unicode")
    return list(values)  # type: ignore[arg-type]


def _check_scores(table: Table, task: TaskConfig, *, where: str) -> NDArray[np.float64]:
    low, high = task.label_range or (-math.inf, math.inf)
    scores = np.empty(len(table.columns["label"]), dtype=np.float64)
    for row, value in enumerate(table.columns["label"]):
        try:
            plain = not isinstance(value, bool) and (not isinstance(value, str) or value.isascii())
            scores[row] = float(value) if plain else math.nan  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            scores[row] = math.nan
        if not low <= scores[row] <= high:
            raise InputError(
                f"{where} row {row + 1}: label is {quote(repr(value))}; it must be a number from {low:g} to {high:g}"
            )
    return scores


def _check_classes(table: Table, task: TaskConfig, *, where: str) -> NDArray[np.int64]:
    """Return codes in the task's order: names are mapped by name, numbers by the order that the file declares."""
    declared = table.label_names or task.labels
    if sorted(declared) != sorted(task.labels):
        raise InputError(
            f"{where}: its labels are {list_names(map(quote, declared))}; "
            f"{task.name} has {list_names(map(quote, task.labels))}"
        )
    code_of = _codes_by_label(task.labels, declared)
    codes = np.empty(len(table.columns["label"]), dtype=np.int64)
    for row, value in enumerate(table.columns["label"]):
        known = isinstance(value, str | int | float) and not isinstance(value, bool)
        code = code_of.get(value) if known else None
        if code is None and isinstance(value, str):  # ` yes`, and `1.0` as programs write codes with gaps
            word = value.strip()
            code = code_of.get(int(float(word)) if _WHOLE.fullmatch(word) else word)
        if code is None:
            hidden = ", a hidden test label" if value in (-1, "-1") else ""
            allowed = list_names(f"{number} ({quote(name)})" for number, name in enumerate(declared))
            raise InputError(
                f"{where} row {row + 1}: label is {quote(repr(value))}{hidden}; it must be one of {allowed}"
            )
        codes[row] = code
    return codes


def _codes_by_label(labels: list[str], declared: list[str]) -> dict[object, int]:
    """Map everything that a file may call a class to its code in the task's order.

    A name has precedence. A number is an index into the declared names, unless names themselves are numbers.
    """
    by_name: dict[object, int] = {name: code for code, name in enumerate(labels)}
    numbers = {name: whole_number(name.removeprefix("-")) for name in labels}
    if any(number is not None for number in numbers.values()):
        return by_name | {int(name): by_name[name] for name, number in numbers.items() if number is not None}
    by_number: dict[object, int] = {number: labels.index(name) for number, name in enumerate(declared)}
    return by_number | {str(number): code for number, code in by_number.items()} | by_name


def _check_idx(table: Table, rows: int, *, where: str) -> NDArray[np.int64]:
    if "idx" not in table.columns:
        return np.arange(rows, dtype=np.int64)
    idx = np.empty(rows, dtype=np.int64)
    for row, value in enumerate(table.columns["idx"]):
        try:
            odd = isinstance(value, bool) or (isinstance(value, str) and not value.isascii())
            if odd or float(value) % 1:  # type: ignore[arg-type]
                raise ValueError(value)
            idx[row] = int(value)  # type: ignore[call-overload]
        except (TypeError, ValueError, OverflowError):
            raise InputError(f"{where} row {row + 1}: idx is {quote(repr(value))}, not a whole number") from None
    return idx
