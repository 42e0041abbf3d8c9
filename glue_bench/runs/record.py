"""The record of a run: its fields, and the check of a record.json that is read. A record is the only memory between
runs. Knows no torch."""

import dataclasses
import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glue_bench.config.schema import TaskConfig, check_task
from glue_bench.errors import UsageError
from glue_bench.tasks.adapter import TaskAdapter

SCHEMA_VERSION = 1
STATUSES = ("finished", "failed", "diverged", "interrupted")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What one run leaves behind as record.json. Scores are in natural units: 0 to 1, correlations -1 to 1."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    setting_id: str  # of everything but the seed: runs that share it may be averaged
    status: str  # one of STATUSES
    task: str
    encoder: Mapping[str, Any]  # name, hub_id, revision, weights_sha256, parameters
    data: Mapping[str, Any]  # source, dataset, revision, fingerprint, rows, truncated
    comparable: bool
    not_comparable_because: Sequence[str]
    seed: int
    streams: Mapping[str, int]  # the seeds of head, order and dropout
    recipe: str
    init: str = "pretrained"
    selection: str = "last"  # last, best or holdout
    selected: Mapping[str, Any] = field(default_factory=dict)  # glue_bench.training.selection.Selected; empty for last
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # split to metric to value
    steps: int = 0
    resumed_at: Sequence[int] = field(
        default_factory=list
    )  # updates that were done whenever the run went on from a snapshot
    epochs: int = 0
    tokens: int = 0  # real tokens trained on
    seconds: Mapping[str, float] = field(
        default_factory=dict
    )  # train, eval, total; an interrupted process counts with its training
    device: str = ""
    precision: str = ""
    engine: str = ""  # flat or padded
    accumulation: int = 1  # parts of a batch in the end: more than asked for where memory was too small
    processes: int = 1  # that trained it together, a share of each batch in each
    versions: Mapping[str, str] = field(default_factory=dict)
    git: str | None = None
    model_sha256: str | None = None  # of model/model.safetensors, if the run kept its weights
    ended: str = ""  # UTC, ISO 8601
    config: Mapping[str, Any]
    error: str | None = None

    @property
    def init_kind(self) -> str:
        """Which kind of weights it began with: pretrained, or the task that they were fine-tuned on."""
        return self.init.partition(":")[0]

    @property
    def place(self) -> tuple[str, str, str]:
        """The folders under which it is kept, as `RunStore.folder` takes them."""
        return self.encoder["name"], self.task, self.run_id


def task_of(record: Record) -> TaskAdapter:
    """The facts of the task as the run used them; keys of a later version are left out."""
    known = {item.name for item in dataclasses.fields(TaskConfig)}
    return TaskAdapter(**{key: value for key, value in record.config["task"].items() if key in known})


def outcome_line(record: Record) -> str:
    """Why a run did not finish, in one line."""
    lines = (record.error or "").strip().splitlines()
    return lines[0] if lines else record.status


def read_record(path: Path) -> Record | None:
    """The record of one record.json; None where there is none, or a damaged one, which is logged in one line."""
    try:
        return parse_record(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        logger.warning("%s: damaged record, ignored (%s)", path, error)
        return None


def parse_record(path: Path) -> Record:
    """The record of one record.json.

    Raises:
        OSError: there is none, or it cannot be read.
        ValueError: it is damaged.
    """
    text = path.read_bytes()
    try:
        content = json.loads(text.decode("utf-8"))
        known = {item.name for item in dataclasses.fields(Record)}
        record = Record(**{key: value for key, value in content.items() if key in known})
        _check_record(record)
    except (ValueError, TypeError, AttributeError, KeyError, UsageError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    return record


def _check_record(record: Record) -> None:
    """Refuse a record that the tables could not be made of."""
    if type(record.schema_version) is not int or record.schema_version > SCHEMA_VERSION:
        raise ValueError(f"schema_version is {record.schema_version!r}; this glue-bench knows up to {SCHEMA_VERSION}")
    if record.status not in STATUSES:
        raise ValueError(f"status is {record.status!r}; known are {', '.join(STATUSES)}")
    task = task_of(record)
    check_task(task)
    strings = (
        record.run_id,
        record.setting_id,
        record.task,
        record.recipe,
        record.init,
        record.selection,
        record.encoder["name"],
        record.data["source"],
    )
    if not all(isinstance(value, str) for value in strings) or type(record.seed) is not int:
        raise ValueError("a name or the seed has a wrong type")
    if not all(isinstance(record.config[part], dict) for part in ("trainer", "data")):
        raise ValueError("config lacks trainer or data")
    if not (isinstance(record.selected, dict) and isinstance(record.config.get("cell", {}), dict)):
        raise ValueError("selected or the cell is no mapping")
    if record.status == "finished":
        for split in task.validation:
            scores = [record.scores[split][metric] for metric in task.metrics]
            if not all(isinstance(score, int | float) and math.isfinite(score) for score in scores):
                raise ValueError(f"a score of {split} is no number")
            if type(record.data["rows"][split]) is not int:
                raise ValueError(f"data.rows.{split} is no whole number")
