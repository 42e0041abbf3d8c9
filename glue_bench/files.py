"""Files and folders that are either whole or absent, whatever interrupts the writing."""

import contextlib
import functools
import hashlib
import itertools
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from glue_bench.errors import DiskError, InputError
from glue_bench.reading import open_regular

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def disk_errors(path: Path, what: str = "cannot be written") -> Iterator[None]:
    """Raise a DiskError that says what cannot be done with `path` for an OSError in the block."""
    try:
        yield
    except BrokenPipeError:  # whoever read it has what they want
        raise
    except OSError as error:
        raise DiskError(f"{path}: {what}: {error.strerror or error}") from error


@contextlib.contextmanager
def replace_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`; when the block succeeds, sync it to disk and rename it to `path`.

    A DiskError if the folder or file cannot be written (full disk, read-only folder, no permission).
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(descriptor)
        temporary = Path(name)
        try:
            yield temporary
            _make_lasting(temporary)
            temporary.replace(path)
        finally:
            with contextlib.suppress(OSError):  # so as not to hide why the block ended
                temporary.unlink(missing_ok=True)
        _sync(path.parent)


def write_text_atomically(path: Path, text: str) -> None:
    """Write UTF-8 text with LF line endings; errors as in `replace_atomically`."""
    with replace_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


@contextlib.contextmanager
def replace_folder_atomically(path: Path, *, ours: Collection[str] | None = None) -> Iterator[Path]:
    """Yield an empty folder next to `path`; when the block succeeds, rename it to `path`, replacing what was there.

    If `ours` names the files that a run writes there, other files there are kept beside it under another name.
    Errors as in `replace_atomically`.
    """
    with disk_errors(path), contextlib.ExitStack() as afterwards:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        afterwards.callback(shutil.rmtree, temporary, ignore_errors=True)
        yield temporary
        for each in (*temporary.rglob("*"), temporary):
            _make_lasting(each)
        strange = ours is not None and _holds_others(path, ours)
        every = (path.with_name(f"{path.name}.old-{number}") for number in itertools.count(1))
        kept = next(each for each in every if not os.path.lexists(each))
        aside = kept if strange else temporary.with_name(f"{temporary.name}.old")
        if os.path.lexists(path):  # a folder cannot replace one that is not empty: move that one away
            path.rename(aside)
        temporary.rename(path)
        if strange:
            logger.warning("%s: holds files that are not the run's; moved to %s", path, aside.name)
        else:
            shutil.rmtree(aside, ignore_errors=True)
        _sync(path.parent)


def _holds_others(path: Path, ours: Collection[str]) -> bool:
    if not path.is_dir() or path.is_symlink():
        return os.path.lexists(path)
    return any(each.is_dir() or each.name not in ours for each in path.iterdir())


def file_sha256(path: Path, *, read: Callable[[Path], str] | None = None) -> str:
    """Return the SHA-256 of a file's content in hexadecimal; cached by path, inode, size and modification time.

    `read`, a module's function, returns the text that counts as the content; None: the file's bytes. An unreadable file
    is an InputError.
    """
    try:
        found = path.stat()
        return _sha256(path, read, size=found.st_size, changed=(found.st_ino, found.st_mtime_ns))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


@functools.lru_cache(maxsize=1024)
def _sha256(path: Path, read: Callable[[Path], str] | None, *, size: int, changed: tuple[int, int]) -> str:  # noqa: ARG001 - size and changed are the key
    if read:
        return hashlib.sha256(read(path).encode()).hexdigest()
    with open_regular(path) as stream:  # a device would have no end
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_sealed(path: Path, content: bytes) -> None:
    """Write a file that `read_sealed` can tell from any other; errors as in `replace_atomically`."""
    with replace_atomically(path) as temporary, temporary.open("wb") as stream:
        stream.writelines((_seal(path, content), content))


def read_sealed(path: Path) -> bytes:
    """Read what `write_sealed` wrote under this name; an OSError for none, a ValueError for other content."""
    with open_regular(path) as stream:
        seal, content = stream.read(hashlib.sha256().digest_size), stream.read()
    if seal != _seal(path, content):
        raise ValueError("not as it was written")
    return content


def _seal(path: Path, content: bytes) -> bytes:
    return hashlib.sha256(os.fsencode(path.name) + hashlib.sha256(content).digest()).digest()


def check_writable(folder: Path) -> None:
    """Make `folder`, and write and remove a file in it; errors as in `replace_atomically`."""
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as stream:
            stream.write(b"\0")


def cache_folder(part: str) -> Path:
    """Return a folder of GLUE_BENCH_CACHE, else of the user's cache folder. Safe to delete."""
    if chosen := os.environ.get("GLUE_BENCH_CACHE"):
        return Path(chosen) / part
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "glue-bench" / part
    except RuntimeError:  # a user without a home, as containers have them
        return Path(os.devnull) / part  # which cannot be made: nothing is kept


def _make_lasting(path: Path) -> None:
    """Give a file or folder the usual permissions (safetensors and tempfile: the owner alone), and sync it to disk."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)
    _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
