"""The YAML files that a user adds with --config-dir: checked before Hydra, which expands aliases and inserts the
environment, merges them; and where in them a key is written."""

import functools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, get_origin

import yaml

from glue_bench.config import group_options
from glue_bench.config.keys import walk
from glue_bench.config.overrides import GROUPS, last_word
from glue_bench.config.schema import SweepConfig
from glue_bench.errors import UsageError
from glue_bench.reading import read_text
from glue_bench.text import quote

_LARGEST = 2**20  # bytes
_DEEPEST = 50  # levels
_YAML = "tag:yaml.org,2002:"  # which !! stands for
_FOUND = {yaml.ScalarNode: "text", yaml.SequenceNode: "a list", yaml.MappingNode: "KEY: VALUE lines"}
_KINDS = {list: yaml.SequenceNode, dict: yaml.MappingNode}
_SHAPES = {item.name: _KINDS.get(get_origin(item.hint)) for item in walk(SweepConfig)}  # of a key's value
_SHAPES |= {name.rpartition(".")[0]: yaml.MappingNode for name in [*_SHAPES]}


class OwnFile(NamedTuple):
    """One file, with the line of each dotted key that it sets."""

    name: str  # GROUP/NAME.yaml
    package: str  # the key that its keys belong to, such as task; empty for full keys
    lines: dict[str, int]


def check_own_files(folder: Path) -> None:
    """Check every file that a configuration may be composed from; a UsageError names file and line of a fault."""
    group_options("task", folder)  # which names a missing folder
    for path in sorted(path for group in GROUPS for path in (folder / group).rglob("*.yaml")):
        if not path.is_file() or path.stat().st_size > _LARGEST:
            raise UsageError(f"{path}: not a regular file of at most {_LARGEST >> 20} MiB")
        _load(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=1024)
def _load(path: Path, changed: int) -> tuple[str, yaml.Node | None]:  # noqa: ARG001 - a part of the key
    """Return a file's text and root; a UsageError names file and line of a fault."""
    name, depth = f"{path.parent.name}/{path.name}", 0
    try:
        text = read_text(path).removeprefix("\ufeff")
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            where = f"{name} line {event.start_mark.line + 1}"
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST:
                raise UsageError(f"{where}: nested deeper than {_DEEPEST} levels")
            if isinstance(event, yaml.AliasEvent):  # a few lines of them can stand for gigabytes, or for themselves
                raise UsageError(f"{where}: *{event.anchor}: write the value itself, not an alias")
            if (tag := getattr(event, "tag", None)) not in (None, "!", f"{_YAML}str"):
                raise UsageError(f"{where}: {quote(tag.replace(_YAML, '!!'))}: write a plain value, not a tag")
            if isinstance(event, yaml.ScalarEvent) and "${" in event.value:
                shown = quote(event.value)
                raise UsageError(f"{where}: {shown}: interpolation is not supported; write the value itself")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, OSError, ValueError) as error:
        raise unreadable(path, error) from error
    for key, entries in root.value if isinstance(root, yaml.MappingNode) else ():
        events = yaml.parse(yaml.serialize(entries)) if key.value == "defaults" else ()
        for entry in (event.value for event in events if isinstance(event, yaml.ScalarEvent)):
            word = (entry.split() or [""])[-1]  # which may name Hydra's own groups, or other folders
            absolute = word.startswith("/") and re.split("[@/]", word.lstrip("/"))[0] not in GROUPS
            if absolute or ".." in word:
                raise UsageError(f"{name}: defaults name {quote(word)}; must be files of {', '.join(GROUPS)}")
    return text, root


