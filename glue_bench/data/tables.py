"""Read one file of rows as plain columns: Parquet, CSV, TSV or JSON Lines. Knows no tasks."""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from glue_bench.errors import InputError
from glue_bench.text import first_line


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Columns of equal length, and the label names if the file declares them."""

    columns: Mapping[str, list[object]]
    label_names: list[str] | None = None


def read_table(path: Path) -> Table:
    """Read every row.

    Raises:
        InputError: naming the file, and the line where a text file is broken.
    """
    try:
        match path.suffix:
            case ".parquet":
                return _read_parquet(path)
            case ".jsonl":
                return _read_jsonl(path)
            case ".csv":
                return _read_delimited(path, delimiter=",", quoting=csv.QUOTE_MINIMAL)
            case _:  # .tsv; GLUE's own files are not quoted: a lone quotation mark is text
                return _read_delimited(path, delimiter="\t", quoting=csv.QUOTE_NONE)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


def unreadable(path: Path, error: Exception) -> InputError:
    """Return the error for a file that is damaged, or is not Parquet."""
    return InputError(f"{path}: not a readable Parquet file ({first_line(error)})")


def _read_parquet(path: Path) -> Table:
    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from error
    _check_header(table.column_names, path)
    declared = b"huggingface" in (table.schema.metadata or {})
    names = _declared_label_names(table.schema, path) if declared else None
    return Table(columns=table.to_pydict(), label_names=names)


def _declared_label_names(schema: pa.Schema, path: Path) -> list[str] | None:
    """Return the class names that the datasets library stored for the column `label`."""
    from datasets import ClassLabel, Features

    try:
        feature = Features.from_arrow_schema(schema).get("label")
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: its data set description cannot be read ({error})") from error
    return list(feature.names) if isinstance(feature, ClassLabel) else None


def _read_delimited(path: Path, *, delimiter: str, quoting: Literal[0, 3]) -> Table:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream, delimiter=delimiter, quoting=quoting, strict=True)
        try:
            header = next(reader, [])
            _check_header(header, path)
            columns: dict[str, list[object]] = {name: [] for name in header}
            for fields in reader:
                if len(fields) != len(header):
                    raise InputError(f"{path} line {reader.line_num}: {len(fields)} fields, not {len(header)}")
                for name, field in zip(header, fields, strict=True):
                    columns[name].append(field)
        except csv.Error as error:
            raise InputError(f"{path} line {reader.line_num}: {error}") from error
    return Table(columns=columns)


def _check_header(names: list[str], path: Path) -> None:
    duplicates = [name for name in names if names.count(name) > 1]
    if duplicates:
        raise InputError(f"{path}: duplicate column {duplicates[0]!r}")


def _read_jsonl(path: Path) -> Table:
    columns: dict[str, list[object]] = {}
    with path.open(encoding="utf-8-sig") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                row = json.loads(line)
            except ValueError as error:
                raise InputError(f"{path} line {number}: not JSON ({error})") from error
            if not isinstance(row, dict) or (number > 1 and row.keys() != columns.keys()):
                expected = ", ".join(columns) if number > 1 else "column names"
                raise InputError(f"{path} line {number}: not an object with the keys of line 1 ({expected})")
            for name, value in row.items():
                columns.setdefault(name, []).append(value)
    return Table(columns=columns)
