"""Wording, and escapes for terminals, the command line, spreadsheets, Markdown and LaTeX. Knows no tables."""

import re
import unicodedata

_LONGEST_VALUE = 200  # characters of a value in a message
_LONGEST_MESSAGE, _MOST_LINES = 600, 3


def plural(count: int, noun: str) -> str:
    """Return the count with its noun, in the plural with an added s: `1 run`, `1,200 runs`."""
    return f"{count:,} {noun if count == 1 else f'{noun}s'}"


def three_digits(value: float) -> str:
    """Write about three digits of a positive number, and all before the point: `0.698`, `137`, `1,960`."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def first_line(text: object, default: str = "no reason given") -> str:
    """Return a message's first line, with the next after a colon; for an empty one the exception's class."""
    lines = [" ".join(line.split()) for line in str(text).splitlines() if line.strip()]
    if not lines:
        return type(text).__name__ if isinstance(text, BaseException) else default
    whole = f"{lines[0]} {lines[1]}" if lines[0].endswith(":") and len(lines) > 1 else lines[0]
    return cut(visible(whole), 2 * _LONGEST_VALUE)


def reason_of(error: BaseException) -> str:
    """Return in one line why a library failed: its message, after the kind of error if the message says little."""
    line = first_line(error)
    package = re.search(r"requires the (\w+) library", line)
    kind = f"{type(error).__name__}: " if isinstance(error, LookupError | AttributeError | TypeError) else ""
    install = f" pip install {package[1].lower()}" if package else ""
    return f"{kind}{line.removesuffix(' Check out the instructions on the')}{install}"


def visible(text: str) -> str:
    """Write as escapes what a terminal would obey or not show: control characters, line breaks, lone surrogates."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def cut(text: str, limit: int = _LONGEST_VALUE) -> str:
    """Leave out the middle of a text that is longer than `limit` characters."""
    end = limit // 3
    return text if len(text) <= limit else f"{text[: limit - end - 5]} ... {text[len(text) - end :]}"


def quote(value: object) -> str:
    """Return a user's value as messages show it: on one line, visible, at most 200 characters."""
    return cut(visible(str(value)))


def fit_message(text: str) -> str:
    """Return a message as at most three lines and 600 characters that a terminal shows and does not obey."""
    lines = [visible(line) for line in text.split("\n") if line.strip()][:_MOST_LINES]
    while (excess := len("\n".join(lines)) - _LONGEST_MESSAGE) > 0:
        longest = max(range(len(lines)), key=lambda place: len(lines[place]))
        lines[longest] = cut(lines[longest], max(len(lines[longest]) - excess, _LONGEST_MESSAGE // 4))
    return "\n".join(lines)


def quote_value(text: str) -> str:
    """Quote a string in Hydra's grammar, where a backslash is special only before a quote."""
    doubled = re.sub(r"(\\+)(?='|$)", r"\1\1", text)
    return "'" + doubled.replace("'", "\\'") + "'"


def escape_cell(value: object) -> object:
    """Escape text that a spreadsheet would take for a formula, or a terminal obey; return all else unchanged."""
    if not isinstance(value, str):
        return value
    return "'" * value.lstrip().startswith(("=", "+", "-", "@")) + visible(value)


def escape_markdown(text: str) -> str:
    """Escape text as one line of Markdown, also for tables; unprintable characters become spaces."""
    escaped = re.sub(r"[\\`*_\[\]<>|~&$]", r"\\\g<0>", text)
    return " ".join("".join(char if char.isprintable() else " " for char in escaped).split())


_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "\u2026": r"\ldots{}", "\u2013": "--", "\u2014": "---",
    "\u2018": "`", "\u2019": "'", "\u201c": "``", "\u201d": "''", "\u00d7": r"$\times$",
}  # fmt: skip


def escape_latex(text: str) -> str:
    """Escape text as one line of LaTeX in T1; characters that its fonts lack become question marks."""
    printable = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    plain = re.sub("-(?=-)", "-\0", unicodedata.normalize("NFC", printable))
    known = (c if c.isascii() or (c.isalpha() and "À" <= c <= "ÿ") else "?" for c in plain)
    escaped = "".join(_LATEX.get(c, shown) for c, shown in zip(plain, known, strict=True))
    return escaped.replace("\0", "{}")


def format_bytes(count: int) -> str:
    """Format bytes in decimal units, as disks and downloads are sold."""
    for unit, size in (("GB", 10**9), ("MB", 10**6)):
        if count >= size:
            return f"{count / size:.1f} {unit}" if count < 10 * size else f"{count / size:.0f} {unit}"
    return f"{count / 1000:.0f} kB"


def format_clock(seconds: float) -> str:
    """Format seconds as H:MM:SS, or M:SS below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
