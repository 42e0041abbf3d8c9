"""The errors that a user can cause, each with its exit code. Messages are one to three lines."""

import difflib
import errno
import linecache
import os
import re
import traceback
from collections.abc import Iterable

# The error numbers of a full, read-only or broken disk.
DISK_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
# How messages say that disk or memory ran out. For memory: the words of a CPU's allocator, of what loads libraries and
# starts threads, of CUDA, cuBLAS, cuDNN, Triton, Metal and Slurm, and of a lost worker. NVML's are what torch says
# when it cannot find out how much memory there is.
_LACKS = {
    "disk": re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE),
    "memory": re.compile(
        r"can(?:'|no)t allocate memory|not enough memory|\bout[ _]of[ _]memory\b|\b(OutOf)?MemoryError\b"
        r"|cudaErrorMemoryAllocation|CU[A-Z]+_STATUS_\w*ALLOC\w*_FAILED|cuDNN error:.*ALLOC|NVML_SUCCESS == r"
        r"|killed by SIGKILL|failed to map segment|can't start new thread",
        re.IGNORECASE,
    ),
}

EXIT_LACKING = 1  # it worked, but damaged records were left out, a score fell, runs failed, or a claim is contradicted


class GlueBenchError(Exception):
    """Base of every error that the command line shows as plain lines, without a traceback."""

    exit_code = 1

    def __init_subclass__(cls, *, exit_code: int | None = None) -> None:
        """Give a subclass its own exit code; without one it has its parent's."""
        cls.exit_code = exit_code or cls.exit_code


class UsageError(GlueBenchError, exit_code=2):
    """The command or its configuration is wrong."""


class InputError(GlueBenchError, exit_code=3):
    """Data or model files are missing, unreachable or damaged."""


class DivergedError(GlueBenchError, exit_code=4):
    """Training reached a NaN or infinite loss or gradient."""


class LostError(GlueBenchError):
    """Another process of the same run ended or cannot be reached; the run can only continue later, from a snapshot."""


class DiskError(GlueBenchError, exit_code=74):
    """A result could not be written."""


def describe(error: BaseException) -> str:
    """Return what a record or a log says of an error: the message of an expected one, else its class and message."""
    if isinstance(error, SystemExit):
        return f"the run called sys.exit({error.code!r})"
    if isinstance(error, GlueBenchError):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def lack_in(text: str) -> str:
    """Return what ran out according to an error, so that the run is repeated: disk, memory or nothing."""
    return next((name for name, words in _LACKS.items() if words.search(text)), "")


def variables_behind(error: BaseException) -> str:
    """Return NAME=VALUE of the environment variables over which a library's import failed; empty for other faults."""
    # As text, which also has what another process raised. Of a chain of causes the first counts.
    text = "".join(traceback.format_exception(error)).rpartition("\n\nDuring hand")[2].partition("\n\nThe above")[0]
    frames = re.findall(r'File "(.+)", line \d+, in (\S+)', text)
    imported = max((place for place, frame in enumerate(frames) if frame[1] == "<module>"), default=len(frames))
    source = "".join("".join(linecache.getlines(file)) for file, _ in frames[imported:])
    quoted = set(re.findall(r"[\"'](\w+)[\"']", source))
    read = [(name, value) for name, value in os.environ.items() if value and name in quoted]
    end = text.rpartition('File "')[2].partition("\n")[2]
    shown = [pair for pair in read if re.search(rf"(?<!\w){re.escape(pair[1])}(?!\w)", end)]
    if not shown and isinstance(error, ImportError):
        return ""
    return ", ".join(f"{name}={value}" for name, value in shown or read)


def close_match(word: str, allowed: Iterable[str], *, where: str = "") -> str:
    """Return `; did you mean NAME?` if an allowed word is close, else an empty text; `where` is put before the name."""
    close = difflib.get_close_matches(word[:100], list(allowed), n=1, cutoff=0.6)
    return f"; did you mean {where}{close[0]}?" if close else ""


def list_names(names: Iterable[str], most: int = 10) -> str:
    """Return the names with commas between them; of a long list only the first ones, and how many more there are."""
    every = list(names)
    more = f" and {len(every) - most:,} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """Return the end of an error line: a close match, if there is one, and the allowed words."""
    names = list(allowed)
    return f"{close_match(word, names) or '.'} Allowed: {list_names(names)}"
