"""Where the files lie that ship with the package but are edited at the top of the repository."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_SHIPPED = {"conf": "conf", "published_numbers": "results/published"}


def shipped_folder(name: str) -> Path:
    """The absolute folder of `name`: the copy inside an installed wheel, else the checkout's own.

    Works from a wheel, an editable install and a bare checkout, from any working directory.
    """
    packaged = _PACKAGE / name
    return packaged if packaged.is_dir() else _PACKAGE.parent / _SHIPPED[name]
