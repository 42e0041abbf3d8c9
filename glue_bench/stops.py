"""The signals that stop a command, and what they do until a verb handles them. Imports nothing: it comes first."""

import _signal  # type: ignore[import-not-found]  # what `signal` is made of, which takes longer
import os
import sys

# Each with its exit code. SIGUSR1 is what a cluster sends before it takes a node back,
# SIGHUP what a closed terminal sends; Windows has neither.
_CODES = {"SIGINT": 130, "SIGTERM": 143, "SIGUSR1": 75, "SIGHUP": 129}
STOPS = {int(getattr(_signal, name)): (name, code) for name, code in _CODES.items() if hasattr(_signal, name)}


def _stop(number: int, _frame: object) -> None:
    """End the command at once, with one line: before and after a verb's work nothing is left to clean up."""
    name, code = STOPS[number]
    try:
        os.write(2, f"glue-bench: stopped by {name}\n".encode())
    finally:
        os._exit(code)


if sys.argv[:1] == ["-m"] or str(getattr(sys.modules["__main__"], "__file__", "")).endswith("/glue-bench"):
    for _number in STOPS:
        if _signal.getsignal(_number) != _signal.SIG_IGN:  # nohup, or a shell that started it in the background
            _signal.signal(_number, _stop)
