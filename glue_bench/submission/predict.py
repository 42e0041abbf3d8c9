"""A run's predictions of test rows: made once, kept beside its other predictions, and never scored.

They are kept without a label column, and with what they were made of: the run, its weights, and the test rows. Pieces
of unfinished ones are kept too, so that a command that was stopped goes on where it was.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from glue_bench.data.texts import TextFile, read_pieces
from glue_bench.errors import InputError
from glue_bench.files import replace_atomically
from glue_bench.runs.finished import FinishedRun
from glue_bench.runs.store import predictions_path, read_predictions, write_predictions

if TYPE_CHECKING:
    from glue_bench.runs.inference import FineTuned

Vector = NDArray[np.int64] | NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """The predictions of one test split."""

    prediction: Vector  # (rows,) class codes in the run's order, or scores
    fresh: int  # rows that were predicted now; the others were kept
    seconds: float  # of predicting them


def kept_predictions(run: FinishedRun, place: str, file: TextFile) -> Vector | None:
    """What the run predicted for these very rows with its very weights; None if it did not, or not readably."""
    try:
        kept = read_predictions(predictions_path(run.folder, place), run.task, labelled=False)
    except InputError:
        return None
    same = kept.origin == _origin(run, place, file) and len(kept.prediction) == file.rows
    return kept.prediction if same else None


def predict_rows(
    run: FinishedRun,
    place: str,
    file: TextFile,
    *,
    load: Callable[[], "FineTuned"],
    on_rows: Callable[[int], None] = lambda _: None,
) -> Predicted:
    """Predict every row of a test split, and keep the predictions under predictions/PLACE.parquet of the run.

    Args:
        load: gives the run's model, once it is needed.
        on_rows: told how many rows are done.

    Raises:
        InputError: rows or weights that cannot be used.
        DivergedError: a logit is NaN or infinite.
        DiskError: the predictions cannot be written.
    """
    from glue_bench.tasks.metrics import predict_classes, predict_scores

    # Batches without padding rarely use a kernel of oneDNN again; its 1,024 kept ones take 2.3 GB after QQP's rows.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16")
    origin = _origin(run, place, file)
    digest = hashlib.sha256(origin.encode()).hexdigest()[:12]
    path = predictions_path(run.folder, place)
    parts = path.with_name(f".{path.stem}-{digest}")
    pieces, fresh, began = list[tuple[NDArray[np.int64], NDArray[np.float32]]](), 0, time.perf_counter()
    for idx, logits, is_new in _pieces(run, file, parts, load=load):
        pieces.append((idx, logits))
        fresh += is_new * len(idx)
        on_rows(sum(len(each) for each, _ in pieces))
    idx, logits = (np.concatenate(column) for column in zip(*pieces, strict=True))
    prediction = predict_scores(logits) if run.task.regression else predict_classes(logits)
    seconds = time.perf_counter() - began
    write_predictions(path, idx=idx, prediction=prediction, logits=logits, origin=origin)
    shutil.rmtree(parts, ignore_errors=True)
    return Predicted(prediction=prediction, fresh=fresh, seconds=seconds)


def _pieces(
    run: FinishedRun, file: TextFile, parts: Path, *, load: Callable[[], "FineTuned"]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32], bool]]:
    """idx (n,), logits (n, outputs) and whether they are new, for each piece of the rows."""
    from glue_bench.runs.inference import predict_texts

    done = 0
    for texts in read_pieces(file, run.task):
        part = parts / f"{done}.npy"
        logits = _read_part(part, shape=(len(texts), run.task.outputs))
        is_new = logits is None
        if logits is None:
            logits = predict_texts(load(), texts.texts)
            if len(texts) < file.rows:  # small splits are done sooner than kept
                with replace_atomically(part) as temporary, temporary.open("wb") as stream:
                    np.save(stream, logits)
        done += len(texts)
        yield texts.idx, logits, is_new


def _read_part(path: Path, *, shape: tuple[int, int]) -> NDArray[np.float32] | None:
    try:
        logits: NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return logits if logits.shape == shape and logits.dtype == np.float32 else None


def _origin(run: FinishedRun, place: str, file: TextFile) -> str:
    """What predictions depend on, as text."""
    facts = {
        "run_id": run.record.run_id,
        "model_sha256": run.record.model_sha256,
        "place": place,
        "rows": file.rows,
        "data": dict(file.identity),
    }
    return json.dumps(facts, sort_keys=True)
