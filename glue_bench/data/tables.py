"""Read one file of rows as plain columns: Parquet, CSV, TSV or JSON Lines. Knows no tasks."""

import csv
import io
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from glue_bench.errors import InputError
from glue_bench.reading import open_regular
from glue_bench.text import first_line

_DELIMITERS = (",", ";", "\t")
_LINE_END = re.compile(r"\r\n|\r|\n")


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
                return _read_delimited(path, delimiter=",")
            case _:  # .tsv
                return _read_delimited(path, delimiter="\t")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a file by its path alone: pyarrow would take `exp:1/train.parquet` for an address."""
    with open_regular(path):  # no pipe, no device
        return pq.ParquetFile(pa.OSFile(os.fsencode(path)))


def unreadable(path: Path, error: Exception) -> InputError:
    """Return the error for a file that is damaged, or is not Parquet."""
    return InputError(f"{path}: not a readable Parquet file ({first_line(error)})")


class _Columns(Mapping[str, list[object]]):
    """The columns of a Parquet file, each read when it is asked for: what nobody reads may be anything."""

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, open_parquet(path)
        self.schema = self._file.schema_arrow
        self._names, self._read = self.schema.names, dict[str, list[object]]()

    def __getitem__(self, name: str) -> list[object]:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._read:
            try:
                self._read[name] = self._file.read(columns=[name])[name].to_pylist()
            except (pa.ArrowException, OSError, ValueError, KeyError) as error:
                raise unreadable(self._path, error) from error
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _read_parquet(path: Path) -> Table:
    try:
        columns = _Columns(path)
        schema = columns.schema
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from error
    _check_header(schema.names, path)
    declared = b"huggingface" in (schema.metadata or {})
    return Table(columns=columns, label_names=_declared_label_names(schema, path) if declared else None)


def _declared_label_names(schema: pa.Schema, path: Path) -> list[str] | None:
    """Return the class names that the datasets library stored for the column `label`."""
    from datasets import ClassLabel, Features

    try:
        feature = Features.from_arrow_schema(schema).get("label")
        return [str(name) for name in feature.names] if isinstance(feature, ClassLabel) else None
    except Exception as error:  # what the library raises depends on how odd the description is
        reason = first_line(error)
        raise InputError(f"{path}: its data set description cannot be read ({reason})") from error


def _read_delimited(path: Path, *, delimiter: str) -> Table:
    text = _read_text(path)
    first = text.partition("\n")[0]
    if delimiter not in first:  # spreadsheets of many countries write semicolons into .csv
        delimiter = next((other for other in _DELIMITERS if other in first), delimiter)
    quoting: Literal[0, 3] = (
        csv.QUOTE_MINIMAL if path.suffix == ".csv" or _is_quoted(text, delimiter) else csv.QUOTE_NONE
    )
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, strict=True)
    last = len(_LINE_END.split(text.rstrip()))  # line with a row
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(header, path)
        columns: dict[str, list[object]] = {name: [] for name in header}
        for fields in reader:
            if not "".join(fields).strip() and len(fields) < max(len(header), 2) and reader.line_num > last:
                continue  # after the rows
            if len(fields) != len(header):
                raise InputError(f"{path} line {reader.line_num}: {len(fields)} fields, not {len(header)}")
            for name, field in zip(header, fields, strict=True):
                columns[name].append(field)
    except csv.Error as error:
        raise InputError(f"{path} line {reader.line_num}: {error}") from error
    return Table(columns=columns)


def _is_quoted(text: str, delimiter: str) -> bool:
    """Return whether quotation marks in a .tsv are a writer's, as pandas puts them, and not part of GLUE's texts.

    They are if the header has them, or if writing the rows again gives the same file.
    """
    if '"' not in text or text.startswith('"'):
        return text.startswith('"')
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error:
        return False
    again = io.StringIO()
    csv.writer(again, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return again.getvalue().rstrip() == text.replace("\r\n", "\n").rstrip()


def _read_text(path: Path) -> str:
    """Read a file in UTF-8, with or without a byte-order mark, or name its probable encoding."""
    with open_regular(path) as stream:
        content = stream.read()
    start = content[:4096]
    wide = 4 * start.count(0) > len(start)  # every second byte of plain English in UTF-16, which can be valid UTF-8
    try:
        if not wide:
            return content.decode("utf-8-sig")
        place = content.index(b"\0")
    except UnicodeDecodeError as error:
        place = error.start
    wide = wide or content[:2] in (b"\xff\xfe", b"\xfe\xff")
    name, code = ("UTF-16", "UTF-16") if wide else ("ISO-8859-1 or Windows-1252", "WINDOWS-1252")
    convert = f"it looks like {name}, and must be converted: iconv -f {code} -t UTF-8"
    raise InputError(f"{path}: not UTF-8 text (byte {place}); {convert}")


def _check_header(names: list[str], path: Path) -> None:
    duplicates = [name for name in names if names.count(name) > 1]
    if duplicates:
        raise InputError(f"{path}: duplicate column {duplicates[0]!r}")


def _read_jsonl(path: Path) -> Table:
    columns: dict[str, list[object]] = {}
    lines = _LINE_END.split(_read_text(path).rstrip())
    for number, line in enumerate(lines if lines[0] else (), start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path} line {number}: not JSON ({error})") from error
        if not isinstance(row, dict):
            raise InputError(f'{path} line {number}: not an object, as in {{"sentence": "a text", "label": 0}}')
        for name in row.keys() - columns.keys():
            columns[name] = [None] * (number - 1)
        for name, values in columns.items():  # a key that a row lacks is null: an error only where it is used
            values.append(row.get(name))
    return Table(columns=columns)
