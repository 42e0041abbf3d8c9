"""Compose configurations from the YAML under conf/ and the command line. Knows Hydra, which merges plain values; they
are checked against the schema afterwards, and none is ever instantiated: `_target_` is just an unknown key."""

import copy
import functools
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from glue_bench.config import conf_folder, group_options, schema
from glue_bench.config.keys import build, convert, fields_of, keys_of, require_one_of
from glue_bench.config.overrides import GROUPS, OPTIONAL, check_words, find_keys, last_word, no_such, parse_overrides
from glue_bench.config.own_files import check_own_files, chosen_files, located, unreadable
from glue_bench.config.schema import PATH_KEYS, RunConfig, RunKeys, Sweep, SweepConfig, TaskConfig, TrainerConfig
from glue_bench.errors import UsageError, did_you_mean, list_names
from glue_bench.text import first_line, quote, quote_value


def compose_run(overrides: Sequence[str], *, config_dir: Path | None = None) -> RunConfig:
    """Compose and check one run from `key=value` words; a UsageError for an unknown key or name, or a bad value."""
    overrides = check_words(overrides, config_dir)
    name = (last_word(overrides, "task") or "").removeprefix("task=")
    if not name:
        raise UsageError(f"task: must be given, as task=NAME. Allowed: {', '.join(group_options('task', config_dir))}")
    keys = compose_keys(overrides, config_dir)
    _named(keys.task, name, config_dir=config_dir)
    for own, other in schema.REPLACES.items():
        if getattr(keys.trainer, own) is not None and (word := last_word(overrides, f"trainer.{other}")):
            raise UsageError(f"{word}: has no effect with trainer.{own}; add trainer.{own}=null")
    recipe = compose_keys([f"task={name}", f"recipe={keys.recipe}"], config_dir).trainer
    values = {key: getattr(keys.trainer, key) for key in keys_of(TrainerConfig, "scores")}
    changes = {key: str(value) for key, value in values.items() if value != getattr(recipe, key)}
    for key, listed in keys.grid.items():
        keys.grid[key] = [convert(schema.GRID_KEYS[key], value, key=f"grid.{key}") for value in listed]
    shared = {item.name: getattr(keys, item.name) for item in fields_of(RunKeys)}
    shared["init"] = _start_of(keys, name, config_dir=config_dir)
    return _place_in_grid(RunConfig(**shared, recipe_changes=changes), {})


def compose_starts(config: RunConfig, overrides: Sequence[str], *, config_dir: Path | None = None) -> list[RunConfig]:
    """Compose the runs that `config` starts from, the nearest first; a UsageError if its task cannot start there."""
    if config.init == "pretrained":
        return []
    allowed, task = ["pretrained", *config.task.init_from], f"task={config.task.name}"
    own = ("task", "tasks", "seed", "seeds", "encoders", "grid", "save_model")
    rest = [word for word in overrides if word.partition("=")[0] not in own and not word.startswith("grid.")]
    if isinstance(compose_keys(check_words([*rest, task], config_dir), config_dir).init, str):
        if config.init not in allowed:  # a start that is given for this very task may be any task
            raise UsageError(f"init={config.init}: not for {task}{did_you_mean(config.init, allowed)}")
        rest = [*(word for word in rest if not word.startswith("init=")), "init=pretrained"]
    parent = compose_run([*rest, f"task={config.init}", "save_model=true"], config_dir=config_dir)
    parent = replace(parent, encoder=config.encoder)
    return [parent, *compose_starts(parent, overrides, config_dir=config_dir)]


