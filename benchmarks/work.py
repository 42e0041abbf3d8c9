"""Arithmetic: what a run's real tokens cost, and how fast this core multiplies matrices."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from material import BATCH, TEXTS, Case
from numpy.typing import NDArray
from transformers import AutoTokenizer

from glue_bench.models.products import multiply_by_onednn


@dataclass(frozen=True)
class Lengths:
    """Tokens of every row."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]


def lengths_of(case: Case, encoder: Path, rows: Path) -> Lengths:
    """Tokenise a case's rows."""
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    found = []
    for split in ("train", "validation"):
        frame = pd.read_parquet(rows / case.task / f"{split}.parquet")
        ids = tokenizer(*(frame[column].tolist() for column in TEXTS[case.task]))["input_ids"]
        found.append(np.array([len(row) for row in ids]))
    return Lengths(*found)


def run_flops(lengths: NDArray[np.int64], encoder: Path, *, backward: bool) -> float:
    """As `size_flops`, for the size of an encoder folder."""
    config = json.loads((encoder / "config.json").read_text())
    hidden, inner, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    return size_flops(lengths, hidden=hidden, inner=inner, layers=layers, backward=backward)


def size_flops(lengths: NDArray[np.int64], *, hidden: int, inner: int, layers: int, backward: bool) -> float:
    """Floating-point operations of the matrix products on real tokens, a multiplication and an addition being two.

    The last layer counts keys and values for every token, and everything else for a row's first token alone; the
    backward pass twice the forward pass. Embeddings, norms, activations, softmax, dropout and AdamW count nothing.
    """
    tokens, rows, squares = float(lengths.sum()), float(len(lengths)), float((lengths**2).sum())
    full = 2 * tokens * (4 * hidden**2 + 2 * hidden * inner) + 4 * hidden * squares
    last = 2 * tokens * 2 * hidden**2 + 2 * rows * (2 * hidden**2 + 2 * hidden * inner) + 4 * hidden * tokens
    head = 2 * rows * hidden**2
    return ((layers - 1) * full + last + head) * (3 if backward else 1)


def layer_shapes(encoder: Path) -> list[tuple[int, int]]:
    """Width in and out of a layer's products."""
    config = json.loads((encoder / "config.json").read_text())
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    return [(hidden, hidden), (hidden, inner), (inner, hidden)]


def matmul_rate(lengths: Lengths, wide: int, narrow: int) -> float:
    """GFLOP/s of a float32 linear layer on a batch of mean length: the best of five, of torch and of oneDNN."""
    tokens = round(BATCH * float(lengths.train.mean()))
    states, weight, bias = torch.randn(tokens, wide), torch.randn(narrow, wide), torch.randn(narrow)
    flops, best = 2.0 * tokens * wide * narrow, float("inf")
    repeats = max(1, round(5e9 / flops))
    for multiply in [torch.nn.functional.linear, multiply_by_onednn] * 5:
        started = time.perf_counter()
        for _ in range(repeats):
            multiply(states, weight, bias=bias)
        best = min(best, (time.perf_counter() - started) / repeats)
    return flops / best / 1e9
