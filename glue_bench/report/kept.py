"""Numbers that take long to compute from predictions, kept by content in the cache folder, which is safe to delete."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from glue_bench.errors import DiskError
from glue_bench.files import cache_folder, write_text_atomically
from glue_bench.reading import read_text
from glue_bench.statistics.intervals import SplitPredictions

Numbers = list[list[float]]
_VERSION = 2  # goes up when the same predictions give other numbers


def keep_numbers(
    compute: Callable[[], Numbers],
    *,
    splits: Mapping[str, SplitPredictions],
    words: Sequence[object],
    stream: np.random.Generator,
) -> Numbers:
    """Return what `compute` returns, and leave `stream` as it leaves it; call it only if the answer is not known.

    Args:
        splits: the predictions that it reads.
        words: whatever else the numbers depend on; a name of the computation is the first.
        stream: where it draws from.
    """
    bits = stream.bit_generator
    known = [_VERSION, np.__version__, *words, bits.state]
    known += [(name, split.labels.shape, split.predictions.shape) for name, split in splits.items()]
    digest = hashlib.sha256(repr(known).encode())
    for split in splits.values():
        digest.update(split.labels.tobytes() + split.predictions.tobytes())
    path = cache_folder("report") / f"{digest.hexdigest()[:32]}.json"
    with contextlib.suppress(OSError, ValueError):  # not there, or not readable
        seal, _, text = read_text(path).partition("\n")
        if seal == _seal(path.name, text):  # else it is not what was written under this name
            numbers: Numbers
            numbers, bits.state = json.loads(text)
            return numbers
    text = json.dumps([numbers := compute(), bits.state])
    with contextlib.suppress(DiskError):  # then it is computed again
        write_text_atomically(path, f"{_seal(path.name, text)}\n{text}")
    return numbers


def _seal(name: str, text: str) -> str:
    return hashlib.sha256(f"{name}\n{text}".encode()).hexdigest()
