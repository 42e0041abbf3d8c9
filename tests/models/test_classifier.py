"""Our models against transformers' AutoModelForSequenceClassification, and what is saved."""

import contextlib
import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PretrainedConfig,
    RobertaConfig,
    pipeline,
)

from glue_bench.config.compose import compose_run
from glue_bench.data.encoding import Encoded, TextEncoder
from glue_bench.errors import InputError, UsageError
from glue_bench.models.classifier import (
    Classifier,
    check_tokens,
    load_classifier,
    load_texts,
    save_classifier,
)
from glue_bench.models.padded import read_model_config
from tests.support.tiny import sentences
from tests.support.training import make_distilbert, split_of

ROWS = split_of(sentences(7, seed=11), sentences(7, seed=12)[::-1])


def encode(folder: Path) -> Encoded:
    return TextEncoder(folder, max_length=64).encode(ROWS)


def texts_of(folder: Path, longest: int) -> TextEncoder:
    return load_texts(folder, compose_run(["task=rte", f"trainer.max_length={longest}"]))


def save_with_tokenizer(config: PretrainedConfig, folder: Path, *, tokenizer: Path) -> None:
    AutoModel.from_config(config).save_pretrained(folder)  # type: ignore[no-untyped-call]
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tokenizer / name, folder / name)


def logits_of(model: Classifier, encoded: Encoded, rows: list[int] | None = None) -> torch.Tensor:
    batch = model.place(encoded, torch.device("cpu")).gather(np.array(rows or range(len(encoded))))
    with torch.no_grad():
        logits: torch.Tensor = model(batch)
    return logits


