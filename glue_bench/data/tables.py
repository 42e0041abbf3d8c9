"""Read one file of rows as plain columns: Parquet, Arrow, CSV, TSV, JSON Lines or JSON. Knows no tasks."""

import codecs
import contextlib
import csv
import functools
import gzip
import io
import itertools
import json
import os
import re
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from glue_bench.errors import InputError, list_names
from glue_bench.reading import open_regular
from glue_bench.text import first_line, quote

TEXT_TYPES = ("csv", "tsv", "jsonl", "json")
FILE_TYPES = ("parquet", *TEXT_TYPES, *(f"{kind}.gz" for kind in TEXT_TYPES))  # the endings of a user's files
_LARGEST = 4 * 2**30  # bytes of a decompressed text
_LINE_END = re.compile(r"\r|\n")
_KINDS = ("string", "large_string", "string_view", "integer", "floating", "decimal", "boolean", "null")
_FIRST_BYTES = {  # of files that are not UTF-8 text
    **dict.fromkeys((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE), "UTF-32; convert it: iconv -f UTF-32 -t UTF-8"),
    **dict.fromkeys((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE), "UTF-16; convert it: iconv -f UTF-16 -t UTF-8"),
    **dict.fromkeys((b"BZh", b"\xfd7zXZ", b"(\xb5/\xfd"), "a compressed file; decompress it, or use gzip"),
    b"\x1f\x8b": "compressed with gzip; its name must end in .gz",
    b"PK\3\4": "a zip archive, such as Excel's .xlsx; unzip it, or save it as CSV UTF-8",
    b"\xd0\xcf\x11\xe0": "an Excel file; save it as CSV UTF-8",
    b"PAR1": "Parquet; its name must end in .parquet",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Columns of equal length, each read only when asked for: a column that is never read may hold anything."""

    where: str  # the file, for messages
    names: Collection[str]  # of the columns, in the file's order
    read: Callable[[str], list[object]]  # a column by its name
    label_names: list[str] | None = None  # if the file declares them
    numbers: NDArray[np.int64] | None = None  # of the rows in the file, counted from 0; None if all of them are here

    def keep(self, kept: list[bool]) -> "Table":
        """Return some of the rows, which keep their numbers."""
        numbers = np.flatnonzero(kept) if self.numbers is None else self.numbers[np.array(kept)]
        return replace(self, read=lambda name: [*itertools.compress(self.read(name), kept)], numbers=numbers)

    def require(self, *names: str, note: str = "") -> None:
        """Raise an InputError for a column that is missing."""
        for name in names:
            if name not in self.names:
                found = list_names(map(quote, self.names)) or "none"
                raise InputError(f"{self.where}: no column {quote(name)!r}{note}; it has {found}")

    def refuse(self, name: str, row: int, *, words: str) -> NoReturn:
        """Raise an InputError for a cell, whose row is counted from 1 in the file."""
        number, found = row if self.numbers is None else int(self.numbers[row]), quote(repr(self.read(name)[row]))
        raise InputError(f"{self.where} row {number + 1}: {name} is {found}{words}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """A folder of GLUE's original distribution, whose .tsv files have no quotation marks of their own."""

    folder: str
    columns: Mapping[str, str] = field(default_factory=dict)  # the task's name to GLUE's, where they differ
    header: Sequence[str] = ()  # the columns of files without a first line of names


def type_of(path: Path) -> str:
    """Return the ending of a file's name that says its format, in lower case and without `.gz`."""
    return path.name.lower().removesuffix(".gz").rpartition(".")[2]


def read_table(path: Path, original: Original | None = None) -> Table:
    """Read every row; `original` is how GLUE wrote this task. An InputError names the file and the broken line."""
    match type_of(path):
        case "parquet" | "arrow":
            return _read_columnar(path)
        case "jsonl" | "json":
            return _read_json(path)
        case kind:
            return _read_delimited(path, delimiter="," if kind == "csv" else "\t", original=original)


def read_text(path: Path) -> str:
    """Read UTF-8 text, decompressed, without a byte order mark, LF for CRLF; an InputError if it cannot be read."""
    try:
        packed = path.suffix.lower() == ".gz"
        with open_regular(path) as stream:
            content = gzip.GzipFile(fileobj=stream).read(_LARGEST + 1) if packed else stream.read()
        if packed and len(content) > _LARGEST:
            raise InputError(f"{path}: larger than {_LARGEST >> 30} GiB when decompressed")
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    wide = 4 * content.count(0, 0, 4096) > len(content[:4096])  # English in UTF-16, which can be valid UTF-8
    try:
        if not wide:
            return content.decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n")
        place, may = content.index(b"\0"), " (ENCODING may be UTF-16LE or UTF-16BE)"
    except UnicodeDecodeError as error:
        place, may = error.start, ""
    found = f"byte {content[place]:#04x} in line {content.count(10, 0, place) + 1}"
    advice = f" ({found}); convert it: iconv -f ENCODING -t UTF-8{may}"
    raise InputError(f"{path}: not UTF-8 text{f'; it is {known}' if (known := _what_is(content)) else advice}")


def _what_is(start: bytes) -> str | None:
    return next((what for first, what in _FIRST_BYTES.items() if start.startswith(first)), None)


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a file by its path alone: pyarrow would take `exp:1/train.parquet` for an address."""
    with open_regular(path):  # no pipe, no device
        return pq.ParquetFile(pa.OSFile(os.fsencode(path)))


def unreadable(path: Path, error: Exception) -> InputError:
    """Return the error for a file that is damaged, or of another format than its name says."""
    reason = getattr(error, "strerror", None) or first_line(error)
    with contextlib.suppress(OSError), open_regular(path) as stream:
        reason = f"it is {what}" if (what := _what_is(stream.read(8))) and type_of(path) not in what.lower() else reason
    return InputError(f"{path}: not a readable {type_of(path).capitalize()} file ({reason})")


def _read_columnar(path: Path) -> Table:
    """Read Parquet, or an Arrow stream as `datasets.save_to_disk` writes it."""
    try:
        if type_of(path) == "parquet":
            file = open_parquet(path)
            schema = file.schema_arrow
        else:
            with open_regular(path):
                file = pa.ipc.open_stream(pa.OSFile(os.fsencode(path))).read_all()
            schema = file.schema
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from error

    @functools.cache
    def read_column(name: str) -> list[object]:
        kind = schema.field(name).type
        inside = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not any(getattr(pa.types, f"is_{each}")(inside) for each in _KINDS):
            raise InputError(f"{path}: column {quote(name)} is of type {quote(kind)}; must be text, number or boolean")
        try:
            table = file if isinstance(file, pa.Table) else file.read(columns=[name])
            return list(table[name].to_pylist())
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise unreadable(path, error) from error

    _check_header(schema.names, path)
    names = None
    if b"huggingface" in (schema.metadata or {}):  # what the datasets library stored
        from datasets import ClassLabel, Features

        try:
            label = Features.from_arrow_schema(schema).get("label")
            names = [str(name) for name in label.names] if isinstance(label, ClassLabel) else None
        except Exception as error:  # what the library raises depends on how odd the description is
            raise InputError(f"{path}: its data set description cannot be read ({first_line(error)})") from error
    return Table(where=str(path), names=schema.names, read=read_column, label_names=names)


def _read_delimited(path: Path, *, delimiter: str, original: Original | None) -> Table:
    text, before = read_text(path), 0  # lines before the text
    if said := re.match(r'"?sep=([,;|\t])"?(\n|$)', text):  # a note for Excel
        delimiter, text, before = said[1], text[said.end() :], 1
    first = text.partition("\n")[0]
    if not said and delimiter not in first:  # spreadsheets of many countries write semicolons into .csv
        delimiter = next((other for other in (",", ";", "\t") if other in first), delimiter)
    fields, is_tsv = first.split("\t"), type_of(path) != "csv"
    own_names = original.header if original and len(fields) == len(original.header) and fields[1] in ("0", "1") else ()
    glues = is_tsv and original and (own_names or fields[0] in ("index", "id") or "#1 ID" in fields)
    quoted = not glues and (not is_tsv or _is_quoted(text, delimiter, path=path))
    plain = "" if quoted or '"' not in text else "; quotation marks are text, unless the header has some too"
    csv.field_size_limit(2**31 - 1)
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, strict=True)
    try:
        names = own_names if glues and own_names else next(reader, [])
        header = [name.strip() for name in names]
        every = [(number, reader.line_num, row) for number, row in enumerate(reader)]
    except csv.Error as error:
        raise InputError(f"{path} line {before + reader.line_num}: {error}") from error
    # A row of GLUE's that is too short is half of a text with a line end: its readers drop both halves.
    lines = [line for line in every if not glues or len(line[2]) >= len(header)]
    while lines and not ("".join(row := lines[-1][2]).strip() or len(row) == len(header) == 1):
        lines.pop()  # rows of nothing may follow
    for _, line, row in lines if not glues else ():
        if len(row) != len(header):
            raise InputError(f"{path} line {before + line}: {len(row)} fields, not {len(header)}{plain}")
    rows = [row for _, _, row in lines]
    used = [place for place, name in enumerate(header) if name or any(row[place].strip() for row in rows)]
    _check_header([header[place] for place in used], path)
    columns: dict[str, list[object]] = {header[place]: [row[place] for row in rows] for place in used}
    numbers = np.array([number for number, _, _ in lines]) if len(rows) < len(every) else None
    return Table(where=str(path), names=columns, read=columns.__getitem__, numbers=numbers)


def _is_quoted(text: str, delimiter: str, *, path: Path) -> bool:
    """Return whether a .tsv is quoted as pandas writes it: its header is, or writing its rows again gives the same.

    An InputError if it has one column: a text of several lines would look like several texts.
    """
    if '"' not in text or text.startswith('"'):
        return text.startswith('"')
    rows, again = list[list[str]](), io.StringIO()
    with contextlib.suppress(csv.Error):
        rows += csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    csv.writer(again, delimiter=delimiter, lineterminator="\n").writerows(rows)
    spread = [field for row in rows for field in row if _LINE_END.search(field)]
    uneven = any(row and len(row) != len(rows[0]) for row in rows)
    if uneven or again.getvalue().rstrip() != text.rstrip() or any(delimiter in field for field in spread):
        return False
    if spread and len(rows[0]) == 1:
        either = f"'{quote(spread[0])}' may be one text, or one text per line"
        raise InputError(f"{path}: {either}; put the header into quotation marks too, or write .jsonl")
    return True


def _check_header(names: list[str], path: Path) -> None:
    if duplicates := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(f"{path}: duplicate column {duplicates[0]!r}")


def _read_json(path: Path) -> Table:
    """Read JSON Lines, or a list of objects; many programs write lines into .json. A key that a row lacks is null."""
    text = read_text(path).rstrip()
    listed = text[:1] == "[" and type_of(path) == "json"
    rows = list[Any]()
    try:
        for line in _LINE_END.split(text) if text and not listed else ():
            rows.append(json.loads(line))
        rows += json.loads(text) if listed else []
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}{'' if listed else f' line {len(rows) + 1}'}: not JSON ({error})") from error
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            where = f"{path} {'item' if listed else 'line'} {number}"
            raise InputError(f'{where}: not an object, as in {{"sentence": "a text", "label": 0}}')
    names = dict.fromkeys(itertools.chain(*rows))
    return Table(where=str(path), names=names, read=lambda name: [row.get(name) for row in rows])
