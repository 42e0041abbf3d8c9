"""Texts without labels: test splits, read in pieces, and texts that a user wants predictions for."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from glue_bench.config.schema import DataConfig, TaskConfig
from glue_bench.data.hub import commit_of, fetch_file
from glue_bench.data.rows import Texts, check_texts
from glue_bench.data.sources import FILE_TYPES, find_file
from glue_bench.data.tables import Table, open_parquet, read_table, unreadable
from glue_bench.errors import InputError, UsageError
from glue_bench.files import file_sha256
from glue_bench.text import plural

PIECE = 4096  # rows


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFile:
    """A file of test rows."""

    path: Path
    rows: int
    identity: Mapping[str, str]  # the hub's commit, or the file's SHA-256


def open_texts(data: DataConfig, task: TaskConfig, *, place: str) -> TextFile:
    """Find or download the file of a test split, and count its rows.

    Args:
        place: SPLIT of the task, or FOLDER/SPLIT of the data set.

    Raises:
        InputError: it is missing, unreachable or damaged.
        UsageError: the sample has no test rows.
    """
    folder, _, split = place.rpartition("/")
    if data.source == "sample":
        raise UsageError("data=sample: it has no test rows; use data=hub, or data=local data.path=FOLDER")
    if data.source == "local":
        path = find_file(Path(data.path or "") / (folder or task.name), split)
        return TextFile(path=path, rows=_count_rows(path), identity={"sha256": file_sha256(path)})
    name = f"{folder or task.hub_config or task.name}/{split}-00000-of-00001.parquet"
    found = fetch_file(data.dataset or "", name, revision=data.revision or "", repo_type="dataset")
    assert found is not None  # noqa: S101 - only optional files can be None
    identity = {"dataset": data.dataset or "", "revision": commit_of(found, name), "file": name}
    return TextFile(path=found, rows=_count_rows(found), identity=identity)


def read_pieces(file: TextFile, task: TaskConfig) -> Iterator[Texts]:
    """Yield the rows in file order, at most PIECE at a time. Labels are never read.

    Raises:
        InputError: naming the file and the problem: a missing column or text, or rows that are not in the order of
            their idx.
    """
    done, last = 0, -1
    for table in _read_tables(file.path, [*task.texts, "idx"]):
        piece = check_texts(table, task, where=str(file.path) if done == 0 else f"{file.path} after row {done:,}:")
        if "idx" not in table.columns:
            piece = replace(piece, idx=piece.idx + done)
        following = np.concatenate([[last], piece.idx])
        falls = np.flatnonzero(np.diff(following) <= 0)
        if len(falls):
            row = int(falls[0])
            raise InputError(
                f"{file.path} row {done + row + 1:,}: idx {following[row + 1]} follows {following[row]}; test rows "
                "must be in their official order"
            )
        done, last = done + len(piece), int(piece.idx[-1])
        yield piece


def read_text_file(path: Path, task: TaskConfig) -> Texts:
    """Read the task's text columns of a user's table, with `idx` if it has that column.

    Raises:
        UsageError: the file's ending is unknown.
        InputError: the file cannot be read, lacks a column or rows, or a row (counted from 1) has no text.
    """
    if path.suffix.removeprefix(".") not in FILE_TYPES:
        endings = ", ".join(f".{kind}" for kind in FILE_TYPES)
        raise UsageError(f"{path}: its name must end in one of {endings}; send plain lines to stdin")
    if not path.is_file():
        raise InputError(f"{path}: {'not a regular file' if path.exists() else 'no such file'}")
    return check_texts(read_table(path), task, where=str(path))


def split_lines(content: bytes, task: TaskConfig) -> Texts:
    """Make one row of each UTF-8 line of stdin; the two texts of a pair are separated by a tab.

    Raises:
        InputError: there is no line, or a line (counted from 1) is empty, not UTF-8, or has too few or too many texts.
    """
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if not lines[-1]:
        lines.pop()
    if not lines:
        raise InputError("stdin: no lines; one row per line is expected")
    columns: dict[str, list[object]] = {name: [] for name in task.texts}
    for number, line in enumerate(lines, start=1):
        try:
            text = line.decode("utf-8").removesuffix("\r")
        except UnicodeDecodeError as error:
            raise InputError(f"stdin line {number}: not UTF-8 text (byte {error.start})") from error
        fields = text.split("\t") if len(task.texts) > 1 else [text]
        if len(fields) != len(task.texts):
            expected = "<TAB>".join(task.texts)
            raise InputError(f"stdin line {number}: {plural(len(fields), 'text')}, but {task.name} has {expected}")
        for name, field in zip(task.texts, fields, strict=True):
            if not field.strip():
                raise InputError(f"stdin line {number}: {name} is empty")
            columns[name].append(field)
    return check_texts(Table(columns=columns), task, where="stdin")


def join_texts(texts: Sequence[str], task: TaskConfig) -> Texts:
    """Make one row of the texts on the command line, which are in the task's order.

    Raises:
        UsageError: there are too few or too many texts, or one is empty.
        InputError: a text is not valid Unicode.
    """
    if len(texts) != len(task.texts):
        each = " ".join(f'--text "{name}"' for name in task.texts)
        raise UsageError(f"--text: {plural(len(texts), 'text')}, but {task.name} takes {each}")
    for name, text in zip(task.texts, texts, strict=True):
        if not text.strip():
            raise UsageError(f"--text: {name} is empty")
    columns: dict[str, list[object]] = {name: [text] for name, text in zip(task.texts, texts, strict=True)}
    return check_texts(Table(columns=columns), task, where="--text")


def _read_tables(path: Path, columns: list[str]) -> Iterator[Table]:
    """Yield those of the columns that the file has, PIECE rows at a time."""
    if path.suffix == ".parquet":
        try:
            for batch in open_parquet(path).iter_batches(batch_size=PIECE, columns=columns):
                yield Table(columns=batch.to_pydict())
        except (pa.ArrowException, OSError) as error:
            raise unreadable(path, error) from error
        return
    whole = read_table(path).columns
    known = [name for name in columns if name in whole]
    rows = len(whole[known[0]]) if known else 0
    for start in itertools.count(0, PIECE):
        if start >= rows and start > 0:
            return
        yield Table(columns={name: whole[name][start : start + PIECE] for name in known})


def _count_rows(path: Path) -> int:
    if path.suffix != ".parquet":
        return max((len(values) for values in read_table(path).columns.values()), default=0)
    try:
        rows: int = open_parquet(path).metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from error
    return rows