@pytest.mark.parametrize("engine", ["flat", "padded"])
@pytest.mark.parametrize("family", ["tiny_roberta", "tiny_bert"])
@pytest.mark.parametrize("labels", [["no", "yes"], ["a", "b", "c"], []], ids=["binary", "three-way", "regression"])
def test_logits_equal_transformers_with_equal_weights(
    engine: str, family: str, labels: list[str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder: Path = request.getfixturevalue(family)
    model = load_classifier(folder, outputs=len(labels) or 1, head_seed=5, engine=engine).eval()
    save_classifier(model, tmp_path, pretrained=folder, labels=labels)
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    inputs = AutoTokenizer.from_pretrained(tmp_path)(*ROWS.texts, padding=True, return_tensors="pt")
    ours = logits_of(model, encode(folder))
    with torch.no_grad():
        expected = theirs(**inputs).logits
    assert ours.shape == (len(ROWS), len(labels) or 1)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


def test_a_saved_model_keeps_every_weight_and_names_its_labels(tiny_roberta: Path, tmp_path: Path) -> None:
    model = load_classifier(tiny_roberta, outputs=2, head_seed=5)
    save_classifier(model, tmp_path, pretrained=tiny_roberta, labels=["bad", "good"])
    saved = load_file(tmp_path / "model.safetensors")
    assert torch.equal(saved["classifier.out_proj.weight"], model.state_dict()["whole.classifier.out_proj.weight"])
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == ["RobertaForSequenceClassification"]
    assert config["id2label"] == {"0": "bad", "1": "good"}
    answer = pipeline("text-classification", model=str(tmp_path), device="cpu")("the cat sees the dog.")
    assert answer[0]["label"] in ("bad", "good")


@pytest.mark.parametrize("head", ["default", "mean"])
@pytest.mark.parametrize(("before", "labels"), [(["a", "b", "c"], []), ([], ["a", "b"]), (["a", "b", "c"], ["a", "b"])])
def test_a_model_that_starts_from_one_for_another_kind_of_task_is_saved_as_its_own(
    before: list[str], labels: list[str], head: str, tiny_roberta: Path, tmp_path: Path
) -> None:
    folder, kinds = tiny_roberta, []
    for number, names in enumerate((before, labels)):
        made = tmp_path / str(number)
        made.mkdir()
        model = load_classifier(folder, outputs=len(names) or 1, head_seed=1, head=head)
        save_classifier(model, made, pretrained=tiny_roberta, labels=names)
        kinds.append(read_model_config(made).problem_type)
        folder = made
    assert kinds == ["single_label_classification" if names else "regression" for names in (before, labels)]
    assert read_model_config(folder).num_labels == (len(labels) or 1)


def test_berts_pooler_keeps_its_pretrained_weights(tiny_bert: Path) -> None:
    pretrained = load_file(tiny_bert / "model.safetensors")
    head = load_classifier(tiny_bert, outputs=2, head_seed=5).state_dict()
    assert torch.equal(head["whole.bert.pooler.dense.weight"], pretrained["pooler.dense.weight"])


def test_only_the_head_seed_decides_the_new_weights(tiny_roberta: Path) -> None:
    torch.manual_seed(1)
    first = load_classifier(tiny_roberta, outputs=2, head_seed=5).state_dict()
    torch.manual_seed(2)
    again = load_classifier(tiny_roberta, outputs=2, head_seed=5).state_dict()
    other = load_classifier(tiny_roberta, outputs=2, head_seed=6).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    changed = {name for name in first if not torch.equal(first[name], other[name])}
    assert changed == {"whole.classifier.dense.weight", "whole.classifier.out_proj.weight"}


@pytest.mark.parametrize("engine", ["flat", "padded"])
def test_other_rows_of_a_batch_do_not_change_a_rows_logits(engine: str, tiny_roberta: Path) -> None:
    model = load_classifier(tiny_roberta, outputs=2, head_seed=5, engine=engine).eval()
    encoded = encode(tiny_roberta)
    shortest = int(encoded.lengths().argmin())
    together, alone = logits_of(model, encoded)[shortest], logits_of(model, encoded, [shortest])[0]
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)


def test_another_familys_missing_layer_is_refused_and_its_old_head_not_kept(tiny_bert: Path, tmp_path: Path) -> None:
    folder = make_distilbert(tmp_path / "distilbert", tiny_bert)
    fine_tuned = load_classifier(folder, outputs=2, head_seed=1)
    save_classifier(fine_tuned, tmp_path / "tuned", pretrained=folder, labels=["a", "b"])
    first, second = (load_classifier(tmp_path / "tuned", outputs=2, head_seed=seed).state_dict() for seed in (1, 2))
    assert not torch.equal(first["whole.classifier.weight"], second["whole.classifier.weight"])
    kept = "whole.distilbert.transformer.layer.0.ffn.lin1.weight"
    assert torch.equal(first[kept], fine_tuned.state_dict()[kept])
    weights = load_file(folder / "model.safetensors")
    broken = {name: value for name, value in weights.items() if "layer.1" not in name}
    save_file(broken, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"its weights lack transformer\.layer\.1\."):
        load_classifier(folder, outputs=2, head_seed=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens": np.array([5000], dtype=np.int32)}, "gives token id 5000, but its embedding table has 127 rows"),
        ({"types": np.array([2], dtype=np.uint8)}, "gives token type 2, but its embedding table has 2 rows"),
        ({"offsets": np.array([0, 129])}, "gives position 128, but its embedding table has 128 rows"),
    ],
)
def test_a_tokenizer_of_another_model_is_refused(
    changes: dict[str, Any], message: str, tiny_bert: Path, tiny_roberta: Path
) -> None:
    model = load_classifier(tiny_bert, outputs=2, head_seed=5)
    check_tokens(model, encode(tiny_bert))
    with pytest.raises(InputError, match=message):
        check_tokens(model, dataclasses.replace(encode(tiny_bert), **changes))
    if "tokens" not in changes:  # RoBERTa is not told the types, and has more positions
        roberta = load_classifier(tiny_roberta, outputs=2, head_seed=5)
        check_tokens(roberta, dataclasses.replace(encode(tiny_roberta), **changes))


