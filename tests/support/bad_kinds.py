"""Ways in which a run can fail in the middle of its training, and the reason that its record has to give."""

import ctypes
import os
import resource
import signal
import sys
import time
from collections.abc import Callable


def fail() -> None:
    """Raise an exception."""
    raise ValueError("the wheel came off")


def call_exit() -> None:
    """Call sys.exit, as badly behaved libraries do."""
    sys.exit(3)


def end_at_once() -> None:
    """Exit in a way that nothing can catch."""
    os._exit(7)


def segfault() -> None:
    """Read from address 0."""
    ctypes.string_at(0)


def be_killed() -> None:
    """Get killed, as the system does to a process when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def run_out_of_memory() -> None:
    """Allocate more memory than the process may have."""
    in_use = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()  # noqa: SIM115, PTH123
    resource.setrlimit(resource.RLIMIT_AS, (in_use + 2**28, in_use + 2**28))
    hoard = []
    while True:
        hoard.append(bytearray(2**26))


def hang() -> None:
    """Stop making progress."""
    time.sleep(10**6)


KINDS: dict[str, Callable[[], None]] = {
    "exception": fail,
    "sys.exit": call_exit,
    "exit": end_at_once,
    "segfault": segfault,
    "killed": be_killed,
    "memory": run_out_of_memory,
    "hang": hang,
}
REASONS = {
    "exception": "ValueError: the wheel came off",
    "sys.exit": "the run called sys.exit(3)",
    "exit": "its process ended with exit status 7",
    "segfault": "its process was killed by SIGSEGV",
    "killed": "its process was killed by SIGKILL",
    "memory": "MemoryError",
    "hang": "no sign of progress for",
}
