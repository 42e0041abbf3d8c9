"""The files of an encoder: which are needed, and which identify it."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification

from glue_bench.config.schema import EncoderConfig
from glue_bench.errors import InputError
from glue_bench.models.classifier import load_classifier
from glue_bench.models.padded import load_transformer, read_model_config
from glue_bench.models.pretrained import encoder_identity, resolve_pretrained
from tests.support.training import encoded_of


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
            "cannot be read: a Git LFS pointer; run git lfs pull",
        ),
        (
            "tokenizer.json",
            b"version https://git-lfs.github.com/spec/v1\noid",
            "tokenizer.json cannot be read: a Git LFS",
        ),
        ("adapter_config.json", b"{}", "save what peft's merge_and_unload returns"),
        (
            "model.safetensors.index.json",
            b"{}",
            "model.safetensors.index.json: names no safetensors files",
        ),
        (
            "model.safetensors.index.json",
            b'{"weight_map": {"a": "../model.safetensors"}}',
            "model.safetensors.index.json: names no safetensors files",
        ),
        (
            "model.safetensors.index.json",
            b'{"weight_map": {"a": "model-1.safetensors"}}',
            "no model-1.safetensors, which model.safetensors.index.json names; download it too",
        ),
        (
            "model-00001-of-00002.safetensors",
            b"",
            "-00002.safetensors is a part, without model.safetensors.index.json, which names them all",
        ),
        ("model.fp16.safetensors", b"", "(model.fp16.safetensors is not read; if it holds the weights, rename it)"),
        ("0_Transformer/model.safetensors", b"", "(0_Transformer/model.safetensors exists; give its folder as the"),
        ("snapshots/c0ffee/model.safetensors", b"", "(snapshots/c0ffee/model.safetensors exists; give its folder"),
        ("model.safetensors.part", b"", "(model.safetensors.part is an unfinished download; download it again)"),
        (".cache/huggingface/download/a1.incomplete", b"", "download/a1.incomplete is an unfinished download;"),
        ("pytorch_model.bin", b"", "or, for a pytorch_model.bin, encoder.allow_bin=true"),
        ("pytorch_model.bin", b"", "(pytorch_model.bin is not a safetensors file; load and save it with transformers'"),
        ("tf_model.h5", b"", "only a model that transformers' save_pretrained wrote to safetensors is loaded"),
    ],
)
def test_a_folder_without_usable_weights_is_refused_with_the_reason(
    name: str, content: bytes, reason: str, tiny_roberta: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(tiny_roberta, folder)
    if name not in ("model.safetensors", "tokenizer.json"):
        (folder / "model.safetensors").unlink()
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
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
        {"hidden_dropout_prob": 0.9999999999},
        {"attention_dropout": 0.9999999999},
        {"vocab_size": 10**9},
        {"initializer_range": -1.0},
        {"quantization_config": {"quant_method": "bitsandbytes"}},
        {"per_layer_config": {"0": {"intermediate_size": 8}}},
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
    spoil_config(folder, **odd, transformers_weights="../other.safetensors", fusion_config={"someone/kernel": True})
    model = load_classifier(folder, outputs=2, head_seed=0, engine="padded")
    assert model.config._attn_implementation in ("sdpa", "eager")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("family", ["tiny_roberta", "tiny_bert"])
def test_what_a_configuration_says_of_running_a_model_or_of_an_earlier_head_changes_no_logit(
    family: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder, encoded = request.getfixturevalue(family), encoded_of([5, 29, 9], seed=1, pad_id=1)
    odd = Path(shutil.copytree(folder, tmp_path / "encoder"))
    running: dict[str, object] = {
        "chunk_size_feed_forward": 3,
        "gradient_checkpointing": True,
        "use_cache": False,
        "torchscript": True,
    }
    running |= {"output_attentions": True, "output_hidden_states": True, "return_dict": False, "torch_dtype": "float16"}
    head = {"num_labels": 7, "id2label": {"0": "a", "5": "b"}, "label2id": {}, "tie_word_embeddings": False}
    spoil_config(odd, **running, **head, problem_type="multi_label_classification", pruned_heads={"0": [1]})
    for engine in ("flat", "padded"):
        usual, found = (
            load_classifier(each, outputs=2, head_seed=0, engine=engine).train(mode=False) for each in (folder, odd)
        )
        with torch.no_grad():
            wanted, logits = (
                each(each.place(encoded, torch.device("cpu")).gather(np.arange(3))) for each in (usual, found)
            )
        assert torch.equal(logits, wanted), engine
        assert not any(getattr(module, "gradient_checkpointing", False) for module in found.modules())


@pytest.mark.parametrize("key", ["is_decoder", "add_cross_attention"])
def test_a_configuration_of_a_decoder_is_refused(key: str, tiny_bert: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "encoder"))
    spoil_config(folder, **{key: True})
    with pytest.raises(InputError, match=f"{key}=true in its config.json; only bidirectional"):
        load_classifier(folder, outputs=2, head_seed=0)


@pytest.mark.parametrize("kind", ["int8", "uint8", "bool", "complex64", "float8_e4m3fn", "int64", "int8 in a bin"])
def test_weights_that_are_not_plain_floating_point_numbers_are_refused(
    kind: str, tiny_bert: Path, tmp_path: Path
) -> None:
    folder, bare = Path(shutil.copytree(tiny_bert, tmp_path / "encoder")), kind.partition(" ")[0]
    state = load_file(folder / "model.safetensors")
    state["embeddings.position_ids"] = torch.arange(128)[None]  # as checkpoints had it
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    load_transformer(folder, read_model_config(folder))
    name = "encoder.layer.1.output.dense.weight"
    state[name] = state[name].to(getattr(torch, bare))
    if bare != kind:
        (folder / "model.safetensors").unlink()
        torch.save(state, folder / "pytorch_model.bin")
    else:
        save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=rf"{name} has the type \w+; must be F16, BF16, F32, F64, as before"):
        load_transformer(folder, read_model_config(folder))


def test_the_damaged_part_of_sharded_weights_is_named(tiny_bert: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "encoder"))
    save_as("sharded", folder)
    last = max(folder.glob("model-*.safetensors"))
    last.write_bytes(last.read_bytes()[:-5])
    with pytest.raises(InputError, match=f"{last.name} is damaged, download it again"):
        load_transformer(folder, read_model_config(folder))


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


class _Runs:
    """What a pickle runs."""

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (Path("executed"),)


def save_as(kind: str, folder: Path) -> dict[str, torch.Tensor]:
    """Replace the weights of a folder by a checkpoint of a kind; return the encoder's, as they must be loaded."""
    auto = AutoModelForMaskedLM if kind == "masked-LM" else AutoModelForSequenceClassification
    model = auto.from_pretrained(folder, **({} if kind == "masked-LM" else {"num_labels": 5}))
    if kind == "half precision":
        model = model.half()
    if kind == "resized embeddings":
        model.resize_token_embeddings(model.config.vocab_size + 8)
    (folder / "model.safetensors").unlink()
    if kind == "bin":
        model.config.save_pretrained(folder)
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    else:
        model.save_pretrained(folder, max_shard_size="20KB" if kind == "sharded" else "1GB")
    return {name: value.float() for name, value in model.base_model.state_dict().items() if "pooler" not in name}


