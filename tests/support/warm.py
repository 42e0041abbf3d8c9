"""Commands for tests that are about what a command does, not about how Python starts: forked from one process that has
loaded glue_bench, torch and transformers, because loading them takes longer than most commands.

From the fork on a command is a process of its own, with its own arguments, folder, environment, streams and signals,
and so are the helper processes that multiprocessing starts for it. What is decided while modules are loaded is not the
command's: the number of threads, the search path, HF_HOME and the like but for those of `loaded_with`. Tests of these
start Python.
"""

import atexit
import functools
import inspect
import io
import multiprocessing.util
import os
import pickle
import runpy
import select
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.support.loaded import load

_ROOT = Path(__file__).parents[2]
_PROGRAM = "from tests.support.warm import _serve; _serve()"
_LARGEST = 1 << 20  # bytes of a request


class WarmProcess(subprocess.Popen[str]):
    """`subprocess.Popen` for `[sys.executable, "-m" or "-c", ...]`, which forks in place of starting Python."""

    loaded_with: tuple[tuple[str, str], ...] = ()  # environment variables that are read while modules are loaded

    def _execute_child(self, *arguments: Any) -> None:
        given = inspect.signature(subprocess.Popen._execute_child).bind(self, *arguments).arguments  # type: ignore[attr-defined]
        theirs = [given[name] for name in ("p2cread", "c2pwrite", "errwrite")]
        ours = [given[name] for name in ("p2cwrite", "c2pread", "errread")]
        request = {
            "argv": [os.fsdecode(word) for word in given["args"]],
            "cwd": os.fspath(given["cwd"] or Path.cwd()),
            "environment": dict(os.environ if given["env"] is None else given["env"]) | dict(self.loaded_with),
            "session": given["start_new_session"],
        }
        self.pid = self._ask(request, [end if end != -1 else usual for usual, end in enumerate(theirs)])
        self._child_created = self._closed_child_pipe_fds = True
        self._exit = os.pidfd_open(self.pid)
        pipes = [end for end, other in zip(theirs, ours, strict=True) if -1 not in (end, other)]
        for end in {*pipes, getattr(self, "_devnull", None)} - {None}:
            os.close(end)

    def _try_wait(self, flags: int) -> tuple[int, int]:
        if not select.select([self._exit], [], [], 0 if flags else None)[0]:
            return 0, 0
        os.close(self._exit)
        return self.pid, self._ask({"reap": self.pid}, [])

    def _ask(self, request: dict[str, Any], streams: Sequence[int]) -> int:
        server, _ = _server(os.getpid(), self.loaded_with)
        socket.send_fds(server, [pickle.dumps(request)], streams)
        return int(server.recv(_LARGEST))

    def _internal_poll(self, _deadstate: int | None = None, **_: Any) -> int | None:
        if self.returncode is None:
            pid, status = self._try_wait(os.WNOHANG)
            if pid:
                self._handle_exitstatus(status)  # type: ignore[attr-defined]
        return self.returncode


def run(
    command: Sequence[str | bytes],
    *,
    stdin: str | None = None,
    timeout: float | None = None,
    kind: type[WarmProcess] = WarmProcess,
    **settings: Any,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; its output is captured where `settings` do not say otherwise."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with kind(command, **{**pipes, **settings}, text=True) as process:
        try:
            out, err = process.communicate(stdin, timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


@functools.cache
def _server(_asking: int, loaded_with: tuple[tuple[str, str], ...]) -> tuple[socket.socket, object]:
    """Start the process that forks the others for the process that asks; a fork of that one gets its own."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), **dict(loaded_with)}
    process = subprocess.Popen([sys.executable, "-P", "-c", _PROGRAM], stdin=theirs.fileno(), cwd="/", env=environment)
    theirs.close()
    return ours, process


def _serve() -> None:
    """Fork a process for each request until nobody asks any more."""
    asked = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    load()
    while True:
        text, streams, _, _ = socket.recv_fds(asked, _LARGEST, 3)
        if not text:
            return
        request = pickle.loads(text)  # noqa: S301 - from the test
        if "reap" in request:
            answer = os.waitpid(request["reap"], 0)[1]
        else:
            answer = _fork(lambda: _become(asked, request, streams))  # noqa: B023 - called at once
            for stream in streams:
                os.close(stream)
        asked.send(str(answer).encode())


def _fork(body: Callable[[], None]) -> int:
    """Fork a process that ends as a program does whose whole text is `body`; return its id."""
    if child := os.fork():
        return child
    code = 1
    try:
        body()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code & 255)


def _become(asked: socket.socket, request: dict[str, Any], streams: Sequence[int]) -> None:
    """Turn this forked process into the command."""
    asked.close()
    if request["session"]:
        os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.closerange(3, max(3, *streams) + 1)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    for name, number in (("stdout", 1), ("stderr", 2)):
        raw = os.fdopen(number, "wb", closefd=False)
        errors = "strict" if number == 1 else "backslashreplace"
        setattr(sys, name, io.TextIOWrapper(raw, "utf-8", errors, line_buffering=number == 2 or os.isatty(number)))
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    multiprocessing.util.spawnv_passfds = _spawn  # type: ignore[assignment]
    _, kind, program, *words = request["argv"]
    sys.orig_argv, sys.argv = request["argv"], [kind, *words]
    if kind == "-m":
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        exec(program, {"__name__": "__main__"})  # noqa: S102 - what follows -c


def _spawn(_: bytes, command: Sequence[str], passed: Sequence[int]) -> int:
    """Start one of multiprocessing's own helpers: fork, close what would not be passed on, and run the program."""

    def body() -> None:
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_DFL)
        low = 3
        for kept in [*sorted(passed), os.sysconf("SC_OPEN_MAX")]:
            os.closerange(low, kept)
            low = kept + 1
        exec(command[-1], {"__name__": "__main__"})  # noqa: S102 - what follows -c

    return _fork(body)
