"""The GLUE leaderboard's zip from finished runs: find what is missing, predict the test rows, write the files.

Predictions are stored in the run's folder without a label column, together with what they depend on: the run, its
weights, and the test rows. Pieces of unfinished ones are stored too, so that an interrupted command can resume. Loads
torch only to predict rows.
"""

import dataclasses
import functools
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from glue_bench.config.schema import DataConfig, TaskConfig
from glue_bench.data.texts import TextFile, open_texts, read_pieces
from glue_bench.errors import InputError, UsageError
from glue_bench.files import replace_atomically
from glue_bench.reading import open_regular
from glue_bench.runs.finished import FinishedRun, check_weights
from glue_bench.runs.store import predictions_path, read_predictions, write_predictions
from glue_bench.submission.layout import Choice, LeaderboardFile, write_rows
from glue_bench.text import first_line

if TYPE_CHECKING:
    from glue_bench.runs.inference import FineTuned

Vector = NDArray[np.int64] | NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a file of a run's predictions is made from."""

    file: LeaderboardFile
    choice: Choice
    texts: TextFile  # the test rows
    kept: Vector | None  # stored predictions


def prepare_sources(
    files: Sequence[LeaderboardFile],
    tasks: Mapping[str, TaskConfig],
    *,
    choices: Mapping[str, Choice],
    data: DataConfig | None,
) -> tuple[list[Source], list[str]]:
    """Find everything that predicting the files of these tasks needs, before the first row is predicted.

    `data` is where the test rows are; None for where each run's rows came from. Return the sources, and a line for each
    problem.
    """
    sources, problems, checked = list[Source](), list[str](), set[Path]()
    known = {item.name for item in dataclasses.fields(DataConfig)}
    for file in files:
        run = choices[file.task].run
        own = {key: value for key, value in run.record.config["data"].items() if key in known}
        try:
            texts = open_texts(data or DataConfig(**own), tasks[file.task], place=file.place)
            if texts.rows != file.rows:
                found = f"{texts.files}: {texts.rows:,} rows"
                raise InputError(f"{found}; the leaderboard wants predictions for {file.rows:,}")
            kept = kept_predictions(run, file.place, file=texts)
            sources.append(Source(file=file, choice=choices[file.task], texts=texts, kept=kept))
            if kept is None and run.folder not in checked:
                checked.add(run.folder)
                check_weights(run)
        except (InputError, UsageError) as error:
            problems.append(f"{file.name}: {first_line(error)}")
    return sources, problems


def predict_files(
    sources: Sequence[Source], *, device: str, on_rows: Callable[..., None] = lambda *_, **__: None
) -> dict[str, bytes]:
    """Predict what is not stored yet, and return the content of each file by name.

    `device` is as in `load_fine_tuned`; `on_rows` is called with a source, `done` rows of it, 0 at its start, and
    `fresh`: those of them predicted now. Errors as in `predict_rows`.
    """
    contents, loaded, load = dict[str, bytes](), "", None
    for source in sorted(sources, key=lambda source: source.file.task):  # all files of a task come from one model
        file, run, prediction = source.file, source.choice.run, source.kept
        if prediction is None:
            from glue_bench.runs.inference import load_fine_tuned

            on_rows(source, done=0, fresh=0)
            if load is None or loaded != run.record.task:  # free the last model before loading the next
                loaded, load = run.record.task, functools.cache(functools.partial(load_fine_tuned, run, device=device))
            tell = functools.partial(on_rows, source)
            prediction = predict_rows(run, file.place, file=source.texts, load=load, on_rows=tell)
        # Classes are mapped by name: a run's codes may be in another order.
        shown = prediction if run.task.regression else [run.task.labels[code] for code in prediction]
        contents[file.name] = write_rows(file, shown)
    return contents


def kept_predictions(run: FinishedRun, place: str, *, file: TextFile) -> Vector | None:
    """Read the stored predictions of these rows with these weights; None if they are missing or unreadable."""
    try:
        kept = read_predictions(predictions_path(run.folder, place), run.task, labelled=False, rows=file.rows)
    except InputError:
        return None
    return kept.prediction if kept.origin == _origin(run, place, file=file) else None


def predict_rows(
    run: FinishedRun,
    place: str,
    *,
    file: TextFile,
    load: "Callable[[], FineTuned]",
    on_rows: Callable[..., None] = lambda **_: None,
) -> Vector:
    """Predict every row of a test split, and store the predictions under predictions/PLACE.parquet of the run.

    Return (rows,) class codes in the run's order, or scores. `load` loads the run's model, and is called only if rows
    are left to predict; `on_rows` gets the numbers of rows that are `done`, and `fresh`: those predicted now. An
    InputError for rows or weights that cannot be used, a DivergedError for a logit that is NaN or infinite, a DiskError
    if the predictions cannot be written.
    """
    from glue_bench.runs.inference import predict_texts
    from glue_bench.tasks.metrics import decide

    # Without padding, kernels of oneDNN are rarely reused; its cache of 1,024 takes 2.3 GB after QQP's rows.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16")
    origin, path = _origin(run, place, file=file), predictions_path(run.folder, place)
    parts = path.with_name(f".{path.stem}-{hashlib.sha256(origin.encode()).hexdigest()[:12]}")
    pieces, done, fresh = list[tuple[NDArray[np.int64], NDArray[np.float32]]](), 0, 0
    for texts in read_pieces(file, run.task):
        part = parts / f"{done}.npy"
        found = _read_part(part, shape=(len(texts), run.task.outputs))
        if found is None:
            found = predict_texts(load(), texts.texts)
            fresh += len(texts)
            if len(texts) < file.rows:  # a split of one piece needs no stored pieces
                with replace_atomically(part) as temporary, temporary.open("wb") as stream:
                    np.save(stream, found)
        pieces.append((texts.idx, found))
        done += len(texts)
        if done < file.rows:
            on_rows(done=done, fresh=fresh)
    idx, logits = (np.concatenate(column) for column in zip(*pieces, strict=True))
    prediction = decide(logits, regression=run.task.regression)
    write_predictions(path, idx=idx, prediction=prediction, logits=logits, origin=origin)
    shutil.rmtree(parts, ignore_errors=True)
    on_rows(done=done, fresh=fresh)
    return prediction


def _read_part(path: Path, *, shape: tuple[int, int]) -> NDArray[np.float32] | None:
    try:
        with open_regular(path) as stream:
            logits: NDArray[Any] = np.load(stream, allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError):
        return None
    return logits if logits.shape == shape and logits.dtype == np.float32 else None


def _origin(run: FinishedRun, place: str, *, file: TextFile) -> str:
    facts = {"run_id": run.record.run_id, "model_sha256": run.record.model_sha256, "place": place, "rows": file.rows}
    return json.dumps({**facts, "data": dict(file.identity)}, sort_keys=True)
