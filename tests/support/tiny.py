"""A RoBERTa and a BERT of a few kilobytes, and small task folders, generated without a network."""

import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, RobertaConfig, RobertaForMaskedLM

NOUNS = ("cat", "dog", "bird", "horse", "child", "teacher", "doctor", "farmer")
VERBS = ("sees", "likes", "follows", "helps", "greets", "paints")
PLACES = ("in the garden", "near the river", "at school", "on the hill", "by the old house")


def sentences(count: int, *, seed: int) -> list[str]:
    """Write plain English sentences of 5 to 11 words."""
    rng = random.Random(seed)
    made = []
    for _ in range(count):
        places = " ".join(rng.sample(PLACES, rng.randint(0, 2)))
        made.append(f"the {rng.choice(NOUNS)} {rng.choice(VERBS)} the {rng.choice(NOUNS)} {places}".strip() + ".")
    return made


def make_tiny_roberta(folder: Path, *, seed: int = 0) -> Path:
    """Make a RoBERTa with 2 layers of width 32 in `folder`: config, safetensors, byte-level BPE tokenizer."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences(200, seed=0), trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    torch.manual_seed(seed)
    config = RobertaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=514,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )
    RobertaForMaskedLM(config).save_pretrained(folder)
    _save_tokenizer(tokenizer, folder, "RobertaTokenizer", {"pad_token": "<pad>", "mask_token": "<mask>"})
    return folder


def make_tiny_bert(folder: Path, *, seed: int = 0) -> Path:
    """Make a BERT with 2 layers of width 32 in `folder`: config, safetensors, word-piece tokenizer."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(sentences(200, seed=0), trainer)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=128,
        pad_token_id=0,
    )
    BertModel(config).save_pretrained(folder)
    _save_tokenizer(tokenizer, folder, "BertTokenizer", {"pad_token": "[PAD]", "mask_token": "[MASK]"})
    return folder


def write_parquet(path: Path, columns: dict[str, list[object]]) -> Path:
    """Write one split as the hub has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def pair_columns(count: int, *, seed: int, labels: int = 2) -> dict[str, list[object]]:
    """Make sentence pairs whose label can be learnt: class 0 repeats the first sentence."""
    rng = random.Random(seed)
    first, other = sentences(count, seed=seed), sentences(count, seed=seed + 1000)
    label = [rng.randrange(labels) for _ in range(count)]
    second = [a if code == 0 else b for a, b, code in zip(first, other, label, strict=True)]
    return {"sentence1": list(first), "sentence2": list(second), "label": list(label), "idx": list(range(count))}


def make_local_glue(folder: Path, *, train: int = 48, validation: int = 20) -> Path:
    """Write small rte, mrpc, sst2, stsb and mnli folders with the hub's columns."""
    for task in ("rte", "mrpc"):
        for split, count, seed in (("train", train, 1), ("validation", validation, 2)):
            write_parquet(folder / task / f"{split}.parquet", pair_columns(count, seed=seed))
    for split, count, seed in (("train", train, 3), ("validation", validation, 4)):
        pairs = pair_columns(count, seed=seed)
        scores: list[object] = [
            5.0 if code == 0 else 1.0 + 0.125 * (row % 8) for row, code in enumerate(pairs["label"])
        ]
        write_parquet(folder / "stsb" / f"{split}.parquet", {**pairs, "label": scores})
        texts: list[object] = list(sentences(count, seed=seed + 50))
        codes: list[object] = [int("cat" in str(text) or "dog" in str(text)) for text in texts]
        columns = {"sentence": texts, "label": codes, "idx": list[object](range(count))}
        write_parquet(folder / "sst2" / f"{split}.parquet", columns)
    for split, count, seed in (
        ("train", train, 5),
        ("validation_matched", validation, 6),
        ("validation_mismatched", 9, 7),
    ):
        pairs = pair_columns(count, seed=seed, labels=3)
        columns = {"premise": pairs["sentence1"], "hypothesis": pairs["sentence2"], "label": pairs["label"]}
        write_parquet(folder / "mnli" / f"{split}.parquet", columns)
    return folder


def _save_tokenizer(tokenizer: Tokenizer, folder: Path, name: str, tokens: dict[str, str]) -> None:
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name, **tokens}))
