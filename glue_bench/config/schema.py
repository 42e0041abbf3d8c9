"""The configuration as dataclasses, with what is known of each key next to its field. Knows no Hydra, no torch.

Defaults live in the YAML files under conf/; a field has a default here only where "not given" is a value."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

from glue_bench.config import keys
from glue_bench.config.keys import ABOVE_ZERO, FRACTION, Must, at_least, bookkeeping, execution, key, later, rounding
from glue_bench.config.task import CONVENTIONS, DISTINCT, GIVEN, NAME, TaskConfig
from glue_bench.errors import UsageError
from glue_bench.reading import is_path, whole_number

__all__ = ["CONVENTIONS", "TaskConfig"]  # these two come from task.py, which is part of the schema

_ONE_OR_MORE, _ZERO_OR_MORE = at_least(1), at_least(0)
_SEED = Must("0 to 4294967295", lambda seed: 0 <= seed < 2**32)
_START_SEED = Must(f"{_SEED.words}, median or best", lambda seed: isinstance(seed, str) or _SEED.holds(seed))
_SEEDS = Must(f"at least one, each only once, {_SEED.words}", lambda s: DISTINCT.holds(s) and all(map(_SEED.holds, s)))
_PART = Must("above 0 and below 1", lambda value: 0 < value < 1)
_SHARE = Must("above 0 and at most 1", lambda value: 0 < value <= 1)
_WEIGHTS = Must(
    "balanced, or a list with a number above 0 for each class",
    lambda weights: weights == "balanced" or (len(weights) > 1 and all(map(ABOVE_ZERO.holds, weights))),
)
_BETAS = Must(f"two numbers, {FRACTION.words}", lambda betas: len(betas) == 2 and all(map(FRACTION.holds, betas)))
_DEVICE = Must.match("auto, cpu, cuda, cuda:N or mps", r"auto|cpu|mps|cuda(:[0-9]{1,3})?")
_WORKERS = Must("auto, or 1 or more", lambda text: text == "auto" or bool(whole_number(text)))
_EPOCH_OR_UPDATES = Must("epoch, or 1 or more updates", lambda text: text == "epoch" or bool(whole_number(text)))
_SBATCH_OPTIONS = Must("LONG_NAME=VALUE, as in [account=NAME]", lambda words: all("=" in w.strip("=") for w in words))
HUB_ID = Must.match("NAME or ORG/NAME", r"(?a:(?!.*\.\.)\w[\w.-]*(/\w[\w.-]*)?)")
_REVISION = Must.match("a commit, branch or tag", r"(?a:(?!.*(\.\.|//|/\.))\w[\w./+-]{0,199})")
_Switch = Literal["auto", "torch"]
_START = Must(
    "a task, pretrained, or {TASK:START}", lambda start: bool(start) and (isinstance(start, dict) or GIVEN.holds(start))
)
_PATH = Must("a path in UTF-8, of at most 255 bytes per name", is_path)
_FOLDER = Must(f"given, as {_PATH.words}", lambda text: GIVEN.holds(text) and is_path(text))


@dataclass(slots=True, kw_only=True)
class EncoderConfig:
    """Where a pretrained encoder comes from: exactly one of path, package and hub_id."""

    name: str | None = key("name in tables, and of the folder in results_dir; null: by path or id", NAME, default=None)
    hub_id: str | None = key("repository on the hub", HUB_ID, default=None)
    revision: str | None = key("a commit of 40 digits, a branch or a tag on the hub", _REVISION, default=None)
    path: str | None = key("local folder with the encoder's files", _PATH, path=True, default=None)
    package: str | None = key("PYTHON_PACKAGE/FOLDER: a folder inside an installed Python package", default=None)
    weights_sha256: str | None = key("SHA-256 that the weights must have, if given", default=None)
    allow_bin: bool = key("also read a pytorch_model.bin, if there is no safetensors file", default=False)

    def rules(self) -> Iterator[keys.Rule]:
        """Require exactly one place, and a revision of a hub's repository."""
        given = [f"encoder.{name}" for name in ("path", "package", "hub_id") if getattr(self, name)]
        if len(given) != 1:
            one_of = "exactly one of encoder.path=FOLDER, encoder.hub_id=ORG/NAME and encoder.package"
            found = " and ".join(given) or "none of them"
            raise UsageError(f"encoder: with encoder=custom, give {one_of}; found {found}")
        yield "encoder.revision", self.revision, not self.hub_id or bool(self.revision), _REVISION.words


