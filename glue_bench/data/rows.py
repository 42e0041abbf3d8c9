"""Turn a file's columns into checked rows of a task: labels mapped by name, nothing missing or out of range."""

import functools
import hashlib
import itertools
import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glue_bench.config.schema import DataConfig, TaskConfig
from glue_bench.data.sources import DataSource, SplitFiles
from glue_bench.data.tables import Table
from glue_bench.errors import InputError, list_names
from glue_bench.text import quote

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_SAMPLE_STREAM, _HALVES_STREAM = 2, 3  # arbitrary numbers that key no other seed stream of a run

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Texts:
    """The texts of n rows, in file order."""

    texts: tuple[list[str], ...]  # one or two columns of n strings
    idx: NDArray[np.int64]  # (n,) the source's own row numbers; 0, 1, ... where it has none

    def __len__(self) -> int:
        return len(self.idx)

    @functools.cached_property
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

    def sample(self, rows: int | None, *, how: str, seed: int) -> "Split":
        """Return at most `rows` rows (None: all) in file order.

        `how`: the first, random ones drawn with the seed, or stratified, which are random ones with each
        label's share of the rows kept.
        """
        if rows is None or rows >= len(self):
            return self
        chosen = np.arange(rows)
        if how != "first":
            rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_SAMPLE_STREAM,)))
            order = rng.permutation(len(self))
            if how == "stratified":  # equally spaced among rows in the order of their labels
                order = order[np.argsort(self.labels[order], kind="stable")]
                order = order[((np.arange(rows) + rng.random()) * len(self) / rows).astype(np.int64)]
            chosen = np.sort(order[:rows])
        return self.take(chosen)

    def take(self, rows: NDArray[np.int64]) -> "Split":
        """Return some rows, in this order."""
        texts = tuple([text[row] for row in rows] for text in self.texts)
        return Split(texts=texts, labels=self.labels[rows], idx=self.idx[rows])

    @functools.cached_property
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

    @functools.cached_property
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

    def overlap(self, train: str) -> dict[str, int]:
        """Count the rows of each other split that have the texts of a row of `train`; splits with none are left out."""
        known = set(zip(*self.splits[train].texts, strict=True))
        others = {name: split.texts for name, split in self.splits.items() if name != train}
        counts = {name: sum(row in known for row in zip(*texts, strict=True)) for name, texts in others.items()}
        return {name: count for name, count in counts.items() if count}


def load_task_data(source: DataSource, data: DataConfig, *, task: TaskConfig, seed: int = 0) -> TaskData:
    """Load the splits, limited as configured; the seed draws training rows, validation rows are the same for all seeds.

    An InputError names the file and its first unusable row (counted from 1).
    """
    splits = {}
    for name, files in source.files.items():
        limit, own = (data.max_train_rows, seed) if name == task.train else (data.max_eval_rows, 0)
        splits[name] = load_split(files, task).sample(limit, how=data.sample, seed=own)
        if empty := empty_rows(splits[name]):
            logger.warning("%s: %s, and is used as it is", files, empty, extra={"shared": True})
    return TaskData(splits=splits, source=source.source, dataset=source.dataset, revision=source.revision)


