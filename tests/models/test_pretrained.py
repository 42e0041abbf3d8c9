"""The files of an encoder: which are needed, and which identify it."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch

from glue_bench.config.schema import EncoderConfig
from glue_bench.errors import InputError
from glue_bench.models.classifier import load_classifier
from glue_bench.models.padded import read_model_config
from glue_bench.models.pretrained import encoder_identity, resolve_pretrained


def identity(folder: Path) -> dict[str, object]:
    encoder = EncoderConfig(path=str(folder))
    return encoder_identity(encoder, resolve_pretrained(encoder))


@pytest.mark.parametrize("name", ["added_tokens.json", "spm.model", "tokenizer.model", "bpe.codes"])
def test_a_tokenizer_file_is_part_of_an_encoders_identity_if_there_is_one(
    name: str, tiny_roberta: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(tiny_roberta, folder)
    before = identity(folder)
    assert set(before) == {"config.json", "tokenizer.json", "tokenizer_config.json", "weights"}
    (folder / name).write_text("one")
    one = identity(folder)
    (folder / name).write_text("two")
    assert len({str(each) for each in (before, one, identity(folder))}) == 3


def test_a_folder_with_a_sentencepiece_vocabulary_alone_has_a_tokenizer(tiny_roberta: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        shutil.copy(tiny_roberta / name, tmp_path / name)
    with pytest.raises(InputError, match=r"no tokenizer\.json, nor a vocabulary file"):
        identity(tmp_path)
    (tmp_path / "spm.model").write_bytes(b"pieces")
    if importlib.util.find_spec("sentencepiece") is None:
        with pytest.raises(InputError, match=r"to read spm\.model, install packages: pip install sentencepiece"):
            identity(tmp_path)
    else:
        assert "spm.model" in identity(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        (
            "model.safetensors",
            b"version https://git-lfs.github.com/spec/v1\noid",
            "is a Git LFS pointer",
        ),
        ("tokenizer.json", b"version https://git-lfs.github.com/spec/v1\noid", "tokenizer.json is a Git LFS pointer"),
        ("adapter_config.json", b"{}", "an adapter such as LoRA without its model"),
        ("model.safetensors.index.json", b"{}", "the weights are in several files"),
        ("pytorch_model.bin", b"", "only safetensors weights are loaded; load and save it with transformers'"),
    ],
)
def test_a_folder_without_usable_weights_is_refused_with_the_reason(
    name: str, content: bytes, reason: str, tiny_roberta: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(tiny_roberta, folder)
    if name not in ("model.safetensors", "tokenizer.json"):
        (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        identity(folder)
    assert reason in str(caught.value)


def spoil_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    "changes",
    [
        {"num_hidden_layers": 0},
        {"num_hidden_layers": -1},
        {"num_hidden_layers": 10**6},
        {"pad_token_id": -5},
        {"pad_token_id": 10**6},
        {"classifier_dropout": 7},
        {"hidden_dropout_prob": 1.0},
        {"vocab_size": 10**9},
        {"initializer_range": -1.0},
        {"quantization_config": {"quant_method": "bitsandbytes"}},
    ],
    ids=str,
)
def test_an_impossible_configuration_of_an_encoder_is_one_line(
    changes: dict[str, object], tiny_roberta: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_roberta, tmp_path / "encoder"))
    spoil_config(folder, **changes)
    with pytest.raises(InputError, match=str(next(iter(changes)))) as caught:
        read_model_config(folder)
    assert len(str(caught.value).splitlines()) == 1


def test_a_configuration_chooses_no_code(tiny_roberta: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_roberta, tmp_path / "encoder"))
    odd = {"attn_implementation": "someone/kernel", "_attn_implementation": "flash_attention_2", "dtype": "float16"}
    spoil_config(folder, **odd, return_dict=False, transformers_weights="../other.safetensors")
    model = load_classifier(folder, outputs=2, head_seed=0, engine="padded")
    assert model.config._attn_implementation in ("sdpa", "eager")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", ["vocab.txt", "merges.txt", "spiece.model", "added_tokens.json"])
def test_a_tokenizer_file_that_is_a_link_elsewhere_is_refused(name: str, tiny_roberta: Path, tmp_path: Path) -> None:
    folder, secret = Path(shutil.copytree(tiny_roberta, tmp_path / "snapshots" / "c0")), tmp_path / "secret"
    secret.write_text("mine")
    (folder / name).symlink_to(secret)
    with pytest.raises(InputError, match=f"{name}: a link to {secret}"):
        resolve_pretrained(EncoderConfig(path=str(folder)))
    (folder / name).unlink()
    (tmp_path / "blobs").mkdir()
    shutil.move(folder / "tokenizer.json", tmp_path / "blobs" / "hash")
    (folder / "tokenizer.json").symlink_to("../../blobs/hash")  # as in the hub's cache
    assert resolve_pretrained(EncoderConfig(path=str(folder))).folder == folder
