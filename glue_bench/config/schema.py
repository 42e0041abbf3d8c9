"""The configuration as plain dataclasses, and the checks of their values. Knows no Hydra, no torch.

Defaults live in the YAML files under conf/; a field defaults to None here only where "not given" is a value.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from glue_bench.errors import UsageError, did_you_mean

TASK_KINDS = ("classification", "regression")
METRICS = ("accuracy", "f1", "matthews_correlation", "pearson", "spearman")
REGRESSION_METRICS = ("pearson", "spearman")
# Trainer values that say how a run executes rather than what it computes.
EXECUTION_KEYS = (
    "device",
    "precision",
    "deterministic",
    "engine",
    "accumulation",
    "eval_batch_size",
    "log_every",
    "snapshot_minutes",
)
PATH_KEYS = ("data.path", "encoder.path", "results_dir")  # whose values are paths, taken literally
# Trainer values that a grid may list, and their type.
GRID_KEYS: dict[str, type[int] | type[float]] = {
    "epochs": int,
    "updates": int,
    "batch_size": int,
    "learning_rate": float,
    "warmup": float,
    "weight_decay": float,
    "epsilon": float,
    "clip_norm": float,
    "max_length": int,
}
CONVENTIONS = ("card", "paper")
EXECUTORS = ("local", "serial", "slurm")
DATA_SOURCES = ("hub", "local", "sample")
ENGINES = ("auto", "flat", "padded")
PRECISIONS = ("auto", "float32", "bfloat16")
SELECTIONS = ("last", "best", "holdout")
LEADERBOARD_LABELS = ("codes", "names")

_FOLDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_FINGERPRINT = re.compile(r"[0-9a-f]{16}")
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


@dataclass(slots=True, kw_only=True)
class TaskConfig:
    """The facts of one task: conf/task/NAME.yaml."""

    name: str  # becomes a folder name
    title: str  # as printed in tables
    kind: str  # one of TASK_KINDS
    texts: list[str]  # one or two text columns
    labels: list[str] = field(default_factory=list)  # names in the order of the codes 0, 1, ...; classification
    label_range: list[float] | None = None  # lowest and highest label; regression
    metrics: list[str]  # some of METRICS
    train: str = "train"
    validation: list[str] = field(default_factory=lambda: ["validation"])
    test: list[str] = field(default_factory=lambda: ["test"])
    rows: dict[str, int] = field(default_factory=dict)  # official rows of each split
    # Fingerprints of the official rows, for splits where they are known: 16 hex digits, `Split.fingerprint`.
    fingerprints: dict[str, str] = field(default_factory=dict)
    # Under each convention, the SPLIT.METRIC scores whose mean stands in the table.
    conventions: dict[str, list[str]] = field(default_factory=dict)
    hub_config: str | None = None  # the folder in the hub's dataset; the task's name if not given
    init_from: list[str] = field(default_factory=list)  # tasks whose fine-tuned encoder this one may start from
    # The leaderboard's files, without .tsv, and whose predictions each holds: SPLIT, or FOLDER/SPLIT of the data set.
    leaderboard: dict[str, str] = field(default_factory=dict)
    leaderboard_labels: str = "codes"  # one of LEADERBOARD_LABELS: how classes are written there


@dataclass(slots=True, kw_only=True)
class EncoderConfig:
    """Where a pretrained encoder comes from: exactly one of path, package and hub_id."""

    name: str | None = None  # becomes a folder name
    hub_id: str | None = None  # ORG/NAME on the hub
    revision: str | None = None  # a 40-hex commit (pinned), or a branch or tag (resolved to a commit)
    path: str | None = None  # a local folder
    package: str | None = None  # PYTHON_PACKAGE/FOLDER, installed
    weights_sha256: str | None = None  # checked where given


@dataclass(slots=True, kw_only=True)
class DataConfig:
    """Where the rows come from."""

    source: str  # one of DATA_SOURCES
    dataset: str | None = None  # the hub's dataset id
    revision: str | None = None
    path: str | None = None  # the local folder
    max_train_rows: int | None = None  # the first so many rows of the training split
    max_eval_rows: int | None = None  # the first so many rows of each validation split


@dataclass(slots=True, kw_only=True)
class TrainerConfig:
    """How a model is fitted. A batch is the rows of one update, whatever `accumulation` splits it into."""

    epochs: int
    updates: int | None = None  # in all, in place of `epochs`; the last epoch may be cut short
    batch_size: int  # rows of one update
    accumulation: int  # parts of a batch that go through the model one after another
    learning_rate: float  # the peak
    warmup: float  # fraction of all updates, 0 to 1
    weight_decay: float  # decoupled; not on biases and layer norms
    betas: list[float]
    epsilon: float
    clip_norm: float  # global gradient norm; 0 turns clipping off
    max_length: int  # tokens of a row, special ones included
    eval_batch_size: int
    device: str
    precision: str  # one of PRECISIONS
    deterministic: bool  # on a GPU; a CPU always is
    engine: str  # one of ENGINES
    log_every: int  # updates between two lines of the history
    snapshot_minutes: float  # between two snapshots; 0 keeps one only when a signal stops the run


@dataclass(slots=True, kw_only=True)
class SlurmConfig:
    """What each job of a Slurm array asks for."""

    partition: str | None = None
    hours: float  # time limit
    cpus: int
    gpus: int
    memory_gb: int
    notice: int  # seconds between the signal and the end of a job
    options: list[str] = field(default_factory=list)  # other options of sbatch: LONG_NAME=VALUE


@dataclass(slots=True, kw_only=True)
class ExecutorConfig:
    """Who runs a sweep. Nothing here changes a score."""

    kind: str  # one of EXECUTORS
    workers: str  # runs at a time, or auto
    runs_per_gpu: int
    timeout: float  # minutes without a sign of progress; 0: never
    slurm: SlurmConfig


@dataclass(slots=True, kw_only=True)
class RunConfig:
    """The root: one run (`task`, `encoder`, `seed`), and what a sweep makes runs of."""

    task: TaskConfig
    encoder: EncoderConfig
    data: DataConfig
    trainer: TrainerConfig
    executor: ExecutorConfig
    recipe: str
    init: str  # pretrained, or the task whose fine-tuned encoder is the start
    selection: str  # one of SELECTIONS: which epoch's weights are scored in the end
    holdout: float  # fraction of the training rows that selection=holdout keeps for selecting
    grid: dict[str, list[Any]]  # trainer key to the values that a sweep tries, every combination a run
    seed: int
    tasks: list[str]
    seeds: list[int]
    encoders: list[str] | None
    results_dir: str
    save_model: bool
    # What a preset or the command line changed of the recipe's trainer values; set by compose, never given.
    recipe_changes: dict[str, str] = field(default_factory=dict)
    # This run's trainer values under the keys of `grid`; set by compose, never given.
    cell: dict[str, Any] = field(default_factory=dict)


def check_config(config: RunConfig) -> None:
    """Refuse impossible values.

    Raises:
        UsageError: naming the key, the value and what was allowed.
    """
    check_task(config.task)
    _check_encoder(config.encoder)
    _check_data(config.data, config.task)
    _check_trainer(config.trainer)
    _check_executor(config.executor)
    _require(bool(config.init), "init", config.init, "pretrained, or a task")
    _check_grid(config.grid, config.trainer)
    _require_one_of("selection", config.selection, SELECTIONS)
    _require(0 < config.holdout < 1, "holdout", config.holdout, "a fraction between 0 and 1")
    _require(bool(config.results_dir.strip()), "results_dir", config.results_dir, "a folder")
    _require(0 <= config.seed < 2**32, "seed", config.seed, "0 to 4294967295")
    for key, values in (("tasks", config.tasks), ("seeds", config.seeds), ("encoders", config.encoders)):
        _require(values is None or len(values) > 0, key, values, "at least one")
        _require(values is None or len(set(values)) == len(values), key, values, "each only once")
    for seed in config.seeds:
        _require(0 <= seed < 2**32, "seeds", seed, "0 to 4294967295")


def config_from_facts(facts: Mapping[str, Any]) -> RunConfig:
    """A configuration from what `dataclasses.asdict` made of it.

    Raises:
        TypeError: a key is missing or unknown.
        UsageError: a value is not allowed.
    """
    config = _from_facts(RunConfig, facts)
    assert isinstance(config, RunConfig)  # noqa: S101 - what was asked for
    check_config(config)
    return config


def _from_facts(kind: type, facts: Mapping[str, Any]) -> object:
    hints = get_type_hints(kind)
    nested = {key: hints[key] for key in facts if dataclasses.is_dataclass(hints.get(key))}
    return kind(**{key: _from_facts(nested[key], value) if key in nested else value for key, value in facts.items()})


def check_task(task: TaskConfig) -> None:
    """Refuse a task whose facts do not fit together.

    Raises:
        UsageError: naming the key, the value and what was allowed.
    """
    _check_folder_name("task.name", task.name)
    _require_one_of("task.kind", task.kind, TASK_KINDS)
    _require(len(task.texts) in (1, 2), "task.texts", task.texts, "one or two column names")
    _require(len(set(task.texts)) == len(task.texts), "task.texts", task.texts, "two different columns")
    _require(len(task.metrics) > 0, "task.metrics", task.metrics, "at least one of " + ", ".join(METRICS))
    for metric in task.metrics:
        _require_one_of("task.metrics", metric, METRICS)
        fits = (metric in REGRESSION_METRICS) == (task.kind == "regression")
        _require(fits, "task.metrics", metric, f"a metric of {task.kind}")
        _require(metric != "f1" or len(task.labels) == 2, "task.metrics", metric, "f1 only with two labels")
    if task.kind == "classification":
        enough = len(task.labels) >= 2 and len(set(task.labels)) == len(task.labels)
        _require(enough, "task.labels", task.labels, "two or more different names")
        _require(task.label_range is None, "task.label_range", task.label_range, "nothing, for classification")
    else:
        low_high = task.label_range or []
        _require(
            len(low_high) == 2 and low_high[0] < low_high[1],
            "task.label_range",
            low_high,
            "[lowest, highest]",
        )
        _require(not task.labels, "task.labels", task.labels, "nothing, for regression")
    _require(len(task.validation) > 0, "task.validation", task.validation, "at least one split")
    apart = len({task.train, *task.validation}) == 1 + len(task.validation)
    _require(apart, "task.validation", task.validation, f"splits that differ from each other and from {task.train}")
    for split in (task.train, *task.validation, *task.test):
        _check_folder_name("task splits", split)
    if task.hub_config is not None:
        _check_folder_name("task.hub_config", task.hub_config)
    scores = [f"{split}.{metric}" for split in task.validation for metric in task.metrics]
    for convention, parts in task.conventions.items():
        _require_one_of("task.conventions", convention, CONVENTIONS)
        _require(len(parts) > 0, f"task.conventions.{convention}", parts, "at least one SPLIT.METRIC")
        for part in parts:
            _require_one_of(f"task.conventions.{convention}", part, scores)
    for split, fingerprint in task.fingerprints.items():
        _require(split in task.rows, "task.fingerprints", split, "a split with official rows in task.rows")
        hexadecimal = bool(_FINGERPRINT.fullmatch(fingerprint))
        _require(hexadecimal, f"task.fingerprints.{split}", fingerprint, "16 hex digits, in quotation marks")
    _check_leaderboard(task)


def _check_leaderboard(task: TaskConfig) -> None:
    _require_one_of("task.leaderboard_labels", task.leaderboard_labels, LEADERBOARD_LABELS)
    for file, place in task.leaderboard.items():
        _check_folder_name("task.leaderboard", file)
        for part in place.split("/"):
            _check_folder_name(f"task.leaderboard.{file}", part)
        known = place in task.test or place.count("/") == 1
        allowed = f"one of the test splits {', '.join(task.test)}, or FOLDER/SPLIT"
        _require(known, f"task.leaderboard.{file}", place, allowed)
        _require(place in task.rows, f"task.leaderboard.{file}", place, "a split with official rows in task.rows")


def _check_encoder(encoder: EncoderConfig) -> None:
    places = {"path": encoder.path, "package": encoder.package, "hub_id": encoder.hub_id}
    given = [key for key, value in places.items() if value]
    if len(given) != 1:
        found = " and ".join(f"encoder.{key}" for key in given) or "none of them"
        raise UsageError(
            "encoder: with encoder=custom, give exactly one of encoder.path=FOLDER, encoder.hub_id=ORG/NAME and "
            f"encoder.package; found {found}"
        )
    if encoder.name is not None:
        _check_folder_name("encoder.name", encoder.name)
    if encoder.hub_id is not None:
        valid = re.fullmatch(r"[\w.-]+(/[\w.-]+)?", encoder.hub_id) and ".." not in encoder.hub_id
        _require(bool(valid), "encoder.hub_id", encoder.hub_id, "NAME or ORG/NAME")
        _require(bool(encoder.revision), "encoder.revision", encoder.revision, "a commit, branch or tag")


def _check_data(data: DataConfig, task: TaskConfig) -> None:
    _require_one_of("data.source", data.source, DATA_SOURCES)
    if data.source == "local":
        _require(bool(data.path), "data.path", data.path, f"a folder that holds {task.name}/{task.train}.parquet")
    elif data.source == "hub":
        _require(bool(data.dataset), "data.dataset", data.dataset, "ORG/NAME")
        _require(bool(data.revision), "data.revision", data.revision, "a commit, branch or tag")
    if data.path is not None and data.source != "local":
        raise UsageError(f"data.path={data.path}: only read with data=local, but data={data.source}")
    for key, rows in (("max_train_rows", data.max_train_rows), ("max_eval_rows", data.max_eval_rows)):
        _require(rows is None or rows >= 1, f"data.{key}", rows, "1 or more")


def _check_trainer(trainer: TrainerConfig) -> None:
    for key in ("epochs", "batch_size", "accumulation", "eval_batch_size", "log_every"):
        _require(getattr(trainer, key) >= 1, f"trainer.{key}", getattr(trainer, key), "1 or more")
    _require(trainer.updates is None or trainer.updates >= 1, "trainer.updates", trainer.updates, "1 or more, or null")
    fits = trainer.accumulation <= trainer.batch_size
    _require(fits, "trainer.accumulation", trainer.accumulation, "at most trainer.batch_size")
    _require(trainer.max_length >= 8, "trainer.max_length", trainer.max_length, "8 or more tokens")
    rate = trainer.learning_rate
    _require(math.isfinite(rate) and rate > 0, "trainer.learning_rate", rate, "above 0")
    minutes = trainer.snapshot_minutes
    _require(math.isfinite(minutes) and minutes >= 0, "trainer.snapshot_minutes", minutes, "0 or more")
    _require(0 <= trainer.warmup < 1, "trainer.warmup", trainer.warmup, "a fraction from 0 up to 1")
    for key in ("weight_decay", "clip_norm"):
        value = getattr(trainer, key)
        _require(math.isfinite(value) and value >= 0, f"trainer.{key}", value, "0 or more")
    _require(math.isfinite(trainer.epsilon) and trainer.epsilon > 0, "trainer.epsilon", trainer.epsilon, "above 0")
    two = len(trainer.betas) == 2 and all(0 <= beta < 1 for beta in trainer.betas)
    _require(two, "trainer.betas", trainer.betas, "two numbers from 0 up to 1")
    _require(
        bool(_DEVICE.fullmatch(trainer.device)),
        "trainer.device",
        trainer.device,
        "auto, cpu, cuda, cuda:N, mps",
    )
    _require_one_of("trainer.engine", trainer.engine, ENGINES)
    _require_one_of("trainer.precision", trainer.precision, PRECISIONS)


def _check_executor(executor: ExecutorConfig) -> None:
    _require_one_of("executor", executor.kind, EXECUTORS)
    number = executor.workers.isdigit() and int(executor.workers) >= 1
    _require(executor.workers == "auto" or number, "executor.workers", executor.workers, "auto, or 1 or more")
    _require(executor.runs_per_gpu >= 1, "executor.runs_per_gpu", executor.runs_per_gpu, "1 or more")
    _require(executor.timeout >= 0, "executor.timeout", executor.timeout, "0 or more minutes")
    slurm = executor.slurm
    for key, lowest in (("cpus", 1), ("gpus", 0), ("memory_gb", 1), ("notice", 10)):
        value = getattr(slurm, key)
        _require(value >= lowest, f"executor.slurm.{key}", value, f"{lowest} or more")
    for option in slurm.options:
        _require("=" in option.strip("="), "executor.slurm.options", option, "LONG_NAME=VALUE, as in account=NAME")
    _require(60 * 60 * slurm.hours > slurm.notice, "executor.slurm.hours", slurm.hours, "longer than the notice")


def _check_grid(grid: dict[str, list[Any]], trainer: TrainerConfig) -> None:
    for key, values in grid.items():
        _require_one_of("grid", key, list(GRID_KEYS))
        _require(len(values) > 0, f"grid.{key}", values, "at least one value")
        whole = GRID_KEYS[key] is int
        allowed = "whole numbers" if whole else "numbers"
        for value in values:
            _require(type(value) is int or (not whole and type(value) is float), f"grid.{key}", value, allowed)
        _require(len(set(values)) == len(values), f"grid.{key}", values, "each only once")
    if "epochs" in grid and ("updates" in grid or trainer.updates is not None):
        raise UsageError(f"grid.epochs={grid['epochs']}: has no effect beside trainer.updates; give one of the two")


def _check_folder_name(key: str, name: str) -> None:
    allowed = "letters, digits, '.', '_' and '-', starting with a letter or digit"
    _require(bool(_FOLDER_NAME.fullmatch(name)) and ".." not in name, key, name, allowed)


def _require(holds: bool, key: str, value: object, allowed: str) -> None:
    if not holds:
        raise UsageError(f"{key}={value}: allowed is {allowed}")


def _require_one_of(key: str, value: str, allowed: tuple[str, ...] | list[str]) -> None:
    if value not in allowed:
        raise UsageError(f"{key}={value}: unknown{did_you_mean(value, allowed)}")
