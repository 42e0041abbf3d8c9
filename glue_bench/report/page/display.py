"""Values as a reader sees them: numbers with a true minus, names without invisible characters. Knows no HTML."""

import unicodedata

MINUS = "\u2212"
_SHOWN = ("\n", "\t")


def show_text(text: str) -> str:
    """The text with its control, formatting and unassigned characters made visible, as in `a⟨U+202E⟩b`.

    A name that turns the direction of writing, or holds characters without width, cannot pass for another one.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_show_char(char) for char in text)


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters, in one line."""
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[: limit - 1].rstrip()}…"


def show_number(value: float | None, *, digits: int = 1, sign: bool = False) -> str:
    """A number with a true minus sign and comma as thousands separator; empty for None."""
    if value is None:
        return ""
    return f"{value:{'+' if sign else ''},.{digits}f}".replace("-", MINUS)


def show_range(low: float | None, high: float | None, *, digits: int = 1) -> str:
    """`[low, high]`; empty where one is missing."""
    if low is None or high is None:
        return ""
    return f"[{show_number(low, digits=digits)}, {show_number(high, digits=digits)}]"


def show_seconds(seconds: float | None) -> str:
    """A duration with about three figures, in s, min or h."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def show_count(number: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def join_words(words: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _show_char(char: str) -> str:
    if char in _SHOWN or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Cn", "Zl", "Zp"):
        return char
    return f"⟨U+{ord(char):04X}⟩"
