"""What others may have written is read within limits, and checked by type: whatever is wrong is one line."""

import json
import os
import tracemalloc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Required, TypedDict

import pytest

from glue_bench.reading import (
    build_plain,
    conform,
    is_file_name,
    is_path,
    parse_json,
    read_bytes,
    read_json,
    read_text,
    whole_number,
)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        "[" * 51 + "]" * 51,
        "[1e999]",
        "NaN",
        "-Infinity",
        "9" * 400,
        '"\\ud800"',
        '{"\\udfff": 1}',
        "",
        "{",
    ],
    ids=lambda text: text[:12],
)
def test_json_that_would_harm_what_comes_after_is_a_value_error_of_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_json(text)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 300


def test_ordinary_json_is_read_as_it_was_written() -> None:
    content = {"a": [1, -2.5e-3, None, True, "é", 2**64 - 1], "b": {"c": []}}
    assert parse_json(json.dumps(content)) == content
    assert parse_json("[" * 50 + "]" * 50)


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_pointer(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")


def make_large(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(65 * 2**20)


@pytest.mark.parametrize(
    "make", [make_pipe, make_pointer, Path.mkdir, make_large, lambda path: path.symlink_to("/dev/zero")]
)
def test_only_a_regular_file_of_some_size_is_read_and_nothing_waits(make: Any, tmp_path: Path) -> None:
    make(tmp_path / "file")
    with pytest.raises(OSError, match=r"not a regular file|larger than 64 MiB|directory|Git LFS pointer") as caught:
        read_bytes(tmp_path / "file")
    assert caught.value.strerror


def test_a_name_with_nul_and_bytes_that_are_not_utf8_are_value_errors(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b'"caf\xe9"')
    for path in (tmp_path / "latin", Path("a\0b")):
        with pytest.raises(ValueError, match=r"."):
            read_json(path)


class Inner(TypedDict, total=False):
    name: Required[str]
    rows: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Outer:
    inner: Inner
    kind: Literal["a", "b"] = "a"
    values: Sequence[float | None] = ()
    flag: bool = False


GOOD: dict[str, Any] = {"inner": {"name": "x", "rows": {"train": 1}}, "values": [1, 2.5, None], "flag": True}


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"inner": 5}, "outer.inner is 5"),
        ({"inner": {}}, "outer.inner.name is missing"),
        ({"inner": {"name": None}}, "outer.inner.name is None; must be text"),
        ({"inner": {"name": "x", "rows": {"train": 1.0}}}, "outer.inner.rows.train is 1.0; must be a whole number"),
        ({"inner": {"name": "x", "rows": {"train": True}}}, "outer.inner.rows.train is True"),
        ({"kind": "c"}, "outer.kind is 'c'; must be one of a, b"),
        ({"kind": ["a"]}, "outer.kind is ['a']"),
        ({"values": "12"}, "outer.values is '12'; must be a list"),
        ({"values": [1, "x" * 1000]}, "outer.values[1] is 'xxx"),
        ({"values": [float("nan")]}, "outer.values[0] is nan; must be a finite number"),
        ({"flag": 1}, "outer.flag is 1; must be true or false"),
    ],
    ids=str,
)
def test_a_value_of_a_wrong_type_is_named_with_its_place(change: dict[str, Any], place: str) -> None:
    assert build_plain(Outer, GOOD, where="outer") == Outer(**GOOD)
    conform(Outer, {**GOOD, "added": "later"}, where="outer")
    with pytest.raises(ValueError, match=r"^outer\.") as caught:
        build_plain(Outer, {**GOOD, **change}, where="outer")
    assert str(caught.value).startswith(place)
    assert len(str(caught.value)) < 150


@pytest.mark.parametrize("text", ["²", "--5", "٣", "-1", "+1", "1_0", "", " 1", "1" * 21])
def test_only_ascii_digits_are_a_whole_number(text: str) -> None:
    assert (whole_number(text), whole_number("0120")) == (None, 120)


@pytest.mark.parametrize("text", ["", ".", "..", "a/b", "/", "../../victim", "a\0", "a\nb", "x" * 256])
def test_a_name_that_would_leave_its_folder_is_none(text: str) -> None:
    assert not is_file_name(text)
    assert is_file_name("modèle-1.5 copy")


@pytest.mark.parametrize("text", ["a\0", "\udc80", "x" * 256, "/".join(["x" * 200] * 21)])
def test_a_path_that_no_file_system_takes_is_none(text: str) -> None:
    assert not is_path(text)
    assert is_path("/tmp/é/a b")  # noqa: S108


def test_reading_takes_memory_for_what_a_file_holds_and_for_files_that_do_not_say_their_size(tmp_path: Path) -> None:
    (tmp_path / "small.json").write_text("[1]")
    tracemalloc.start()
    try:
        assert read_json(tmp_path / "small.json") == [1]
        assert tracemalloc.get_traced_memory()[1] < 2**20  # a run that ran out of memory still reads its lease
    finally:
        tracemalloc.stop()
    if (status := Path("/proc/self/status")).exists():
        assert len(read_text(status)) > 100
    (tmp_path / "large").write_bytes(b" " * (2**26 + 1))
    with pytest.raises(OSError, match="larger than 64 MiB"):
        read_text(tmp_path / "large")
