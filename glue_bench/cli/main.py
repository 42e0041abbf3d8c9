"""Fine-tune encoders on GLUE, and compare the scores with the published ones.

Offline, in minutes:   glue-bench sweep preset=sample
Would it work here:    glue-bench doctor
The real table:        glue-bench sweep          (needs the Hugging Face hub or its cache; a GPU helps)
More about a verb:     glue-bench VERB --help

exit codes: 0 all well; 1 some runs failed, report left damaged records out, a score fell (report --check) or a claim is
contradicted; 2 usage or configuration; 3 data or model input, or a problem that doctor found; 4 diverged; 74 disk;
75 preempted (SIGUSR1), run the same command again; 129, 130, 143 stopped by SIGHUP, SIGINT, SIGTERM
"""

# Turns argv into an exit code. A verb is a module of this package with `add_arguments` and `execute`; its help is its
# docstring, with what `add_options` says of keys after the first line. For instant help, what is slow to import
# (Hydra, the report, torch) is imported where it is used.

import argparse
import contextlib
import errno
import importlib
import io
import logging
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO

import glue_bench
from glue_bench import errors
from glue_bench.text import first_line, fit_message
from glue_bench.training.stopping import SIGNALS, Stopped

VERBS = (
    "run", "sweep", "report", "compare", "runs", "predict", "card", "claims", "submit", "tasks", "published", "doctor",
)  # fmt: skip


