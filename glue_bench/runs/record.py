"""The record of a run: its fields, and the checks on a record.json that is read. Nothing but records passes from one
run to another. Knows no torch."""

import contextlib
import dataclasses
import json
import logging
import math
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from glue_bench import __version__
from glue_bench.config.keys import check
from glue_bench.config.schema import TaskConfig
from glue_bench.errors import UsageError
from glue_bench.runs.identity import RunRequest
from glue_bench.tasks.adapter import TaskAdapter
from glue_bench.text import first_line
from glue_bench.training.seeds import SeedStreams, holdout_stream

SCHEMA_VERSION = 1
STATUSES = ("finished", "failed", "diverged", "interrupted")
_LIBRARIES = "torch transformers tokenizers datasets evaluate scikit-learn scipy numpy hydra-core"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What one run leaves behind as record.json. Scores are in natural units: 0 to 1, correlations -1 to 1.

    docs/records.md explains every field; a test compares the two.
    """

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
    init: str = "pretrained"  # or TASK:RUN_ID
    selection: str = "last"  # last, best or holdout
    selected: Mapping[str, Any] = field(default_factory=dict)  # glue_bench.training.selection.Selected; empty for last
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # split to metric to value
    predictions_sha256: Mapping[str, str] = field(default_factory=dict)  # split to hash; empty in older records
    steps: int = 0
    resumed_at: Sequence[int] = field(default_factory=list)  # updates done at each start from a snapshot
    epochs: int = 0
    tokens: int = 0  # real tokens trained on
    seconds: Mapping[str, float] = field(default_factory=dict)  # train, eval, total; with interrupted processes
    device: str = ""
    precision: str = ""
    engine: str = ""  # flat or padded
    execution: Mapping[str, str] = field(default_factory=dict)  # attention, kernels, graph: what computed it
    accumulation: int = 1  # micro-batches of a batch in the end: more than requested where memory was too small
    processes: int = 1  # that trained together, each on a share of every batch
    versions: Mapping[str, str] = field(default_factory=dict)
    git: str | None = None
    model_sha256: str | None = None  # of model/model.safetensors, if the run kept its weights
    ended: str = ""  # UTC, ISO 8601
    config: Mapping[str, Any]
    error: str | None = None

    @property
    def finished(self) -> bool:
        """Whether it has scores."""
        return self.status == "finished"

    @property
    def init_kind(self) -> str:
        """The weights that it started with: pretrained, or the task that they were fine-tuned on."""
        return self.init.partition(":")[0]

    @property
    def outcome(self) -> str:
        """Why it did not finish, in one line."""
        return first_line(self.error or "", default=self.status)

    @property
    def place(self) -> tuple[str, str, str]:
        """The folders under which it is kept, as `RunStore.folder` takes them."""
        return self.encoder["name"], self.task, self.run_id


def task_of(record: Record) -> TaskAdapter:
    """Return the task as the run used it; keys of a later version are left out."""
    known = {item.name for item in dataclasses.fields(TaskConfig)}
    return TaskAdapter(**{key: value for key, value in record.config["task"].items() if key in known})


def request_facts(request: RunRequest) -> dict[str, Any]:
    """Return what a record contains before any input of the run is read."""
    config = request.config
    streams = dataclasses.asdict(SeedStreams.from_seed(config.seed))
    streams |= {"holdout": holdout_stream(config.seed)} if config.selection == "holdout" else {}
    return {
        "run_id": request.run_id,
        "setting_id": request.setting_id,
        "task": config.task.name,
        "encoder": {"name": request.encoder, **{key: getattr(config.encoder, key) for key in ("hub_id", "revision")}},
        "data": {key: getattr(config.data, key) for key in ("source", "dataset", "revision")},
        "comparable": False,
        "not_comparable_because": ["the run did not finish"],
        "seed": config.seed,
        "streams": streams,
        "recipe": config.recipe,
        "selection": config.selection,
        "init": request.init,
        "accumulation": config.trainer.accumulation,
        "versions": library_versions(),
        "git": checkout_commit(),
        "config": dataclasses.asdict(config),
    }


def now() -> str:
    """Return the time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def read_record(path: Path) -> Record | None:
    """Read one record.json; None if there is none, or a damaged one, which is logged in one line."""
    try:
        return parse_record(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        logger.warning("%s: damaged record, ignored (%s)", path, error)
        return None


def parse_record(path: Path) -> Record:
    """Read one record.json.

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
    if type(record.schema_version) is not int or record.schema_version > SCHEMA_VERSION:
        raise ValueError(f"schema_version is {record.schema_version!r}; this glue-bench knows up to {SCHEMA_VERSION}")
    if record.status not in STATUSES:
        raise ValueError(f"status is {record.status!r}; known are {', '.join(STATUSES)}")
    task = task_of(record)
    check(task, "task")
    names = [getattr(record, key) for key in ("run_id", "setting_id", "task", "recipe", "init", "selection")]
    names += [record.encoder["name"], record.data["source"]]
    if not all(isinstance(name, str) for name in names) or type(record.seed) is not int:
        raise ValueError("a name or the seed has a wrong type")
    for key in ("selected", "seconds", "predictions_sha256", "execution"):
        if not isinstance(getattr(record, key), dict):
            raise ValueError(f"{key} is not a mapping")
    if not all(isinstance(part, dict) for part in map({"cell": {}, **record.config}.get, ("trainer", "data", "cell"))):
        raise ValueError("config.trainer, config.data or config.cell is not a mapping")
    if record.finished:
        for split in task.validation:
            scores = [record.scores[split][metric] for metric in task.metrics]
            if not all(isinstance(score, int | float) and math.isfinite(score) for score in scores):
                raise ValueError(f"a score of {split} is not a number")
            if type(record.data["rows"][split]) is not int:
                raise ValueError(f"data.rows.{split} is not a whole number")


def library_versions() -> dict[str, str]:
    """Return the versions that a score may depend on."""
    versions = {"python": platform.python_version(), "glue-bench": __version__}
    for name in _LIBRARIES.split():
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def processor_name() -> str:
    """Return the processor as the system names it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.is_file() else []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def checkout_commit() -> str | None:
    """Return the commit of the checkout that this package runs from, `-dirty` with local changes; None for a wheel."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        described = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip() or None
