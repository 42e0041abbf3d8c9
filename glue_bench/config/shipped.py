"""Where conf/ lies, the defaults that ship with the package but are edited at the top of the repository."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def conf_folder() -> Path:
    """The absolute path of conf/: the copy inside an installed wheel, else the checkout's own.

    Works from a wheel, an editable install and a bare checkout, from any working directory.
    """
    packaged = _PACKAGE / "conf"
    return packaged if packaged.is_dir() else _PACKAGE.parent / "conf"
