"""Rows and an encoder for the measurements on a GPU: made in a minute, without a network or anybody's texts.

Rows are random words at GLUE's official row counts; the lengths of a task's texts in tokens are distributed as in
row_lengths.json. The tokenizer is a byte-level BPE with RoBERTa's 50,265 entries, trained on the words; the encoder has
random weights in DistilRoBERTa's exact size. The toy size is for trying the measurements on a CPU.
"""

import json
import math
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from glue_bench.config.compose import compose_run

TASKS = ("mnli", "qqp", "qnli", "sst2", "cola", "stsb", "mrpc", "rte")
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
_LENGTHS = json.loads(Path(__file__).with_name("row_lengths.json").read_text())


@dataclass(frozen=True)
class Size:
    """How much is made."""

    words: int
    vocabulary: int
    rows: int  # of a split at most
    encoder: dict[str, Any]


WHOLE = Size(90_000, 50_265, 10**9, {"num_hidden_layers": 6})
_TINY = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
TOY = Size(2_000, 2_000, 96, _TINY)


def prepare(work: Path, *, toy: bool) -> Path:
    """Make `encoder/` and `rows/` in a folder, unless they are there; return the folder."""
    folder = work / ("toy" if toy else "material")
    if folder.exists():
        return folder
    size, making = TOY if toy else WHOLE, work / f"making-{os.getpid()}"
    making.mkdir(parents=True)
    words = make_words(size.words)
    tokenizer = make_tokenizer(words, size.vocabulary)
    ids = [np.array(found.ids) for found in tokenizer.encode_batch_fast(words, add_special_tokens=False)]
    tokens = np.array([len(word) for word in ids])
    shared: dict[str, Any] = {
        "words": words,
        "tokens": tokens,
        "ids": ids,
        "folder": making / "rows",
        "limit": size.rows,
    }
    with ProcessPoolExecutor(min(len(TASKS), os.cpu_count() or 1)) as pool:
        encoder = pool.submit(make_encoder, making / "encoder", tokenizer.to_str(), size=size.encoder)
        for done in [encoder, *(pool.submit(make_task, task, **shared) for task in TASKS)]:
            done.result()
    making.rename(folder)
    return folder


def make_words(count: int) -> list[str]:
    """Make different pronounceable words, the shorter ones first, as in a language the frequent ones are."""
    rng = np.random.default_rng(1)
    consonants, vowels = np.array(list("bcdfghjklmnprstvwz")), np.array(list("aeiou"))
    made = dict[str, None]()
    syllables = 1
    while len(made) < count:
        shape = 2 * count, syllables
        parts = np.char.add(rng.choice(consonants, shape), rng.choice(vowels, shape))
        endings = rng.choice([*"nrstdl", ""], shape[0])
        found = np.char.add(np.array(["".join(row) for row in parts]), endings).tolist()
        made.update(dict.fromkeys(found[: min(2 * count, max(1, count // 12) * 3**syllables)]))
        syllables += 1
    return list(made)[:count]


def make_tokenizer(words: list[str], vocabulary: int) -> Any:
    """Train a byte-level BPE in RoBERTa's form."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE(unk_token=SPECIAL[3]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)  # a word is the same tokens everywhere
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    times = np.maximum(1, 2000 // np.arange(1, len(words) + 1))  # frequent words become one token
    tokenizer.train_from_iterator((f" {word}" * count for word, count in zip(words, times, strict=True)), trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=True)
    return tokenizer


def make_encoder(folder: Path, tokenizer: str, *, size: dict[str, Any]) -> None:
    """Write config, weights and tokenizer."""
    import torch
    from transformers import RobertaConfig, RobertaModel

    config = RobertaConfig(
        vocab_size=len(json.loads(tokenizer)["model"]["vocab"]),
        max_position_embeddings=514,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        **size,
    )
    torch.manual_seed(0)
    RobertaModel(config, add_pooling_layer=False).save_pretrained(folder)
    (folder / "tokenizer.json").write_text(tokenizer)
    names: dict[str, Any] = {
        "tokenizer_class": "RobertaTokenizer",
        "pad_token": "<pad>",
        "mask_token": "<mask>",
        "add_prefix_space": True,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(names))


def make_task(task: str, *, words: list[str], tokens: NDArray[Any], ids: list[Any], folder: Path, limit: int) -> None:
    """Write a task's training and validation splits, and the token ids that occur in them, as tokens.npy."""
    facts, rng = compose_run([f"task={task}"]).task, np.random.default_rng(TASKS.index(task))
    seen = np.zeros(len(words), dtype=bool)
    (folder / task).mkdir(parents=True)
    for split in (facts.train, *facts.validation):
        count = min(facts.rows[split], limit)
        columns: dict[str, Any] = {}
        for name, lengths in zip(facts.texts, draw_lengths(task, count, rng), strict=True):
            columns[name], used = make_texts(lengths, words=words, tokens=tokens, rng=rng)
            seen |= used
        codes = rng.integers(0, max(len(facts.labels), 2), count)
        columns["label"] = codes if facts.labels else rng.integers(0, 26, count) / 5
        columns["idx"] = np.arange(count)
        pq.write_table(pa.table(columns), folder / task / f"{split}.parquet")
    occurring = [ids[word] for word in np.flatnonzero(seen)]
    np.save(folder / task / "tokens.npy", np.union1d([0, 2], np.concatenate(occurring)).astype(np.int32))


def draw_lengths(task: str, count: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Draw tokens of each text of `count` rows, with the distributions and the correlation of row_lengths.json."""
    from scipy.special import ndtr

    facts = _LENGTHS["tasks"][task]
    normal = rng.standard_normal((len(facts["quantiles"]), count))
    correlation = 2 * math.sin(math.pi * facts["correlation"] / 6)  # of the normal variables
    normal[1:] = correlation * normal[:1] + math.sqrt(1 - correlation**2) * normal[1:]
    drawn = zip(normal, facts["quantiles"], strict=True)
    return [np.maximum(1, np.rint(np.interp(100 * ndtr(z), _LENGTHS["points"], q))).astype(np.int64) for z, q in drawn]


def make_texts(
    lengths: NDArray[np.int64], *, words: list[str], tokens: NDArray[Any], rng: np.random.Generator
) -> tuple[Any, NDArray[np.bool_]]:
    """Write texts of these lengths in tokens, within a token or two; say which words occur."""
    frequency = np.cumsum((np.arange(len(words)) + 2.7) ** -1.3)  # as many different words as in real rows
    needed = 2 * len(lengths) + int(1.1 * lengths.sum() / (np.diff(frequency, prepend=0) @ tokens) * frequency[-1])
    drawn = np.searchsorted(frequency, frequency[-1] * rng.random(needed)).clip(max=len(words) - 1)
    ends = np.searchsorted(np.cumsum(tokens[drawn]), np.cumsum(lengths), side="right")
    rows = np.arange(1, len(lengths) + 1)
    ends = np.maximum.accumulate(np.maximum(ends - rows, 0)) + rows  # at least one word in each
    drawn = drawn[: ends[-1]]
    lists = pa.ListArray.from_arrays(
        np.concatenate([[0], ends]).astype(np.int32), pa.array(words).take(pa.array(drawn))
    )
    return pc.binary_join(lists, " "), np.bincount(drawn, minlength=len(words)) > 0


def discard(work: Path, *, toy: bool) -> None:
    """Remove what `prepare` made."""
    shutil.rmtree(work / ("toy" if toy else "material"), ignore_errors=True)
