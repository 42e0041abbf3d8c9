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

_LARGEST = 2**20  # bytes
_DEEPEST, _MOST = 50, 100_000  # levels, and values once every alias is expanded


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
    try:
        root = yaml.compose(read_text(path), Loader=yaml.SafeLoader)
    except RecursionError:
        raise UsageError(f"{path}: nested deeper than {_DEEPEST} levels") from None
    except (yaml.YAMLError, ValueError, OSError):
        return  # which Hydra explains
    if root is not None:
        _count(root, path, depth=0, known={})
    for key, entries in root.value if isinstance(root, yaml.MappingNode) else ():
        if key.value == "defaults" and isinstance(entries, yaml.SequenceNode):
            for entry in entries.value:
                _check_default(entry, path, groups=groups)


def _count(node: yaml.Node, path: Path, *, depth: int, known: dict[int, int]) -> int:
    """Count the values of a node, aliases expanded."""
    if depth > _DEEPEST:
        raise UsageError(f"{path}: nested deeper than {_DEEPEST} levels")
    if isinstance(node, yaml.ScalarNode):
        if "${" in node.value:
            where = f"{path} line {node.start_mark.line + 1}"
            raise UsageError(f"{where}: {node.value[:80]}: nothing is inserted here; write the value itself")
        return 1
    if id(node) not in known:
        inner = [each for pair in node.value for each in (pair if isinstance(pair, tuple) else (pair,))]
        known[id(node)] = 1 + sum(_count(each, path, depth=depth + 1, known=known) for each in inner)
        if known[id(node)] > _MOST:
            raise UsageError(f"{path}: more than {_MOST:,} values")
    return known[id(node)]


def _check_default(entry: yaml.Node, path: Path, *, groups: tuple[str, ...]) -> None:
    """Refuse an entry of a defaults list that names Hydra's own groups or other folders."""
    names = [entry] if isinstance(entry, yaml.ScalarNode) else [each for pair in entry.value for each in pair]
    words = [str(name.value).split()[-1:] for name in names if isinstance(name, yaml.ScalarNode)]
    for word in (word for found in words for word in found):
        absolute = word.startswith("/") and word.lstrip("/").partition("@")[0].partition("/")[0] not in groups
        if absolute or ".." in word:
            raise UsageError(f"{path}: defaults name {word[:80]}; must be files of {', '.join(groups)}")
