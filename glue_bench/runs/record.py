"""The record of a run: its fields, and the checks on a record.json that is read. Nothing but records passes from one
run to another. Knows no torch."""

import contextlib
import dataclasses
import functools
import logging
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, get_args

from glue_bench import __version__
from glue_bench.config.keys import build, fields_of, join, require
from glue_bench.config.schema import DataConfig, EncoderConfig, RunConfig, TaskConfig, TrainerConfig
from glue_bench.config.task import headline, start_tasks
from glue_bench.errors import UsageError, lack_in
from glue_bench.reading import conform, is_file_name, read_json
from glue_bench.runs.identity import RunRequest
from glue_bench.text import first_line
from glue_bench.training.course import SeedStreams, holdout_stream

SCHEMA_VERSION = 1
RunStatus = Literal["finished", "failed", "diverged", "interrupted"]
STATUSES: tuple[RunStatus, ...] = get_args(RunStatus)
# The types of values in a record's parts, wherever it has them; and which of them records of every version have.
_KINDS: Sequence[tuple[Any, str]] = (
    (str, "encoder.name selected.on"),
    (str | None, "encoder.hub_id encoder.revision encoder.weights_sha256 encoder.init_sha256"),
    (str | None, "data.dataset data.revision data.fingerprint"),
    (int, "encoder.trained selected.epoch selected.step selected.rows selected.stopped"),
    (int | None, "encoder.parameters"),
    (float | None, "selected.score"),
    (Sequence[float | None], "selected.scores"),
    (Literal["hub", "local", "sample"], "data.source"),
    (Mapping[str, str], "data.fingerprints data.checked"),
    (Mapping[str, int], "data.rows data.choosing data.overlap data.truncated"),
)
_NEEDED = (
    "encoder.name encoder.hub_id encoder.revision data.source data.dataset data.revision config.results_dir "
    "config.seed config.task config.encoder config.data config.trainer.precision config.trainer.engine "
    "config.trainer.deterministic config.trainer.max_length config.trainer.eval_batch_size"
)
_ONCE_READ = "encoder.weights_sha256 data.fingerprint"  # what a run knows once it has read its inputs
_LIBRARIES = "torch transformers tokenizers datasets evaluate scikit-learn scipy numpy hydra-core peft"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What one run leaves behind as record.json. Scores are in natural units: 0 to 1, correlations -1 to 1.

    docs/records.md explains every field; a test compares the two.
    """

    schema_version: int = SCHEMA_VERSION
    run_id: str
    setting_id: str  # of everything but the seed: runs that share it may be averaged
    status: RunStatus
    task: str
    encoder: Mapping[str, Any]  # name, hub_id, revision, weights_sha256, parameters, trained
    data: Mapping[str, Any]  # source, dataset, revision, fingerprint, rows, truncated
    comparable: bool
    not_comparable_because: Sequence[str]
    seed: int
    streams: Mapping[str, int]  # the seeds of head, order and dropout
    recipe: str
    init: str = "pretrained"  # or TASK:RUN_ID
    selection: str = "last"  # last, best, holdout or halves
    selected: Mapping[str, Any] = field(default_factory=dict)  # BestEpoch.selected and on what; empty for last
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # split to metric to value
    undefined: Mapping[str, str] = field(default_factory=dict)  # SPLIT.METRIC of each undefined score, to the reason
    predictions_sha256: Mapping[str, str] = field(default_factory=dict)  # split to hash; empty in older records
    steps: int = 0
    resumed_at: Sequence[int] = field(default_factory=list)  # updates done at each start from a snapshot
    epochs: int = 0
    tokens: int = 0  # real tokens trained on
    seconds: Mapping[str, float] = field(default_factory=dict)  # train, eval, total; with interrupted processes
    device: str = ""
    precision: str = ""
    engine: str = ""  # flat or padded
    execution: Mapping[str, str] = field(default_factory=dict)  # attention, products, kernels, graph: what computed it
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
    def score(self) -> float:
        """The task's score on the dev set if it has finished: the mean of the card convention's, in natural units."""
        return headline(task_of(self).parts("card"), self.scores)

    @property
    def ways(self) -> tuple[str, str, str]:
        """How it computed, which its request may leave open: precision, engine, and whose products they were."""
        known = self.execution.get("products", "torch") if self.precision else ""  # earlier versions had torch's alone
        return self.precision, self.engine, known

    @property
    def lack(self) -> str:
        """What ran out, memory or disk, if that made it fail: then the same command repeats it."""
        return lack_in(self.error or "") if self.status == "failed" else ""

    @property
    def init_kind(self) -> str:
        """The weights that it started with: pretrained, TASK, or `TASK from TASK`."""
        return " from ".join(start_tasks(self.init))

    @property
    def keeps_adapter(self) -> bool:
        """Whether what it trains cannot be merged into a model: what it keeps is adapter/."""
        return (self.config.get("peft") or {}).get("method") == "prefix"

    @property
    def outcome(self) -> str:
        """Why it did not finish, in one line."""
        return first_line(self.error or "", default=self.status)

    @property
    def place(self) -> tuple[str, str, str]:
        """The folders under which it is kept, as `RunStore.folder` takes them."""
        return self.encoder["name"], self.task, self.run_id


def task_of(record: Record) -> TaskConfig:
    """Return the task as the run used it."""
    return TaskConfig(**known_to(TaskConfig, record.config["task"]))


def known_to(kind: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a dataclass's fields: a record of a later version may hold more."""
    return {item.name: values[item.name] for item in dataclasses.fields(kind) if item.name in values}


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


