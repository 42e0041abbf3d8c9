"""One worker at a time for each run, on any number of hosts that share a folder. Knows no records, no torch.

A lease is a file `claim-<generation>.json` in the run's folder. Creating a file that must not exist yet is atomic on
local and network file systems, so exactly one worker gets each generation, and the highest generation owns the run.
The owner rewrites its file while the run makes progress. Once the owner's process is gone (seen at once on the same
machine) or the file has not changed for `STALE_SECONDS` (other machines), another worker may take the next generation:
nothing is ever locked. Ages are measured with the file system's own clock, not with the clocks of the hosts.
"""

import contextlib
import errno
import json
import os
import re
import socket
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from glue_bench.errors import DiskError, GlueBenchError
from glue_bench.files import disk_errors
from glue_bench.reading import build_plain, read_json

BEAT_SECONDS = 10.0
STALE_SECONDS = 120.0  # network file systems show a change up to a minute late
_SAME_MACHINE_STALE = 900.0  # a live process that does not beat: suspended, or stuck in a system call
# Earlier versions called a lease a claim. The file keeps its name, so that old and new workers respect each other.
_NAME = re.compile(r"claim-([0-9]+)\.json")
_BYTES = 512  # of a lease file: rewritten in place, in one write


class LostLeaseError(GlueBenchError, exit_code=75):
    """Another worker took the run over while this one was suspended or cut off from the file system."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The worker that has a run, and its progress."""

    host: str
    process: int
    machine: str  # equal for processes that see each other by number; empty if unknown
    started: str  # when the process started, since process numbers are used again
    nonce: str  # unique to this lease
    phase: str = ""
    step: int = 0
    steps: int = 0

    @property
    def title(self) -> str:
        """Host and process, for messages."""
        unknown = f"an unknown worker (its lease is empty or damaged, and counts for {STALE_SECONDS / 60:g} minutes)"
        return f"{self.host} process {self.process}" if self.nonce else unknown

    def is_running(self) -> bool | None:
        """Return whether the process still runs; None if this machine cannot know."""
        if not self.machine or self.machine != _machine() or not 0 < self.process < 2**31:
            return None
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return False
        except OSError:
            pass  # another user's
        started = _process_start(self.process)
        return None if started is None else started == self.started  # None: it is hidden from this user


_UNKNOWN = Owner(host="", process=0, machine="", started="", nonce="")


class Lease:
    """A run that this process owns. A thread renews the lease as long as the run makes progress."""

    def __init__(self, path: Path, owner: Owner, *, patience: float) -> None:
        """Start renewing, until there is no progress for `patience` seconds; 0: for ever."""
        self._folder, self._path, self._owner, self._patience = path.parent, path, owner, patience
        self._noted, self._lost, self._ending = time.monotonic(), False, threading.Event()
        self._thread = threading.Thread(target=self._keep_renewing, name="lease", daemon=True)
        self._thread.start()

    def note_progress(self, phase: str, step: int = 0, *, steps: int = 0) -> None:
        """Note that the run makes progress; errors as in `check`, as far as they are known by now."""
        self._owner, self._noted = replace(self._owner, phase=phase, step=step, steps=steps), time.monotonic()
        self._refuse_if_lost()

    def check(self) -> None:
        """Make sure that the run is still ours; call it before what only the owner may write.

        A LostLeaseError if another worker owns it, a DiskError if its folder is gone.
        """
        with disk_errors(self._folder, "cannot be read"):
            self._lost = self._lost or not self._is_ours()
        self._refuse_if_lost()

    def release(self, *, done: bool) -> None:
        """Stop owning the run; unless it is `done` for good, a mark stays, so that generations never restart at 1."""
        self._ending.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            if self._lost or not self._is_ours():
                return
            if not done:
                _write(self._path, {"released": True})
            for path in _generations(self._folder).values() if done else ():
                path.unlink(missing_ok=True)

    def _keep_renewing(self) -> None:
        while not self._ending.wait(BEAT_SECONDS):
            if self._patience and time.monotonic() - self._noted > self._patience:
                continue
            with contextlib.suppress(OSError):  # full or unreachable: the next beat or `check` shows who owns the run
                self._lost = self._lost or not self._is_ours()
                if not self._lost:
                    _write(self._path, asdict(self._owner))

    def _is_ours(self) -> bool:
        with contextlib.suppress(FileNotFoundError, ValueError):
            return _newest(self._folder)[1] == self._path and _read(self._path).nonce == self._owner.nonce
        return False

    def _refuse_if_lost(self) -> None:
        if self._lost:
            if not self._folder.is_dir():
                raise DiskError(f"{self._folder}: the run's folder is gone (moved or deleted?)")
            raise LostLeaseError(f"{self._folder}: another worker has taken this run over and continues it")


