"""The KEY=VALUE words of the command line, each checked before anything is composed. Knows only Hydra's grammar."""

import difflib
import itertools
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.errors import HydraException

from glue_bench.config import group_options
from glue_bench.config.keys import fields_of, join, unknown_key, walk
from glue_bench.config.schema import GRID_KEYS, HUB_ID, PATH_KEYS, SweepConfig
from glue_bench.errors import UsageError, did_you_mean
from glue_bench.text import first_line, quote, quote_value

GROUPS = ("task", "encoder", "data", "trainer", "peft", "recipe", "protocol", "preset", "executor")
_MOST_BRACKETS, _LONGEST_WORD = 100, 50_000
OPTIONAL = ("protocol", "preset")  # groups that may be left out
_GUESSED = ("task", "encoder", "preset", "protocol", "recipe")  # groups in which a bare word is looked up
_MOST_SEEDS = 1000  # of a range
_RANGE = re.compile(r"(?<![^, ])([0-9]{1,10})-([0-9]{1,10})(?![^, ])")  # between commas, never inside a word
_OTHER_NAMES = yaml.safe_load(Path(__file__).with_name("other_names.yaml").read_text("utf-8"))
# The keys that a word can stand for, with their types. A task's definition is fixed.
_HINTS: dict[str, object] = {"task": str, "encoder": str}
_HINTS |= {item.name: item.hint for item in walk(SweepConfig) if not item.name.startswith("task.")}
_BY_NAME = defaultdict[str, list[str]](list)  # a key's last part, or its name elsewhere, to the full keys
for _key in _HINTS:
    _BY_NAME[_key.rpartition(".")[2]].append(_key)
_BY_NAME |= {name: [key] for key, names in _OTHER_NAMES.items() for name in names.split()}


def check_words(overrides: Sequence[str], config_dir: Path | None) -> list[str]:
    """Check every override, and return them with paths quoted; a UsageError for an unknown key or name."""
    last = last_word(overrides, "encoder")  # only the last counts: an earlier one's folder or hub id would remain
    once = [word for word in overrides if word.partition("=")[0] != "encoder" or word == last]
    words = [each for word in once for each in _spell_out(word, config_dir)]
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
        if sum(map(word.count, "[{(")) > _MOST_BRACKETS or len(word) > _LONGEST_WORD:
            raise UsageError(f"{word[:60]}...: too long, or nested too deeply")
        if "=" not in word and not word.startswith("~"):
            group = next((group for group in _GUESSED if word in group_options(group, config_dir)), None)
            hint = f"did you mean {group}={word}?" if group else "as in task=rte"
            raise UsageError(f"{quote(word)}: not KEY=VALUE; {hint}")
        try:
            parsed.append(parser.parse_override(word))
        except (HydraException, ValueError, RecursionError) as error:  # as for a number of more than 4,300 digits
            hint = "quote special characters, as in \"key='a=b'\""
            raise UsageError(f"{quote(word)}: not a key=value override ({first_line(error)}); {hint}") from error
    return parsed


def expand_multirun(words: Sequence[str], *, config_dir: Path | None = None) -> list[list[str]]:
    """Return the jobs of `run -m`: `task=rte,mrpc seed=1,2` is four lists of plain overrides, in Hydra's order."""
    words, choices = [_quote_path(word) for word in words], list[list[str]]()
    for word, override in zip(words, parse_overrides(words, config_dir), strict=True):
        key = override.key_or_group
        if not override.is_sweep_override():
            choices.append([word])
        elif isinstance(override.value(), ChoiceSweep):
            choices.append([f"{key}={text}" for text in override.sweep_string_iterator()])
        else:
            raise UsageError(f"{quote(word)}: must be values with commas, as in {key}=A,B")
    return [list(job) for job in itertools.product(*choices)]


def find_keys(key: str) -> dict[str, object]:
    """Return the full keys that `key` may stand for, with their types: `epochs` and `num_epochs` are trainer.epochs."""
    name = key.rpartition(".")[2].lower().replace("-", "_")
    close = difflib.get_close_matches(name[:50], _BY_NAME, n=1, cutoff=0.7)
    return {full: _HINTS[full] for full in (_BY_NAME[close[0]] if close else ())}


def no_such(group: str, name: str, *, options: Sequence[str]) -> str:
    """Return the end of the message for a name that a group lacks: the closest one, and how to add one's own."""
    own = "; your own: task/NAME.yaml in the folder of --config-dir" if group == "task" else ""
    other = "; any other: encoder=ORG/NAME on the hub, or encoder=./FOLDER" if group == "encoder" else ""
    return f"{did_you_mean(quote(name), options)}{own}{other}"


def expand_home(key: str, path: str) -> str:
    """Return a path with `~` replaced; a UsageError for a user that this machine does not have."""
    try:
        return str(Path(path).expanduser()) if path.startswith("~") else path
    except RuntimeError as error:
        raise UsageError(f"{key}={path}: {first_line(error)}") from error


def _quote_path(word: str) -> str:
    """Quote a path as one value: Hydra's grammar would misread `=`, `~`, commas, brackets and accents."""
    key, equals, value = word.partition("=")
    if key not in PATH_KEYS or not equals or value[:1] in ("'", '"') or value in ("", "null"):
        return word
    return f"{key}={quote_value(expand_home(key, value))}"


