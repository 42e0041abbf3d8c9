"""From finished runs to the leaderboard's zip: find what is missing, predict the test rows, write the files.

Predictions are stored in the run's folder without a label column, together with what they depend on: the run, its
weights, and the test rows. Pieces of unfinished ones are stored too, so that an interrupted command can resume.
"""

import dataclasses
import functools
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from glue_bench.config.schema import DataConfig, TaskConfig
from glue_bench.data.texts import TextFile, open_texts, read_pieces
from glue_bench.errors import InputError, UsageError
from glue_bench.files import replace_atomically
from glue_bench.runs.finished import FinishedRun, check_weights
from glue_bench.runs.store import predictions_path, read_predictions, write_predictions
from glue_bench.submission.choose import Choice
from glue_bench.submission.layout import Fill, LeaderboardFile, write_classes, write_scores, write_zip
from glue_bench.text import first_line

if TYPE_CHECKING:
    from glue_bench.runs.inference import FineTuned

Vector = NDArray[np.int64] | NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """A file of one constant prediction."""

    file: LeaderboardFile
    fill: Fill


@dataclass(frozen=True, slots=True, kw_only=True)
class FromRun:
    """A file of a run's predictions."""

    file: LeaderboardFile
    choice: Choice
    texts: TextFile  # the test rows
    kept: Vector | None  # stored predictions


Source = Filled | FromRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """The sources of all files, and why some have none."""

    sources: Sequence[Source]
    runless: Sequence[str]  # tasks without a run
    problems: Sequence[str]  # of the other tasks: lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """The predictions of one test split."""

    prediction: Vector  # (rows,) class codes in the run's order, or scores
    fresh: int  # rows that were predicted now; the others were stored
    seconds: float


class Progress:
    """Progress callbacks for a build; every method does nothing by default."""

    def begin(self, source: FromRun) -> None:
        """The rows of a file are next."""

    def advance(self, source: FromRun, rows: int) -> None:
        """This many of its rows are done."""

    def end(self, source: FromRun, predicted: Predicted) -> None:
        """All of them are done."""


def prepare_sources(
    files: Sequence[LeaderboardFile],
    tasks: Mapping[str, TaskConfig],
    *,
    choices: Mapping[str, Choice],
    fills: Mapping[str, Fill],
    data: DataConfig | None,
) -> Readiness:
    """Find everything that predicting needs, and every problem, before the first row is predicted.

    Args:
        data: where the test rows are; None for where each run's rows came from.
    """
    sources, problems, checked = list[Source](), list[str](), set[Path]()
    for file in files:
        if file.task in fills:
            sources.append(Filled(file=file, fill=fills[file.task]))
        elif file.task in choices:
            run = choices[file.task].run
            try:
                texts = open_texts(data or _data_of(run), tasks[file.task], place=file.place)
                if texts.rows != file.rows:
                    wanted = f"the leaderboard wants predictions for {file.rows:,}"
                    raise InputError(f"{texts.path}: {texts.rows:,} rows; {wanted}")
                kept = kept_predictions(run, file.place, file=texts)
                sources.append(FromRun(file=file, choice=choices[file.task], texts=texts, kept=kept))
                if kept is None and run.folder not in checked:
                    checked.add(run.folder)
                    check_weights(run)
            except (InputError, UsageError) as error:
                problems.append(f"{file.name}: {first_line(error)}")
    runless = sorted({file.task for file in files} - {*fills, *choices})
    return Readiness(sources=sources, runless=runless, problems=problems)


def _data_of(run: FinishedRun) -> DataConfig:
    """Where the run's rows came from; keys of a later version are ignored."""
    known = {item.name for item in dataclasses.fields(DataConfig)}
    return DataConfig(**{key: value for key, value in run.record.config["data"].items() if key in known})


