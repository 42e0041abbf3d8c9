"""The rows of a split as plain columns, and their fingerprint. Knows no files."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """n rows in file order, whatever their labels."""

    texts: tuple[list[str], ...]  # one or two columns of n strings
    idx: NDArray[np.int64]  # (n,) the row's number as the source gives it

    def __len__(self) -> int:
        return len(self.idx)


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """n rows in file order, with their labels."""

    texts: tuple[list[str], ...]  # one or two columns of n strings
    labels: NDArray[np.int64] | NDArray[np.float64]  # (n,) codes 0..k-1, or scores for regression
    idx: NDArray[np.int64]  # (n,) the row's number as the source gives it

    def __len__(self) -> int:
        return len(self.idx)

    def head(self, rows: int | None) -> "Split":
        """The first `rows` rows; all of them for None."""
        texts = tuple(column[:rows] for column in self.texts)
        return Split(texts=texts, labels=self.labels[:rows], idx=self.idx[:rows])

    def text_digest(self) -> str:
        """SHA-256 of the texts alone, whatever the labels."""
        digest = hashlib.sha256()
        for column in self.texts:
            digest.update(np.array([len(text) for text in column], dtype=np.int64).tobytes())
            digest.update("".join(column).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskData:
    """What a run trains and is evaluated on."""

    splits: Mapping[str, Split]
    source: str  # hub, local or sample
    dataset: str | None  # the hub's dataset id
    revision: str | None  # the hub's commit
    fingerprint: str  # of every text and label that was used
    rows: Mapping[str, int]


def fingerprint_splits(splits: Mapping[str, Split]) -> str:
    """SHA-256 over split names, texts and labels, first 16 hex digits."""
    digest = hashlib.sha256()
    for name in sorted(splits):
        digest.update(f"{name}\0{splits[name].text_digest()}\0".encode())
        digest.update(splits[name].labels.astype(np.float64).tobytes())
    return digest.hexdigest()[:16]