@pytest.mark.parametrize(
    ("model", "tokenizer", "pads", "first", "found"),
    [
        ("tiny_bert", "tiny_bert", {}, {}, ""),
        ("tiny_roberta", "tiny_roberta", {}, {}, ""),
        ("tiny_roberta", "tiny_bert", {}, {}, ", and 1 is [UNK]; take config.json and tokenizer from one model"),
        ("tiny_roberta", "tiny_bert", {}, {"[UNK]": "[unused1]"}, ""),  # as models with a vocabulary of their own
        ("tiny_roberta", "tiny_bert", {}, {"[UNK]": "<pad>"}, ""),
        ("tiny_roberta", "tiny_bert", {"pad_token_id": 0}, {}, ""),
        ("tiny_roberta", "tiny_bert", {"pad_token_id": 350}, {}, ""),  # more than the tokenizer has
        ("tiny_bert", "tiny_bert", {"pad_token_id": 1}, {}, ""),  # its positions do not depend on it
        ("tiny_bert", "tiny_bert", {"pad_token_id": None}, {}, ""),
        ("tiny_bert", "no padding token", {"pad_token_id": 1}, {}, ""),
    ],
)
def test_a_tokenizer_that_pads_with_another_token_is_refused_where_positions_depend_on_it(
    model: str,
    tokenizer: str,
    pads: dict[str, int | None],
    first: dict[str, str],
    found: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = Path(shutil.copytree(request.getfixturevalue(model), tmp_path / "encoder"))
    other = request.getfixturevalue("tiny_bert" if tokenizer == "no padding token" else tokenizer)
    words = (other / "tokenizer.json").read_text()
    for old, new in first.items():
        words = words.replace(f'"{old}"', f'"{new}"')
    (folder / "tokenizer.json").write_text(words)
    bare = json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"})
    named = (other / "tokenizer_config.json").read_text()
    (folder / "tokenizer_config.json").write_text(bare if tokenizer == "no padding token" else named)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **pads}))
    with pytest.raises(InputError, match=re.escape(found)) if found else contextlib.nullcontext():
        texts_of(folder, 12)
    assert not caplog.records


def test_rows_longer_than_the_positions_are_refused(tiny_roberta: Path, tiny_bert: Path) -> None:
    texts_of(tiny_roberta, 512)
    with pytest.raises(UsageError, match="max_length=513: this encoder has positions for at most 512 tokens"):
        texts_of(tiny_roberta, 513)
    with pytest.raises(UsageError, match="at most 128 tokens"):
        texts_of(tiny_bert, 512)


def after_padding(family: str) -> PretrainedConfig:
    """Make a tiny model with 34 position embeddings, of which 32 are for tokens."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    own = {"attention_window": [8]} if family == "longformer" else {}
    return AutoConfig.for_model(family, vocab_size=300, max_position_embeddings=34, pad_token_id=1, **sizes, **own)


@pytest.mark.parametrize(
    "family",
    [
        "mpnet",
        "xlm-roberta-xl",
        "longformer",
        "data2vec-text",
        "xlm-roberta",
        "camembert",
        "roberta-prelayernorm",
        "luke",
    ],
)
def test_the_longest_row_that_is_allowed_fits_a_family_whose_positions_start_after_the_padding_id(
    family: str, tiny_roberta: Path, tmp_path: Path
) -> None:
    save_with_tokenizer(after_padding(family), tmp_path, tokenizer=tiny_roberta)
    with pytest.raises(UsageError, match="at most 32 tokens"):
        texts_of(tmp_path, 33)
    texts_of(tmp_path, 32)
    model = load_classifier(tmp_path, outputs=2, head_seed=1).eval()
    lengths = [32, 5, 31]  # padded together, and to the attention window of Longformer
    tokens, ends = np.full(sum(lengths), 7, dtype=np.int32), np.cumsum([0, *lengths])
    rows = Encoded(tokens=tokens, types=np.zeros_like(tokens, dtype=np.uint8), offsets=ends, truncated=0)
    together, alone = logits_of(model, rows), [logits_of(model, rows, [row]) for row in range(3)]
    assert together.isfinite().all()
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)


def test_an_encoder_without_a_limit_of_positions_takes_any_length(tiny_roberta: Path, tmp_path: Path) -> None:
    config = AutoConfig.for_model("xlnet", vocab_size=50, d_model=16, n_layer=1, n_head=2, d_inner=16)
    save_with_tokenizer(config, tmp_path, tokenizer=tiny_roberta)
    texts_of(tmp_path, 4096)
    with pytest.raises(InputError, match="xlnet is a causal model"):
        load_classifier(tmp_path, outputs=2, head_seed=1)


@pytest.mark.parametrize("engine", ["flat", "padded"])
def test_random_weights_depend_on_the_seed_alone_and_leave_the_global_seed_stream(engine: str) -> None:
    config = RobertaConfig(
        vocab_size=400, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, pad_token_id=1
    )
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, again, other = (load_classifier(config, outputs=3, head_seed=seed, engine=engine) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    assert first.engine == engine
    states = [model.standard_state() for model in (first, again, other)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    for name in ("classifier.out_proj.weight", "roberta.embeddings.word_embeddings.weight"):
        assert not torch.equal(states[0][name], states[2][name])
    assert states[0]["classifier.out_proj.weight"].shape == (3, 32)
    assert config.num_labels == 2  # the caller's is left alone
