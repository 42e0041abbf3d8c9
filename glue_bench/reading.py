"""What others may have written, read within limits and checked by type: each fault is a one-line OSError or ValueError.

A pipe is never waited for, a device never read to its end, and no nesting or number harms what comes after."""

import errno
import functools
import json
import math
import os
import stat
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from io import BufferedReader
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

_LARGEST = 64 * 2**20  # bytes of a text
_DEEPEST = 50  # levels of lists and mappings
_DIGITS = 20  # of a whole number: enough for 64 bits
_SHOWN = 60  # characters of a value in a message
_POINTER = b"version https://git-lfs"  # what a clone without Git LFS has in place of a large file

hints_of: Callable[[Any], dict[str, Any]] = functools.cache(get_type_hints)


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file, never waiting for a pipe; an OSError for others and for Git LFS pointers."""
    stream = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    regular = stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    if regular and not stream.peek(len(_POINTER)).startswith(_POINTER):
        return stream
    stream.close()
    raise OSError(errno.EINVAL, "a Git LFS pointer; run git lfs pull" if regular else "not a regular file", str(path))


def read_bytes(path: Path) -> bytes:
    """Read a regular file whole; errors as in `open_regular`, and an OSError for more than 64 MiB."""
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        content = stream.read(min(size, _LARGEST) + 1)  # memory for all of it is taken at once
        if len(content) > size:  # it has grown meanwhile, or lies in /proc
            content += stream.read(max(0, _LARGEST + 1 - len(content)))
        if len(content) > _LARGEST:
            raise OSError(errno.EFBIG, f"larger than {_LARGEST >> 20} MiB", str(path))
        return content


def read_text(path: Path) -> str:
    """Read a UTF-8 text; errors as in `read_bytes`, and a ValueError for other bytes."""
    return read_bytes(path).decode("utf-8")


def read_json(path: Path) -> Any:
    """Read JSON; errors as in `read_text` and `parse_json`."""
    return parse_json(read_text(path))


def parse_json(text: str) -> Any:
    """Parse JSON of finite numbers and valid Unicode, at most 50 levels deep; a ValueError for anything else."""
    try:
        content = json.loads(text, parse_constant=_refuse, parse_float=_finite, parse_int=_whole)
        if _levels(content) > _DEEPEST:
            raise RecursionError
    except RecursionError as error:
        raise ValueError(f"lists or mappings nested deeper than {_DEEPEST} levels") from error
    json.dumps(content, ensure_ascii=False).encode()  # a lone surrogate could not be written again
    return content


def _levels(item: Any) -> int:
    inside = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
    return 1 + max(map(_levels, inside), default=0)


def _refuse(word: str) -> float:
    raise ValueError(f"{word} is not a number")


def _finite(text: str) -> float:
    return value if math.isfinite(value := float(text)) else _refuse(text[:_SHOWN])


def _whole(text: str) -> int:
    return int(text) if len(text.lstrip("-")) <= _DIGITS else int(_refuse(f"{text[:_DIGITS]}..."))


def whole_number(text: str) -> int | None:
    """Return the number that a text of ASCII digits names; None for anything else, signs and superscripts included."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None


def is_file_name(text: str) -> bool:
    """Return whether a text names a file or folder in its folder, and nothing outside of it."""
    bad = text in ("", ".", "..") or "/" in text or not text.isprintable()
    return not bad and len(text.encode("utf-8", "replace")) <= 255


def is_path(text: str) -> bool:
    """Return whether a file system can have this path: UTF-8 without NUL, at most 255 bytes per name, 4,000 in all."""
    try:
        coded = text.encode("utf-8")
    except UnicodeEncodeError:  # bytes that are not UTF-8 come as lone surrogates
        return False
    return b"\0" not in coded and len(coded) <= 4000 and all(len(name) <= 255 for name in coded.split(b"/"))


def build_plain(kind: Any, values: Any, *, where: str) -> Any:
    """Build a dataclass from plain values, each of exactly its field's type; errors as in `conform`."""
    conform(kind, values, where=where)
    known = {item.name for item in fields(kind)}
    if unknown := sorted(set(values) - known):
        raise ValueError(f"{where} has an unknown key {unknown[0]}")
    return kind(**values)


def conform(hint: Any, value: Any, *, where: str) -> None:
    """Require that a plain value has an annotation's type, unknown keys aside; a ValueError names place and type."""
    origin, args, required, holds, words = get_origin(hint), get_args(hint), _required(hint), True, ""
    if hint is int or hint is str or hint is bool:
        holds, words = type(value) is hint, {int: "a whole number", str: "text", bool: "true or false"}[hint]
    elif origin in (UnionType, Union):
        others = [each for each in args if each is not NoneType]
        if value is not None or len(others) == len(args):
            literal = [each for each in others if get_origin(each) is Literal and isinstance(value, str)]
            conform((literal or others)[0], value, where=where)
    elif origin is Literal:
        holds, words = value in args, f"one of {', '.join(map(str, args))}"
    elif origin in (list, tuple, Sequence):
        holds, words = isinstance(value, list | tuple), "a list"
        for place, item in enumerate(value) if holds else ():
            conform(args[0], item, where=f"{where}[{place}]")
    elif origin in (dict, Mapping):
        holds, words = isinstance(value, Mapping), "a mapping"
        for name, item in value.items() if holds else ():
            conform(args[0], name, where=f"a key of {where}")
            conform(args[1], item, where=f"{where}.{name}")
    elif required is not None:
        holds, words = isinstance(value, Mapping), "a mapping"
        for name, kind in hints_of(hint).items() if holds else ():
            inside = f"{where}.{name}" if where else name
            if name in value:
                conform(kind, value[name], where=inside)
            elif name in required:
                raise ValueError(f"{inside} is missing")
    elif hint is not Any:
        holds = type(value) is int or (type(value) is float and math.isfinite(value))
        words = "a finite number"
    if not holds:
        shown = repr(value)
        shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
        raise ValueError(f"{where or 'its content'} is {shown}; must be {words}")


@functools.cache  # a folder's records hold thousands of values of the same types
def _required(hint: Any) -> Collection[str] | None:
    """Return the keys that a dataclass or TypedDict must have; None for any other annotation."""
    if is_dataclass(hint):
        return {item.name for item in fields(hint) if item.default is item.default_factory is MISSING}
    return frozenset(hint.__required_keys__) if is_typeddict(hint) else None