def build_submission(sources: Sequence[Source], out: Path, *, device: str, progress: Progress) -> None:
    """Predict what is not stored yet, and write the zip.

    Args:
        sources: one for each file of the leaderboard.
        device: as in `load_fine_tuned`.

    Raises:
        InputError: rows or weights that cannot be used.
        DivergedError: a logit is NaN or infinite.
        DiskError: the predictions or the zip cannot be written.
    """
    contents, models = dict[str, bytes](), _Models(device)
    for source in sorted(sources, key=lambda source: source.file.task):  # all files of a task come from one model
        if isinstance(source, Filled):
            contents[source.file.name] = source.fill.write(source.file)
            continue
        run = source.choice.run
        prediction = source.kept
        if prediction is None:
            progress.begin(source)
            load, on_rows = functools.partial(models.load, run), functools.partial(progress.advance, source)
            predicted = predict_rows(run, source.file.place, file=source.texts, load=load, on_rows=on_rows)
            progress.end(source, predicted)
            prediction = predicted.prediction
        if run.task.regression:
            contents[source.file.name] = write_scores(source.file, prediction.astype(np.float64))
        else:  # classes are mapped by name: a run's codes may be in another order
            contents[source.file.name] = write_classes(source.file, [run.task.labels[code] for code in prediction])
    with replace_atomically(out) as temporary:
        write_zip(temporary, contents)


class _Models:
    """The model of one run at a time."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._loaded: tuple[Path, FineTuned] | None = None

    def load(self, run: FinishedRun) -> "FineTuned":
        from glue_bench.runs.inference import load_fine_tuned

        if self._loaded is None or self._loaded[0] != run.folder:
            self._loaded = None  # before the next one takes its memory
            self._loaded = run.folder, load_fine_tuned(run, device=self._device)
        return self._loaded[1]


def kept_predictions(run: FinishedRun, place: str, *, file: TextFile) -> Vector | None:
    """The stored predictions of these rows with these weights; None if there are none that can be read."""
    try:
        kept = read_predictions(predictions_path(run.folder, place), run.task, labelled=False)
    except InputError:
        return None
    same = kept.origin == _origin(run, place, file=file) and len(kept.prediction) == file.rows
    return kept.prediction if same else None


def predict_rows(
    run: FinishedRun,
    place: str,
    *,
    file: TextFile,
    load: Callable[[], "FineTuned"],
    on_rows: Callable[[int], None] = lambda _: None,
) -> Predicted:
    """Predict every row of a test split, and store the predictions under predictions/PLACE.parquet of the run.

    Args:
        load: loads the run's model; called only if rows are left to predict.
        on_rows: called with the number of rows that are done.

    Raises:
        InputError: rows or weights that cannot be used.
        DivergedError: a logit is NaN or infinite.
        DiskError: the predictions cannot be written.
    """
    from glue_bench.tasks.metrics import predict_classes, predict_scores

    # Batches without padding rarely use a kernel of oneDNN again; its 1,024 kept ones take 2.3 GB after QQP's rows.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16")
    origin, path = _origin(run, place, file=file), predictions_path(run.folder, place)
    parts = path.with_name(f".{path.stem}-{hashlib.sha256(origin.encode()).hexdigest()[:12]}")
    pieces, fresh, began = list[tuple[NDArray[np.int64], NDArray[np.float32]]](), 0, time.perf_counter()
    for idx, logits, is_new in _predict_pieces(run, file, parts=parts, load=load):
        pieces.append((idx, logits))
        fresh += is_new * len(idx)
        on_rows(sum(len(each) for each, _ in pieces))
    idx, logits = (np.concatenate(column) for column in zip(*pieces, strict=True))
    prediction = predict_scores(logits) if run.task.regression else predict_classes(logits)
    seconds = time.perf_counter() - began
    write_predictions(path, idx=idx, prediction=prediction, logits=logits, origin=origin)
    shutil.rmtree(parts, ignore_errors=True)
    return Predicted(prediction=prediction, fresh=fresh, seconds=seconds)


def _predict_pieces(
    run: FinishedRun, file: TextFile, *, parts: Path, load: Callable[[], "FineTuned"]
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
            if len(texts) < file.rows:  # a split of one piece is stored only whole
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


def _origin(run: FinishedRun, place: str, *, file: TextFile) -> str:
    """Everything that predictions depend on, as text."""
    facts = {
        "run_id": run.record.run_id,
        "model_sha256": run.record.model_sha256,
        "place": place,
        "rows": file.rows,
        "data": dict(file.identity),
    }
    return json.dumps(facts, sort_keys=True)
