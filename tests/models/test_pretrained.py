"""The files of an encoder: which are needed, and which identify it."""

import importlib.util
import shutil
from pathlib import Path

import pytest

from glue_bench.config.schema import EncoderConfig
from glue_bench.errors import InputError
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
        with pytest.raises(
            InputError, match=r"to read spm\.model needs two Python packages: pip install sentencepiece"
        ):
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
