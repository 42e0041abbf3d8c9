"""The YAML under conf/ and the command line's overrides to one checked RunConfig. Knows Hydra.

Nothing is ever instantiated from a configuration: `_target_` is just an unknown key here.
"""

import copy
import dataclasses
import functools
import itertools
import re
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from glue_bench.config.overrides import check_words, group_options, last_word
from glue_bench.config.schema import (
    EXECUTION_KEYS,
    GRID_KEYS,
    RunConfig,
    TaskConfig,
    TrainerConfig,
    check_config,
    check_task,
)
from glue_bench.config.shipped import conf_folder
from glue_bench.errors import UsageError, did_you_mean
from glue_bench.text import quote_value

# OmegaConf's words for a value of a wrong type, and what is said instead.
_WRONG_TYPE = re.compile(r"Value '(.*)' (?:of type '.*' could not be converted to|is not a valid) (Integer|Float|bool)")
_ALLOWED = {"Integer": "a whole number", "Float": "a number", "bool": "true or false"}

ConfigStore.instance().store(name="schema", node=RunConfig)


def compose_run(overrides: Sequence[str], *, config_dir: Path | None = None) -> RunConfig:
    """Compose and check the configuration of one run.

    Args:
        overrides: `key=value` words in Hydra's override grammar; `task=NAME` is required.
        config_dir: a folder with groups of the user's own (task/NAME.yaml, encoder/NAME.yaml, ...).

    Raises:
        UsageError: for an unknown key or name, a wrong type or an impossible value.
    """
    overrides = check_words(overrides, config_dir)
    if not any(word.startswith("task=") for word in overrides):
        raise UsageError(f"task: say which one, as task=NAME. Allowed: {', '.join(group_options('task', config_dir))}")
    config = _compose(overrides, config_dir)
    check_config(config)
    chosen = next(word for word in reversed(overrides) if word.startswith("task=")).removeprefix("task=")
    _check_facts(config.task, chosen)
    if config.trainer.updates is not None and (word := last_word(overrides, "trainer.epochs")):
        raise UsageError(f"{word}: has no effect beside trainer.updates; add trainer.updates=null")
    recipe = _compose_recipe(config.recipe, chosen, config_dir)
    config.recipe_changes = {
        item.name: str(getattr(config.trainer, item.name))
        for item in fields(config.trainer)
        if item.name not in EXECUTION_KEYS and getattr(config.trainer, item.name) != getattr(recipe, item.name)
    }
    config.grid = {key: [GRID_KEYS[key](value) for value in values] for key, values in config.grid.items()}
    return _place_in_grid(config, {})


def compose_parent(config: RunConfig, overrides: Sequence[str], *, config_dir: Path | None = None) -> RunConfig | None:
    """The configuration of the run that `config` starts from: its init task under the same overrides; None without.

    Raises:
        UsageError: the task does not start from that one.
    """
    if config.init == "pretrained":
        return None
    allowed = ["pretrained", *config.task.init_from]
    if config.init not in allowed:
        raise UsageError(f"init={config.init}: not for task={config.task.name}{did_you_mean(config.init, allowed)}")
    own = ("task", "tasks", "seed", "seeds", "encoders", "init", "save_model")
    rest = [word for word in overrides if word.partition("=")[0] not in own and not word.startswith("grid.")]
    parent = _compose_once((*rest, f"task={config.init}", "save_model=true"), config_dir)
    return replace(copy.deepcopy(parent), encoder=config.encoder)


@functools.cache
def _compose_once(overrides: tuple[str, ...], config_dir: Path | None) -> RunConfig:
    return compose_run(overrides, config_dir=config_dir)


