"""Text to the person: tables on stdout, remarks on stderr. Loads nothing that trains."""

import sys

from glue_bench.report import Report, render_report

PIPE_WIDTH = 160  # columns of a table that does not go to a terminal


def render_to_stdout(report: Report) -> str:
    """The console table in the width and colours of stdout."""
    terminal = sys.stdout.isatty()
    return render_report(report, "console", width=None if terminal else PIPE_WIDTH, color=terminal)


def say(text: str) -> None:
    """One line to the person at the terminal."""
    sys.stderr.write(f"{text}\n")
