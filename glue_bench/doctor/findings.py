"""One finding: what was looked at, how it is, what to do. Knows no checks."""

from dataclasses import dataclass

OK, NOTE, PROBLEM = "ok", "note", "problem"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One row of the doctor's table."""

    name: str  # of what was looked at
    state: str  # OK, NOTE (worth knowing, stops nothing) or PROBLEM (stops the sweep)
    found: str
    advice: str = ""  # what to do; every problem has some


def format_bytes(count: int) -> str:
    """In decimal units, as disks and downloads are sold."""
    for unit, size in (("GB", 10**9), ("MB", 10**6)):
        if count >= size:
            return f"{count / size:.1f} {unit}" if count < 10 * size else f"{count / size:.0f} {unit}"
    return f"{count / 1000:.0f} kB"