def compose_sweep(overrides: Sequence[str], *, config_dir: Path | None = None) -> list[RunConfig]:
    """One configuration per encoder, task and cell of the grid, in the order in which they are run.

    Each lists its seeds. `task=`, `seed=` and `encoder=` mean lists of one here, and `trainer.KEY=` narrows the grid
    to that value.

    Raises:
        UsageError: as in `compose_run`.
    """
    words = {word.partition("=")[0]: word for word in overrides}
    rest = [word for word in overrides if word.partition("=")[0] not in ("task", "seed")]
    for one, many in (("task", "tasks"), ("seed", "seeds")):
        if one in words and many in words:
            raise UsageError(f"{words[one]} and {words[many]}: give one of the two")
        if one in words:
            value = words[one].partition("=")[2]
            if not value.replace("_", "").replace("-", "").isalnum():
                raise UsageError(f"{words[one]}: one name or number; several are {many}=[A,B]")
            rest.append(f"{many}=[{value}]")
    # Any task will do to read the lists; each run is then composed with its own.
    options = group_options("task", config_dir)
    rest = check_words(rest, config_dir)
    lists = _compose([*rest, f"task={group_options('task')[0]}"], config_dir)
    check_config(lists)
    for task in lists.tasks:
        if task not in options:
            raise UsageError(f"tasks: no such task {task}{did_you_mean(task, options)}")
    encoders: list[str | None] = [None]
    if lists.encoders is not None:
        if "encoder" in words:
            raise UsageError(f"{words['encoder']} and {words.get('encoders', 'encoders')}: give one of the two")
        known = group_options("encoder", config_dir)
        for encoder in lists.encoders:
            if encoder not in known:
                raise UsageError(f"encoders: no such encoder {encoder}{did_you_mean(encoder, known)}")
        encoders = list(lists.encoders)
    chosen = [[f"encoder={encoder}"] if encoder else [] for encoder in encoders]
    configs = [
        cell
        for config in _compose_product(rest, chosen, lists.tasks, config_dir)
        for cell in _expand_grid(config, rest)
    ]
    starting = sorted({name for config in configs for name in config.task.init_from})
    if lists.init not in ("pretrained", *starting):
        raise UsageError(
            f"init={lists.init}: none of these tasks starts so{did_you_mean(lists.init, ['pretrained', *starting])}"
        )
    return [  # tasks that do not start from another keep the pretrained encoder
        config if config.init in config.task.init_from else dataclasses.replace(config, init="pretrained")
        for config in configs
    ]


def _compose_product(
    words: Sequence[str], encoders: Sequence[list[str]], tasks: Sequence[str], config_dir: Path | None
) -> list[RunConfig]:
    """Every task with every encoder. Composing is slow, so that encoders are exchanged where that is all."""

    def compose_one(encoder: list[str], task: str) -> RunConfig:
        return compose_run([*words, *encoder, f"task={task}"], config_dir=config_dir)

    first = [compose_one(encoders[0], task) for task in tasks]
    configs = list(first)
    for encoder in encoders[1:]:
        probe = compose_one(encoder, tasks[0])
        if replace(probe, encoder=first[0].encoder) == first[0]:
            configs += [replace(copy.deepcopy(config), encoder=copy.deepcopy(probe.encoder)) for config in first]
        else:  # an encoder's file that sets more than the encoder
            configs += [compose_one(encoder, task) for task in tasks]
    return configs


def compose_task(name: str, *, config_dir: Path | None = None) -> TaskConfig:
    """The facts of one task, checked.

    A file that is nothing but facts is read without composing the rest, which takes 30 times as long.

    Raises:
        UsageError: as in `compose_run`.
    """
    check_words([f"task={name}"], config_dir)
    folders = [conf_folder(), *([config_dir] if config_dir else [])]
    path = next(folder / "task" / f"{name}.yaml" for folder in folders if (folder / "task" / f"{name}.yaml").is_file())
    try:
        text = path.read_text(encoding="utf-8")
        if "defaults:" in text or "@package" in text:
            return compose_run([f"task={name}"], config_dir=config_dir).task
        task = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(TaskConfig), OmegaConf.create(text)))
    except OmegaConfBaseException as error:
        raise UsageError(f"task/{name}.yaml: {_explain(error)}") from error
    except (YAMLError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"{path}: not a readable YAML file ({' '.join(str(error).split())})") from error
    assert isinstance(task, TaskConfig)  # noqa: S101 - the schema's own type
    _check_facts(task, name)
    return task


