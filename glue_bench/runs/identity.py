"""What makes two requests the same run: a hash of everything that can change the scores. Knows no torch.

Left out on purpose, and kept in the record instead: the device with the precision that `auto` becomes on it, the
engine that `auto` becomes for the encoder, the number of processes, the evaluation batch size, what is logged or kept,
and library versions. The report separates runs of different precision or engine.
"""

import hashlib
import importlib.util
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from glue_bench.config.keys import NOT_IN_IDENTITY, fields_of
from glue_bench.config.schema import REPLACES, WAYS, PeftConfig, RunConfig, TaskConfig, TrainerConfig
from glue_bench.config.task import start_tasks
from glue_bench.data.hub import is_commit
from glue_bench.data.sources import hub_identity, resolve_source
from glue_bench.errors import UsageError
from glue_bench.models.pretrained import encoder_identity, encoder_name, resolve_pretrained

Inputs = Mapping[str, Mapping[str, object]]  # what identifies encoder and data, under these names
SCORES_VERSION = 2  # increase it when the code gives other scores for the same request


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """One requested run, and the names under which its results are kept."""

    config: RunConfig
    encoder: str
    setting_id: str  # 12 hex digits: everything but the seed
    run_id: str  # seed and 12 hex digits: a folder name
    inputs: Inputs  # as they were when the run was planned
    starts: "tuple[RunRequest, ...]" = ()  # the run whose encoder this one starts from, or those it chooses it from
    shape: Mapping[str, bool] | None = None  # of a run with an id of earlier versions: as in `identify`

    @property
    def place(self) -> tuple[str, str, str]:
        """The folders under which its results are kept."""
        return self.encoder, self.config.task.name, self.run_id

    @property
    def parent(self) -> "RunRequest | None":
        """The run that this one starts from, once it is known; None if there is none."""
        return self.starts[0] if len(self.starts) == 1 else None

    @property
    def ancestors(self) -> "dict[str, RunRequest]":
        """Every run that has to come before, by run id, each after those that it starts from."""
        return {run: each for start in self.starts for run, each in {**start.ancestors, start.run_id: start}.items()}

    @property
    def init(self) -> str:
        """The start, as records name it: pretrained, or TASK:RUN_ID, and `from TASK` for what that one started from."""
        if not self.starts:
            return "pretrained"
        first = self.starts[0]
        which = first.run_id if self.parent else f"{self.config.init_seed} of {len(self.starts)} seeds"
        own = f"{first.config.task.name}:{which}"
        return " from ".join([own, *start_tasks(first.init)] if first.starts else [own])

    @property
    def title(self) -> str:
        """The run, as progress lines name it."""
        cell = "".join(f" {key}={value}" for key, value in self.config.cell.items())
        return f"{self.encoder} {self.config.task.name} seed {self.config.seed}{cell}"


def make_requests(config: RunConfig, seeds: list[int], *, starts: Sequence[RunConfig] = ()) -> list[RunRequest]:
    """Make the requests for one encoder and task.

    Files are read or fetched only where a name alone does not identify them (a local folder, a branch on the hub); one
    that is missing or unreachable is an InputError. `starts` configure the runs that these start from, those that these
    in turn start from, and so on.
    """
    method = config.peft.method
    if method not in ("none", "bitfit") and importlib.util.find_spec("peft") is None:
        raise UsageError(f"peft={method}: the package peft is not installed: pip install 'glue-bench[peft]'")
    encoder: dict[str, object] = {"hub_id": config.encoder.hub_id, "revision": config.encoder.revision}
    if config.encoder.hub_id is None or not is_commit(config.encoder.revision or ""):
        pretrained = resolve_pretrained(config.encoder)
        encoder = encoder_identity(config.encoder, pretrained)
        # From here on a branch is the commit that it stands for now: all seeds of a sweep get the same one.
        revision = pretrained.revision or config.encoder.revision
        config = replace(config, encoder=replace(config.encoder, revision=revision))
    data = hub_identity(config.data)
    if data is None:
        source = resolve_source(config.data, config.task)
        data = dict(source.identity)
        config = replace(config, data=replace(config.data, revision=source.revision or config.data.revision))
    inputs = {"encoder": encoder, "data": data}
    if not starts:
        return [identify(replace(config, seed=seed), inputs) for seed in seeds]
    which = config.init_seed
    if isinstance(which, str):
        if len(seeds) == 1:
            raise UsageError(f"init_seed={which}: chooses among the seeds of a sweep; must be a number with one seed")
        config = replace(config, init_seeds=seeds)
    before = make_requests(starts[0], [which] if isinstance(which, int) else seeds, starts=starts[1:])
    runs, own = {run.config.seed: run for run in before}, [replace(config, seed=seed) for seed in seeds]
    return [identify(each, inputs, starts=tuple(runs[seed] for seed in start_seeds(each))) for each in own]


def start_seeds(config: RunConfig) -> list[int]:
    """Return the seeds of the runs that a run may start from, if it starts from any."""
    which = config.init_seed
    return list(config.init_seeds) if isinstance(which, str) else [config.seed if which is None else which]


def identify(
    config: RunConfig, inputs: Inputs, *, starts: tuple[RunRequest, ...] = (), shape: Mapping[str, bool] | None = None
) -> RunRequest:
    """Make the request for a run on known inputs; reads no file.

    `shape`, the cell's `cell_shape`, gives the id that a cell of a grid had before it was the same run as a plain one.
    """
    name, task = encoder_name(config.encoder), config.task
    chooses = len(task.metrics) > 1 and not task.conventions  # what a selection goes by, where conventions do not say
    headline = (task.headline or task.metrics[0]) if chooses else None
    unused = {own if getattr(config.trainer, own) is None else other for own, other in REPLACES.items()}
    setting = {
        "scores_version": SCORES_VERSION,
        "task": _identity(config.task),
        "encoder": {"name": name, **inputs["encoder"]},
        "data": {"source": config.data.source, **inputs["data"]},
        "trainer": _identity(config.trainer, unused),
        **({"peft": peft} if (peft := _identity(config.peft)) else {}),
        "recipe": config.recipe,
        **({"init": starts[0].setting_id} if starts else {}),
        **({"init_seed": config.init_seed} if starts and config.init_seed is not None else {}),
        **({"init_seeds": config.init_seeds} if config.init_seeds else {}),
        **({"selection": config.selection} if config.selection != "last" else {}),
        **({"holdout": config.holdout} if config.selection == "holdout" else {}),
        **{name: getattr(config, name) for name, usual in WAYS.items() if getattr(config, name) != usual},
        **({"headline": headline} if config.selection != "last" and headline else {}),
        **({"grid": dict(shape)} if shape else {}),
    }
    return RunRequest(
        config=config,
        encoder=name,
        setting_id=_digest(setting),
        run_id=f"seed{config.seed}-{_digest({**setting, 'seed': config.seed})}",
        inputs=inputs,
        starts=starts,
        shape=shape,
    )


def cell_shape(config: Mapping[str, Any]) -> dict[str, bool]:
    """Return what earlier versions made a cell's id from: its keys, and whether each value is outside of the grid."""
    changes = config.get("recipe_changes") or {}
    return {key: key in changes for key in sorted(config.get("cell") or {})}


def _identity(config: TaskConfig | TrainerConfig | PeftConfig, without: Collection[str] = ()) -> dict[str, Any]:
    values = asdict(config)
    for item in fields_of(type(config)):
        at_default = item.later and values[item.name] == item.default()
        if at_default or item.role in NOT_IN_IDENTITY or item.name in without:
            del values[item.name]
    return values


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
