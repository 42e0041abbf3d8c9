"""Whether the YAML files in --config-dir may be given to Hydra, which expands aliases and inserts the environment.

Nothing is composed here. Knows only YAML.
"""

import functools
import stat
from collections.abc import Sequence
from pathlib import Path

import yaml

from glue_bench.errors import UsageError
from glue_bench.reading import read_text
from glue_bench.text import quote

_LARGEST = 2**20  # bytes
_DEEPEST = 50  # levels


def check_own_files(folder: Path, groups: Sequence[str]) -> None:
    """Check every file that a configuration may be composed from.

    Raises:
        UsageError: naming the file: it is none, is too large or too deep, inserts other keys, or names files
            outside of the groups.
    """
    for path in sorted(path for group in groups for path in (folder / group).rglob("*.yaml")):
        found = path.lstat() if path.is_symlink() and not path.exists() else path.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > _LARGEST:
            raise UsageError(f"{path}: not a regular file of at most {_LARGEST >> 20} MiB")
        _check(path, found.st_mtime_ns, groups=tuple(groups))


@functools.lru_cache(maxsize=1024)
def _check(path: Path, changed: int, *, groups: tuple[str, ...]) -> None:  # noqa: ARG001 - a part of the key
    name, depth = f"{path.parent.name}/{path.name}", 0
    try:
        text = read_text(path)
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            where = f"{name} line {event.start_mark.line + 1}"
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST:
                raise UsageError(f"{where}: nested deeper than {_DEEPEST} levels")
            if isinstance(event, yaml.AliasEvent):  # a few lines of them can stand for gigabytes, or for themselves
                raise UsageError(f"{where}: *{event.anchor}: write the value itself, no alias")
            if isinstance(event, yaml.ScalarEvent) and "${" in event.value:
                raise UsageError(f"{where}: {quote(event.value)}: nothing is inserted here; write the value itself")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, OSError):
        return  # which is explained where the file is read
    for key, entries in root.value if isinstance(root, yaml.MappingNode) else ():
        if key.value == "defaults" and isinstance(entries, yaml.SequenceNode):
            for entry in entries.value:
                _check_default(entry, name, groups=groups)


def _check_default(entry: yaml.Node, path: str, *, groups: tuple[str, ...]) -> None:
    """Refuse an entry of a defaults list that names Hydra's own groups or other folders."""
    names = [entry] if isinstance(entry, yaml.ScalarNode) else [each for pair in entry.value for each in pair]
    words = [str(name.value).split()[-1:] for name in names if isinstance(name, yaml.ScalarNode)]
    for word in (word for found in words for word in found):
        absolute = word.startswith("/") and word.lstrip("/").partition("@")[0].partition("/")[0] not in groups
        if absolute or ".." in word:
            raise UsageError(f"{path}: defaults name {quote(word)}; must be files of {', '.join(groups)}")