@dataclass(slots=True, kw_only=True)
class DataConfig:
    """Where the rows come from."""

    source: Literal["hub", "local", "sample"] = key("where the rows come from")
    dataset: str | None = key("the hub's dataset, as ORG/NAME", HUB_ID, default=None)
    revision: str | None = key("a commit of 40 digits, a branch or a tag on the hub", _REVISION, default=None)
    path: str | None = key(
        "data=local: folder with TASK/SPLIT.parquet, .csv, .jsonl, ... (docs/data.md)", _PATH, path=True, default=None
    )
    max_train_rows: int | None = key("use only N training rows", _ONE_OR_MORE, default=None)
    max_eval_rows: int | None = key("use only N rows of each validation split", _ONE_OR_MORE, default=None)
    sample: Literal["first", "random", "stratified"] = key(
        "rows that max_train_rows and max_eval_rows keep: the first, or drawn, each label's share kept if stratified; "
        "the run's seed draws training rows, and validation rows are the same for all seeds",
        default="first",
    )

    def rules(self) -> Iterator[keys.Rule]:
        """Require the place of the source."""
        local, hub = self.source == "local", self.source == "hub"
        if self.path is not None and not local:
            raise UsageError(f"data.path={self.path}: only read with data=local, but data={self.source}")
        words = "a folder with TASK/SPLIT.parquet, as in rte/train.parquet"
        yield "data.path", self.path, not local or bool(self.path), words
        yield "data.dataset", self.dataset, not hub or bool(self.dataset), "ORG/NAME"
        yield "data.revision", self.revision, not hub or bool(self.revision), _REVISION.words


