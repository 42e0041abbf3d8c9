"""From argv to an exit code. Imports nothing heavy: `--help` answers at once."""

import argparse
import importlib
import io
import logging
import os
import signal
import sys
import traceback
from collections.abc import Sequence

from glue_bench.cli.arguments import parse_arguments
from glue_bench.errors import DISK_ERRNOS, DiskError, GlueBenchError, InputError
from glue_bench.training.stopping import SIGNALS, Stopped

EXIT_FAILED = 1


class _StderrHandler(logging.Handler):
    """Log lines to whatever sys.stderr is now: a live board replaces it while it is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(f"glue-bench: {record.levelname.lower()}: {self.format(record)}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; `glue-bench --help` lists the exit codes."""
    # Threads that wait for work spin only briefly: see docs/method.md, "Threads". Read when torch loads.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    arguments = parse_arguments(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without UTF-8 shows question marks, not a traceback
    logger = logging.getLogger("glue_bench")
    before = (logger.handlers, logger.propagate, logger.level)
    logger.handlers, logger.propagate = [_StderrHandler()], False
    logger.setLevel(logging.DEBUG if arguments.debug else logging.WARNING)
    try:
        return _execute(arguments)
    finally:
        logger.handlers, logger.propagate, level = before  # as it was, for who calls main from Python
        logger.setLevel(level)


def _execute(arguments: argparse.Namespace) -> int:
    """Call the verb, and turn whatever ends it into an exit code."""
    try:
        with SIGNALS.handled():
            verb = importlib.import_module(f"glue_bench.cli.{arguments.verb}")
            code = int(verb.execute(arguments))
            sys.stdout.flush()
            return code
    except GlueBenchError as error:
        return _tell(str(error), error.exit_code, debug=arguments.debug)
    except KeyboardInterrupt as stop:
        remark = stop.remark if isinstance(stop, Stopped) else ""
        again = "; the same command goes on from there" if arguments.verb in ("run", "sweep") and not remark else ""
        sys.stderr.write(f"glue-bench: stopped by {str(stop) or 'SIGINT'}{again}\n")
        if remark:
            sys.stderr.write(f"glue-bench: {remark}\n")
        return stop.exit_code if isinstance(stop, Stopped) else Stopped(signal.SIGINT).exit_code
    except BrokenPipeError:
        # The reader of a pipe (`| head`) is gone; Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        problem = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        code = DiskError.exit_code if error.errno in DISK_ERRNOS else InputError.exit_code
        return _tell(problem, code, debug=arguments.debug)
    except Exception as error:
        text = f"internal error: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        return _tell(f"{text}\n--debug shows where", EXIT_FAILED, debug=arguments.debug)


def _tell(text: str, code: int, *, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    sys.stderr.write(f"glue-bench: {text}\n")
    return code
