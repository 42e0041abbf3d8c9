"""Draws to the columns of a data set: sizes, balance, no row twice, no leak. Knows no grammar, no task."""

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, Final

from glue_bench.data.sample.choices import Chooser

# What a task draws: the texts of one row and its label.
Row = tuple[tuple[str, ...], int | float]
# (source of choices, wished label or stratum) to one row.
Draw = Callable[[Chooser, int], Row]
# Split name to column name to values.
Splits = dict[str, dict[str, list[Any]]]

MAX_TRIES: Final = 2000


def collect_rows(
    task: str, columns: Sequence[str], *, sizes: Mapping[str, int], wishes: Sequence[int], draw: Draw
) -> Splits:
    """The splits of `task`, each with `sizes[split]` rows in random order.

    `wishes` is the repeating pattern of labels to ask `draw` for, so its proportions are the balance.
    A row is refused when it stands in its own split already, or any of its texts in another split.
    Raises RuntimeError when the grammar has no new row left.
    """
    foreign: set[str] = set()  # asked for membership only: its order would differ between processes
    splits: Splits = {}
    for split, size in sizes.items():
        rng = Random(f"{task}/{split}")
        chooser = Chooser(rng=rng, split=split)
        rows = _draw_rows(chooser, [wishes[place % len(wishes)] for place in range(size)], draw=draw, foreign=foreign)
        rng.shuffle(rows)
        texts: dict[str, list[Any]] = {
            column: [row_texts[place] for row_texts, _ in rows] for place, column in enumerate(columns)
        }
        splits[split] = texts | {"label": [label for _, label in rows], "idx": list(range(size))}
        foreign.update(text for row_texts, _ in rows for text in row_texts)
    return splits


def _draw_rows(chooser: Chooser, wishes: Sequence[int], *, draw: Draw, foreign: set[str]) -> list[Row]:
    rows: dict[tuple[str, ...], Row] = {}
    for wish in wishes:
        for _ in range(MAX_TRIES):
            texts, label = draw(chooser, wish)
            if len(set(texts)) == len(texts) and texts not in rows and foreign.isdisjoint(texts):
                rows[texts] = texts, label
                break
        else:
            raise RuntimeError(f"no new row for split {chooser.split!r}, label {wish}, after {MAX_TRIES} tries")
    return list(rows.values())
