"""Text that means nothing but itself where it is put: a spreadsheet's cell, Markdown. Knows no tables."""

_MARKDOWN = "\\`*_[]<>|~&$"


def escape_cell(value: object) -> object:
    """Text that a spreadsheet would take for a formula, as text; anything else as it is."""
    return "'" + value if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def escape_markdown(text: str) -> str:
    """One line that Markdown, its tables included, shows as it is; what cannot be printed becomes a space."""
    for char in _MARKDOWN:
        text = text.replace(char, "\\" + char)
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