@pytest.mark.parametrize("family", ["tiny_roberta", "tiny_bert"])
@pytest.mark.parametrize("kind", ["five labels", "sharded", "half precision", "masked-LM", "resized embeddings", "bin"])
def test_a_checkpoint_of_every_common_kind_gives_its_encoder_a_new_head(
    kind: str, family: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder = Path(shutil.copytree(request.getfixturevalue(family), tmp_path / "encoder"))
    encoder = EncoderConfig(path=str(folder), allow_bin=kind == "bin")
    expected = save_as(kind, folder)
    assert (folder / "model.safetensors.index.json").exists() == (kind == "sharded")
    if kind == "bin":
        with pytest.raises(InputError, match=r"load and save it with transformers' .*encoder.allow_bin=true"):
            identity(folder)
    model = load_classifier(resolve_pretrained(encoder).folder, outputs=2, head_seed=1)
    assert model.engine == "flat"
    loaded = model.whole.base_model.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in expected.items())
    heads = [module for name, module in model.whole.named_modules() if "classifier" in name]
    assert [module.out_features for module in heads if isinstance(module, nn.Linear)][-1] == 2


def test_every_part_of_the_weights_is_part_of_an_encoders_identity(tiny_roberta: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_roberta, tmp_path / "encoder"))
    save_as("sharded", folder)
    parts, found = sorted(folder.glob("model-*.safetensors")), {str(identity(folder))}
    assert len(parts) > 2
    for path in parts:
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        found.add(str(identity(folder)))
    assert len(found) == 1 + len(parts)


def test_a_bin_file_runs_no_code_even_where_it_is_allowed(
    tiny_roberta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path(shutil.copytree(tiny_roberta, tmp_path / "encoder"))
    (folder / "model.safetensors").unlink()
    torch.save({"weight": _Runs()}, folder / "pytorch_model.bin")
    found = resolve_pretrained(EncoderConfig(path=str(folder), allow_bin=True))
    with pytest.raises(InputError, match=r"encoder folder .*: its weights cannot be loaded ") as caught:
        load_classifier(found.folder, outputs=2, head_seed=1)
    assert "\n" not in str(caught.value)
    assert not Path("executed").exists()


class LittleMemory(AutoModelForMaskedLM):
    """Takes more memory than any machine has."""

    @classmethod
    def from_pretrained(cls, *_: object, **__: object) -> torch.Tensor:
        return torch.empty(2**58)


def test_a_lack_of_memory_is_not_blamed_on_the_weights(tiny_bert: Path) -> None:
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        load_transformer(tiny_bert, read_model_config(tiny_bert), kind=LittleMemory)
