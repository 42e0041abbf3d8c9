"""Predict with a finished run: its weights, their logits for any texts, and the answers as JSON lines or CSV.

Imports torch only when a model is loaded or used.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from glue_bench.config.task import TaskConfig
from glue_bench.data.rows import Texts
from glue_bench.data.texts import join_rows
from glue_bench.runs.finished import FinishedRun, check_weights
from glue_bench.text import escape_cell

if TYPE_CHECKING:
    from glue_bench.data.encoding import TextEncoder
    from glue_bench.models.classifier import Classifier
    from glue_bench.models.placement import Placement


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuned:
    """A run's model, with everything that its logits depend on as it was in the run."""

    model: "Classifier"
    encoder: "TextEncoder"  # cuts texts at the run's max_length
    placement: "Placement"
    batch_size: int  # rows at a time; no logit depends on it


def load_fine_tuned(run: FinishedRun, *, device: str = "auto") -> FineTuned:
    """Load the model that the run kept, after a check that its weights are the record's.

    `device` is auto, cpu, cuda, cuda:N or mps; the precision is the run's setting on it. A UsageError if there is no
    such device; an InputError if the run kept no weights, they are not the record's, or they cannot be loaded.
    """
    from glue_bench.data.encoding import TextEncoder
    from glue_bench.models.classifier import load_saved_classifier
    from glue_bench.models.placement import choose_placement

    folder, trainer = check_weights(run), run.record.config["trainer"]
    exact, multiply = trainer["deterministic"], trainer.get("products", "torch")  # of earlier versions: torch's alone
    placement = choose_placement(device, trainer["precision"], deterministic=exact, multiply=multiply)
    return FineTuned(
        model=load_saved_classifier(folder, outputs=run.task.outputs, engine=trainer["engine"]),
        encoder=TextEncoder(folder, max_length=trainer["max_length"]),
        placement=placement,
        batch_size=trainer["eval_batch_size"],
    )


def predict_texts(fine_tuned: FineTuned, texts: Sequence[Sequence[str]]) -> NDArray[np.float32]:
    """Return (n, outputs) logits, in the rows' order: one per class in the order of the codes, or the score.

    `texts` are the task's one or two text columns, each of n strings; n is 1 or more. An InputError if the tokenizer
    gives ids that the model has no embedding for; a DivergedError if a logit is NaN or infinite.
    """
    from glue_bench.models.classifier import check_tokens
    from glue_bench.training.trainer import predict

    encoded = fine_tuned.encoder.tokenise(texts)
    check_tokens(fine_tuned.model, encoded)
    return predict(fine_tuned.model, encoded, batch_size=fine_tuned.batch_size, placement=fine_tuned.placement)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """A model's predictions for n rows."""

    idx: NDArray[np.int64]  # (n,) the rows' numbers as their source gives them
    beside: Mapping[str, Sequence[str]]  # n values each: the texts by column; before them the file, if of several
    labels: Sequence[str]  # the class names in the order of the codes; empty for regression
    values: NDArray[np.float64]  # (n, classes) probabilities, or (n, 1) scores as the model gives them

    def best(self, row: int) -> str:
        """Return the name of a row's most probable class; the first of equal ones."""
        return self.labels[int(self.values[row].argmax())]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield each row: `idx`, its texts, and `label` with `probabilities` by name, or `score`."""
        for row, values in enumerate(self.values.tolist()):
            rounded = [round(value, 6) for value in values]  # float32 logits have hardly more digits
            found: dict[str, Any] = {"score": rounded[0]}
            if self.labels:
                found = {"label": self.best(row), "probabilities": dict(zip(self.labels, rounded, strict=True))}
            yield {"idx": int(self.idx[row]), **{name: column[row] for name, column in self.beside.items()}, **found}


def answer(logits: NDArray[np.float32], task: TaskConfig, *, rows: Texts, files: Sequence[str] = ()) -> Answers:
    """Turn (n, outputs) logits into answers: a softmax over classes, or the regression score, unclipped.

    `rows` are what was predicted, `files` the name of each row's file, if there are several.
    """
    values = logits.astype(np.float64)
    if not task.regression:
        values = np.exp(values - values.max(axis=1, keepdims=True))
        values /= values.sum(axis=1, keepdims=True)
    beside = {**({"file": files} if files else {}), **dict(zip(task.texts, rows.texts, strict=True))}
    return Answers(idx=rows.idx, beside=beside, labels=task.labels, values=values)


def render_answers(answers: Answers, format_name: str) -> str:
    """Render each of `Answers.rows` as a line of jsonl, or of csv with a column `probability_NAME` for each class."""
    if format_name != "csv":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in answers.rows())
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    found = ["label", *(f"probability_{label}" for label in answers.labels)] if answers.labels else ["score"]
    writer.writerow(["idx", *answers.beside, *found])
    for row in answers.rows():
        probabilities = row.pop("probabilities") if answers.labels else {}  # of scores it is a column beside
        writer.writerow(map(escape_cell, [*row.values(), *probabilities.values()]))
    return stream.getvalue()


def predict_rows(
    run: FinishedRun, rows: Sequence[str | Sequence[str] | Mapping[str, str]], *, device: str = "auto"
) -> list[dict[str, Any]]:
    """Predict rows with the model of a run; `glue_bench.predict` documents rows and answers."""
    texts = join_rows(rows, run.task)
    logits = predict_texts(load_fine_tuned(run, device=device), texts.texts)
    return [*answer(logits, run.task, rows=texts).rows()]
