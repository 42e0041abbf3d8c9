"""Texts that somebody wants predictions for, from a file, a pipe or a command, in a task's columns. Knows no labels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from glue_bench.config.schema import TaskConfig
from glue_bench.data.load import check_texts
from glue_bench.data.rows import Texts
from glue_bench.data.sources import FILE_TYPES
from glue_bench.data.tables import Table, read_table
from glue_bench.errors import InputError, UsageError


def read_wanted_file(path: Path, task: TaskConfig) -> Texts:
    """The task's text columns of a table; `idx` where it has that column, else 0, 1, ...

    Raises:
        UsageError: the file's ending is none that can be read.
        InputError: it cannot be read, lacks a column or rows, or a row (counted from 1) has no text.
    """
    if path.suffix.removeprefix(".") not in FILE_TYPES:
        raise UsageError(f"{path}: allowed is {', '.join(f'.{kind}' for kind in FILE_TYPES)}; plain lines go to stdin")
    if not path.exists():
        raise InputError(f"{path}: no such file")
    return check_texts(read_table(path), task, str(path))


def split_wanted_lines(content: bytes, task: TaskConfig) -> Texts:
    """UTF-8 lines, one row each; the texts of a pair stand on one line with a tab between them.

    Raises:
        InputError: there is no line, or a line (counted from 1) is empty, not UTF-8, or has too few or many texts.
    """
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if not lines[-1]:
        lines.pop()
    if not lines:
        raise InputError("stdin: no lines; one row is wanted on each")
    columns: dict[str, list[object]] = {name: [] for name in task.texts}
    for number, line in enumerate(lines, start=1):
        try:
            text = line.decode("utf-8").removesuffix("\r")
        except UnicodeDecodeError as error:
            raise InputError(f"stdin line {number}: not UTF-8 text (byte {error.start})") from error
        fields = text.split("\t") if len(task.texts) > 1 else [text]
        if len(fields) != len(task.texts):
            wanted = "<TAB>".join(task.texts)
            raise InputError(f"stdin line {number}: {_count(len(fields))}, but {task.name} has {wanted}")
        for name, field in zip(task.texts, fields, strict=True):
            if not field.strip():
                raise InputError(f"stdin line {number}: {name} is empty")
            columns[name].append(field)
    return check_texts(Table(columns=columns), task, "stdin")


def join_wanted_words(texts: Sequence[str], task: TaskConfig) -> Texts:
    """One row, its texts in the task's order.

    Raises:
        UsageError: too few or many texts, or an empty one.
        InputError: a text is not valid Unicode.
    """
    if len(texts) != len(task.texts):
        each = " ".join(f'--text "{name}"' for name in task.texts)
        raise UsageError(f"--text: {_count(len(texts))}, but {task.name} takes {each}")
    for name, text in zip(task.texts, texts, strict=True):
        if not text.strip():
            raise UsageError(f"--text: {name} is empty")
    columns: dict[str, list[object]] = {name: [text] for name, text in zip(task.texts, texts, strict=True)}
    return check_texts(Table(columns=columns), task, "--text")


def empty_rows(rows: Texts) -> list[int]:
    """The rows, counted from 1, of which a text is empty: a model has an answer, but hardly to what was meant."""
    empty = np.array([[not text.strip() for text in column] for column in rows.texts]).any(axis=0)
    return [int(row) + 1 for row in np.flatnonzero(empty)]


def _count(texts: int) -> str:
    return f"{texts} text{'' if texts == 1 else 's'}"
