"""Rows, tokens and settings that the tests of models, training and finished runs share."""

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from transformers import AlbertConfig, DistilBertConfig, DistilBertModel

from glue_bench.config.compose import compose_run
from glue_bench.config.schema import TrainerConfig
from glue_bench.data.encoding import Encoded
from glue_bench.data.rows import Split
from glue_bench.models.placement import Layout, Placement, choose_placement
from glue_bench.training.course import SeedStreams
from tests.support.tiny import pair_columns

CPU = choose_placement("cpu", "auto")
ONEDNN = dataclasses.replace(CPU, products="onednn")
STREAMS = SeedStreams.from_seed(3)
LEARNING = ["trainer.epochs=5", "trainer.learning_rate=3e-3", "trainer.batch_size=8", "trainer.log_every=1"]
OWNER = {"run_id": "seed1-abc", "engine": "flat"}


def settings(**changes: object) -> TrainerConfig:
    trainer = compose_run(["task=rte"]).trainer
    changed = {"epochs": 2, "batch_size": 8, "learning_rate": 1e-3, "max_length": 64, "log_every": 1, **changes}
    return dataclasses.replace(trainer, **changed)  # type: ignore[arg-type]


def rows_of(kind: str, count: int = 100) -> Split:
    columns = pair_columns(count, seed=9, labels=3 if kind == "three-way" else 2)
    texts = ([str(text) for text in columns["sentence1"]], [str(text) for text in columns["sentence2"]])
    codes = np.array(columns["label"], dtype=np.int64)
    labels = codes.astype(np.float64) * 2.5 + 0.25 if kind == "regression" else codes
    return Split(texts=texts, labels=labels, idx=np.arange(count))


def encoded_of(lengths: list[int], *, seed: int, pad_id: int, vocabulary: int = 120) -> Encoded:
    """Make random tokens in rows of the given lengths, two texts each where there is room; padding ids among them."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(5, vocabulary, sum(lengths)).astype(np.int32)
    tokens[rng.random(len(tokens)) < 0.02] = pad_id
    types = np.concatenate([np.arange(length) > length // 2 for length in lengths]).astype(np.uint8)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Encoded(tokens=tokens, types=types, offsets=offsets, truncated=0)


def split_of(*columns: list[str]) -> Split:
    rows = len(columns[0])
    return Split(texts=columns, labels=np.zeros(rows, dtype=np.int64), idx=np.arange(rows))


def make_distilbert(folder: Path, tokenizer: Path) -> Path:
    config = DistilBertConfig(vocab_size=300, dim=32, hidden_dim=64, n_layers=2, n_heads=4, max_position_embeddings=128)
    DistilBertModel(config).save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes((tokenizer / "tokenizer.json").read_bytes())
    return folder


ROWS = rows_of("binary", 36)


class FixedShapes(Placement):
    """A CPU on which batches have the layout, and the history the lateness, that they have on a GPU."""

    __slots__ = ()
    asynchronous = True

    def layout(self, lengths: NDArray[np.int64], *, rows: int | None = None) -> Layout:  # noqa: ARG002 - one bucket
        return Layout(bucket=32, rows=rows, segments=rows is not None)


FIXED = FixedShapes(device=CPU.device, precision=CPU.precision)
ALBERT = AlbertConfig(
    vocab_size=60, embedding_size=16, hidden_size=32, intermediate_size=48, num_attention_heads=2, num_hidden_layers=2
)