def _check_facts(task: TaskConfig, name: str) -> None:
    """Refuse facts that do not fit together, and a file named otherwise than its task."""
    check_task(task)
    if task.name != name:
        raise UsageError(f"task/{name}.yaml: name is {task.name}; it must be {name}, as the file's")


def _expand_grid(config: RunConfig, overrides: Sequence[str]) -> list[RunConfig]:
    """One configuration per combination of the grid's values; a key that the command line sets keeps that value."""
    free = [key for key in config.grid if last_word(overrides, f"trainer.{key}") is None]
    cells = [
        _place_in_grid(config, dict(zip(free, values, strict=True)))
        for values in itertools.product(*(config.grid[key] for key in free))
    ]
    for cell in cells:
        check_config(cell)
    return cells


def _place_in_grid(config: RunConfig, values: dict[str, Any]) -> RunConfig:
    """The configuration with these values of its grid, and its `cell`; a value of the grid changes no recipe."""
    trainer = replace(config.trainer, **values)
    cell = {key: getattr(trainer, key) for key in config.grid}
    changes = {
        key: value
        for key, value in config.recipe_changes.items()
        if key not in cell or cell[key] not in config.grid[key]
    }
    return replace(config, trainer=trainer, cell=cell, recipe_changes=changes)


@functools.cache
def _compose_recipe(recipe: str, task: str, config_dir: Path | None) -> TrainerConfig:
    """The trainer values of a recipe for a task, before a preset or the command line changes them."""
    return _compose([f"task={task}", f"recipe={recipe}"], config_dir).trainer


def _compose(overrides: Sequence[str], config_dir: Path | None) -> RunConfig:
    words = [word for word in overrides if word != "preset=null"]  # Hydra has no word for a group left out
    words = [
        f"++{word}" if word.startswith("grid.") else word for word in words
    ]  # a key that the recipe's grid may lack
    if config_dir is not None:
        words.append(f"hydra.searchpath=[{quote_value(f'file://{config_dir.resolve()}')}]")
    try:
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            composed = compose("config", overrides=words)
        config = OmegaConf.to_object(composed)
    except (HydraException, OmegaConfBaseException) as error:
        raise UsageError(_explain(error)) from error
    except (YAMLError, UnicodeDecodeError, OSError) as error:
        where = getattr(getattr(error, "problem_mark", None), "name", None) or f"a file under {config_dir}"
        raise UsageError(f"{where}: not a readable YAML file ({' '.join(str(error).split())})") from error
    assert isinstance(config, RunConfig)  # noqa: S101 - the schema's own type
    return config


def _explain(error: BaseException) -> str:
    """One line of what Hydra or OmegaConf found; the root of their chain of errors names the key."""
    causes = [error]
    while (deeper := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(deeper)
    named = [
        cause for cause in causes if isinstance(cause, OmegaConfBaseException) and getattr(cause, "full_key", None)
    ]
    if not named:
        return str(error).splitlines()[0]
    cause = named[-1]
    key, first = str(getattr(cause, "full_key", "")), str(cause).splitlines()[0]
    if wrong := _WRONG_TYPE.search(first):
        first = f"{key}={wrong[1]}: allowed is {_ALLOWED[wrong[2]]}"
    elif "is not a ListConfig, list or tuple" in first:
        first = f"{key}: a list is needed, as in {key}=[A,B]"
    where = str(error).splitlines()[0].removeprefix("In '").partition("'")[0] if str(error).startswith("In '") else ""
    where = f"{where}.yaml: " if where and where != "config" else ""
    return f"{where}{first}" if key in first else f"{where}{key}: {first}"