@dataclass(slots=True, kw_only=True)
class TrainerConfig:
    """How a model is fitted. A batch is the rows of one update, whatever `accumulation` splits it into."""

    epochs: int = key("passes over the training rows", _ONE_OR_MORE, grid=True)
    updates: int | None = key(
        "total number of updates, instead of epochs; may cut the last one short", _ONE_OR_MORE, grid=True, default=None
    )
    batch_size: int = key("rows of one update", _ONE_OR_MORE, grid=True)
    accumulation: int = rounding("micro-batches of a batch; the update is the same", _ONE_OR_MORE, usual=1)
    learning_rate: float = key("the highest learning rate", ABOVE_ZERO, grid=True)
    warmup: float = key("share of the updates in which the learning rate rises", FRACTION, grid=True)
    weight_decay: float = key("AdamW's decoupled weight decay; not on biases and layer norms", _ZERO_OR_MORE, grid=True)
    betas: list[float] = key("AdamW's betas", _BETAS)
    epsilon: float = key("AdamW's epsilon", ABOVE_ZERO, grid=True)
    clip_norm: float = key("gradients are clipped to this norm; 0: no clipping", _ZERO_OR_MORE, grid=True)
    max_length: int = key("longest row in tokens, special ones included", at_least(8, " tokens"), grid=True)
    schedule: Literal["linear", "cosine", "constant"] = later(
        "how the learning rate falls after warmup: in equal parts, along half a cosine, or not at all", default="linear"
    )
    floor: float = later("what the learning rate falls to, as a share of the highest", FRACTION, grid=True, default=0.0)
    warmup_updates: int | None = later("updates of warmup, instead of a share", _ZERO_OR_MORE, grid=True, default=None)
    layer_decay: float = later("a layer's learning rate, as a share of the one above", _SHARE, grid=True, default=1.0)
    decay_biases: bool = later("weight decay on biases and layer norms too", default=False)
    dropout: float | None = later("in encoder and head; null: as in config.json", FRACTION, grid=True, default=None)
    head_dropout: float | None = later("in the head; null: as trainer.dropout", FRACTION, grid=True, default=None)
    label_smoothing: float = later("share of a label spread over all classes", FRACTION, grid=True, default=0.0)
    class_weights: list[float] | Literal["balanced"] | None = later(
        "of the loss, in the order of the labels; balanced: in inverse proportion to the rows", _WEIGHTS, default=None
    )
    patience: int | None = later(
        "epochs without improvement before training ends; the learning rate is planned for all epochs",
        _ONE_OR_MORE,
        default=None,
    )
    eval_batch_size: int = execution("rows of a batch when predicting; on an NVIDIA GPU 16,384 tokens", _ONE_OR_MORE)
    device: str = execution("the device that a run uses", _DEVICE)
    precision: Literal["auto", "float32", "bfloat16"] = rounding(
        "auto: bfloat16 on a GPU that has it, else float32", usual="auto"
    )
    deterministic: bool = execution("deterministic kernels on a GPU; CPU runs are always deterministic")
    engine: Literal["auto", "flat", "padded"] = rounding(
        "flat: without padding; padded: as transformers; auto: flat if a check at load finds equal logits", usual="auto"
    )
    products: Literal["auto", "onednn", "torch"] = later(
        "matrix products on a CPU; auto: oneDNN's if exact and wider", role="rounding", default="auto", usual="auto"
    )
    # Plans of earlier versions have neither it nor the next five.
    graph: Literal["auto", "off"] = execution(
        "auto: on one GPU an update is one CUDA graph; off: kernels start one by one, to find faults", default="auto"
    )
    kernels: _Switch = execution(
        "auto: on one NVIDIA GPU with Triton, our own for BERT and RoBERTa; torch: torch's", default="auto"
    )
    attention_kernel: _Switch = execution("torch: torch's attention in place of ours, to find faults", default="auto")
    adamw_kernel: _Switch = execution("torch: torch's AdamW in place of ours, to find faults", default="auto")
    embedding_kernel: _Switch = execution("torch: torch's gradients of embeddings, to find faults", default="auto")
    eval_every: str | None = bookkeeping(  # plans of earlier versions have none
        "when the dev set is scored for history.jsonl and the page: every epoch, or every N updates; selects nothing",
        _EPOCH_OR_UPDATES,
        default=None,
    )
    log_every: int = bookkeeping("updates between two lines of history.jsonl", _ONE_OR_MORE)
    snapshot_minutes: float = bookkeeping("minutes between snapshots; 0: only when a signal stops it", _ZERO_OR_MORE)

    def rules(self) -> Iterator[keys.Rule]:
        """Require at most as many micro-batches as rows, and a floor only where the learning rate falls."""
        fits = self.accumulation <= self.batch_size
        yield "trainer.accumulation", self.accumulation, fits, "at most trainer.batch_size"
        falls = self.schedule != "constant" or self.floor == 0
        yield "trainer.floor", self.floor, falls, "0 with trainer.schedule=constant, which does not fall"


@dataclass(slots=True, kw_only=True)
class PeftConfig:
    """Parameter-efficient fine-tuning: which few weights are trained. Plans of earlier versions have none of it."""

    method: Literal["none", "lora", "ia3", "bitfit", "prefix"] = later(
        "lora, ia3: adapters of the library peft, and no other weight of the encoder; bitfit: its biases; prefix: keys "
        "and values that every layer gets before those of a row; none: all weights are trained",
        default="none",
    )
    rank: int | None = later("lora: rank of the adapters", _ONE_OR_MORE, default=None)
    alpha: float | None = later("lora: what an adapter adds is multiplied by alpha / rank", ABOVE_ZERO, default=None)
    dropout: float = later("lora: probability of dropout on what an adapter gets", FRACTION, default=0.0)
    targets: list[str] | None = later(
        "lora, ia3: layers that get adapters, by the ends of their names; null: query and value (lora), or key, value "
        "and the feed-forward layer's output (ia3)",
        DISTINCT,
        default=None,
    )
    tokens: int | None = later("prefix: virtual tokens, each a key and a value per layer", _ONE_OR_MORE, default=None)
    head: bool = later("whether the head is trained too", default=True)

    def rules(self) -> Iterator[keys.Rule]:
        """Require the keys of the method, and no others."""
        for name, usual in PEFT.items():
            value, words = getattr(self, name), f"{keys.shown(usual)} with peft={self.method}"
            yield f"peft.{name}", value, name in PEFT_KEYS[self.method] or value == usual, words
        for name in {"lora": ("rank", "alpha"), "prefix": ("tokens",)}.get(self.method, ()):
            yield f"peft.{name}", None, getattr(self, name) is not None, f"a number with peft={self.method}"