def read_record(path: Path, *, place: tuple[str, ...] | None = None) -> Record | None:
    """Read one record.json as `parse_record`; None if there is none, or a damaged one, which is logged in one line."""
    try:
        return parse_record(path, place=place)
    except (OSError, ValueError, UsageError) as error:
        if not os.path.lexists(path):
            return None
        logger.warning("%s: damaged record, ignored (%s)", path, first_line(error))
        return None


def parse_record(path: Path, *, place: tuple[str, ...] | None = None) -> Record:
    """Read one record.json, and check the type of every field.

    `place` is encoder, task and run id as the folders around it say: what a record says of itself never decides which
    files are read, written or deleted. None is for a run's folder that was moved elsewhere. An OSError if there is no
    record, or it cannot be read; a ValueError or UsageError if it is damaged, or is not the record of that place.
    """
    content = read_json(path)
    conform(Record, content, where="")
    if content.get("schema_version", SCHEMA_VERSION) > SCHEMA_VERSION:
        raise ValueError(f"schema_version is {content['schema_version']}; this glue-bench knows up to {SCHEMA_VERSION}")
    record = Record(**known_to(Record, content))
    _check_record(record)
    if strange := [name for name in record.place if not is_file_name(name)]:
        raise ValueError(f"its encoder, task or run_id is {strange[0]!r}; must be the name of a folder")
    if record.place != (place or record.place):
        raise ValueError(f"it says that it belongs to {'/'.join(record.place)}, but is in another folder")
    return record


def _check_record(record: Record) -> None:
    config = record.config
    for kind, places in _KINDS:
        for place in places.split():
            part, _, name = place.partition(".")
            if name in getattr(record, part):
                conform(kind, getattr(record, part)[name], where=place)
    _check_known(RunConfig, config, where="config")
    _check_known(TrainerConfig, config.get("cell", {}), where="config.cell")
    for name, values in config.get("grid", {}).items():
        for value in values:
            _check_known(TrainerConfig, {name: value}, where="config.grid")
    for place in f"{_NEEDED} {_ONCE_READ if record.finished else ''}".split():
        inside: Any = {"encoder": record.encoder, "data": record.data, "config": config}
        for name in place.split("."):
            if name not in inside:
                raise ValueError(f"{place} is missing")
            inside = inside[name]
    for part, known in (("data", DataConfig), ("encoder", EncoderConfig)):  # with the rules for keys that fit together
        build(known, known_to(known, config[part]), where=part)
    task = build(TaskConfig, known_to(TaskConfig, config["task"]), where="task")
    if (record.task, record.seed) != (task.name, config["seed"]):
        raise ValueError("its task or seed is not the one in its config")
    own = f"seed{record.seed}-"
    require("run_id", record.run_id, holds=record.run_id.startswith(own), words=f"{own}ID")
    for split in (task.train, *task.validation) if record.finished else ():
        rows = record.data.get("rows", {}).get(split)
        require(f"data.rows.{split}", rows, holds=rows is not None and rows >= 1, words="1 or more")
        for metric in task.metrics if split in task.validation else ():
            score = record.scores.get(split, {}).get(metric)
            require(f"scores.{split}.{metric}", score, holds=score is not None and -1 <= score <= 1, words="-1 to 1")


def _check_known(kind: Any, values: Mapping[str, Any], *, where: str) -> None:
    """Check the keys of a configuration that this version knows: an earlier one may lack some, a later one add some."""
    conform(Mapping[str, Any], values, where=where)
    for item in fields_of(kind):
        if item.name not in values:
            continue
        value, place = values[item.name], join(where, item.name)
        if dataclasses.is_dataclass(item.hint):
            _check_known(item.hint, value, where=place)
            continue
        conform(item.hint, value, where=place)
        if (must := item.must) is not None and value is not None:
            require(place, value, holds=must.holds(value), words=must.words)


def library_versions() -> dict[str, str]:
    """Return the versions that a score may depend on."""
    versions = {"python": platform.python_version(), "glue-bench": __version__}
    for name in _LIBRARIES.split():
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def checkout_commit() -> str | None:
    """Return the commit of the checkout that this package runs from, `-dirty` with local changes; None for a wheel."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    # Whatever repository, index or configuration the environment names; and nothing that the checkout names is run.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    git = ["git", *f"--no-optional-locks -c core.fsmonitor= -c core.hooksPath={os.devnull} -C".split(), str(root)]
    ask = functools.partial(subprocess.run, capture_output=True, text=True, timeout=10, check=False, env=environment)
    try:
        filters = r"^filter\..*\.(clean|smudge|process|required)$"
        named = ask([*git, "config", "--name-only", "--get-regexp", filters]).stdout.splitlines()
        off = [word for name in named for word in ("-c", f"{name}=")]
        done = ask([*git, *off, "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"])
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return None if done.returncode else done.stdout.strip() or None