def _spell_out(word: str, config_dir: Path | None) -> list[str]:
    """Write out the short forms tasks=rte, tasks=all, encoders=NAME, seeds=5, seeds=1-5, encoder=ORG/NAME or FOLDER.

    A UsageError for a range of too many seeds, or a word that may be a hub id and a folder.
    """
    key, _, value = word.partition("=")
    bare = re.sub(r"^\[(.*)\]$", r"\1", value)
    if key == "tasks" and bare == "all":
        return [f"tasks=[{','.join(group_options('task', config_dir))}]"]
    if key in ("tasks", "encoders") and value != "null" and re.fullmatch(r"[\w./~-]+", value):
        return [f"{key}=[{value}]"]
    if key == "seeds" and (bare != value or "," not in value) and re.fullmatch(r"[0-9, -]+", bare):
        return [f"seeds=[{_RANGE.sub(_spell_out_range, bare)}]"]
    name = value[1:-1] if len(value) > 1 and value[0] == value[-1] in ("'", '"') else value
    if key == "encoder" and name not in group_options("encoder", config_dir):
        if name.startswith((".", "/", "~")) or (name.count("/") != 1 and Path(name).is_dir()):
            return ["encoder=custom", _quote_path(f"encoder.path={name}")]
        if "/" in name and HUB_ID.holds(name):
            if Path(name).is_dir():
                two = f"for the folder write encoder=./{name}, for that on the hub encoder=custom encoder.hub_id={name}"
                raise UsageError(f"{word}: there is a folder of this name; {two}")
            return ["encoder=custom", f"encoder.hub_id={name}"]
    return [_quote_path(word)]


def _spell_out_range(found: re.Match[str]) -> str:
    """Write a range of seeds as a list."""
    first, last = map(int, found.groups())
    if not 0 <= last - first < _MOST_SEEDS:
        raise UsageError(f"seeds={found[0]}: a range must ascend and have at most {_MOST_SEEDS:,} seeds")
    return ",".join(map(str, range(first, last + 1)))


def _check_override(override: Override, config_dir: Path | None) -> None:
    """Refuse unknown names and keys before Hydra runs, so that the error can be one line."""
    word, key, value = quote(override.input_line or ""), quote(override.key_or_group), override.value()
    in_grid, is_list = key.removeprefix("trainer.").removeprefix("grid."), isinstance(value, list)
    if override.is_add() or override.is_force_add() or override.is_delete() or override.package is not None:
        raise UsageError(f"{word}: only key=value is supported; every key has a default already")
    if re.match(r"hydra\b", key):
        raise UsageError(f"{word}: Hydra's own settings are not supported; the results folder is results_dir=FOLDER")
    if override.is_sweep_override():
        several = f"grid.{in_grid}" if in_grid in GRID_KEYS else f"{key.removesuffix('s')}s"
        listed = in_grid in GRID_KEYS or several in ("tasks", "seeds", "encoders")
        sweep = f", or `sweep` with {several}=[A,B]" if listed else ""
        raise UsageError(f"{word}: several values need `run -m`{sweep}; a list needs brackets")
    if key in GROUPS:
        name = value if isinstance(value, str) else word.partition("=")[2]  # Hydra's number as it was written
        options = group_options(key, config_dir) + (["null"] if key in OPTIONAL else [])
        if name not in options:
            raise UsageError(f"{key}={quote(name)}: no such {key}{no_such(key, name, options=options)}")
        if not isinstance(value, str) and (value is not None or key not in OPTIONAL):
            raise UsageError(f"{key}={name}: the name of a file must be text, not a number, true, false or null")
    elif key == "grid":  # Hydra would merge a mapping into the recipe's, and take any key
        raise UsageError(f"{word}: one key at a time, as in grid.learning_rate=[1e-5,2e-5]")
    elif key.startswith("grid."):
        if (name := key.removeprefix("grid.")) not in GRID_KEYS:
            meant = [each for full in find_keys(name) if (each := full.removeprefix("trainer.")) in GRID_KEYS]
            raise UsageError(f"{key}: a grid has no such key{did_you_mean((meant or [name])[0], GRID_KEYS)}")
        if not is_list:
            raise UsageError(f"{word}: must be a list, as in {key}=[A,B]")
    elif key.startswith("task.") and key != "task.columns":
        raise UsageError(f"{word}: a task's definition cannot be overridden; write task/NAME.yaml and use --config-dir")
    else:
        hint = check_key(key)
        takes_list = any(get_origin(each) is list for each in (hint, *get_args(hint)))
        if is_list and not takes_list and not is_dataclass(hint):
            several = f"; `sweep` tries several with grid.{word.removeprefix('trainer.')}"
            raise UsageError(f"{word}: must be one value{several if in_grid in GRID_KEYS else ''}")


def check_key(key: str) -> Any:
    """Follow a dotted key through the dataclasses, and return its type; raise a UsageError if there is none."""
    kind: Any = SweepConfig
    where = ""
    for part in key.split("."):
        if not is_dataclass(kind):
            raise UsageError(f"{key}: no such key; {where} holds a single value or a list")
        hints = {item.name: item.hint for item in fields_of(kind)}
        if part not in hints:
            if meant := find_keys(key):
                raise UsageError(f"{key}: no such key; did you mean {' or '.join(meant)}?")
            raise UsageError(unknown_key(kind, part, where=where))
        where, kind = join(where, part), hints[part]
    return kind
