"""Texts without labels: test splits, read in pieces, and texts that a user wants predictions for."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from glue_bench.config.schema import DataConfig, TaskConfig
from glue_bench.data.hub import commit_of, fetch_file
from glue_bench.data.original import ORIGINALS
from glue_bench.data.rows import Texts, check_texts
from glue_bench.data.splits import SplitFiles, find_split, name_columns
from glue_bench.data.tables import FILE_TYPES, Table, open_parquet, read_table, type_of, unreadable
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
        files = find_split(Path(data.path or ""), folder or task.name, split=split)
        return TextFile(files=files, rows=_count_rows(files, task), identity={"sha256": files.sha256})
    name = f"{folder or task.hub_config or task.name}/{split}-00000-of-00001.parquet"
    found = fetch_file(data.dataset or "", name, revision=data.revision or "", repo_type="dataset")
    assert found is not None  # noqa: S101 - only optional files can be None
    identity = {"dataset": data.dataset or "", "revision": commit_of(found, name), "file": name}
    files = SplitFiles.of(found)
    return TextFile(files=files, rows=_count_rows(files, task), identity=identity)


def read_pieces(file: TextFile, task: TaskConfig) -> Iterator[Texts]:
    """Yield the rows in file order, at most PIECE at a time. Labels are never read.

    Raises:
        InputError: naming the file and the problem: a missing column or text, or rows that are not in the order of
            their idx.
    """
    done, last = 0, -1
    for path, table in _read_tables(file.files, task):
        piece = check_texts(table, task, where=str(path) if done == 0 else f"{path} after row {done:,}:")
        if "idx" not in table.columns:
            piece = replace(piece, idx=np.arange(done, done + len(piece)))
        following = np.concatenate([[last], piece.idx])
        falls = np.flatnonzero(np.diff(following) <= 0)
        if len(falls):
            row = int(falls[0])
            raise InputError(
                f"{path} row {done + row + 1:,}: idx {following[row + 1]} follows {following[row]}; test rows "
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
    if not path.name.lower().endswith(endings := tuple(f".{kind}" for kind in FILE_TYPES)):
        raise UsageError(f"{path}: its name must end in one of {', '.join(endings)}; send plain lines to stdin")
    if not path.is_file():
        raise InputError(f"{path}: {'not a regular file' if path.exists() else 'no such file'}")
    return check_texts(name_columns(read_table(path), task, where=str(path)), task, where=str(path))


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
    """Make rows of the texts on the command line, which are in the task's order, row by row.

    Raises:
        UsageError: the last row has too few texts, or one is empty.
        InputError: a text is not valid Unicode.
    """
    size = len(task.texts)
    if len(texts) % size:
        each = " ".join(f'--text "{name}"' for name in task.texts)
        raise UsageError(f"--text: {plural(len(texts), 'text')}, but {task.name} takes {each}")
    rows = [texts[start : start + size] for start in range(0, len(texts), size)]
    for name, text in itertools.chain.from_iterable(zip(task.texts, row, strict=True) for row in rows):
        if not text.strip():
            raise UsageError(f"--text: {name} is empty")
    return join_rows(rows, task, where="--text")


def join_rows(rows: Sequence[Sequence[str] | Mapping[str, str]], task: TaskConfig, *, where: str = "rows") -> Texts:
    """Make rows of a text each (for a task with one text), of texts in the task's order, or of texts by column name.

    Raises:
        InputError: there is no row; or a row, counted from 1, lacks a text or has one too many, or it is not text.
    """
    columns: dict[str, list[object]] = {name: [] for name in task.texts}
    for number, row in enumerate(rows, start=1):
        found = [row] if isinstance(row, str) else [*row.values()] if isinstance(row, Mapping) else [*row]
        names = [*row] if isinstance(row, Mapping) else task.texts
        if len(found) != len(task.texts) or {*names} != {*task.texts}:
            raise InputError(f"{where} row {number}: must have {' and '.join(task.texts)}, nothing else")
        for name, text in zip(names, found, strict=True):
            columns[name].append(text)
    return check_texts(Table(columns=columns), task, where=where)


def join_files(paths: Sequence[Path], task: TaskConfig) -> tuple[Texts, list[str]]:
    """Read several files with `read_text_file`; return their rows, and for each the name of its file."""
    parts = [read_text_file(path, task) for path in paths]
    texts = tuple([*itertools.chain(*columns)] for columns in zip(*(part.texts for part in parts), strict=True))
    named = [str(path) for path, part in zip(paths, parts, strict=True) for _ in range(len(part))]
    return Texts(texts=texts, idx=np.concatenate([part.idx for part in parts])), named


def _read_tables(files: SplitFiles, task: TaskConfig) -> Iterator[tuple[Path, Table]]:
    """Yield the texts and the idx that the files have, PIECE rows at a time."""
    if not all(type_of(path) == "parquet" for path in files.paths):
        for path, whole in files.read(task):
            known = [name for name in (*task.texts, "idx") if name in whole.columns]
            rows = len(whole.columns[known[0]]) if known else 0
            for start in range(0, max(rows, 1), PIECE):
                yield path, Table(columns={name: whole.columns[name][start : start + PIECE] for name in known})
        return
    for path in files.paths:
        try:
            for batch in open_parquet(path).iter_batches(batch_size=PIECE, columns=_columns_read(task)):
                yield path, name_columns(Table(columns=batch.to_pydict()), task, where=str(path))
        except (pa.ArrowException, OSError) as error:
            raise unreadable(path, error) from error


def _columns_read(task: TaskConfig) -> list[str]:
    """Return every name that texts and idx may have in a file."""
    original = ORIGINALS.get(task.name)
    own = [*task.texts, "idx"]
    return [*own, *task.columns.values(), *(original.columns.values() if original else [])]


def _count_rows(files: SplitFiles, task: TaskConfig) -> int:
    if not all(type_of(path) == "parquet" for path in files.paths):
        return sum(max(map(len, table.columns.values()), default=0) for _, table in files.read(task))
    try:
        return sum(open_parquet(path).metadata.num_rows for path in files.paths)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(files.paths[0], error) from error