def chosen_files(words: Sequence[str], config_dir: Path | None) -> list[OwnFile]:
    """Read the user's files that these words choose; a UsageError names the line of anything that is not a mapping."""
    if config_dir is None:
        return []
    names = {group: (last_word(words, group) or "").partition("=")[2] for group in GROUPS}
    places = [("trainer", f"recipe/{names['recipe'] or 'default'}/{names['task']}.yaml")]
    places += [(group, f"{group}/{name}.yaml") for group, name in names.items()]
    places += [("protocol", f"protocol/{names['protocol']}/{names['task']}.yaml")]
    return [_read_own(config_dir / name, name, group=group) for group, name in places if (config_dir / name).is_file()]


def _read_own(path: Path, name: str, *, group: str) -> OwnFile:
    """Read one file; errors as in `chosen_files`."""
    text, root = _load(path, path.stat().st_mtime_ns)
    header = re.search(r"^#\s*@package\s+(\S+)", text, re.MULTILINE)
    package = header[1] if header else group
    if group in ("preset", "protocol", "recipe") and package != "_global_":
        example = "`# @package _global_`; its keys are full ones, as in `trainer: {epochs: 3}`"
        raise UsageError(f"{path} line 1: the first line of a {group} must be {example}")
    if root is not None and not isinstance(root, yaml.MappingNode):
        raise UsageError(f"{name}: found {_FOUND[type(root)]}; must be KEY: VALUE lines")
    inside = "" if package == "_global_" else package
    lines = dict[str, int]()
    for key, line, node in _keys(root, inside) if root else ():
        fault, found, shape = "", type(node), _SHAPES.get(key)
        if not key:
            fault = "a key must be text"
        elif key in lines:
            fault = f"{key}: already set in line {lines[key]}"
        elif key in ("tasks", "seeds", "encoders") and name.count("/") > 1:  # those of any task's file would count
            fault = f"{key}: the same for all tasks; must be in {name.rpartition('/')[0]}.yaml"
        elif key in GROUPS and key != group and isinstance(node, yaml.ScalarNode) and (value := quote(node.value)):
            fault = f"{key}={value}: must be chosen in the list `defaults`, by `override /{key}: {value}`"
        elif shape and found is not yaml.ScalarNode and found is not shape:  # Hydra merges any other value
            fault = f"{key}: found {_FOUND[found]}; must be {_FOUND[shape]}"
        if fault:
            raise UsageError(f"{name} line {line}: {fault}")
        lines[key] = line
    return OwnFile(name, inside, lines)


def unreadable(path: Path | str, error: Exception) -> UsageError:
    """Return the error for a file that is not YAML, with the line."""
    mark, reason = getattr(error, "problem_mark", None), getattr(error, "problem", None) or error
    if isinstance(error, UnicodeDecodeError):
        reason = f"not UTF-8 at byte {error.start}"
    line = f" line {mark.line + 1}" if mark else ""
    return UsageError(f"{path}{line}: not a readable YAML file ({quote(reason)})")


def _keys(node: yaml.MappingNode, where: str) -> Iterator[tuple[str, int, yaml.Node]]:
    """Yield each dotted key with its line and value; an empty one for a key that is not text."""
    for name, value in node.value:
        plain = isinstance(name, yaml.ScalarNode) and name.tag != "tag:yaml.org,2002:null"
        key = f"{where}.{name.value}".strip(".") if plain else ""
        yield key, name.start_mark.line + 1, value
        if isinstance(value, yaml.MappingNode):
            yield from _keys(value, key)


def located(message: str, files: Sequence[OwnFile], *, words: Sequence[str]) -> str:
    """Put the file and line before a message that begins with a key which one of the files sets, or should set."""
    start = re.match(r"[\w.]+", message)
    key = start[0] if start else ""
    if not key or (key not in GROUPS and last_word(words, key)) or any(message.startswith(file.name) for file in files):
        return message
    parts = key.split(".")
    for length in range(len(parts), 0, -1):
        for file in reversed(files):
            if line := file.lines.get(".".join(parts[:length])):
                return f"{file.name} line {line}: {message}"
    lacking = next((file.name for file in files if parts[0] in (file.package, file.name.partition("/")[0])), None)
    return f"{lacking}: {message}" if lacking else message