PEFT = {item.name: item.default() for item in keys.fields_of(PeftConfig) if item.name != "method"}
PEFT_KEYS = {  # by method
    "none": (),
    "lora": ("rank", "alpha", "dropout", "targets", "head"),
    "ia3": ("targets", "head"),
    "bitfit": ("head",),
    "prefix": ("tokens", "head"),
}


@dataclass(slots=True, kw_only=True)
class SlurmConfig:
    """What each job of a Slurm array asks for."""

    partition: str | None = key("a partition of the cluster", default=None)
    hours: float = key("time limit of a job", ABOVE_ZERO)
    cpus: int = key("cores of a job", _ONE_OR_MORE)
    gpus: int = key("GPUs of a job", _ZERO_OR_MORE)
    memory_gb: int = key("memory of a job in GB", _ONE_OR_MORE)
    notice: int = key("seconds before a job's end at which Slurm sends SIGUSR1", at_least(10))
    options: list[str] = key("other options of sbatch", _SBATCH_OPTIONS, make=list)

    def rules(self) -> Iterator[keys.Rule]:
        """Require a time limit longer than the notice."""
        yield "executor.slurm.hours", self.hours, 60 * 60 * self.hours > self.notice, "longer than the notice"


@dataclass(slots=True, kw_only=True)
class ExecutorConfig:
    """Who runs a sweep. Nothing here changes a score."""

    kind: Literal["local", "serial", "slurm"] = key("who runs the sweep")
    workers: str = key("runs at a time; auto: what the machine has room for (local), 8 (slurm)", _WORKERS)
    runs_per_gpu: int | None = key(
        "runs that share a GPU; null: up to 4 with NVIDIA's MPS, enough memory and no other user, else 1", _ONE_OR_MORE
    )
    timeout: float = key("minutes without progress after which a hung run is killed; 0: never", at_least(0, " minutes"))
    slurm: SlurmConfig


@dataclass(slots=True, kw_only=True)
class RunKeys:
    """The keys that one run and a sweep share."""

    task: TaskConfig
    encoder: EncoderConfig
    data: DataConfig
    trainer: TrainerConfig
    peft: PeftConfig = key("", make=PeftConfig)
    executor: ExecutorConfig
    recipe: str = key("name of the recipe that sets the trainer's values", GIVEN)
    init: str = key("pretrained, or a task: start from the encoder of that task's run with the same seed", GIVEN)
    init_seed: int | Literal["median", "best"] | None = key(
        "seed of the run that init starts from, or chosen by score; null: each run's own", _START_SEED, default=None
    )
    selection: Literal["last", "best", "holdout", "halves"] = key(
        "which epoch's weights are scored: the last; the best on the dev set (optimistic), on held-out training rows, "
        "or on one half of the dev set, drawn by the seed: then only the other half is scored"
    )
    head: Literal["default", "first", "mean", "max"] = later(
        "default: the family's own in transformers; else ours, on the first token, or the mean or max over all",
        default="default",
    )
    freeze: Literal["none", "embeddings", "encoder"] = later("the frozen part; encoder: linear probing", default="none")
    holdout: float = key("share of the training rows that selection=holdout holds out", _PART)
    grid: dict[str, list[Any]] = key("lists of values for trainer keys; a sweep runs every combination; each is a cell")
    seed: int = key("the seed of `run`", _SEED)
    results_dir: str = key("folder for everything that commands write", _FOLDER, path=True)
    save_model: bool = key("keep the fine-tuned weights under model/, in transformers' form")

    def rules(self) -> Iterator[keys.Rule]:
        """Require a selection for patience, one way of freezing, and keys and values of the trainer in a grid."""
        alone = self.freeze == "none" or self.peft.method == "none"
        yield "freeze", self.freeze, alone, f"none with peft={self.peft.method}, which decides what is trained"
        chooses = self.trainer.patience is None or self.selection != "last"
        words = "null with selection=last; selection=best, holdout or halves scores every epoch"
        yield "trainer.patience", self.trainer.patience, chooses, words
        for name, values in self.grid.items():
            keys.require_one_of("grid", name, allowed=[*GRID_KEYS])
            for value in values:
                yield f"grid.{name}", value, type(value) in (int, GRID_KEYS[name]), keys.SCALARS[GRID_KEYS[name]].words
            yield f"grid.{name}", values, DISTINCT.holds(values), f"a list with {DISTINCT.words}"
        for own, other in REPLACES.items():
            if other in self.grid and (own in self.grid or getattr(self.trainer, own) is not None):
                clash = f"grid.{other}={self.grid[other]}: has no effect with trainer.{own}"
                raise UsageError(f"{clash}; give one of the two")


