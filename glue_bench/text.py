"""Small helpers for words, and escapes: for the command line, spreadsheets, Markdown and LaTeX. Knows no tables."""

import re

_MARKDOWN = "\\`*_[]<>|~&$"


def plural(count: int, noun: str, *, nouns: str | None = None) -> str:
    """The count with its noun: `1 run`, `1,200 runs`. `nouns` is the plural where an s is not enough."""
    return f"{count:,} {noun if count == 1 else nouns or f'{noun}s'}"


def first_line(text: object, default: str = "no reason given") -> str:
    """The first line of a message that is not empty; for an exception without a message, its class's name."""
    lines = str(text).strip().splitlines()
    return lines[0] if lines else type(text).__name__ if isinstance(text, BaseException) else default


def quote_value(text: str) -> str:
    """A literal string in Hydra's grammar, where a backslash means something only before a quote."""
    doubled = re.sub(r"(\\+)(?='|$)", r"\1\1", text)
    return "'" + doubled.replace("'", "\\'") + "'"


def escape_cell(value: object) -> object:
    """Text that a spreadsheet would take for a formula, as text; anything else as it is."""
    return "'" + value if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def escape_markdown(text: str) -> str:
    """One line that Markdown, its tables included, shows as it is; what cannot be printed becomes a space."""
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
    """One line that LaTeX sets as it is, in T1; characters that need more than its fonts become a question mark."""
    printable = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    escaped = "".join(_LATEX.get(char) or (char if char.isascii() else "?") for char in printable.replace("--", "-\0-"))
    return escaped.replace("\0", "{}")
