"""The KEY=VALUE words of the command line, each checked before anything is composed. Knows only Hydra's grammar."""

import itertools
from collections.abc import Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException

from glue_bench.config import group_options
from glue_bench.config.keys import fields_of, join, unknown_key, walk
from glue_bench.config.schema import GRID_KEYS, PATH_KEYS, SweepConfig
from glue_bench.errors import UsageError, did_you_mean
from glue_bench.text import first_line, quote_value

GROUPS = ("task", "encoder", "data", "trainer", "recipe", "preset", "executor")
_GUESSED = ("task", "encoder", "preset", "recipe")  # groups in which a bare word is looked up


def check_words(overrides: Sequence[str], config_dir: Path | None) -> list[str]:
    """Check every override, and return them with paths quoted.

    Raises:
        UsageError: for an unknown key or name.
    """
    words = [_quote_path(word) for word in overrides]
    for override in parse_overrides(words, config_dir):
        _check_override(override, config_dir)
    return words


def last_word(overrides: Sequence[str], key: str) -> str | None:
    """Return the last override of `key`, the one that counts."""
    return next((word for word in reversed(overrides) if word.partition("=")[0] == key), None)


def parse_overrides(words: Sequence[str], config_dir: Path | None = None) -> list[Override]:
    """Parse `key=value` words; raise a UsageError for a word that is not an override."""
    parser = OverridesParser.create()
    parsed = []
    for word in words:
        if "=" not in word and not word.startswith("~"):
            group = next((group for group in _GUESSED if word in group_options(group, config_dir)), None)
            hint = f"did you mean {group}={word}?" if group else "as in task=rte"
            raise UsageError(f"{word}: not KEY=VALUE; {hint}")
        try:
            parsed.append(parser.parse_override(word))
        except HydraException as error:
            hint = "quote special characters, as in \"key='a=b'\""
            raise UsageError(f"{word}: not a key=value override ({first_line(error)}); {hint}") from error
    return parsed


def expand_multirun(words: Sequence[str], *, config_dir: Path | None = None) -> list[list[str]]:
    """Return the jobs of `run -m`: `task=rte,mrpc seed=1,2` is four lists of plain overrides, in Hydra's order."""
    words, choices = [_quote_path(word) for word in words], list[list[str]]()
    for word, override in zip(words, parse_overrides(words, config_dir), strict=True):
        key, value = override.key_or_group, override.value()
        if not override.is_sweep_override():
            choices.append([word])
        elif not isinstance(value, Glob):
            choices.append([f"{key}={text}" for text in override.sweep_string_iterator()])
        elif found := value.filter(group_options(key, config_dir)):
            choices.append([f"{key}={name}" for name in found])
        else:
            raise UsageError(f"{word}: matches none of the names of {key}")
    return [list(job) for job in itertools.product(*choices)]


def find_keys(name: str) -> dict[str, object]:
    """Return the full keys called `name`, alone or inside a group, and their types: `epochs` is trainer.epochs."""
    keys = (item for item in walk(SweepConfig) if not item.name.startswith("task."))  # a task's facts are no overrides
    return {item.name: item.hint for item in keys if item.name.rpartition(".")[2] == name}


def _quote_path(word: str) -> str:
    """Quote a path as one value: Hydra's grammar would misread `=`, `~`, commas, brackets and accents."""
    key, equals, value = word.partition("=")
    if key not in PATH_KEYS or not equals or value[:1] in ("'", '"', "$") or value in ("", "null"):
        return word
    home = str(Path(value).expanduser()) if value.startswith("~") else value
    return f"{key}={quote_value(home)}"


def _check_override(override: Override, config_dir: Path | None) -> None:
    """Refuse unknown names and keys before Hydra runs, so that the error can be one line."""
    word, key = override.input_line or "", override.key_or_group
    if override.is_add() or override.is_force_add() or override.is_delete() or override.package is not None:
        raise UsageError(f"{word}: only key=value is used here; every key has a default already")
    if key == "hydra" or key.startswith(("hydra.", "hydra/")):
        raise UsageError(f"{word}: Hydra's own settings are not used here; the results folder is results_dir=FOLDER")
    if override.is_sweep_override():
        raise UsageError(f"{word}: several values need `run -m`, or a list as in tasks=[rte,mrpc] with `sweep`")
    if key in GROUPS:
        value = override.value()
        name = "null" if value is None else str(value)
        options = group_options(key, config_dir) + (["null"] if key == "preset" else [])
        if name not in options:
            raise UsageError(f"{key}={name}: no such {key}{did_you_mean(name, options)}")
        return
    if key == "grid":  # Hydra would merge a mapping into the recipe's, and take any key
        raise UsageError(f"{word}: one key at a time, as in grid.learning_rate=[1e-5,2e-5]")
    if key.startswith("grid."):
        if (name := key.removeprefix("grid.")) not in GRID_KEYS:
            raise UsageError(f"{key}: a grid has no such key{did_you_mean(name, GRID_KEYS)}")
        if not isinstance(override.value(), list):
            raise UsageError(f"{word}: must be a list, as in {key}=[A,B]")
        return
    if key.startswith("task."):
        raise UsageError(f"{word}: the facts of a task are not overridden; write task/NAME.yaml and use --config-dir")
    check_key(key)


def check_key(key: str) -> None:
    """Follow a dotted key through the dataclasses; raise a UsageError if there is none."""
    kind: Any = SweepConfig
    where = ""
    for part in key.split("."):
        if not is_dataclass(kind):
            raise UsageError(f"{key}: no such key; {where} holds a single value or a list")
        hints = {item.name: item.hint for item in fields_of(kind)}
        if part not in hints:
            if not where and (meant := find_keys(part)):
                raise UsageError(f"{key}: no such key; did you mean {' or '.join(meant)}?")
            raise UsageError(unknown_key(kind, part, where=where))
        where, kind = join(where, part), hints[part]
