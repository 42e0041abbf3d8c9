"""Folders of encoders that cannot be fine-tuned: each is refused in one line with the reason."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
)

from glue_bench.errors import InputError
from glue_bench.models.classifier import (
    load_classifier,
)
from tests.support.tiny import sentences
from tests.support.training import split_of

ROWS = split_of(sentences(7, seed=11), sentences(7, seed=12)[::-1])

DAMAGED = "(model.safetensors is damaged, download it again: "
NEW_CODE = {"AutoConfig": "configuration_new.NewConfig", "AutoModel": "modeling_new.NewModel"}


@pytest.mark.parametrize("engine", ["flat", "padded"])
def test_a_decoder_is_refused_in_one_line(engine: str, tiny_roberta: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_roberta, tmp_path / "decoder")
    config = json.loads((tiny_roberta / "config.json").read_text())
    (tmp_path / "decoder" / "config.json").write_text(json.dumps({**config, "is_decoder": True}))
    with pytest.raises(InputError, match=r"is_decoder=true in its config\.json; only bidirectional encoders"):
        load_classifier(tmp_path / "decoder", outputs=2, head_seed=5, engine=engine)


def test_weights_that_lack_a_layer_are_refused(tiny_roberta: Path, tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((tiny_roberta / name).read_bytes())
    weights = load_file(tiny_roberta / "model.safetensors")
    kept = {name: value.clone() for name, value in weights.items() if "layer.1" not in name}
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"its weights lack encoder\.layer\.1\."):
        load_classifier(tmp_path, outputs=2, head_seed=5)


@pytest.mark.parametrize(
    ("spoilt", "reason"),
    [
        (b"\x00" * 100, DAMAGED),
        (b"<!DOCTYPE html><title>404</title>", DAMAGED),
        (b"", DAMAGED),
        ({"model_type": "BERT"}, "does not know model_type BERT, "),
        ({"model_type": "RoBERTa", "transformers_version": "4.1"}, "; did you mean roberta?"),
        (
            {"model_type": "superbert", "transformers_version": "31.0.1"},
            ", which 31.0.1 saved (if later: pip install --upgrade transformers)",
        ),
        ({"model_type": "qqqq", "transformers_version": [7]}, "does not know model_type qqqq"),
        (
            {"model_type": "superbert", "auto_map": NEW_CODE},
            "needs Python code of its own (auto_map), which is never run",
        ),
        ({"num_attention_heads": 5}, "The hidden size (32) is not a multiple of the number of attention heads (5)"),
        ({"hidden_size": "wide"}, "'hidden_size' expected int, got str"),
        ({"hidden_act": "hypergelu"}, "its weights cannot be loaded (KeyError: 'hypergelu')"),
        ({"num_hidden_layers": 1}, "its weights have layers that config.json lacks: encoder.layer.1."),
        ({"num_hidden_layers": 3}, "its weights lack encoder.layer.2."),
        ({"vocab_size": 40}, "sizes in the weights that differ from config.json: "),
    ],
)
def test_damaged_files_and_other_models_are_one_line_with_the_reason(
    spoilt: bytes | dict[str, object], reason: str, tiny_bert: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "encoder"))
    if isinstance(spoilt, bytes):
        (folder / "model.safetensors").write_bytes(spoilt)
    else:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **spoilt}))
        (folder / "configuration_new.py").write_text("raise SystemExit('executed')")
    with pytest.raises(InputError, match="encoder folder ") as caught:
        load_classifier(folder, outputs=2, head_seed=5)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("prefix", "way_out"),
    [("module.", "save them without DataParallel's `module.`"), ("net.bert.", "take config.json and weights from one")],
)
def test_weights_under_other_names_are_refused_with_one_of_them(
    prefix: str, way_out: str, tiny_bert: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "encoder"))
    weights = {f"{prefix}{name}": value for name, value in load_file(tiny_bert / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        InputError, match=rf"its weights lack .* and \d+ more, but have {prefix}embeddings.*; {way_out}"
    ):
        load_classifier(folder, outputs=2, head_seed=5)


def put_tensor(folder: Path, source: Path, changes: dict[str, torch.Tensor]) -> Path:
    shutil.copytree(source, folder)
    weights = load_file(source / "model.safetensors")
    save_file({**weights, **changes}, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"encoder.layer.0.attention.self.query.bias": torch.full((32,), math.nan)},
            "NaN or infinite weights: encoder.layer.0.attention.self.query.bias",
        ),
        (
            {"embeddings.LayerNorm.weight": torch.full((32,), math.inf)},
            "NaN or infinite weights: embeddings.LayerNorm.weight",
        ),
        ({"encoder.layer.5.output.dense.bias": torch.zeros(32)}, "layers that config.json lacks: encoder.layer.5"),
        ({"embeddings.position_embeddings.weight": torch.zeros(64, 32)}, "sizes in the weights that differ from"),
    ],
)
def test_weights_that_do_not_fit_their_configuration_are_an_input_error_with_the_reason(
    changes: dict[str, torch.Tensor], message: str, tiny_bert: Path, tmp_path: Path
) -> None:
    folder = put_tensor(tmp_path / "encoder", tiny_bert, changes)
    with pytest.raises(InputError) as caught:
        load_classifier(folder, outputs=2, head_seed=5)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        ("xlnet", "xlnet is a causal model, with a head on the last token"),
        ("gpt2", "gpt2 is a causal model"),
        ("opt", "opt is a causal model"),
        ("bart", "bart is an encoder with a decoder"),
        ("t5", "t5 is an encoder with a decoder"),
        ("fnet", "fnet has no attention mask"),
        ("canine", "canine has no vocabulary"),
    ],
)
def test_a_family_whose_logits_would_be_wrong_is_refused_in_one_true_line(family: str, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        load_classifier(AutoConfig.for_model(family), outputs=2, head_seed=1)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
