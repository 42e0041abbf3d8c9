"""The texts of a split that nothing is trained or scored on, in pieces. Its labels, hidden or not, are never read."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from glue_bench.config.schema import DataConfig, TaskConfig
from glue_bench.data.hub import commit_of, fetch_file
from glue_bench.data.load import check_texts
from glue_bench.data.rows import Texts
from glue_bench.data.sources import find_file
from glue_bench.data.tables import Table, read_table
from glue_bench.errors import InputError, UsageError
from glue_bench.files import file_sha256

PIECE = 4096  # rows


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFile:
    """A file of test rows."""

    path: Path
    rows: int
    identity: Mapping[str, str]  # what the texts depend on: the hub's commit, or the file's content


def open_texts(data: DataConfig, task: TaskConfig, place: str) -> TextFile:
    """Find or download the file of a test split, and count its rows.

    Args:
        place: SPLIT of the task, or FOLDER/SPLIT of the data set.

    Raises:
        InputError: it is missing, unreachable or damaged.
        UsageError: the sample generator makes no test rows.
    """
    folder, _, split = place.rpartition("/")
    if data.source == "sample":
        raise UsageError("data=sample: the generator makes no test rows; data=hub, or data=local data.path=FOLDER")
    if data.source == "local":
        path = find_file(Path(data.path or "") / (folder or task.name), split)
        return TextFile(path=path, rows=_count_rows(path), identity={"sha256": file_sha256(path)})
    name = f"{folder or task.hub_config or task.name}/{split}-00000-of-00001.parquet"
    found = fetch_file(data.dataset or "", name, revision=data.revision or "", repo_type="dataset")
    assert found is not None  # noqa: S101 - only optional files can be None
    identity = {"dataset": data.dataset or "", "revision": commit_of(found, name), "file": name}
    return TextFile(path=found, rows=_count_rows(found), identity=identity)


def read_pieces(file: TextFile, task: TaskConfig) -> Iterator[Texts]:
    """The rows in file order, at most PIECE at a time.

    Raises:
        InputError: naming the file and what is wrong in it: a missing column or text, or rows in another order than
            their idx.
    """
    done, last = 0, -1
    for table in _read_tables(file.path, [*task.texts, "idx"]):
        where = str(file.path) if done == 0 else f"{file.path} after row {done:,}:"
        piece = check_texts(table, task, where)
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


def _read_tables(path: Path, columns: list[str]) -> Iterator[Table]:
    """Some columns, in pieces; one that is not there is left out."""
    if path.suffix == ".parquet":
        try:
            for batch in pq.ParquetFile(path).iter_batches(batch_size=PIECE, columns=columns):
                yield Table(columns=batch.to_pydict())
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(path, error) from error
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
        rows: int = pq.ParquetFile(path).metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    return rows


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})")
