"""The results folder: where each run's record, predictions and history are, each file written atomically.
Knows no torch, so that a failure is recorded even after a crash."""

import dataclasses
import errno
import fnmatch
import functools
import hashlib
import io
import json
import logging
import os
import re
import shutil
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from glue_bench.config.task import TaskConfig
from glue_bench.errors import DivergedError, GlueBenchError, InputError, LostError, describe
from glue_bench.files import file_sha256, replace_atomically, write_text_atomically
from glue_bench.reading import whole_number
from glue_bench.runs.identity import RunRequest, cell_shape, identify
from glue_bench.runs.record import Record, RunStatus, now, read_record, request_facts, task_of

_SEED = re.compile(r"seed([0-9]{1,15})-.")  # the beginning of a run's folder's name
_PARTS = ("snapshots", ".*.part", ".model.*", ".adapter.*", "output.*.log")  # what a killed process may leave
_OWN = (*_PARTS, "claim-*.json", "output.log", "error.log", "history.jsonl", "predictions", "model", "adapter")
_ORIGIN_KEY = b"glue_bench.origin"  # key of a prediction file's metadata

logger = logging.getLogger(__name__)


class RunStore:
    """The folder `<results_dir>/runs/<encoder>/<task>/<run_id>/`."""

    def __init__(self, results_dir: Path) -> None:
        """Open a results folder; nothing is created before something is written."""
        self.root = results_dir / "runs"
        self.left_out = Counter[str]()  # what `load_all` or `folders` left out last: in words, and how many

    def folder(self, *place: str) -> Path:
        """Return the folder of a run, given by encoder, task and run id."""
        return self.root.joinpath(*place)

    def load(self, *place: str) -> Record | None:
        """Read the run's record; None if it has none that can be read."""
        return read_record(self.folder(*place) / "record.json", place=place)

    def load_all(self) -> Iterator[Record]:
        """Read every readable record, sorted by folder.

        What is left out is logged, one line each, and counted: folders that cannot be read, damaged records, and runs
        with the same setting and seed, whose ids cannot all be theirs.
        """
        found = defaultdict[tuple[str, ...], list[Record]](list)
        self.left_out.clear()
        for folder, names in self._walk():
            if "record.json" not in names:
                continue
            if record := read_record(folder / "record.json", place=folder.parts[-3:]):
                found[*record.place[:2], record.setting_id, str(record.seed)].append(record)
            elif os.path.lexists(folder / "record.json"):  # else the run has just been removed
                self.left_out["run with a damaged record"] += 1
        for alike in found.values():
            if len(alike) == 1:
                yield alike[0]
            else:
                ids = ", ".join(run.run_id for run in alike)
                place = self.folder(*alike[0].place[:2])
                logger.warning("%s: have one setting and seed, as only copies have; all ignored: %s", place, ids)
                self.left_out["run with the setting and seed of another"] += len(alike)

    def folders(self) -> Iterator[Path]:
        """List every run's folder, sorted: one with a run's name that has a record, or holds a run's files alone."""
        self.left_out.clear()
        for folder, names in self._walk():
            own = "record.json" in names or all(any(fnmatch.fnmatch(name, form) for form in _OWN) for name in names)
            if own and _SEED.match(folder.name):
                yield folder

    def _walk(self, *place: str) -> Iterator[tuple[Path, list[str]]]:
        """Yield each folder where a run's may be, sorted, with the names in it; one that cannot be read is logged."""
        folder = self.folder(*place)
        try:
            names = sorted(os.listdir(f"{folder}/."))  # noqa: PTH208 - glob hides errors; the dot needs the right to enter
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                logger.warning("%s: cannot be read, ignored (%s)", folder, error.strerror)
                self.left_out["folder that cannot be read"] += 1
            return
        if len(place) == len(("encoder", "task", "run")):
            yield folder, names
        else:
            for name in names:
                yield from self._walk(*place, name)

    def save(self, record: Record) -> Path:
        """Write record.json, which marks the run's other files as complete: write it last. May raise a DiskError."""
        path = self.folder(*record.place) / "record.json"
        write_text_atomically(path, json.dumps(dataclasses.asdict(record), indent=1) + "\n")
        return path

    def keep_failure(
        self, request: RunRequest, error: BaseException, *, history: Sequence[Any] = (), **facts: Any
    ) -> Record:
        """Write the record of a run that did not finish, and the traceback of an unforeseen error.

        A finished record is never replaced by a later failure: then the finished record is returned. `facts`, besides
        `request_facts`, and the lines of `history` are what is known of the run so far. May raise a DiskError.
        """
        traceback.clear_frames(error.__traceback__)  # what they hold may be what memory ran out for
        folder, known = self.folder(*request.place), self.load(*request.place)
        if known is not None and known.finished:
            return known
        if history or not (folder / "history.jsonl").exists():  # an attempt without an update keeps the earlier history
            write_history(folder / "history.jsonl", history)
        if isinstance(error, Exception | SystemExit) and not isinstance(error, GlueBenchError):
            write_text_atomically(folder / "error.log", "".join(traceback.format_exception(error)))
        stopped = isinstance(error, KeyboardInterrupt | LostError)
        status: RunStatus = "diverged" if isinstance(error, DivergedError) else "interrupted" if stopped else "failed"
        facts = facts if "run_id" in facts else request_facts(request) | facts  # which asks git, and may take a while
        record = Record(**facts, status=status, error=describe(error), ended=now())
        self.save(record)
        if record.status == "diverged":
            self.discard_snapshots(record)
        return record

    def snapshot_steps(self, *place: str) -> list[int]:
        """Return the updates after which a run in progress has a snapshot, ascending."""
        found = self.folder(*place).glob("snapshots/step-*/")
        numbers = [whole_number(path.name.removeprefix("step-")) for path in found]
        return sorted(number for number in numbers if number is not None)

    def discard_snapshots(self, record: Record) -> None:
        """Delete the snapshots of a run that has ended."""
        shutil.rmtree(self.folder(*record.place) / "snapshots", ignore_errors=True)

    def leftovers(self, record: Record) -> list[Path]:
        """Return what killed processes left beside a result: snapshots, unfinished files, logs in progress and leases.

        Files newer than the result do not count: a run repeated to keep its model may be at work, or may resume.
        """
        folder, history = self.folder(*record.place), self.folder(*record.place) / "history.jsonl"
        # The history is written once, just before the record.
        ended = (history if history.exists() else folder / "record.json").stat().st_mtime_ns
        found = (path for pattern in (*_PARTS, "predictions/.*.part") for path in folder.glob(pattern))
        return [path for path in found if _written(path) <= ended] + list(folder.glob("claim-*.json"))

    def has_weights(self, record: Record) -> bool:
        """Return whether the run kept its weights: a model, or an adapter that cannot be merged into one."""
        place = "adapter/adapter_model.safetensors" if record.keeps_adapter else "model/model.safetensors"
        return (self.folder(*record.place) / place).is_file()

    def read_predictions(self, record: Record, split: str) -> "Predictions":
        """Read the predictions that a finished record's scores of a split come from; errors as `Predictions.read`."""
        path, sha256 = predictions_path(self.folder(*record.place), split), record.predictions_sha256.get(split)
        return Predictions.read(path, task_of(record), rows=record.data["rows"][split], sha256=sha256)


