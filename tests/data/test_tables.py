"""Columns of a file: which types they may have, and that reading takes time in proportion to the file."""

import re
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from glue_bench.data.sources import ORIGINALS
from glue_bench.data.tables import read_table
from glue_bench.errors import InputError
from tests.support.local_rows import columns_of


def write(path: Path, column: Any) -> Path:
    table = pa.table({"idx": column})
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_stream(path, table.schema) as stream:
            stream.write_table(table)
    return path


def numbers(number: int, kind: Any) -> Any:
    width = pa.int32() if kind.bit_width == 32 else pa.int64()
    return pa.array([number, 1], width).view(kind)


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (numbers(1, pa.date32()), "date32[day]"),
        (numbers(10**8, pa.date32()), "date32[day]"),  # after the year 9999, as all large ones here
        (numbers(10**15, pa.timestamp("ms")), "timestamp[ms]"),
        (numbers(10**8, pa.timestamp("ms", tz="Nowhere/City")), "timestamp[ms, tz=Nowhere/City]"),
        (numbers(9 * 10**18, pa.duration("ms")), "duration[ms]"),
        (pa.array([1, 2], pa.time64("us")), "time64[us]"),
        (numbers(10**15, pa.timestamp("ms")).dictionary_encode(), "timestamp[ms]"),
        (pa.FixedSizeListArray.from_arrays(numbers(10**8, pa.date32()), 1), "fixed_size_list<"),
        (pa.StructArray.from_arrays([numbers(10**8, pa.date32())], ["day"]), "struct<day: date32[day]>"),
        (pa.array([b"a", b"b"]), "binary"),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value.type),
)
def test_a_column_of_a_type_that_no_row_has_is_named_with_its_type(
    column: Any, kind: str, ending: str, tmp_path: Path
) -> None:
    path = write(tmp_path / f"a.{ending}", column)
    with pytest.raises(InputError) as caught:
        read_table(path).read("idx")
    found = re.escape(str(path)) + ": column idx is of type .*"
    assert re.fullmatch(f"{found}{re.escape(kind)}.*; must be text, number or boolean", str(caught.value))


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        *((kind, ["a", None]) for kind in (pa.string(), pa.large_string(), pa.string_view())),
        (pa.dictionary(pa.int8(), pa.string()), ["a", "b"]),
        (pa.int8(), [1, None]),
        (pa.uint64(), [2**64 - 1, 0]),
        (pa.float32(), [0.5, 1.0]),
        (pa.decimal128(38, 2), [Decimal("1.00"), Decimal("2.50")]),
        (pa.bool_(), [True, False]),
        (pa.null(), [None, None]),
    ],
    ids=str,
)
def test_columns_of_text_numbers_and_truth_arrive_as_they_are(kind: Any, values: list[object], tmp_path: Path) -> None:
    assert read_table(write(tmp_path / "a.arrow", pa.array(values, kind))).read("idx") == values


def test_columns_of_json_are_in_the_files_order_and_null_where_a_row_lacks_them(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"b": 1, "z": 2}\n{"a": 3, "b": 4}\n{}')
    columns = columns_of(read_table(tmp_path / "a.jsonl"))
    assert columns == {"b": [1, 4, None], "z": [2, None, None], "a": [None, 3, None]}
    assert [*columns] == ["b", "z", "a"]


def test_rows_of_nothing_are_left_out_also_before_half_a_text(tmp_path: Path) -> None:
    path = tmp_path / "train.tsv"
    path.write_text("index\tsentence\tlabel\n0\ta text\t1\n\t\t\nhalf\n")
    table = read_table(path, ORIGINALS["sst2"])
    assert columns_of(table) == {"index": ["0"], "sentence": ["a text"], "label": ["1"]}


@pytest.mark.parametrize(
    ("ending", "wide", "narrow"),
    [
        ("csv", [",".join(f"c{place}" for place in range(30_000)), ",".join("0" * 30_000)], ["c0", *"0" * 30_000]),
        ("jsonl", [f'{{"c0": 1, "c{line}": 1}}' for line in range(10_000)], ['{"c0": 1, "c1": 1}'] * 10_000),
    ],
)
def test_many_columns_take_about_as_long_as_many_rows(
    ending: str, wide: list[str], narrow: list[str], tmp_path: Path
) -> None:
    path = tmp_path / f"a.{ending}"

    def seconds(lines: list[str]) -> float:
        path.write_text("\n".join(lines))
        before = time.process_time()
        assert set(read_table(path).read("c0")) <= {"0", 1}
        return time.process_time() - before

    quick = min(seconds(narrow) for _ in range(3))
    assert min(seconds(wide) for _ in range(3)) < 20 * quick  # hundreds of times longer where it is quadratic