def draw_holdout(rows: int, *, fraction: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw the rows to train on and the rows held out of 2 or more, both ascending and neither empty.

    The `fraction`, rounded to whole rows, is held out; `seed` is the run's `holdout_stream`.
    """
    held = min(max(1, round(rows * fraction)), rows - 1)
    order = np.random.default_rng(seed).permutation(rows)
    return np.sort(order[held:]), np.sort(order[:held])


def draw_halves(rows: int, *, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw the dev rows that choose the epoch and those that are scored (one more if odd), both ascending."""
    order = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_HALVES_STREAM,))).permutation(rows)
    return np.sort(order[: rows // 2]), np.sort(order[rows // 2 :])


def load_split(files: SplitFiles, task: TaskConfig) -> Split:
    """Load every row of a split; errors as in `check_rows`."""
    parts = [check_rows(table, task) for table in files.read(task)]
    rows, labels = join_parts(parts), np.concatenate([part.labels for part in parts])
    unique = len(parts) == 1 or len(np.unique(rows.idx)) == len(rows)  # files without idx each start at 0
    return Split(texts=rows.texts, labels=labels, idx=rows.idx if unique else np.arange(len(rows)))


def join_parts(parts: Sequence[Texts]) -> Texts:
    """Return the rows of several files, one after the other."""
    texts = tuple([*itertools.chain(*columns)] for columns in zip(*(part.texts for part in parts), strict=True))
    return Texts(texts=texts, idx=np.concatenate([part.idx for part in parts]))


def empty_rows(rows: Texts) -> str:
    """Name the rows, counted from 1, with an empty text: training on them and predictions for them mean little."""
    empty = np.flatnonzero(np.array([[not text.strip() for text in column] for column in rows.texts]).any(axis=0))
    return f"row {list_names(map(str, empty + 1), 1)}: a text is empty" if len(empty) else ""


def check_rows(table: Table, task: TaskConfig) -> Split:
    """Return a file's rows; an InputError as in `check_texts`, or for a missing, hidden (-1) or unknown label."""
    table.require(*task.texts, "label")
    rows = check_texts(table, task)
    if not task.regression:
        return Split(texts=rows.texts, labels=_check_classes(table, task), idx=rows.idx)
    low, high = task.label_range or (-math.inf, math.inf)
    numbers = map(_number, table.read("label"))
    scores = np.array([math.nan if number is None else float(Decimal(number)) for number in numbers])
    for row in np.flatnonzero(~((low <= scores) & (scores <= high))).tolist():
        table.refuse("label", row, words=f"; it must be a number from {low:g} to {high:g}")
    return Split(texts=rows.texts, labels=scores, idx=rows.idx)


def check_texts(table: Table, task: TaskConfig) -> Texts:
    """Return a file's texts and idx, whatever its labels; an InputError for no row, a bad idx, or lacking text."""
    table.require(*task.texts)
    texts: Any = tuple(map(table.read, task.texts))
    if not texts[0]:
        raise InputError(f"{table.where}: no rows")
    for name, column in zip(task.texts, texts, strict=True):
        for row, text in enumerate(column):
            if not isinstance(text, str):
                table.refuse(name, row, words=", not text")
            if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
                table.refuse(name, row, words=", not valid Unicode")
    values = table.read("idx") if "idx" in table.names else []
    whole = [n if n is not None and -(2**63) <= n < 2**63 and n % 1 == 0 else None for n in map(_number, values)]
    # Without idx, or with ids that are texts and no whole numbers, the numbers of the rows.
    if all(number is None and isinstance(value, str | None) for number, value in zip(whole, values, strict=True)):
        return Texts(texts=texts, idx=np.arange(len(texts[0])) if table.numbers is None else table.numbers)
    if None in whole:
        table.refuse("idx", whole.index(None), words=", not a whole number of 64 bits")
    return Texts(texts=texts, idx=np.array(whole, dtype=np.int64))


def _fingerprint(splits: Mapping[str, Split]) -> str:
    digest = hashlib.sha256()
    for name in sorted(splits):
        digest.update(f"{name}\0{splits[name].text_digest}\0".encode())
        digest.update(splits[name].labels.astype(np.float64).tobytes())
    return digest.hexdigest()[:16]


def _number(cell: object) -> Decimal | float | None:
    """Return the number in a cell of any format: 1, 1.0, "1" and " 1.0 " are the same; None if it holds no number."""
    if isinstance(cell, str):
        return Decimal(word) if _NUMBER.fullmatch(word := cell.strip()) else None
    if isinstance(cell, bool) or not isinstance(cell, int | float | Decimal):
        return None
    return cell if isinstance(cell, int) or math.isfinite(cell) else None


def _check_classes(table: Table, task: TaskConfig) -> NDArray[np.int64]:
    """Return codes in the task's order: names are mapped by name, numbers by the order that the file declares."""
    declared, labels = table.label_names, task.labels
    are_numbers = any(_number(name) is not None for name in labels)
    if declared and sorted(declared) != sorted(labels):
        plain = [f"LABEL_{code}" for code in range(len(labels))], [str(code) for code in range(len(labels))]
        if declared not in plain[: 1 if are_numbers else 2]:
            found, known = (list_names(map(quote, names)) for names in (declared, labels))
            raise InputError(f"{table.where}: its labels are {found}; {task.name} has {known}")
        declared = labels  # names that say nothing beyond the codes
    by_index, order = bool(declared) or not are_numbers, declared or labels
    code_of = _codes_by_label(labels, order, by_index=by_index)

    @functools.lru_cache(typed=True)  # many rows, few labels
    def find(cell: object) -> int | None:
        number = _number(cell)
        if number is None and not isinstance(cell, str | bool):
            return None
        word = str(cell).strip()  # as it is spelled, without spaces around it, as a number, or as true or false
        spellings = (str(cell), word, number, *({word.lower()} & {"true", "false"}))
        return next((code_of[key] for key in spellings if key in code_of), None)

    codes = [None if isinstance(cell, list | dict) else find(cell) for cell in table.read("label")]
    if None in codes:
        hidden = ", a hidden test label" if _number(table.read("label")[codes.index(None)]) == -1 else ""
        allowed = list_names(f"{n} ({quote(name)})" if by_index else quote(name) for n, name in enumerate(order))
        table.refuse("label", codes.index(None), words=f"{hidden}; it must be one of {allowed}")
    return np.array(codes, dtype=np.int64)


def _codes_by_label(labels: list[str], order: list[str], *, by_index: bool) -> dict[object, int]:
    """Map everything that a file may call a class to its code in the task's order. A label's own spelling comes first.

    A number is an index into `order`, or else the one label that is this number. LABEL_1 is an index. True and false
    are names, or the numbers of two classes.
    """
    indexed, numbers = [labels.index(name) for name in order], [*map(_number, labels)]
    code_of: dict[object, int] = {Decimal(number): code for number, code in enumerate(indexed)}
    if not by_index:
        code_of = {n: code for code, n in enumerate(numbers) if n is not None and numbers.count(n) == 1}
    if len(labels) <= 2:
        code_of |= {word: code_of[Decimal(n)] for n, word in enumerate(("false", "true")) if n in code_of}
    code_of |= {word: code for code, name in enumerate(labels) if (word := name.lower()) in ("true", "false")}
    code_of |= {f"LABEL_{number}": code for number, code in enumerate(indexed)}
    return code_of | {name: code for code, name in enumerate(labels)}
