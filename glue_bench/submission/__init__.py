"""The GLUE leaderboard's zip from finished runs: choose them, find what is missing, predict the test rows.

Predictions are stored in the run's folder without a label column, together with what they depend on: the run, its
weights, and the test rows. Pieces of unfinished ones are stored too, so that an interrupted command can resume. Loads
torch only to predict rows.
"""

import contextlib
import functools
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glue_bench.config.schema import DataConfig, config_from_facts
from glue_bench.data.texts import TextFile, open_texts, read_pieces
from glue_bench.errors import InputError, UsageError, did_you_mean, list_names
from glue_bench.files import replace_atomically
from glue_bench.reading import open_regular
from glue_bench.runs.finished import FinishedRun, check_weights
from glue_bench.runs.listing import Filters, facts_of
from glue_bench.runs.record import Record, task_of
from glue_bench.runs.setting import name_apart
from glue_bench.runs.store import Predictions, RunStore, predictions_path
from glue_bench.submission.layout import LeaderboardFile, write_rows
from glue_bench.text import first_line, format_clock

PICKS = ("median", "best")
_LINE_EVERY = 20.0  # seconds between two lines of progress
Choice = tuple[FinishedRun, str]  # the run that predicts a task, and how it was chosen
Vector = NDArray[np.int64] | NDArray[np.float64]


