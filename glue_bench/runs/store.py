"""The results folder: where each run's record, predictions and history lie, each file written atomically. Knows no
torch."""

import dataclasses
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glue_bench.errors import InputError
from glue_bench.files import check_writable, replace_atomically, write_text_atomically
from glue_bench.runs.record import Record, read_record
from glue_bench.tasks.adapter import TaskAdapter

_ORIGIN_KEY = b"glue_bench.origin"  # key of a prediction file's metadata


class RunStore:
    """The folder `<results_dir>/runs/<encoder>/<task>/<run_id>/`."""

    def __init__(self, results_dir: Path) -> None:
        """Open a results folder; nothing is created before something is written."""
        self.root = results_dir / "runs"

    def check_writable(self) -> None:
        """Refuse a results folder before work is done that could not be kept.

        Raises:
            DiskError: nothing can be written there.
        """
        check_writable(self.root)

    def folder(self, encoder: str, task: str, run_id: str) -> Path:
        """Where a run's files lie."""
        return self.root / encoder / task / run_id

    def load(self, encoder: str, task: str, run_id: str) -> Record | None:
        """The run's record, or None if it has none that can be read."""
        return read_record(self.folder(encoder, task, run_id) / "record.json")

    def load_all(self) -> Iterator[Record]:
        """Every readable record, sorted by folder; damaged ones are logged, one line each."""
        for path in sorted(self.root.glob("*/*/*/record.json")):
            record = read_record(path)
            if record is not None:
                yield record

    def folders(self) -> Iterator[Path]:
        """Every run's folder, sorted, whatever is in it."""
        return (path for path in sorted(self.root.glob("*/*/*")) if path.is_dir())

    def save(self, record: Record) -> Path:
        """Write record.json, which marks the run's other files as complete; write it last.

        Raises:
            DiskError: it cannot be written.
        """
        path = self.folder(*record.place) / "record.json"
        write_text_atomically(path, json.dumps(dataclasses.asdict(record), indent=1) + "\n")
        return path

    def snapshots(self, encoder: str, task: str, run_id: str) -> Path:
        """Where a run in progress keeps its snapshots."""
        return self.folder(encoder, task, run_id) / "snapshots"

    def snapshot_steps(self, encoder: str, task: str, run_id: str) -> list[int]:
        """The updates after which a run in progress has a snapshot, ascending."""
        found = self.snapshots(encoder, task, run_id).glob("step-*")
        return sorted(int(path.name.removeprefix("step-")) for path in found)

    def discard_snapshots(self, record: Record) -> None:
        """Delete what the run needs no more, now that it has ended."""
        shutil.rmtree(self.snapshots(*record.place), ignore_errors=True)

    def has_model(self, record: Record) -> bool:
        """Whether the run kept its weights."""
        folder = self.folder(*record.place) / "model"
        return (folder / "model.safetensors").is_file()


def write_predictions(
    path: Path,
    *,
    idx: NDArray[np.int64],
    label: Any = None,
    prediction: Any,
    logits: NDArray[np.float32],
    origin: str = "",
) -> None:
    """Write idx, label, prediction and one column logit_0, logit_1, ... per output, a row each.

    Args:
        label: None for no such column: test rows.
        logits: (n, outputs).
        origin: what the predictions were made of, kept in the file's metadata.

    Raises:
        DiskError: it cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"idx": idx, **({} if label is None else {"label": label}), "prediction": prediction}
    columns |= {f"logit_{output}": np.ascontiguousarray(logits[:, output]) for output in range(logits.shape[1])}
    metadata = {_ORIGIN_KEY: origin} if origin else None
    with replace_atomically(path) as temporary:
        pq.write_table(pa.table(columns, metadata=metadata), temporary)


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """What one run predicted on the n rows of a split, in file order."""

    idx: NDArray[np.int64]  # (n,) the row's number as the source gives it
    label: NDArray[Any]  # (n,) class codes 0..k-1, or scores; (0,) for test rows
    prediction: NDArray[Any]  # (n,) of the same kind
    logits: NDArray[np.float64]  # (n, outputs)
    origin: str = ""  # as in `write_predictions`


def predictions_path(folder: Path, split: str) -> Path:
    """Where a run's predictions of a split lie, in the folder of the run."""
    return folder / "predictions" / f"{split}.parquet"


def read_predictions(path: Path, task: TaskAdapter, *, labelled: bool = True) -> Predictions:
    """Read what `write_predictions` wrote, and check it; logits may be NaN or infinite.

    Args:
        labelled: False for test rows, which have no label.

    Raises:
        InputError: the file is missing, damaged, or does not fit the task; in words that may follow "the run has".
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = f"{path.parent.name}/{path.name}"
    coded = ["label", "prediction"] if labelled else ["prediction"]
    wanted = ["idx", *coded, *(f"logit_{output}" for output in range(task.outputs))]
    try:
        table = pq.ParquetFile(path).read(columns=wanted)
        columns = {column: np.asarray(table[column].to_numpy()) for column in wanted}
    except FileNotFoundError as error:
        raise InputError(f"no {name}") from error
    except (OSError, pa.ArrowException, KeyError) as error:
        raise InputError(f"a damaged {name} ({type(error).__name__})") from error
    fits = table.num_rows > 0 and columns["idx"].dtype.kind == "i"
    fits = fits and all(column.dtype.kind in "if" for column in columns.values())
    if not fits or not all(_fit_task(columns[column], task) for column in coded):
        raise InputError(f"{name} that does not fit the task")
    logits = [columns[column] for column in wanted if column.startswith("logit_")]
    return Predictions(
        idx=columns["idx"],
        label=columns.get("label", np.array([])),
        prediction=columns["prediction"],
        logits=np.stack(logits, axis=1).astype(np.float64),
        origin=(table.schema.metadata or {}).get(_ORIGIN_KEY, b"").decode(),
    )


def _fit_task(values: NDArray[Any], task: TaskAdapter) -> bool:
    """Whether labels or predictions are finite scores, or codes of the task's classes."""
    if task.regression:
        return bool(np.isfinite(values).all())
    return values.dtype.kind == "i" and bool(values.min() >= 0 and values.max() < task.outputs)


def write_history(path: Path, lines: Sequence[Any]) -> None:
    """Write one JSON object a line from dataclass instances.

    Raises:
        DiskError: it cannot be written.
    """
    text = "".join(json.dumps(dataclasses.asdict(line)) + "\n" for line in lines)
    write_text_atomically(path, text)
