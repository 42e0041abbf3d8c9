"""Predictions to the leaderboard's files, and the files to a zip: the same predictions give the same bytes."""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glue_bench.submission.layout import DECIMALS, HEADER, LeaderboardFile

_REGULAR_FILE = 0o100644
_UNIX = 3


def write_classes(file: LeaderboardFile, names: Sequence[str]) -> bytes:
    """A file of classes.

    Args:
        names: (rows,) class names in the order of the test rows.

    Raises:
        ValueError: another number of rows, or a name that the file does not know.
    """
    word_of = dict(zip(file.labels, file.words, strict=True))
    unknown = set(names) - word_of.keys()
    if unknown:
        raise ValueError(f"{file.name}: {min(unknown)!r} is none of {', '.join(file.labels)}")
    return _join(file, [word_of[name] for name in names])


def write_scores(file: LeaderboardFile, scores: NDArray[np.float64]) -> bytes:
    """A file of scores, cut to their range and rounded.

    Args:
        scores: (rows,) in the order of the test rows.

    Raises:
        ValueError: another number of rows, or a score that is no number.
    """
    if file.score_range is None or not np.isfinite(scores).all():
        raise ValueError(f"{file.name}: finite scores in a range are needed")
    clipped = np.clip(scores, *file.score_range) + 0.0  # without a negative zero
    return _join(file, [f"{score:.{DECIMALS}f}" for score in clipped])


def write_zip(path: Path, contents: Mapping[str, bytes]) -> None:
    """Write the files in the order of their names, with a fixed date and not compressed.

    Compressed bytes would depend on the version of zlib; four megabytes need no compression.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(contents):
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = _UNIX, _REGULAR_FILE << 16
            archive.writestr(info, contents[name])


def _join(file: LeaderboardFile, words: Sequence[str]) -> bytes:
    if len(words) != file.rows:
        raise ValueError(f"{file.name}: {len(words)} predictions for {file.rows} rows")
    lines = (f"{index}\t{word}\n" for index, word in enumerate(words))
    return f"{HEADER}\n{''.join(lines)}".encode("ascii")