def compose_sweep(overrides: Sequence[str], *, config_dir: Path | None = None) -> Sweep:
    """Compose a sweep: `task=` is a list of one, `trainer.KEY=` narrows the grid; errors as in `compose_run`."""
    wide = [word for word in overrides if word.partition("=")[0] not in ("task", "seed")]
    for one, many in (("task", "tasks"), ("seed", "seeds")):
        word, words = last_word(overrides, one), last_word(overrides, many)
        if word and words:
            raise UsageError(f"{word} and {words}: give one of the two")
        if word:
            parse_overrides([word])  # so that a mistake in it is shown as it was written
            value = re.sub(r"^\[(.*)\]$", r"\1", word.partition("=")[2])  # [A] means A; half a list is refused above
            wide.append(f"{many}=[{value}]")
    # Any task will do to read the lists, without its columns; each run is then composed with its own.
    rest = check_words(wide, config_dir)
    shared = [word for word in rest if not word.startswith("task.")]
    lists = compose_keys([*shared, f"task={group_options('task')[0]}"], config_dir)
    if lists.encoders is not None and (word := last_word(overrides, "encoder")):
        raise UsageError(f"{word} and {last_word(overrides, 'encoders') or 'encoders'}: give one of the two")
    product = list[RunConfig]()
    named = [name if name.isidentifier() else quote_value(name) for name in lists.encoders or []]
    for encoder in [[f"encoder={name}"] for name in named] or [[]]:
        first, *others = ([*rest, *encoder, f"task={task}"] for task in lists.tasks)
        product.append(probe := compose_run(first, config_dir=config_dir))
        # Composing is slow; if only the encoder differs, the other tasks get a copy of it.
        if len(product) > 1 and replace(probe, encoder=product[0].encoder) == product[0]:
            same = product[1 : len(lists.tasks)]
            product += [copy.deepcopy(replace(config, encoder=probe.encoder)) for config in same]
        else:
            product += [compose_run(words, config_dir=config_dir) for words in others]
    configs = list[RunConfig]()
    for config in product:
        free = [key for key in config.grid if last_word(rest, f"trainer.{key}") is None]
        cells = itertools.product(*(config.grid[key] for key in free))
        configs += [_place_in_grid(config, dict(zip(free, cell, strict=True))) for cell in cells]
    if isinstance(lists.init, str):  # tasks that do not start from another keep the pretrained encoder
        starts = ["pretrained", *sorted({name for config in configs for name in config.task.init_from})]
        if lists.init not in starts:
            raise UsageError(f"init={lists.init}: none of these tasks starts from it{did_you_mean(lists.init, starts)}")
        configs = [c if c.init in c.task.init_from else replace(c, init="pretrained") for c in configs]
    elif word := last_word(overrides, "init"):  # a protocol's may name more tasks than are run
        given: Any = parse_overrides([word])[0].value()
        if idle := {*given} - {name for task in lists.tasks for name in _chain(lists.init, task)}:
            raise UsageError(f"{word}: {min(idle)} is not among the tasks ({list_names(lists.tasks)})")
    return Sweep(configs=configs, seeds=lists.seeds)


def compose_task(name: str, *, config_dir: Path | None = None) -> TaskConfig:
    """Read and check the definition of one task; errors as in `compose_run`."""
    words = check_words([f"task={name}"], config_dir)
    if name in group_options("task"):
        return build(TaskConfig, _read_shipped("task", name), where="task")
    return _named(compose_keys(words, config_dir).task, name, config_dir=config_dir)


def _named(task: TaskConfig, name: str, *, config_dir: Path | None) -> TaskConfig:
    """Return the task; a UsageError if NAME.yaml gives it another name, or a start that is not another task."""
    options = group_options("task", config_dir)
    if unknown := [start for start in task.init_from if start not in options or start == name]:
        hint = did_you_mean(unknown[0], options)
        raise UsageError(f"task/{name}.yaml: init_from={unknown[0]}: must be another task{hint}")
    if task.name != name:
        raise UsageError(f"task/{name}.yaml: name={task.name}: must be {name}, like the file")
    return task


def shipped_encoders() -> dict[str, schema.EncoderConfig]:
    """Read the encoders that have names of their own."""
    names = [name for name in group_options("encoder") if name != "custom"]
    return {name: schema.EncoderConfig(**_read_shipped("encoder", name)) for name in names}


def _read_shipped(group: str, name: str) -> Any:
    """Read a shipped file, which holds nothing but plain values, without composing the rest: 30 times as fast."""
    return yaml.safe_load((conf_folder() / group / f"{name}.yaml").read_text("utf-8"))


def _start_of(keys: SweepConfig, task: str, *, config_dir: Path | None) -> str:
    """Return what a task's run starts from; a UsageError for one that is not allowed."""
    if isinstance(keys.init, str):
        return keys.init
    tasks = group_options("task", config_dir)
    for name, start in keys.init.items():
        if name not in tasks:
            hint = no_such("task", name, options=tasks)
            raise UsageError(f"init={{{quote(name)}:{quote(start)}}}: no such task{hint}")
        allowed = ["pretrained", *(other for other in tasks if name not in _chain(keys.init, other))]
        if start in tasks and start not in allowed:
            words = f"{list_names(allowed)}; {' from '.join([name, *_chain(keys.init, start)])} is a loop"
            raise UsageError(f"init.{name}={start}: must be one of {words}")
        require_one_of(f"init.{name}", start, allowed=allowed)
    return keys.init.get(task, "pretrained")


