"""Counts with their nouns, and the first line of somebody else's message."""

import pytest

from glue_bench.errors import list_names
from glue_bench.text import cut, escape_cell, first_line, fit_message, plural, quote, visible


@pytest.mark.parametrize(("count", "text"), [(0, "0 runs"), (1, "1 run"), (1200, "1,200 runs")])
def test_a_count_has_its_noun(count: int, text: str) -> None:
    assert plural(count, "run") == text


def test_the_first_line_of_a_message_is_the_first_that_is_not_empty() -> None:
    assert first_line(ValueError("\n  no such column\nTraceback ...")) == "no such column"


def test_an_exception_without_a_message_is_named_by_its_class() -> None:
    assert first_line(MemoryError()) == "MemoryError"


def test_an_empty_text_gives_no_reason() -> None:
    assert first_line("  \n") == "no reason given"


def test_a_line_that_announces_the_reason_is_followed_by_it() -> None:
    assert (
        first_line("Error(s) in loading:\n\tsize mismatch for a.b\nmore")
        == "Error(s) in loading: size mismatch for a.b"
    )


@pytest.mark.parametrize("char", ["\x1b", "\a", "\n", "\r", "\x9b", "\u202e", "\u2028", "\ud800", "\0"])
def test_what_a_terminal_would_obey_is_visible(char: str) -> None:
    shown = visible(f"a{char}b é")
    assert shown.isprintable()
    assert shown.startswith("a\\")
    assert shown.endswith("b é")


@pytest.mark.parametrize("length", [199, 200, 201, 100_000])
def test_a_long_value_loses_its_middle(length: int) -> None:
    shown = quote("a" * (length - 1) + "z")
    assert len(shown) == min(length, 200)
    assert shown.endswith("z")
    assert (" ... " in shown) == (length > 200)


def test_a_long_list_says_how_many_more_there_are() -> None:
    assert list_names("abc") == "a, b, c"
    assert list_names(str(number) for number in range(1_512)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 1,502 more"


@pytest.mark.parametrize(
    "text", ["\n".join("abcdefghijkl"), "x" * 10_000, "\n".join(["y" * 400] * 9), "\x1b" * 500, "a\n\n\nb" + "c" * 900]
)
def test_no_message_is_over_three_lines_or_600_characters(text: str) -> None:
    lines = fit_message(text).split("\n")
    assert len(lines) <= 3
    assert len("\n".join(lines)) <= 600
    assert all(line.isprintable() for line in lines)
    assert fit_message("short\n  second") == "short\n  second"


def test_the_end_of_a_message_survives_a_long_beginning() -> None:
    assert cut("v" * 900 + ": must be 1 or more", 600).endswith(": must be 1 or more")


@pytest.mark.parametrize("start", ["", " ", "\t", "\r", "\n ", "\u00a0", "\u3000"])
def test_a_spreadsheet_takes_no_text_for_a_formula(start: str) -> None:
    for sign in "=+-@":
        assert escape_cell(f"{start}{sign}1+1") == f"'{visible(start)}{sign}1+1"
    for plain in (f"{start}1=1", start, 1.5, None):
        assert escape_cell(plain) == (visible(plain) if isinstance(plain, str) else plain)
