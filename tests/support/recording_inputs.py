"""Make the encoders and rows under tests/golden. Never run this again: run ids depend on the files' bytes.

python -m tests.support.recording_inputs        writes them; kept to document what they are
"""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    ElectraConfig,
    ElectraModel,
    RobertaConfig,
    RobertaForMaskedLM,
)

from tests.support.tiny import make_local_glue, pair_columns, sentences, write_parquet

DATA = Path(__file__).parents[1] / "golden"


def make_roberta(folder: Path) -> None:
    """Make two layers of width 16, and a byte-level vocabulary of the letters that occur and some words."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.BpeTrainer(vocab_size=110, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(sentences(200, seed=0), trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        initializer_range=0.2,  # so that logits, and losses, differ from the first update on
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=66,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )
    RobertaForMaskedLM(config).save_pretrained(folder)
    _save_tokenizer(tokenizer, folder, "RobertaTokenizer", {"pad_token": "<pad>", "mask_token": "<mask>"})


def make_word_piece_families(parent: Path) -> None:
    """Make BERT, DistilBERT and ELECTRA, two layers of width 16 each, with one vocabulary."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=110, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(sentences(200, seed=0), trainer)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    size = tokenizer.get_vocab_size()
    shape: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    common: dict[str, Any] = {
        "vocab_size": size,
        "max_position_embeddings": 64,
        "pad_token_id": 0,
        "initializer_range": 0.2,
    }
    torch.manual_seed(0)
    BertModel(BertConfig(**common, **shape)).save_pretrained(parent / "tiny_bert")
    electra = ElectraConfig(**common, **shape, embedding_size=8)
    ElectraModel(electra).save_pretrained(parent / "tiny_electra")
    distilbert = DistilBertConfig(**common, dim=16, n_layers=2, n_heads=2, hidden_dim=32)
    DistilBertModel(distilbert).save_pretrained(parent / "tiny_distilbert")
    for name in ("Bert", "Electra", "DistilBert"):
        tokens = {"pad_token": "[PAD]", "mask_token": "[MASK]"}
        _save_tokenizer(tokenizer, parent / f"tiny_{name.lower()}", f"{name}Tokenizer", tokens)


def _save_tokenizer(tokenizer: Tokenizer, folder: Path, name: str, tokens: dict[str, str]) -> None:
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name, **tokens}) + "\n")


def main() -> None:
    """Write all encoders and rows."""
    make_roberta(DATA / "tiny_encoder")
    make_word_piece_families(DATA)
    make_local_glue(DATA / "tiny_rows", train=40, validation=16)
    damaged = pair_columns(40, seed=1)
    damaged["label"][4] = -1  # a run of mrpc fails
    write_parquet(DATA / "tiny_rows" / "mrpc" / "train.parquet", damaged)


if __name__ == "__main__":
    main()
