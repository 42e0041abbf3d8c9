"""Numbers that take long to compute from predictions, kept by content in the cache folder, which is safe to delete."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from glue_bench.errors import DiskError
from glue_bench.files import cache_folder, write_text_atomically
from glue_bench.reading import conform, read_json
from glue_bench.statistics.intervals import SplitPredictions

Numbers = list[list[float]]
_VERSION = 1  # goes up when the same predictions give other numbers


def keep_numbers(
    compute: Callable[[], Numbers],
    *,
    splits: Mapping[str, SplitPredictions],
    words: Sequence[object],
    lengths: Sequence[int],
    stream: np.random.Generator,
) -> Numbers:
    """Return what `compute` returns, and leave `stream` as it leaves it; call it only if the answer is not known.

    Args:
        splits: the predictions that it reads.
        words: whatever else the numbers depend on; a name of the computation is the first.
        lengths: of each list that it returns.
        stream: where it draws from.
    """
    bits = stream.bit_generator
    known = [_VERSION, np.__version__, *words, bits.state]
    known += [(name, split.labels.shape, split.predictions.shape) for name, split in splits.items()]
    digest = hashlib.sha256(repr(known).encode())
    for split in splits.values():
        digest.update(split.labels.tobytes() + split.predictions.tobytes())
    path = cache_folder("report") / f"{digest.hexdigest()[:32]}.json"
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):  # not there, or damaged
        content = read_json(path)
        numbers: Numbers = content["numbers"]
        conform(Numbers, numbers, where="numbers")
        if [*map(len, numbers)] == [*lengths]:
            bits.state = json.loads(content["after"])
            return numbers
    numbers = compute()
    with contextlib.suppress(DiskError):  # then it is computed again
        write_text_atomically(path, json.dumps({"numbers": numbers, "after": json.dumps(bits.state)}))
    return numbers
