"""Which rows make a batch, and batches padded to their longest row. Knows no tasks, no models."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glue_bench.data.encoding import Encoded


@dataclass(frozen=True, slots=True, kw_only=True)
class PaddedBatch:
    """B rows, padded to the longest of them."""

    input_ids: Tensor  # (B, L) int64
    attention_mask: Tensor  # (B, L) int64, 1 for a token
    token_type_ids: Tensor  # (B, L) int64
    tokens: int  # real ones


class PaddedRows:
    """An encoded split, for a model that wants padding."""

    def __init__(self, encoded: Encoded, *, pad_id: int, device: torch.device) -> None:
        """Hold a split.

        Args:
            pad_id: the encoder's padding token.
            device: where batches go.
        """
        self._encoded, self._pad_id, self._device = encoded, pad_id, device

    def gather(self, rows: NDArray[np.int64]) -> PaddedBatch:
        """The batch of these rows, in this order."""
        encoded = self._encoded
        lengths = encoded.offsets[rows + 1] - encoded.offsets[rows]  # (B,)
        columns = np.arange(lengths.max())  # (L,)
        mask = columns < lengths[:, None]  # (B, L)
        places = np.where(mask, encoded.offsets[rows][:, None] + columns, 0)  # (B, L) into the flat array
        ids = np.where(mask, encoded.tokens[places], self._pad_id)
        types = np.where(mask, encoded.types[places], 0)
        stacked = torch.from_numpy(np.stack([ids, mask, types]).astype(np.int64)).to(self._device)
        return PaddedBatch(
            input_ids=stacked[0], attention_mask=stacked[1], token_type_ids=stacked[2], tokens=int(lengths.sum())
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
