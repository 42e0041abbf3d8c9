"""Logits to what a person wants to know: labels and probabilities, or scores, as JSON lines or CSV. Knows no torch."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glue_bench.tasks.adapter import TaskAdapter
from glue_bench.text import escape_cell


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a model says of n rows."""

    idx: NDArray[np.int64]  # (n,) the rows' numbers as their source gives them
    labels: Sequence[str]  # the class names in the order of the codes; empty for regression
    values: NDArray[np.float64]  # (n, classes) probabilities, or (n, 1) scores as the model gives them

    def best(self, row: int) -> str:
        """The name of a row's most probable class; of equal ones the first."""
        return self.labels[int(self.values[row].argmax())]


def answer(logits: NDArray[np.float32], task: TaskAdapter, *, idx: NDArray[np.int64]) -> Answers:
    """(n, outputs) logits to answers: a softmax over classes; a regression score stays what it is, unclipped."""
    values = logits.astype(np.float64)
    if not task.regression:
        values = np.exp(values - values.max(axis=1, keepdims=True))
        values /= values.sum(axis=1, keepdims=True)
    return Answers(idx=idx, labels=task.labels, values=values)


def render_answers(answers: Answers, format_name: str) -> str:
    """One line per row, in the rows' order.

    Args:
        format_name: jsonl: `idx`, and `label` with `probabilities` by name, or `score`.
            csv: the same, with a column `probability_NAME` for each class.
    """
    stream, labels = io.StringIO(), answers.labels
    writer = csv.writer(stream, lineterminator="\n")
    if format_name == "csv":
        writer.writerow(["idx", "label", *(f"probability_{label}" for label in labels)] if labels else ["idx", "score"])
    for row, idx in enumerate(answers.idx.tolist()):
        values = [round(value, 6) for value in answers.values[row].tolist()]  # float32 logits have hardly more digits
        if format_name == "csv":
            writer.writerow([idx, *([escape_cell(answers.best(row))] if labels else []), *values])
            continue
        content: dict[str, Any] = {"score": values[0]}
        if labels:
            content = {"label": answers.best(row), "probabilities": dict(zip(labels, values, strict=True))}
        stream.write(json.dumps({"idx": idx, **content}, ensure_ascii=False) + "\n")
    return stream.getvalue()
