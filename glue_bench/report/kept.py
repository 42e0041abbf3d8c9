"""Numbers that take long to compute from predictions, kept by content in the cache folder, which is safe to delete."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from glue_bench.errors import DiskError
from glue_bench.files import cache_folder, read_sealed, write_sealed
from glue_bench.statistics.intervals import SplitPredictions

Numbers = list[list[float]]
_VERSION = 5  # goes up when the same predictions give other numbers


def keep_numbers(
    compute: Callable[[], Numbers],
    *,
    splits: Mapping[str, SplitPredictions],
    words: Sequence[object],
) -> Numbers:
    """Return what `compute` returns; call it only if the answer is not known.

    It reads the predictions of `splits`; `words` are whatever else the numbers depend on, first a name of the
    computation.
    """
    known = [_VERSION, np.__version__, *words]
    known += [(name, split.labels.shape, split.predictions.shape) for name, split in splits.items()]
    digest = hashlib.sha256(repr(known).encode())
    for split in splits.values():
        digest.update(split.labels.tobytes() + split.predictions.tobytes())
    path = cache_folder("report") / digest.hexdigest()[:32]
    with contextlib.suppress(OSError, ValueError):  # not there, or not as it was written
        known_numbers: Numbers = json.loads(read_sealed(path))
        return known_numbers
    numbers = compute()
    with contextlib.suppress(DiskError):  # then it is computed again
        write_sealed(path, json.dumps(numbers).encode())
    return numbers