def choose_runs(
    store: RunStore, tasks: Sequence[str], *, pick: str = "median", **wanted: str
) -> tuple[str, dict[str, Choice]]:
    """Choose the encoder, and a run for each of the tasks that has one. Runs on sample data never count.

    Of several seeds of one setting, the one with the median dev score is chosen (of an even number the lower of the
    two), or by `pick` the best. `wanted` are filters; a run that run_id names counts before any rule. A UsageError for
    no run at all, or several encoders or settings; it says how to choose.
    """
    finished = [record for record in store.load_all() if record.finished]
    usable = [record for record in finished if record.task in tasks and record.data["source"] != "sample"]
    names = sorted({str(record.encoder["name"]) for record in usable})
    if not usable:
        only = " except on sample data" if any(record.data["source"] == "sample" for record in finished) else ""
        advice = "`glue-bench sweep save_model=true` makes them"
        raise UsageError(f"results_dir={store.root.parent}: no finished run there{only}; {advice}")
    if "encoder" not in wanted and len(names) > 1:
        raise UsageError(f"encoder: several have finished runs; add {' or '.join(f'encoder={name}' for name in names)}")
    encoder, run_ids = wanted.get("encoder", names[0]), re.findall(r"[^\s,\[\]]+", wanted.pop("run_id", ""))
    if encoder not in names:
        raise UsageError(f"encoder={encoder}: no finished run{did_you_mean(encoder, names)}")
    ours = [record for record in usable if record.encoder["name"] == encoder]
    if unknown := set(run_ids) - {record.run_id for record in ours}:
        raise UsageError(f"run_id={min(unknown)}: no such finished run of {encoder} on these tasks")
    chosen = {}
    for task in tasks:
        found = [record for record in ours if record.task == task]
        named = [record for record in found if record.run_id in run_ids]
        if len(named) > 1:
            raise UsageError(f"run_id={','.join(record.run_id for record in named)}: must be one run for {task}")
        fitting = named or [record for record in found if _fits(record, wanted)]
        if len(distinct := {record.setting_id: record for record in fitting}) > 1:
            which = f"run_id=[...] with one of {list_names(name_apart(distinct.values()))}"
            raise UsageError(f"task={task}: finished runs of {len(distinct)} settings; add {which}")
        why = "named" if named else f"seed={wanted['seed']}" if "seed" in wanted else "the only seed"
        if ranked := sorted(fitting, key=lambda record: (record.score, record.seed)):
            record = ranked[-1] if pick == "best" else ranked[(len(ranked) - 1) // 2]
            why = f"{pick} of {len(ranked)} seeds on the dev set" if len(ranked) > 1 else why
            chosen[task] = FinishedRun(record=record, folder=store.folder(*record.place)), why
    return encoder, chosen


def _fits(record: Record, wanted: Mapping[str, str]) -> bool:
    known = (*task_of(record).init_from, record.init_kind)
    start = {} if wanted.get("init", record.init_kind) in known else {"init": "pretrained"}  # as in a sweep
    return Filters.read(f"{key}={value}" for key, value in {**wanted, **start}.items()).fits(facts_of(record))


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a file of a run's predictions is made from."""

    file: LeaderboardFile
    run: FinishedRun
    texts: TextFile  # the test rows

    @property
    def origin(self) -> str:
        """All that the predictions depend on, as JSON."""
        record, place, rows = self.run.record, self.file.place, self.texts.rows
        facts = {"run_id": record.run_id, "model_sha256": record.model_sha256, "place": place, "rows": rows}
        return json.dumps({**facts, "data": dict(self.texts.identity)}, sort_keys=True)

    @functools.cached_property
    def kept(self) -> Vector | None:
        """The stored predictions of these rows with these weights; None if they are missing or unreadable."""
        path = predictions_path(self.run.folder, self.file.place)
        try:
            kept = Predictions.read(path, self.run.task, labelled=False, rows=self.texts.rows)
        except InputError:
            return None
        return kept.prediction if kept.origin == self.origin else None


def prepare_sources(
    files: Sequence[LeaderboardFile], *, choices: Mapping[str, Choice], data: DataConfig | None
) -> tuple[list[Source], list[str]]:
    """Find all that predicting the files of these choices needs, and a line for each problem.

    `data` is where the test rows are; None for where each run's rows came from.
    """
    sources, problems, checked = list[Source](), list[str](), set[Path]()
    for file in (file for file in files if file.task.name in choices):
        run, _ = choices[file.task.name]
        try:
            texts = open_texts(data or config_from_facts(run.record.config).data, file.task, place=file.place)
            if texts.rows != file.rows:
                found = f"{texts.files}: {texts.rows:,} rows"
                raise InputError(f"{found}; the leaderboard wants predictions for {file.rows:,}")
            sources.append(Source(file=file, run=run, texts=texts))
            if sources[-1].kept is None and run.folder not in checked:
                checked.add(run.folder)
                check_weights(run)
        except (InputError, UsageError) as error:
            problems.append(f"{file.name}: {first_line(error)}")
    return sources, problems


def predict_files(
    sources: Sequence[Source], *, device: str, on_progress: Callable[[str], None] = lambda _: None
) -> dict[str, bytes]:
    """Predict what is not stored yet, store it in the runs' folders, and return the content of each file by name.

    `device` is as in `FineTuned`; `on_progress` gets a line where a file begins, at intervals, and at its end. An
    InputError for rows or weights that cannot be used, a DivergedError for a logit that is NaN or infinite, a
    DiskError if the predictions cannot be written.
    """
    contents, loaded, load = dict[str, bytes](), "", None
    for source in sorted(sources, key=lambda source: source.file.task.name):  # all files of a task come from one model
        run, prediction = source.run, source.kept
        if prediction is None:
            from glue_bench.runs.inference import FineTuned

            if load is None or loaded != run.record.task:  # free the last model before loading the next
                loaded, load = run.record.task, functools.cache(functools.partial(FineTuned, run, device=device))
            prediction = _predict_rows(source, load=load, on_progress=on_progress)
        # Classes are mapped by name: a run's codes may be in another order.
        shown = prediction if run.task.regression else [run.task.labels[code] for code in prediction]
        contents[source.file.name] = write_rows(source.file, shown)
    return contents


def _predict_rows(source: Source, *, load: Callable[[], Any], on_progress: Callable[[str], None]) -> Vector:
    """Predict and store a split: (rows,) class codes in the run's order, or scores; `load` returns its FineTuned."""
    from glue_bench.tasks.metrics import decide

    # Without padding, kernels of oneDNN are rarely reused; its cache of 1,024 takes 2.3 GB after QQP's rows.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16")
    task, path = source.run.task, predictions_path(source.run.folder, source.file.place)
    parts = path.with_name(f".{path.stem}-{hashlib.sha256(source.origin.encode()).hexdigest()[:12]}")
    pieces, done, fresh = list[tuple[NDArray[np.int64], NDArray[np.float32]]](), 0, 0
    began = last = time.monotonic()
    total, title = source.texts.rows, f"{source.file.name}, {source.texts.rows:,} rows"
    on_progress(f"{title}: predicting with {source.run.title}")
    for texts in read_pieces(source.texts, task):
        part = parts / f"{done}.npy"
        found: NDArray[Any] = np.empty(0)
        with contextlib.suppress(OSError, ValueError, EOFError, MemoryError), open_regular(part) as stream:
            found = np.load(stream, allow_pickle=False)
        if found.shape != (len(texts), task.outputs) or found.dtype != np.float32:
            found = load().predict(texts.texts)
            fresh += len(texts)
            with replace_atomically(part) as temporary, temporary.open("wb") as stream:
                np.save(stream, found)
        pieces.append((texts.idx, found))
        done += len(texts)
        if done < total and (now := time.monotonic()) - last >= _LINE_EVERY:
            last, left = now, (now - began) / (fresh or done) * (total - done)
            on_progress(f"{title}: {done:,} done, about {format_clock(left)} left")
    idx, logits = (np.concatenate(column) for column in zip(*pieces, strict=True))
    prediction = decide(logits, regression=task.regression)
    Predictions(idx=idx, prediction=prediction, logits=logits, origin=source.origin).write(path)
    shutil.rmtree(parts, ignore_errors=True)
    on_progress(f"{title}: done in {format_clock(time.monotonic() - began)}")
    return prediction
