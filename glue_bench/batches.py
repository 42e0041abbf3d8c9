"""Rows of the flat token array to padded tensors. Knows no tasks, no models."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glue_bench.encoding import Encoded


@dataclass(frozen=True, slots=True, kw_only=True)
class PaddedBatch:
    """B rows, padded to the longest of them."""

    input_ids: Tensor  # (B, L) int64
    attention_mask: Tensor  # (B, L) int64, 1 for a token
    token_type_ids: Tensor  # (B, L) int64
    tokens: int  # real ones


def pad_rows(encoded: Encoded, rows: NDArray[np.int64], *, pad_id: int, device: torch.device) -> PaddedBatch:
    """Gather rows into one padded batch.

    Args:
        rows: (B,) row numbers.
        pad_id: the encoder's padding token.
    """
    lengths = encoded.offsets[rows + 1] - encoded.offsets[rows]  # (B,)
    columns = np.arange(lengths.max())  # (L,)
    mask = columns < lengths[:, None]  # (B, L)
    places = np.where(mask, encoded.offsets[rows][:, None] + columns, 0)  # (B, L) into the flat array
    ids = np.where(mask, encoded.tokens[places], pad_id).astype(np.int64)
    types = np.where(mask, encoded.types[places], 0).astype(np.int64)
    return PaddedBatch(
        input_ids=torch.from_numpy(ids).to(device),
        attention_mask=torch.from_numpy(mask.astype(np.int64)).to(device),
        token_type_ids=torch.from_numpy(types).to(device),
        tokens=int(lengths.sum()),
    )


def shuffled_batches(rows: int, *, batch_size: int, seed: int, epoch: int) -> Iterator[NDArray[np.int64]]:
    """Every row once, in the order that (seed, epoch) alone determines; the last batch may be smaller."""
    order = np.random.default_rng([seed, epoch]).permutation(rows)
    for start in range(0, rows, batch_size):
        yield order[start : start + batch_size]


def length_sorted_batches(lengths: NDArray[np.int64], *, batch_size: int) -> Iterator[NDArray[np.int64]]:
    """Every row once, neighbours of nearly equal length together, longest first."""
    order = np.argsort(-lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