@dataclass(slots=True, kw_only=True)
class RunConfig(RunKeys):
    """One run, with what `compose` derived for it. A record's `config` holds all of it."""

    recipe_changes: dict[str, str] = key("trainer values that are not the recipe's", make=dict)
    cell: dict[str, Any] = key("this run's trainer values under the keys of `grid`", make=dict)
    init_seeds: list[int] = key("seeds that init_seed=median or best chooses among", make=list)

    def rules(self) -> Iterator[keys.Rule]:
        """Require what `RunKeys` requires, what prefix tuning allows, and a loss that fits the task."""
        yield from RunKeys.rules(self)
        if self.peft.method == "prefix":
            words = "pretrained with peft=prefix, which cannot be merged into an encoder to start from"
            yield "init", self.init, self.init == "pretrained", words
            decay, words = self.trainer.layer_decay, "1 with peft=prefix, which is one table for all layers"
            yield "trainer.layer_decay", decay, decay == 1, words
        weights, smoothing, classes = self.trainer.class_weights, self.trainer.label_smoothing, len(self.task.labels)
        if self.task.kind == "regression":
            yield "trainer.label_smoothing", smoothing, smoothing == 0, f"0 for {self.task.name}, which has no classes"
            yield "trainer.class_weights", weights, weights is None, f"null for {self.task.name}, which has no classes"
        elif isinstance(weights, list):
            words = f"one number for each of the {classes} classes of {self.task.name}"
            yield "trainer.class_weights", weights, len(weights) == classes, words


@dataclass(slots=True, kw_only=True)
class SweepConfig(RunKeys):
    """Every key that conf/ and the command line may set: those of a run, and the lists of a sweep."""

    init: str | dict[str, str] = key(  # type: ignore[assignment]
        "pretrained; or a task: those with it in init_from start from its run; or task by task: {qnli:mnli}", _START
    )
    tasks: list[str] = key("the tasks of a sweep", DISTINCT)
    seeds: list[int] = key("the seeds of each task of a sweep", _SEEDS)
    encoders: list[str] | None = key("the encoders of a sweep; null: the one chosen by encoder=NAME", DISTINCT)


class Sweep(NamedTuple):
    """What a sweep runs: each configuration with each seed."""

    configs: list[RunConfig]  # one per encoder, task and cell of the grid, in the order in which they are run
    seeds: list[int]


# Trainer keys that leave another without effect; those that a grid may list, with their types; keys with paths.
REPLACES = {"updates": "epochs", "warmup_updates": "warmup"}
LATER = {item.name: item.default() for item in keys.fields_of(TrainerConfig) if item.later}  # not in old records
WAYS = {item.name: item.default() for item in keys.fields_of(RunKeys) if item.later}  # nor are these
_GRID = [item for item in keys.fields_of(TrainerConfig) if item.grid]
GRID_KEYS = {item.name: float if float in (item.hint, *get_args(item.hint)) else int for item in _GRID}
PATH_KEYS = tuple(item.name for item in keys.walk(SweepConfig) if item.path)


def without_effect(trainer: Mapping[str, Any]) -> list[str]:
    """Return the trainer keys that others of these values replace."""
    return [other for own, other in REPLACES.items() if trainer.get(own) is not None]


def config_from_facts(facts: Mapping[str, Any]) -> RunConfig:
    """Rebuild a configuration from its `dataclasses.asdict`, of this or an earlier version; errors as in `build`."""
    only_sweep = {item.name for item in keys.fields_of(SweepConfig)} - {item.name for item in keys.fields_of(RunConfig)}
    return keys.build(RunConfig, {name: value for name, value in facts.items() if name not in only_sweep})
