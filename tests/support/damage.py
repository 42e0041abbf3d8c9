"""Ways to damage a file that the package wrote for itself and must not use any more."""

import os
from collections.abc import Callable
from pathlib import Path

from glue_bench.files import write_sealed


def _flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def _replace(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


def _take_another(path: Path) -> None:
    """Put an entry of another name in its place."""
    other = path.with_name("0" * len(path.name))
    write_sealed(other, path.read_bytes()[32:])
    other.replace(path)


SEALED: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"0"),
    "no seal": lambda path: path.write_bytes(path.read_bytes()[32:]),
    "a bit of the seal": lambda path: _flip(path, 5),
    "a bit of the content": lambda path: _flip(path, -40),
    "deep": lambda path: path.write_bytes(path.read_bytes()[:32] + b"[" * 100_000),
    "of another name": _take_another,
    "a folder": lambda path: _replace(path, Path.mkdir),
    "a pipe": lambda path: _replace(path, os.mkfifo),
    "a device": lambda path: _replace(path, lambda name: name.symlink_to("/dev/zero")),
}
