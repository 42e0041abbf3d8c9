"""Predict with a finished run: its weights, their logits for any texts, and the answers as JSON lines or CSV.

Imports torch only when a model is loaded or used.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glue_bench.config.task import TaskConfig
from glue_bench.data.rows import Texts
from glue_bench.runs.finished import FinishedRun, check_weights
from glue_bench.text import escape_cell


class FineTuned:
    """The model that a run kept, with everything that its logits depend on as it was in the run."""

    def __init__(self, run: FinishedRun, *, device: str = "auto") -> None:
        """Load the model, after a check that its weights are the record's.

        `device` is auto, cpu, cuda, cuda:N or mps; the precision is the run's setting on it. A UsageError if there is
        no such device; an InputError if the run kept no weights, they are not the record's, or they cannot be loaded.
        """
        from glue_bench.data.encoding import TextEncoder
        from glue_bench.models.classifier import load_saved_classifier
        from glue_bench.models.placement import choose_placement

        folder, trainer = check_weights(run), run.record.config["trainer"]
        exact, by = trainer["deterministic"], trainer.get("products", "torch")  # of earlier versions: torch's alone
        self.placement = choose_placement(device, trainer["precision"], deterministic=exact, multiply=by)
        self.model = load_saved_classifier(folder, outputs=run.task.outputs, engine=trainer["engine"])
        self.encoder = TextEncoder(folder, max_length=trainer["max_length"])
        self.batch_size = trainer["eval_batch_size"]  # rows at a time; no logit depends on it

    def predict(self, texts: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """Return (n, outputs) logits, in the rows' order: one per class in the order of the codes, or the score.

        `texts` are the task's one or two text columns, each of n strings; n is 1 or more. An InputError if the
        tokenizer gives ids that the model has no embedding for; a DivergedError if a logit is NaN or infinite.
        """
        from glue_bench.models.classifier import check_tokens
        from glue_bench.training.trainer import predict

        encoded = self.encoder.tokenise(texts)
        check_tokens(self.model, encoded)
        return predict(self.model, encoded, batch_size=self.batch_size, placement=self.placement)


def answer(
    logits: NDArray[np.float32], task: TaskConfig, *, rows: Texts, files: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Turn (n, outputs) logits into n rows: `idx`, the texts by column, and `label` with `probabilities`, or `score`.

    Probabilities, by the names of the classes, are a softmax; a score is as the model gives it, unclipped. `rows` are
    what was predicted, `files` the name of each row's file, if there are several.
    """
    values, found = logits.astype(np.float64), list[dict[str, Any]]()
    if not task.regression:
        values = np.exp(values - values.max(axis=1, keepdims=True))
        values /= values.sum(axis=1, keepdims=True)
    beside = {**({"file": files} if files else {}), **dict(zip(task.texts, rows.texts, strict=True))}
    for row, best in enumerate(values.argmax(axis=1)):
        rounded = [round(value, 6) for value in values[row].tolist()]  # float32 logits have hardly more digits
        said: dict[str, Any] = {"score": rounded[0]}
        if not task.regression:
            said = {"label": task.labels[best], "probabilities": dict(zip(task.labels, rounded, strict=True))}
        found.append({"idx": int(rows.idx[row]), **{name: column[row] for name, column in beside.items()}, **said})
    return found


def render_answers(answers: Sequence[Mapping[str, Any]], format_name: str) -> str:
    """Render what `answer` returns as lines of jsonl, or of csv with a column `probability_NAME` for each class."""
    if format_name != "csv":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in answers)
    stream, rows = io.StringIO(), list[dict[str, Any]]()
    for row in answers:
        classes = known if isinstance(known := row.get("probabilities"), Mapping) else {}  # it may be a column of texts
        cells = {name: value for name, value in row.items() if value is not classes}
        rows.append(cells | {f"probability_{name}": value for name, value in classes.items()})
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerows(rows[:1])  # its keys: the heading
    writer.writerows(map(escape_cell, row.values()) for row in rows)
    return stream.getvalue()