def take_lease(folder: Path, *, patience: float = 0.0, dead: int | None = None) -> Lease | Owner:
    """Take a run, or find out who has it.

    A lease whose owner is only silent, not known to be dead, is watched for two beats before it is taken over: when a
    suspended laptop wakes up, or a file server comes back, every lease looks old for a moment.

    The run's `folder` is created if missing; one that cannot be written is a DiskError. `patience` is as in `Lease`,
    `dead` a process of this host that the caller knows to have ended.
    """
    with disk_errors(folder, "cannot be leased"):
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            newest, path = _newest(folder)
            verdict, owner = _judge(path, dead=dead)
            if verdict == "alive":
                return owner
            if verdict == "silent" and is_beating(folder):
                continue
            if lease := _take_next(folder, newest, patience=patience):
                return lease
            time.sleep(0.05)  # a network file system may show the other worker's file a little later


def owner_of(folder: Path) -> Owner | None:
    """Return the worker that has a run now; None if nobody has it, or its owner died or has long been silent."""
    verdict, owner = _judge(_newest(folder)[1])
    return owner if verdict == "alive" else None


def is_beating(folder: Path) -> bool:
    """Watch a run's lease for two beats; return whether it is renewed, False also once it is gone."""

    def mark() -> tuple[Path, int] | None:
        with contextlib.suppress(FileNotFoundError):
            if path := _newest(folder)[1]:
                return path, path.stat().st_mtime_ns
        return None

    before, until = mark(), time.monotonic() + 2.2 * BEAT_SECONDS
    while before is not None and time.monotonic() < until:
        time.sleep(BEAT_SECONDS / 20)
        if (now := mark()) != before:
            return now is not None
    return False


def _take_next(folder: Path, newest: int, *, patience: float) -> Lease | None:
    """Take generation `newest` + 1; None if another worker was quicker."""
    path, process, nonce = folder / f"claim-{newest + 1}.json", os.getpid(), os.urandom(8).hex()
    started = _process_start(process) or ""
    owner = Owner(host=socket.gethostname(), process=process, machine=_machine(), started=started, nonce=nonce)
    try:
        _write(path, asdict(owner), mode="xb")
    except FileExistsError:
        return None
    if _newest(folder)[1] != path:  # several generations have come and gone since we looked
        path.unlink(missing_ok=True)
        return None
    for generation, older in _generations(folder).items():
        if generation <= newest:
            with contextlib.suppress(IsADirectoryError, PermissionError):  # nobody's lease, and the newest counts
                older.unlink(missing_ok=True)
    return Lease(path, owner, patience=patience)


def _judge(path: Path | None, *, dead: int | None = None) -> tuple[str, Owner]:
    """Return whether the owner of a lease is alive, dead (or there is none), or only silent; and the owner."""
    if path is None:
        return "dead", _UNKNOWN
    verdict = "silent"
    try:
        # A time in the future counts like one as far in the past: an owner that is alive soon changes it.
        age = abs(_clock(path.parent) - path.stat().st_mtime)
        verdict = "alive" if age < STALE_SECONDS else "silent"
        owner = _read(path)
    except (PermissionError, ValueError):
        return verdict, _UNKNOWN  # of a stranger, or half written; its writer may have died since
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EINVAL, errno.EISDIR):  # gone by now, or a pipe or folder
            raise
        return "dead", _UNKNOWN
    ended = owner is _UNKNOWN or (owner.host, owner.process) == (socket.gethostname(), dead)
    running = False if ended else owner.is_running()
    if running is None:
        return verdict, owner
    return ("alive" if age < _SAME_MACHINE_STALE else "silent") if running else "dead", owner


def _read(path: Path) -> Owner:
    """Read a lease, which is `_UNKNOWN` once it is released; a ValueError if it is half written, or is not a lease."""
    content = read_json(path)
    if content == {"released": True}:
        return _UNKNOWN
    owner: Owner = build_plain(Owner, content, where="the lease")
    return owner


def _machine() -> str:
    """Return a text that is equal only for processes that see each other by number; empty if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return ""


def _process_start(process: int) -> str | None:
    """Return when a process started, in kernel ticks; empty for a zombie, None if the kernel does not say."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # after the name
    return "" if fields[0] in "ZX" else fields[19]


def _clock(folder: Path) -> float:
    try:
        with tempfile.TemporaryFile(dir=folder) as stream:
            stream.write(b"\0")
            stream.flush()
            return os.fstat(stream.fileno()).st_mtime
    except OSError:  # read-only for us: a reader may be off by the difference of two clocks
        return time.time()


def _newest(folder: Path) -> tuple[int, Path | None]:
    return max(_generations(folder).items(), default=(0, None))


def _generations(folder: Path) -> dict[int, Path]:
    try:
        names = os.listdir(folder)  # noqa: PTH208 - Path.glob hides errors of the file system
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {int(found[1]): folder / name for name in names if (found := _NAME.fullmatch(name))}


def _write(path: Path, content: dict[str, object], *, mode: str = "r+b") -> None:
    """Rewrite in place: a file that somebody has removed must never come back. Mode xb: whole or not at all."""
    with open(path, mode) as stream:  # noqa: PTH123 - Path.open has no type for a mode that varies
        try:
            stream.write(json.dumps(content).encode().ljust(_BYTES))
            stream.flush()
            os.fsync(stream.fileno())
        except OSError:
            if mode == "xb":
                path.unlink()
            raise
