"""One worker at a time for each run, on any number of hosts that share a folder. Knows no records, no torch.

A claim is a file `claim-<generation>.json` in the run's folder. Creating a file that must not exist yet is atomic on
local and network file systems, so exactly one of those who try gets the next generation, and the highest generation
there is owns the run. The owner rewrites its claim while the run goes on. A claim whose process is gone (seen at once
on the same machine), or that has not changed for `STALE_SECONDS` (other machines), may be followed by the next one:
nothing is ever locked. Ages are measured with the file system's own clock, not with the clocks of hosts.
"""

import contextlib
import json
import os
import re
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from glue_bench.errors import DiskError, GlueBenchError

BEAT_SECONDS = 10.0
STALE_SECONDS = 120.0  # network file systems show a change up to a minute late
_SAME_MACHINE_STALE = 900.0  # a process that is there but says nothing: suspended, or hanging in the system
_NAME = re.compile(r"claim-(\d+)\.json")
_BYTES = 512  # of a claim: rewritten in place, in one write


class LostClaimError(GlueBenchError):
    """Another worker took the run over while this one was suspended or cut off from the file system."""

    exit_code = 75


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who runs a run, and how far it is."""

    host: str
    process: int
    machine: str  # tells whether `process` is a process of this machine
    started: str  # of the process, so that a later one with its number is another
    nonce: str  # of this claim alone
    phase: str = ""
    step: int = 0
    steps: int = 0

    @property
    def title(self) -> str:
        """As messages name it."""
        return f"{self.host} process {self.process}"


class Claim:
    """A run that is ours. Beats in a thread of its own as long as progress is noted."""

    def __init__(self, folder: Path, path: Path, owner: Owner, *, patience: float) -> None:
        """Begin to beat.

        Args:
            patience: seconds without progress after which the claim is left to grow stale; 0: it never is.
        """
        self._folder, self._path, self._owner, self._patience = folder, path, owner, patience
        self._progress, self._noted = ("", 0, 0), time.monotonic()
        self._lost, self._ending = False, threading.Event()
        self._thread = threading.Thread(target=self._beat_on, name="claim", daemon=True)
        self._thread.start()

    def note_progress(self, phase: str, step: int = 0, steps: int = 0) -> None:
        """Say that the run goes on.

        Raises:
            LostClaimError: it is somebody else's by now.
        """
        self._progress, self._noted = (phase, step, steps), time.monotonic()
        if self._lost:
            self._refuse()

    def check(self) -> None:
        """Look whether the run is still ours; before anything is written that only its owner may write.

        Raises:
            LostClaimError: it is not.
        """
        _, path = _newest(self._folder)
        if self._lost or path != self._path or _nonce(self._path) != self._owner.nonce:
            self._lost = True
            self._refuse()

    def release(self, *, done: bool) -> None:
        """Stop owning the run.

        Args:
            done: nobody will want it again; otherwise a mark stays, so that generations never start anew.
        """
        self._ending.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            if self._lost or _nonce(self._path) != self._owner.nonce:
                return
            if not done:
                _write(self._path, {"released": True})
                return
            for path in _claims(self._folder).values():
                path.unlink(missing_ok=True)

    def _beat_on(self) -> None:
        while not self._ending.wait(BEAT_SECONDS):
            quiet = time.monotonic() - self._noted
            if self._patience and quiet > self._patience:
                continue
            phase, step, steps = self._progress
            try:
                _write(self._path, {**asdict(self._owner), "phase": phase, "step": step, "steps": steps})
                _, newest = _newest(self._folder)
                self._lost = self._lost or newest != self._path
            except FileNotFoundError:
                self._lost = True
            except OSError:
                continue  # the disk is full or away; whether the claim is still ours is seen later

    def _refuse(self) -> None:
        raise LostClaimError(f"{self._folder}: another worker has taken this run over; it goes on there")


def claim_run(folder: Path, *, patience: float = 0.0, dead: int | None = None) -> Claim | Owner:
    """Take a run, or learn who has it.

    A claim that is only silent, not known to be dead, is watched for two beats before it is followed: after a suspended
    laptop wakes up, or a file server comes back, every claim looks old for a moment.

    Args:
        folder: the run's; made if need be.
        patience: as in `Claim`.
        dead: a process of this host that the caller knows to be gone.

    Raises:
        DiskError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            newest, path = _newest(folder)
            if path is not None:
                verdict, owner = _judge(path, dead)
                if verdict == "alive":
                    return owner
                if verdict == "silent" and is_beating(folder):
                    continue
            claim = _follow(folder, newest, patience)
            if claim is not None:
                return claim
            time.sleep(0.05)  # a network file system may show the other's file a little later
    except OSError as error:
        raise DiskError(f"{folder}: cannot be claimed: {error.strerror or error}") from error


