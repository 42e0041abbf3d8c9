"""Wording, and escapes for the command line, spreadsheets, Markdown and LaTeX. Knows no tables."""

import re

_MARKDOWN = "\\`*_[]<>|~&$"


def plural(count: int, noun: str, *, nouns: str | None = None) -> str:
    """Return the count with its noun: `1 run`, `1,200 runs`. `nouns` is the plural, if not just an added s."""
    return f"{count:,} {noun if count == 1 else nouns or f'{noun}s'}"


def first_line(text: object, default: str = "no reason given") -> str:
    """Return the first non-empty line of a message; for an exception without a message, the name of its class."""
    lines = str(text).strip().splitlines()
    return lines[0] if lines else type(text).__name__ if isinstance(text, BaseException) else default


def quote_value(text: str) -> str:
    """Quote a string in Hydra's grammar, where a backslash is special only before a quote."""
    doubled = re.sub(r"(\\+)(?='|$)", r"\1\1", text)
    return "'" + doubled.replace("'", "\\'") + "'"


def escape_cell(value: object) -> object:
    """Escape text that a spreadsheet would take for a formula; return anything else unchanged."""
    return "'" + value if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def escape_markdown(text: str) -> str:
    """Escape text as one line of Markdown, also for tables; unprintable characters become spaces."""
    for char in _MARKDOWN:
        text = text.replace(char, "\\" + char)
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "%": r"\%",
    "&": r"\&",
    "#": r"\#",
    "$": r"\$",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "\u2026": r"\ldots{}",
    "\u2013": "--",
    "\u2014": "---",
    "\u2018": "`",
    "\u2019": "'",
    "\u201c": "``",
    "\u201d": "''",
    "\u00d7": r"$\times$",
}


def escape_latex(text: str) -> str:
    """Escape text as one line of LaTeX in T1; characters that its fonts lack become question marks."""
    printable = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    escaped = "".join(_LATEX.get(char) or (char if char.isascii() else "?") for char in printable.replace("--", "-\0-"))
    return escaped.replace("\0", "{}")
