"""Texts without labels: test splits, in pieces, and texts that a user wants predictions for."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from glue_bench.config.schema import DataConfig, TaskConfig
from glue_bench.data.rows import Texts, check_texts, join_parts
from glue_bench.data.sources import SplitFiles, fetch_split, find_split, hub_files, name_columns
from glue_bench.data.tables import FILE_TYPES, Table, read_table
from glue_bench.errors import InputError, UsageError
from glue_bench.text import plural

PIECE = 4096  # rows


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFile:
    """The files of a test split."""

    files: SplitFiles
    rows: int
    identity: Mapping[str, str]  # the hub's commit, or the file's SHA-256


def open_texts(data: DataConfig, task: TaskConfig, *, place: str) -> TextFile:
    """Find or download a test split, SPLIT or FOLDER/SPLIT; an InputError without it, a UsageError for sample data."""
    folder, _, split = place.rpartition("/")
    if data.source == "sample":
        raise UsageError("data=sample: it has no test rows; use data=hub, or data=local data.path=FOLDER")
    if data.source == "local":
        files = find_split(Path(data.path or ""), folder or task.name, split=split)
        identity = {"sha256": files.sha256}
    else:
        name = hub_files(task, split, folder=folder)[split]
        files, commit = fetch_split(data, name)
        identity = {"dataset": data.dataset or "", "revision": commit, "file": name}
    rows = sum(len(table.read(task.texts[0])) for table in files.read(task) if task.texts[0] in table.names)
    return TextFile(files=files, rows=rows, identity=identity)


def read_pieces(file: TextFile, task: TaskConfig) -> Iterator[Texts]:
    """Yield texts in file order, at most PIECE rows at a time; an InputError for a bad text or idx out of order."""
    done, last = 0, -1
    for table in file.files.read(task):
        rows = check_texts(table, task)
        idx = rows.idx if "idx" in table.names else np.arange(done, done + len(rows))
        following = np.concatenate([[last], idx])
        for row in np.flatnonzero(np.diff(following) <= 0)[:1]:
            where = f"{table.where} row {done + row + 1:,}: idx {following[row + 1]} follows {following[row]}"
            raise InputError(f"{where}; test rows must be in their official order")
        done, last = done + len(rows), int(idx[-1])
        for start in range(0, len(rows), PIECE):
            here = slice(start, start + PIECE)
            yield Texts(texts=tuple(column[here] for column in rows.texts), idx=idx[here])


def split_lines(content: bytes, task: TaskConfig) -> Texts:
    """Make a row of each UTF-8 line of stdin, with a tab between a pair's texts; an InputError names a bad line."""
    lines = content.removeprefix(b"\xef\xbb\xbf").removesuffix(b"\n").split(b"\n")
    if lines == [b""] and not content.endswith(b"\n"):
        raise InputError("stdin: no lines; one row per line is expected")
    rows = list[Sequence[str]]()
    for number, line in enumerate(lines, start=1):
        try:
            text = line.decode("utf-8").removesuffix("\r")
        except UnicodeDecodeError as error:
            raise InputError(f"stdin line {number}: not UTF-8 text (byte {error.start})") from error
        fields = text.split("\t") if len(task.texts) > 1 else [text]
        if len(fields) != len(task.texts):
            expected = "<TAB>".join(task.texts)
            raise InputError(f"stdin line {number}: {plural(len(fields), 'text')}, but {task.name} has {expected}")
        if empty := [name for name, field in zip(task.texts, fields, strict=True) if not field.strip()]:
            raise InputError(f"stdin line {number}: {empty[0]} is empty")
        rows.append(fields)
    return join_rows(rows, task, where="stdin")


def join_texts(texts: Sequence[str], task: TaskConfig) -> Texts:
    """Make rows of texts in the task's order; a UsageError if one is empty, or the last row has too few."""
    size = len(task.texts)
    if len(texts) % size:
        each = " ".join(f'--text "{name}"' for name in task.texts)
        raise UsageError(f"--text: {plural(len(texts), 'text')}, but {task.name} takes {each}")
    if empty := [name for name, text in zip(itertools.cycle(task.texts), texts) if not text.strip()]:
        raise UsageError(f"--text: {empty[0]} is empty")
    return join_rows([texts[start : start + size] for start in range(0, len(texts), size)], task, where="--text")


def join_rows(rows: Sequence[Sequence[str] | Mapping[str, str]], task: TaskConfig, *, where: str = "rows") -> Texts:
    """Make rows of texts, of lists in the task's order, or of mappings by column; an InputError names a bad row."""
    columns: dict[str, list[object]] = {name: [] for name in task.texts}
    for number, row in enumerate(rows, start=1):
        found = [row] if isinstance(row, str) else [*row.values()] if isinstance(row, Mapping) else [*row]
        names = [*row] if isinstance(row, Mapping) else task.texts
        if len(found) != len(task.texts) or {*names} != {*task.texts}:
            raise InputError(f"{where} row {number}: must have {' and '.join(task.texts)}, nothing else")
        for name, text in zip(names, found, strict=True):
            columns[name].append(text)
    return check_texts(Table(where=where, names=columns, read=columns.__getitem__), task)


def join_files(paths: Sequence[Path], task: TaskConfig) -> tuple[Texts, list[str]]:
    """Read a user's tables; return their rows, and for each the name of its file.

    A UsageError for an unknown ending, an InputError for what cannot be read or no text.
    """
    parts, named = list[Texts](), list[str]()
    for path in paths:
        if not path.name.lower().endswith(endings := tuple(f".{kind}" for kind in FILE_TYPES)):
            raise UsageError(f"{path}: its name must end in one of {', '.join(endings)}; send plain lines to stdin")
        if not path.is_file():
            raise InputError(f"{path}: {'not a regular file' if path.exists() else 'no such file'}")
        parts.append(check_texts(name_columns(read_table(path), task), task))
        named += [str(path)] * len(parts[-1])
    return join_parts(parts), named
