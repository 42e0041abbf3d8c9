"""Finished runs to the leaderboard's zip: what is missing, what must be predicted, and the files."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from glue_bench.config.schema import DataConfig, TaskConfig
from glue_bench.data.texts import TextFile, open_texts
from glue_bench.errors import InputError, UsageError
from glue_bench.files import replace_atomically
from glue_bench.runs.finished import FinishedRun, check_weights
from glue_bench.submission.check import check_submission
from glue_bench.submission.choose import Choice
from glue_bench.submission.fill import Fill
from glue_bench.submission.layout import LeaderboardFile
from glue_bench.submission.predict import Predicted, Vector, kept_predictions, predict_rows
from glue_bench.submission.write import write_classes, write_scores, write_zip

if TYPE_CHECKING:
    from glue_bench.runs.inference import FineTuned


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """A file of one prediction."""

    file: LeaderboardFile
    fill: Fill


@dataclass(frozen=True, slots=True, kw_only=True)
class FromRun:
    """A file of a run's predictions."""

    file: LeaderboardFile
    choice: Choice
    texts: TextFile  # the test rows
    kept: Vector | None  # predictions that are there already


Source = Filled | FromRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """The sources of all files, and why some have none."""

    sources: Sequence[Source]
    runless: Sequence[str]  # tasks that no run answers for
    problems: Sequence[str]  # of the others: lines


def prepare_sources(
    files: Sequence[LeaderboardFile],
    tasks: Mapping[str, TaskConfig],
    choices: Mapping[str, Choice],
    fills: Mapping[str, Fill],
    *,
    data: DataConfig | None,
) -> Readiness:
    """Find everything that predicting needs, and everything that would stop it, before the first row is predicted.

    Args:
        data: where the test rows are; None for where each run's rows came from.
    """
    sources, problems = list[Source](), list[str]()
    looked_at = set[str]()  # runs whose weights were
    for file in files:
        if file.task in fills:
            sources.append(Filled(file=file, fill=fills[file.task]))
        elif file.task in choices:
            run = choices[file.task].run
            try:
                texts = _open_rows(file, tasks[file.task], data or _data_of(run))
                kept = kept_predictions(run, file.place, texts)
                sources.append(FromRun(file=file, choice=choices[file.task], texts=texts, kept=kept))
                if kept is None and run.record.run_id not in looked_at:
                    looked_at.add(run.record.run_id)
                    check_weights(run)
            except (InputError, UsageError) as error:
                problems.append(f"{file.name}: {str(error).splitlines()[0]}")
    runless = sorted({file.task for file in files} - {*fills, *choices})
    return Readiness(sources=sources, runless=runless, problems=problems)


def _open_rows(file: LeaderboardFile, task: TaskConfig, data: DataConfig) -> TextFile:
    texts = open_texts(data, task, place=file.place)
    if texts.rows != file.rows:
        raise InputError(f"{texts.path}: {texts.rows:,} rows; the leaderboard wants predictions for {file.rows:,}")
    return texts


def _data_of(run: FinishedRun) -> DataConfig:
    """Where the run's rows came from; keys of a later version are left out."""
    known = {item.name for item in dataclasses.fields(DataConfig)}
    return DataConfig(**{key: value for key, value in run.record.config["data"].items() if key in known})


class Progress:
    """Is told of every file whose rows are predicted now; this one keeps it to itself."""

    def begin(self, source: FromRun) -> None:
        """A file's rows are next."""

    def advance(self, source: FromRun, rows: int) -> None:
        """So many of its rows are done."""

    def end(self, source: FromRun, predicted: Predicted) -> None:
        """All of them are."""


def build_submission(sources: Sequence[Source], out: Path, *, device: str, progress: Progress) -> None:
    """Predict what is not there yet, and write the zip.

    Args:
        sources: one for each file of the leaderboard.
        device: as in `load_fine_tuned`.

    Raises:
        InputError: rows or weights that cannot be used.
        DivergedError: a logit is NaN or infinite.
        DiskError: the predictions or the zip cannot be written.
    """
    contents, models = dict[str, bytes](), _Models(device)
    for source in sorted(sources, key=lambda source: source.file.task):  # a task's files share a model
        if isinstance(source, Filled):
            contents[source.file.name] = source.fill.write(source.file)
        else:
            contents[source.file.name] = _write(source, _predict(source, models, progress))
    with replace_atomically(out) as temporary:
        write_zip(temporary, contents)
        faults = check_submission(temporary, [source.file for source in sources])
        if faults:
            raise AssertionError(f"the zip that was built would be refused: {faults[0]}")


def _predict(source: FromRun, models: "_Models", progress: Progress) -> Vector:
    """Codes or scores of every row, in the run's order of classes."""
    if source.kept is not None:
        return source.kept
    run = source.choice.run
    progress.begin(source)
    predicted = predict_rows(
        run,
        source.file.place,
        source.texts,
        load=functools.partial(models.load, run),
        on_rows=functools.partial(progress.advance, source),
    )
    progress.end(source, predicted)
    return predicted.prediction


def _write(source: FromRun, prediction: Vector) -> bytes:
    task = source.choice.run.task
    if task.regression:
        return write_scores(source.file, prediction.astype(np.float64))
    labels = task.labels  # of the run: classes are mapped by name, never by code
    return write_classes(source.file, [labels[code] for code in prediction.tolist()])


class _Models:
    """The model of one run at a time."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._run_id: str | None = None
        self._model: FineTuned | None = None

    def load(self, run: FinishedRun) -> "FineTuned":
        if self._model is None or self._run_id != run.record.run_id:
            from glue_bench.runs.inference import load_fine_tuned

            self._model = None  # before the next one takes its memory
            self._model, self._run_id = load_fine_tuned(run, device=self._device), run.record.run_id
        return self._model
