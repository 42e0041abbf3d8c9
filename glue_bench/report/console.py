"""Tables of words in a terminal of any width: what does not fit goes under the table. Knows no reports."""

import io
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from glue_bench.report.columns import TextTable

# Columns that may be broken into lines, and how narrow.
_WRAPPED = {"metric": 14, "verdict": 14, "note": 24, "claim": 12, "the card says": 16, "found": 20}
# What a narrow terminal does without, the first one first.
_LEFT_OUT = (
    *("note", "device", "metric", "dev rows", "detectable", "p (Holm)", "seeds", "difference", "kept"),
    *("seconds of training", "95 % interval"),
)
_SENTENCES = ("metric", "note")  # that stand under the table where they do not fit into it
_GAP = 3  # columns of the terminal between two of a table


def write_console(tables: Sequence[TextTable], notes: Sequence[str], *, width: int | None, color: bool) -> str:
    """The tables and, once, the notes.

    Args:
        width: columns; None for the terminal's.
        color: with escape sequences.
    """
    console = Console(
        file=io.StringIO(), width=width, force_terminal=color, no_color=not color, highlight=False, emoji=False
    )
    for text in tables:
        _print_table(console, text)
    for note in notes:
        console.print(_show(note), style="dim")
    assert isinstance(console.file, io.StringIO)  # noqa: S101 - made above
    return console.file.getvalue()


def _print_table(console: Console, text: TextTable) -> None:
    console.print(_show(text.title), style="bold")
    kept, moved = _fit(text, console.width)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place in kept:
        header, narrowest = text.headers[place], _WRAPPED.get(text.headers[place])
        table.add_column(
            _show(header),
            justify="right" if text.is_right(place) else "left",
            no_wrap=narrowest is None,
            min_width=narrowest,
        )
    for line in text.rows:
        table.add_row(*(_show(line[place]) for place in kept))
    if text.total:
        table.add_section()
        table.add_row(*(_show(text.total[place]) for place in kept))
    console.print(table)
    below = [place for place in moved if text.headers[place] in _SENTENCES]
    for line in text.rows:
        words = [line[place] for place in below if line[place]]
        if words:
            console.print(_show(f"{line[0]}: {'; '.join(words)}"))
    numbers = [text.headers[place] for place in moved if place not in below]
    if numbers:
        console.print(f"In a wider terminal also: {', '.join(numbers)}.", style="dim")
    for note in text.notes:
        console.print(_show(note))
    console.print()


def _fit(text: TextTable, width: int) -> tuple[list[int], list[int]]:
    """The places of the columns that are shown, and of those that say something but do not fit."""
    lines = [*text.rows, *([text.total] if text.total else [])]
    # A column that says nothing in this table would only take room from the others.
    kept = [place for place, _ in enumerate(text.headers) if any(line[place] for line in lines)]
    moved = list[int]()
    for header in _LEFT_OUT:
        needed = sum(_narrowest(text, place) for place in kept) + _GAP * (len(kept) - 1) + 2
        if needed <= width:
            break
        moved += [place for place in kept if text.headers[place] == header]
        kept = [place for place in kept if text.headers[place] != header]
    return kept, sorted(moved)


def _narrowest(text: TextTable, place: int) -> int:
    """The columns of a terminal that a column of the table takes at least."""
    lines = [text.headers, *text.rows, *([text.total] if text.total else [])]
    longest = max(len(line[place]) for line in lines)
    return min(longest, _WRAPPED.get(text.headers[place], longest))


def _show(text: str) -> str:
    """The text itself on a terminal: no markup, no escape sequences."""
    return escape("".join(char if char.isprintable() else " " for char in text))