class _Parser(argparse.ArgumentParser):
    """A parser with one-line errors, exit code 2, and epilogs printed as written."""

    def __init__(self, prog: str, docstring: str | None) -> None:
        about, _, more = (docstring or "").removeprefix(f"`{prog}`: ").partition("\n\n")
        super().__init__(prog, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
        self.description, self.epilog = about[:1].upper() + about[1:], more

    def error(self, message: str) -> NoReturn:
        self.exit(errors.UsageError.exit_code, fit_message(f"glue-bench: {message}") + "\n")


class _StderrHandler(logging.Handler):
    """Writes log lines to the current sys.stderr, which a live board replaces while it is shown.

    A record marked `shared`, which every run of a sweep logs alike, is written only once.
    """

    def __init__(self) -> None:
        super().__init__()
        self._shared = set[str]()

    def emit(self, record: logging.LogRecord) -> None:
        text = f"glue-bench: {record.levelname.lower()}: {self.format(record)}"
        if getattr(record, "shared", False):
            if text in self._shared:
                return
            self._shared.add(text)
        sys.stderr.write((text if record.exc_info else fit_message(text)) + "\n")


class _Unread:
    """Standard error, even if its reader is gone: what cannot be written is dropped."""

    def __init__(self, stream: TextIO | None) -> None:  # None: a closed descriptor
        self._stream = stream or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - open until exit

    def write(self, text: str) -> int:
        with _dropping(self._stream):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with _dropping(self._stream):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the words after `glue-bench`; exits with 0 for help and 2 for a mistake."""
    name = next((word for word in argv if not word.startswith("-")), None)
    if name not in VERBS:
        _explain(argv, name)
    words = list(argv)
    words.remove(name)
    while "--text" in words[:-1]:  # joined to one word: a text may begin with a dash
        place = words.index("--text")
        words[place : place + 2] = [f"--text={words[place + 1]}"]
    verb = importlib.import_module(f"glue_bench.cli.{name}")
    parser = _Parser(f"glue-bench {name}", verb.__doc__)
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    verb.add_arguments(parser)
    arguments, unknown = parser.parse_known_intermixed_args(words)
    if unknown:
        from glue_bench.config.overrides import find_keys  # slow; for mistakes only

        option, _, value = unknown[0].partition("=")
        hint = errors.did_you_mean(option, parser._option_string_actions) if option.startswith("--") else ""
        keys = find_keys(option.lstrip("-")) if name in ("run", "sweep", "doctor") else {}
        likely = [f"{key}={value or ('true' if kind is bool else 'VALUE')}" for key, kind in keys.items()]
        hint = f"; keys are written KEY=VALUE: {' or '.join(likely)}" if likely else hint
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    arguments.verb, arguments.execute = name, verb.execute
    return arguments


def _explain(argv: Sequence[str], name: str | None) -> NoReturn:
    """Handle a command line without a verb: print help, the version, or what is wrong."""
    parser = _Parser("glue-bench", __doc__)
    parser.add_argument("--version", action="version", version=f"glue-bench {glue_bench.__version__}")
    verbs = parser.add_subparsers(metavar="VERB", parser_class=argparse.ArgumentParser)
    for each in VERBS:  # without importing it
        docstring = Path(__file__).with_name(f"{each}.py").read_text("utf-8")
        verbs.add_parser(each, help=docstring.partition(": ")[2].partition(".\n")[0])
    if name is not None:
        parser.error(f"no such verb: {name}{errors.did_you_mean(name, VERBS)}")
    if not argv:
        parser.print_help()
        parser.exit(errors.UsageError.exit_code)
    parser.parse_known_args(argv)
    parser.error(f"name a verb. Allowed: {', '.join(VERBS)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; `glue-bench --help` lists the exit codes."""
    if os.name != "posix":
        text = "works on Linux and macOS only; on Windows, use it inside WSL"
        return _end(text, errors.UsageError.exit_code, debug=False)
    if argv is None and sys.getfilesystemencoding() != "utf-8":  # an ASCII locale, in which it cannot name every file
        os.environ["PYTHONUTF8"] = "1"  # for helper processes
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606 - this same command
    # Threads that wait for work spin only briefly: see docs/method.md, "Threads". Read when torch loads.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    # NumPy multiplies only small matrices here: a second thread costs more than it saves. Read when NumPy loads.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Helper processes (the fork server, doctor's probe, Slurm jobs) must not import from the working folder either,
    # unless it is itself a checkout that is not installed.
    if not Path(glue_bench.__file__).parents[1].samefile("."):
        os.environ["PYTHONSAFEPATH"] = "1"
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without UTF-8 shows question marks, not a traceback
    logger = logging.getLogger("glue_bench")
    handlers, propagate, level = logger.handlers, logger.propagate, logger.level
    logger.handlers, logger.propagate = [_StderrHandler()], False
    logger.setLevel(logging.WARNING)
    try:
        with contextlib.redirect_stdout(sys.stdout or _Unread(None)), contextlib.redirect_stderr(_Unread(sys.stderr)):
            return _execute(sys.argv[1:] if argv is None else argv)
    finally:  # restored for callers from Python
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


def _execute(argv: Sequence[str]) -> int:
    """Parse the words, call the verb, and turn whatever ends it into an exit code."""
    arguments = argparse.Namespace(verb="", debug="--debug" in argv)
    try:
        arguments = parse_arguments(argv)
        if arguments.debug:
            logging.getLogger("glue_bench").setLevel(logging.DEBUG)
        if sys.flags.optimize > 1:  # -OO
            raise errors.UsageError("PYTHONOPTIMIZE=2: transformers cannot load without docstrings; unset it")
        with SIGNALS.handled():
            code = int(arguments.execute(arguments))
            sys.stdout.flush()
            return code
    except errors.GlueBenchError as error:
        return _end(str(error), error.exit_code, debug=arguments.debug)
    except KeyboardInterrupt as stop:
        stopped = stop if isinstance(stop, Stopped) else Stopped(signal.SIGINT)
        continues = arguments.verb in ("run", "sweep") and not stopped.remark
        text = f"stopped by {stopped}" + ("; the same command continues from there" if continues else "")
        return _end("\nglue-bench: ".join(filter(None, (text, stopped.remark))), stopped.exit_code, debug=False)
    except OSError as error:
        with _dropping(sys.stdout):
            sys.stdout.flush()
        if isinstance(error, BrokenPipeError):  # the reader of a pipe (`| head`) is gone
            return 128 + signal.SIGPIPE
        problem = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        bad_name = errors.UsageError if error.errno in (errno.ELOOP, errno.ENAMETOOLONG) else errors.InputError
        kind = errors.DiskError if error.errno in errors.DISK_ERRNOS else bad_name
        return _end(problem, kind.exit_code, debug=arguments.debug)
    except Exception as error:
        text, code = f"internal error: {type(error).__name__}: {first_line(error)}\n--debug shows where", 1
        if variables := errors.variables_behind(error):
            text = f"{variables}: rejected by a library that reads it ({first_line(error)}); unset it"
            code = errors.UsageError.exit_code
        elif errors.lack_in(errors.describe(error)) == "memory":
            text = f"out of memory: {first_line(error)}"
        return _end(text, code, debug=arguments.debug)


@contextlib.contextmanager
def _dropping(stream: TextIO) -> Iterator[None]:
    """Drop what a stream cannot write, for example to a full disk: Python would complain again at exit."""
    try:
        yield
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _end(text: str, code: int, *, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    sys.stderr.write(fit_message(f"glue-bench: {text}") + "\n")
    return code
