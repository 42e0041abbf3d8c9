"""Permission bits that bind, as they bind every user but root: what containers run tests as is root."""

import contextlib
import ctypes
from collections.abc import Iterator
from pathlib import Path

_DAC = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


@contextlib.contextmanager
def forbidden(path: Path, mode: int = 0) -> Iterator[None]:
    """Give a file or folder these permission bits, and let them bind this thread."""
    libc, usual = ctypes.CDLL(None, use_errno=True), path.stat().st_mode
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; and again for later capabilities
    assert libc.capget(header, sets) == 0
    path.chmod(mode)
    given = sets[0]
    sets[0] = given & ~_DAC
    assert libc.capset(header, sets) == 0
    try:
        yield
    finally:
        sets[0] = given
        assert libc.capset(header, sets) == 0
        path.chmod(usual)
