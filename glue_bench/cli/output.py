"""Text to the person: tables on stdout, remarks on stderr. Loads nothing that trains."""

import sys
from pathlib import Path

from glue_bench.files import write_text_atomically
from glue_bench.report import Report, render_report

PIPE_WIDTH = 160  # columns of a table that does not go to a terminal


def render_to_stdout(report: Report) -> str:
    """The console table in the width and colours of stdout."""
    terminal = sys.stdout.isatty()
    return render_report(report, "console", width=None if terminal else PIPE_WIDTH, color=terminal)


def say(text: str) -> None:
    """One line to the person at the terminal."""
    sys.stderr.write(f"{text}\n")


def write_output(text: str, path: Path | None) -> None:
    """To stdout, or to the file, which is then named on stderr.

    A new or regular file is replaced whole; a link, pipe or device is written through.
    """
    if path is None:
        sys.stdout.write(text)
    elif path.is_symlink() or (path.exists() and not path.is_file()):
        path.write_text(text, encoding="utf-8")
    else:
        write_text_atomically(path, text)
        say(f"written: {path}")