def _follow(folder: Path, newest: int, patience: float) -> Claim | None:
    """Make generation `newest` + 1 ours; None if somebody else was quicker."""
    path, ours = folder / f"claim-{newest + 1}.json", _own_facts()
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileExistsError:
        return None
    _write(path, asdict(ours))
    if _newest(folder)[1] != path:  # several generations have come and gone since we looked
        path.unlink(missing_ok=True)
        return None
    for generation, older in _claims(folder).items():
        if generation <= newest:
            older.unlink(missing_ok=True)
    return Claim(folder, path, ours, patience=patience)


def owner_of(folder: Path) -> Owner | None:
    """Who is at work on a run now; None if nobody is, or its owner died or has been silent for long."""
    _, path = _newest(folder)
    if path is None:
        return None
    verdict, owner = _judge(path, None)
    return owner if verdict == "alive" else None


def is_abandoned(folder: Path) -> bool:
    """Whether a run has the claim of a worker that died, or has been silent for long, and that nobody followed."""
    _, path = _newest(folder)
    if path is None:
        return False
    verdict, owner = _judge(path, None)
    return verdict == "silent" or (verdict == "dead" and owner is not _UNKNOWN)  # unknown: released in good order


def is_beating(folder: Path) -> bool:
    """Watch the claim on a run for two beats: whether it changes. False also if there is none any more."""
    before, until = _mark(folder), time.monotonic() + 2.2 * BEAT_SECONDS
    while before is not None and time.monotonic() < until:
        time.sleep(BEAT_SECONDS / 20)
        now = _mark(folder)
        if now != before:
            return now is not None
    return False


def _mark(folder: Path) -> tuple[str, int] | None:
    """What changes with every beat of the newest claim; None without one."""
    _, path = _newest(folder)
    try:
        return None if path is None else (path.name, path.stat().st_mtime_ns)
    except FileNotFoundError:
        return None


def _judge(path: Path, dead: int | None) -> tuple[str, Owner]:
    """Whether the owner of a claim is alive, dead (or gone, or done), or only silent; and who it is."""
    try:
        with path.open("rb") as stream:
            age = _clock(path.parent) - os.fstat(stream.fileno()).st_mtime
            text = stream.read()
    except FileNotFoundError:
        return "dead", _UNKNOWN
    fresh = "alive" if age < STALE_SECONDS else "silent"
    try:
        content = json.loads(text)
        if content.get("released"):
            return "dead", _UNKNOWN
        owner = Owner(**content)
    except (ValueError, TypeError):  # being written, or by a process that died before it had written
        return fresh, _UNKNOWN
    if dead is not None and (owner.host, owner.process) == (socket.gethostname(), dead):
        return "dead", owner
    if owner.machine and owner.machine == _machine():
        alive = _is_running(owner)
        if alive is not None:
            return ("alive" if age < _SAME_MACHINE_STALE else "silent") if alive else "dead", owner
    return fresh, owner


_UNKNOWN = Owner(host="a host", process=0, machine="", started="", nonce="")


def _own_facts() -> Owner:
    return Owner(
        host=socket.gethostname(),
        process=os.getpid(),
        machine=_machine(),
        started=_process_start(os.getpid()) or "",
        nonce=os.urandom(8).hex(),
    )


def _machine() -> str:
    """The same for processes that see each other by number, different otherwise; empty where that is not known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return ""


def _is_running(owner: Owner) -> bool | None:
    """Whether a process of this machine is still the one that made a claim; None where the kernel does not tell."""
    started = _process_start(owner.process)
    if started is not None:
        return started == owner.started
    try:
        os.kill(owner.process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return None
    return None  # it is there, but hidden from us


def _process_start(process: int) -> str | None:
    """When a process started, in the kernel's ticks; empty for a zombie, None where the kernel does not tell."""
    try:
        after_name = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
    except OSError:
        return None
    fields = after_name.split()
    return "" if fields[0] in "ZX" else fields[19]


def _clock(folder: Path) -> float:
    """The file system's own time."""
    try:
        with tempfile.TemporaryFile(dir=folder) as stream:
            stream.write(b"\0")
            stream.flush()
            return os.fstat(stream.fileno()).st_mtime
    except OSError:  # read-only for us: who only looks may be wrong by the difference of two clocks
        return time.time()


def _newest(folder: Path) -> tuple[int, Path | None]:
    """The highest generation and its file; (0, None) where there is none."""
    found = _claims(folder)
    newest = max(found, default=0)
    return newest, found.get(newest)


def _claims(folder: Path) -> dict[int, Path]:
    """Every claim by its generation."""
    try:
        names = os.listdir(folder)  # noqa: PTH208 - Path.glob hides errors of the file system
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {int(found[1]): folder / name for name in names if (found := _NAME.fullmatch(name))}


def _nonce(path: Path) -> str | None:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return content.get("nonce") if isinstance(content, dict) else None


def _write(path: Path, content: dict[str, object]) -> None:
    """Rewrite in place, so that a file which somebody has removed never comes back."""
    with _opened(path) as descriptor:
        os.pwrite(descriptor, json.dumps(content).encode().ljust(_BYTES), 0)
        os.fsync(descriptor)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