def _written(path: Path) -> int:
    """Return when a file, or the newest file in a folder, was changed, in nanoseconds; 0 for an empty folder."""
    every = [path, *path.rglob("*")]
    return max((each.lstat().st_mtime_ns for each in every if each.is_symlink() or not each.is_dir()), default=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """What one run predicted on the n rows of a split, in file order."""

    idx: NDArray[np.int64]  # (n,) the row's number as the source gives it
    label: NDArray[Any] = field(default_factory=lambda: np.array([]))  # (n,) codes or scores; (0,) for test rows
    prediction: NDArray[Any]  # (n,) class codes 0..k-1, or scores
    logits: NDArray[Any]  # (n, outputs), float32 of the model, float64 once read
    origin: str = ""  # what the predictions were made from

    def write(self, path: Path) -> str:
        """Write a row each, with one column logit_0, logit_1, ... per output, and return the SHA-256 of the file.

        Test rows get no column label; `origin` is kept in the metadata. A file that cannot be written is a DiskError.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = {"idx": self.idx, **({"label": self.label} if len(self.label) else {}), "prediction": self.prediction}
        columns |= {f"logit_{output}": np.ascontiguousarray(logits) for output, logits in enumerate(self.logits.T)}
        metadata = {_ORIGIN_KEY: self.origin} if self.origin else None
        content = io.BytesIO()
        pq.write_table(pa.table(columns, metadata=metadata), content)
        with replace_atomically(path) as temporary:
            temporary.write_bytes(content.getvalue())
        return hashlib.sha256(content.getvalue()).hexdigest()

    @classmethod
    def read(
        cls, path: Path, task: TaskConfig, *, labelled: bool = True, rows: int | None = None, sha256: str | None = None
    ) -> Self:
        """Read what `write` wrote, and check it; logits may be NaN or infinite. Test rows are not `labelled`.

        A file of another hash or number of rows than expected is refused before its rows take memory. An InputError if
        it is missing, damaged, another, or does not fit the task; the message can follow "the run has".
        """
        import pyarrow as pa

        from glue_bench.data.tables import open_parquet

        name = f"{path.parent.name}/{path.name}"
        misfit = InputError(f"{name} that does not fit the task")
        coded = ["label", "prediction"] if labelled else ["prediction"]
        outputs = [f"logit_{output}" for output in range(task.outputs)]
        wanted = ["idx", *coded, *outputs]
        try:
            file = open_parquet(path)
            if sha256 is not None and file_sha256(path) != sha256:
                raise InputError(f"{name} from another training than its record")
            if rows is not None and file.metadata.num_rows != rows:
                raise InputError(f"{name} of {file.metadata.num_rows} rows; the record says {rows}")
            table = file.read(columns=wanted)
            kinds = [each.type for each in table.columns if not each.null_count]
            numbers = [kind for kind in kinds if pa.types.is_signed_integer(kind) or pa.types.is_floating(kind)]
            if not table.num_rows or len(numbers) < table.num_columns:
                raise misfit
            # pyarrow's own way imports pandas
            columns: dict[str, NDArray[Any]] = {each: np.from_dlpack(table[each].combine_chunks()) for each in wanted}
            origin = (table.schema.metadata or {}).get(_ORIGIN_KEY, b"").decode("utf-8")
        except FileNotFoundError as error:
            raise InputError(f"no {name}") from error
        except (OSError, ValueError, pa.ArrowException, KeyError) as error:
            raise InputError(f"a damaged {name} ({type(error).__name__})") from error
        for values in (columns[each] for each in coded):  # finite scores, or codes of the task's classes
            codes = values.dtype.kind == "i" and values.min() >= 0 and values.max() < task.outputs
            if columns["idx"].dtype.kind != "i" or not (np.isfinite(values).all() if task.regression else codes):
                raise misfit
        return cls(
            **{each: columns[each] for each in ("idx", *coded)},
            logits=np.array([columns[column] for column in outputs], dtype=np.float64).T,
            origin=origin,
        )


def predictions_path(folder: Path, split: str) -> Path:
    """Return the path of a run's predictions of a split, in the run's folder."""
    return folder / "predictions" / f"{split}.parquet"


def write_history(path: Path, lines: Sequence[Any]) -> None:
    """Write dataclass instances as JSON objects, one per line, without what is None. May raise a DiskError."""
    known = [{key: value for key, value in dataclasses.asdict(line).items() if value is not None} for line in lines]
    write_text_atomically(path, "".join(json.dumps(line) + "\n" for line in known))


def find_earlier(requests: Iterable[RunRequest], store: RunStore) -> list[RunRequest]:
    """Return the requests, each under the id that the store knows its run by.

    A cell of a grid is the same run as a plain one with its values; it used to have an id of its own, and runs that
    were kept under one are found there, whether they are asked for as a cell or as a plain run.
    """

    @functools.cache
    def known(*place: str) -> tuple[set[str], list[dict[str, bool]]]:
        """Return the setting ids, and the shapes of cells, in the records of one encoder and task."""
        records = [record for path in store.folder(*place).glob("*/") if (record := store.load(*place, path.name))]
        shapes = {str(shape): shape for record in records if (shape := cell_shape(record.config))}
        return {record.setting_id for record in records}, list(shapes.values())

    def settle(request: RunRequest) -> RunRequest:
        starts = tuple(map(settle, request.starts))
        if any(new is not old for new, old in zip(starts, request.starts, strict=True)):
            request = identify(request.config, request.inputs, starts=starts)
        settings, shapes = known(*request.place[:-1])
        before = [identify(request.config, request.inputs, starts=starts, shape=shape) for shape in shapes]

        def order(other: RunRequest) -> tuple[bool, bool]:  # all seeds of a setting share an id
            return not (store.folder(*other.place) / "record.json").exists(), other.setting_id not in settings

        return min([request, *before], key=order)

    return [settle(request) for request in requests]


def choose_start(request: RunRequest, store: RunStore) -> RunRequest:
    """Return the request with one run that it starts from: of several, the one whose score is the best or the median.

    Of an even number the median is the lower of the two in the middle; of equal scores the lowest seed's counts first.
    An InputError if a run has no scores.
    """
    if len(request.starts) < 2:
        return request
    ranked = list[tuple[float, int, RunRequest]]()
    for start in request.starts:
        record = store.load(*start.place)
        if record is None or not record.finished:
            raise InputError(f"{request.title}: {start.title}, one of the runs that it may start from, is not finished")
        ranked.append((-record.score, start.config.seed, start))
    place = 0 if request.config.init_seed == "best" else len(ranked) // 2
    return dataclasses.replace(request, starts=(sorted(ranked)[place][2],))
