"""Counts with their nouns, and the first line of somebody else's message."""

import pytest

from glue_bench.text import first_line, plural


@pytest.mark.parametrize(
    ("count", "nouns", "text"),
    [(0, None, "0 runs"), (1, None, "1 run"), (1200, None, "1,200 runs"), (2, "men", "2 men")],
)
def test_a_count_has_its_noun(count: int, nouns: str | None, text: str) -> None:
    assert plural(count, "run" if nouns is None else "man", nouns=nouns) == text


def test_the_first_line_of_a_message_is_the_first_that_is_not_empty() -> None:
    assert first_line(ValueError("\n  no such column\nTraceback ...")) == "no such column"


def test_an_exception_without_a_message_is_named_by_its_class() -> None:
    assert first_line(MemoryError()) == "MemoryError"


def test_an_empty_text_gives_no_reason() -> None:
    assert first_line("  \n") == "no reason given"
