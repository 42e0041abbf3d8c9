"""Matplotlib without settings: neither a matplotlibrc in the working folder nor the user's own is read."""

import contextlib
import os
import tempfile

from glue_bench.files import cache_folder

with tempfile.TemporaryDirectory() as _empty:
    # It reads the working folder's file whatever the environment says, and keeps a list of fonts in MPLCONFIGDIR.
    os.environ |= {"MPLCONFIGDIR": str(cache_folder("matplotlib").absolute()), "MATPLOTLIBRC": _empty}
    with contextlib.chdir(_empty):
        import matplotlib as mpl

__all__ = ["mpl"]