def _chain(starts: Mapping[str, str], task: str) -> list[str]:
    """Return a task, the one that it starts from, and so on."""
    chain = [task]
    while (start := starts.get(chain[-1], "pretrained")) not in (*chain, "pretrained"):
        chain.append(start)
    return chain


def _place_in_grid(config: RunConfig, values: dict[str, Any]) -> RunConfig:
    """Return the checked configuration with these grid values as its `cell`; they are not changes of the recipe."""
    trainer = replace(config.trainer, **values)
    cell = {key: getattr(trainer, key) for key in config.grid}
    changes = {k: v for k, v in config.recipe_changes.items() if k not in cell or cell[k] not in config.grid[k]}
    return build(RunConfig, asdict(replace(config, trainer=trainer, cell=cell, recipe_changes=changes)))


def compose_keys(overrides: Sequence[str], config_dir: Path | None = None) -> SweepConfig:
    """Compose and check every key with its value; errors as in `compose_run`."""
    unset = [f"{group}=null" for group in OPTIONAL]  # Hydra has no null for a group
    words = [word for word in overrides if word.partition("=")[0] in GROUPS and word not in unset]
    if config_dir is not None:
        check_own_files(config_dir)
        words.append(f"hydra.searchpath=[{quote_value(f'file://{config_dir.resolve()}')}]")
    files = chosen_files(words, config_dir)
    try:
        merge = _merge.__wrapped__ if config_dir else _merge  # the user's own files may change meanwhile
        composed = copy.deepcopy(merge(conf_folder(), *words))
        given = parse_overrides([word for word in overrides if word.partition("=")[0] not in GROUPS])
        for paths in (False, True):
            for override in (each for each in given if (each.key_or_group in PATH_KEYS) is paths):
                _put(composed, override.key_or_group, value=override.value())
            if not paths:  # paths are literal: OmegaConf would insert environment variables into them
                composed = OmegaConf.to_container(OmegaConf.create(composed), resolve=True)
        return build(SweepConfig, composed)
    except (HydraException, OmegaConfBaseException, UsageError) as error:
        raise UsageError(located(_explain(error, config_dir), files, words=overrides)) from error
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:  # in a file that another one lists in its defaults
        where = getattr(getattr(error, "problem_mark", None), "name", None) or getattr(error, "filename", None)
        if isinstance(error, FileNotFoundError) and not where:
            raise UsageError(f"the working folder no longer exists: {error.strerror}; change to another") from error
        raise unreadable(where or f"a file under {config_dir or conf_folder()}", error) from error
    # OmegaConf raises these for values that YAML allows and a configuration does not: a number of 5,000 digits.
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, AssertionError) as error:
        looping, names = isinstance(error, RecursionError), list_names(file.name for file in files)
        reason = "its `defaults` lead back to itself" if looping else f"{type(error).__name__}: {first_line(error)}"
        raise UsageError(f"{names or 'KEY=VALUE'}: cannot be composed ({reason})") from error


def _put(inside: Any, key: str, *, value: Any) -> None:
    """Set a dotted key, or add to the mapping there; if a parent is not a mapping, leave it to be refused by name."""
    *outer, last = key.split(".")
    for name in outer:
        inside = inside[name] if isinstance(inside, dict) else None
    if isinstance(inside, dict):
        both = isinstance(value, dict) and isinstance(inside.get(last), dict)
        inside[last] = inside[last] | value if both else value


@functools.cache  # a quarter of a second each; tasks, parents and recipes ask for the same
def _merge(folder: Path, *words: str) -> Any:
    with initialize_config_dir(str(folder), version_base="1.3"):
        return OmegaConf.to_container(compose("config", overrides=[*words]), resolve=True)


def _explain(error: BaseException, config_dir: Path | None) -> str:
    """Explain in one line what is wrong with a key or with a name in a list of defaults."""
    line = str(error) if isinstance(error, UsageError) else first_line(error)
    if (unknown := re.match(r"([\w.]+): no such key", line)) and (meant := find_keys(unknown[1])):
        return f"{unknown[1]}: no such key; did you mean {' or '.join(meant)}?"
    if absent := re.search(r"Could not (?:find|load) '(\w+)/(.+)'", line):
        group, name = absent.groups()
        return f"{group}={quote(name)}: no such {group}{no_such(group, name, options=group_options(group, config_dir))}"
    key = getattr(error, "full_key", None)
    return f"{key}: {line}" if key else line
