"""Files and folders that are either whole or absent, whatever interrupts the writing."""

import contextlib
import functools
import hashlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from glue_bench.errors import DiskError, InputError
from glue_bench.reading import open_regular


@contextlib.contextmanager
def replace_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`; when the block succeeds, sync it to disk and rename it to `path`.

    Raises:
        DiskError: when the folder or file cannot be written (full disk, read-only folder, no permission).
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(descriptor)
        temporary = Path(name)
        yield temporary
        _sync(temporary)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise DiskError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_text_atomically(path: Path, text: str) -> None:
    """Write UTF-8 text with LF line endings.

    Raises:
        DiskError: as in `replace_atomically`.
    """
    with replace_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


@contextlib.contextmanager
def replace_folder_atomically(path: Path) -> Iterator[Path]:
    """Yield an empty folder next to `path`; when the block succeeds, rename it to `path`, replacing what was there.

    Raises:
        DiskError: as in `replace_atomically`.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        yield temporary
        for file in temporary.rglob("*"):  # safetensors makes files for the owner alone, whatever the umask says
            file.chmod((0o777 if file.is_dir() else 0o666) & ~_umask())
            _sync(file)
        temporary.chmod(0o777 & ~_umask())
        _sync(temporary)
        if path.exists():  # a folder cannot replace one that is not empty: move that one away
            aside = temporary.with_name(f"{temporary.name}.old")
            path.rename(aside)
            temporary.rename(path)
            shutil.rmtree(aside, ignore_errors=True)
        else:
            temporary.rename(path)
        _sync(path.parent)
    except OSError as error:
        raise DiskError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def move_aside(path: Path, *, ours: Collection[str]) -> Path | None:
    """Rename what is at `path` unless it is a folder of files that we write; return its new path, None if it stays.

    Raises:
        DiskError: it cannot be renamed.
    """
    if not path.is_symlink() and (not path.exists() or (path.is_dir() and {*_names_in(path)} <= {*ours})):
        return None
    for number in itertools.count(1):
        aside = path.with_name(f"{path.name}.old-{number}")
        if not os.path.lexists(aside):
            break
    try:
        path.rename(aside)
    except OSError as error:
        raise DiskError(f"{path}: cannot be moved aside: {error.strerror or error}") from error
    return aside


def _names_in(folder: Path) -> list[str]:
    return [f"{path.name}{'/' if path.is_dir() else ''}" for path in folder.iterdir()]


def file_sha256(path: Path, *, read: Callable[[Path], bytes] | None = None) -> str:
    """Return the SHA-256 of a file's content in hexadecimal; cached by path, inode, size and modification time.

    Args:
        read: a module's function that returns what counts as the content; None for the file's bytes.

    Raises:
        InputError: it cannot be read.
    """
    try:
        found = path.stat()
        return _sha256(path, read, size=found.st_size, changed=(found.st_ino, found.st_mtime_ns))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


@functools.lru_cache(maxsize=1024)
def _sha256(path: Path, read: Callable[[Path], bytes] | None, *, size: int, changed: tuple[int, int]) -> str:  # noqa: ARG001 - size and changed are the key
    if read:
        return hashlib.sha256(read(path)).hexdigest()
    with open_regular(path) as stream:  # a device would have no end
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_writable(folder: Path) -> None:
    """Make `folder`, and write and remove a file in it.

    Raises:
        DiskError: as in `replace_atomically`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as stream:
            stream.write(b"\0")
    except OSError as error:
        raise DiskError(f"{folder}: cannot be written: {error.strerror or error}") from error


def cache_folder(part: str) -> Path:
    """Return a folder of GLUE_BENCH_CACHE, else of the user's cache folder. Safe to delete."""
    if chosen := os.environ.get("GLUE_BENCH_CACHE"):
        return Path(chosen) / part
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "glue-bench" / part
    except RuntimeError:  # a user without a home, as containers have them
        return Path(os.devnull) / part  # which cannot be made: nothing is kept


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
