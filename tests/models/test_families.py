"""Families of encoders, each at a tiny random size: flat against padded, which is transformers' own forward pass."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForSequenceClassification, PretrainedConfig

from glue_bench.data.encoding import Encoded
from glue_bench.errors import UsageError
from glue_bench.models.classifier import Classifier, make_classifier
from tests.support.training import encoded_of

SIZES = {
    "vocab_size": 300,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "pad_token_id": 1,
    "mask_token_id": 4,
}
DEBERTA = {
    "relative_attention": True,
    "position_buckets": 8,
    "pos_att_type": ["c2p", "p2c"],
    "norm_rel_ebd": "layer_norm",
    "position_biased_input": False,
    "type_vocab_size": 0,
    "pooler_hidden_size": 32,
}
FLAT: dict[str, dict[str, Any]] = {
    "bert": {},
    "roberta": {},
    "xlm-roberta": {},
    "camembert": {},
    "electra": {"embedding_size": 16},
    "ernie": {},
    "albert": {"embedding_size": 16},
    "distilbert": {"dim": 32, "hidden_dim": 48, "n_heads": 4, "n_layers": 3},
    "modernbert": {"local_attention": 8, "global_attn_every_n_layers": 2},
    "modernbert mean": {"local_attention": 8, "global_attn_every_n_layers": 3, "classifier_pooling": "mean"},
    "nomic_bert": {},
    "eurobert": {"num_key_value_heads": 2},
    "gte": {},
    "roberta-prelayernorm": {},
    "xlm-roberta-xl": {},
    "deberta-v2": {**DEBERTA, "share_att_key": True},
    "deberta-v2 own keys": {**DEBERTA, "share_att_key": False},
    "mpnet": {},
}
PADDED: dict[str, dict[str, Any]] = {"convbert": {}, "roformer": {}, "megatron-bert": {}}
MOST = 36  # tokens of a row, in every family


def config_of(name: str) -> PretrainedConfig:
    return AutoConfig.for_model(name.partition(" ")[0], **{**SIZES, **FLAT.get(name, PADDED.get(name, {}))})


@functools.cache
def pair(name: str) -> tuple[Classifier, Classifier]:
    """Return a flat and a padded classifier with equal weights; vectors are not left at 0 and 1."""
    flat, padded = (make_classifier(config_of(name), outputs=3, seed=1, engine=way) for way in ("auto", "padded"))
    generator = torch.Generator().manual_seed(2)
    for parameter in flat.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    padded.load_state_dict(flat.state_dict())
    return flat.eval(), padded.eval()


def logits_and_gradients(model: Classifier, encoded: Encoded) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    logits = model(model.place(encoded, torch.device("cpu")).gather(np.arange(len(encoded))))
    logits.square().sum().backward()
    return logits.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", list(FLAT))
@settings(max_examples=6, deadline=None)
@given(lengths=st.lists(st.one_of(st.integers(1, 12), st.just(MOST)), min_size=1, max_size=5), seed=st.integers(0, 99))
def test_logits_and_gradients_of_every_served_family_equal_the_padded_ones(
    name: str, lengths: list[int], seed: int
) -> None:
    flat, padded = pair(name)
    assert (flat.engine, flat.why_padded) == ("flat", "")
    encoded = encoded_of(lengths, seed=seed, pad_id=1)
    (ours, our_gradients), (expected, gradients) = (logits_and_gradients(model, encoded) for model in (flat, padded))
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)
    for key, gradient in gradients.items():
        torch.testing.assert_close(our_gradients.get(key, torch.zeros(())), gradient, atol=2e-5, rtol=1e-4, msg=key)


@pytest.mark.parametrize("name", list(PADDED))
def test_a_family_that_the_flat_engine_would_compute_wrongly_is_found_out_and_padded(name: str) -> None:
    model = make_classifier(config_of(name), outputs=3, seed=1)
    assert model.engine == "padded"
    assert model.why_padded.startswith("the flat engine's logits or states differ by ")
    with pytest.raises(UsageError, match=r"trainer\.engine=flat: not for this encoder \(the flat engine's logits"):
        make_classifier(config_of(name), outputs=3, seed=1, engine="flat")
    reference = make_classifier(config_of(name), outputs=3, seed=1, engine="padded")
    encoded = encoded_of([3, 9], seed=1, pad_id=1)
    found, expected = (logits_and_gradients(way.eval(), encoded) for way in (model, reference))
    assert torch.equal(found[0], expected[0])
    assert all(torch.equal(found[1][key], gradient) for key, gradient in expected[1].items())


@pytest.mark.parametrize("name", [*FLAT, *PADDED])
def test_a_saved_classifier_of_every_family_loads_in_transformers_with_equal_logits(name: str, tmp_path: Path) -> None:
    from glue_bench.models.classifier import save_classifier

    model = pair(name)[0] if name in FLAT else make_classifier(config_of(name), outputs=3, seed=1).eval()
    (tmp_path / "empty").mkdir()
    save_classifier(model, tmp_path / "saved", pretrained=tmp_path / "empty", labels=["a", "b", "c"])
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved").eval()
    encoded = encoded_of([5, 1, 9], seed=4, pad_id=1)
    padded = make_classifier(config_of(name), outputs=3, seed=1, engine="padded")
    with torch.no_grad():
        batch: Any = padded.place(encoded, torch.device("cpu")).gather(np.arange(3))
        ours = model(model.place(encoded, torch.device("cpu")).gather(np.arange(3)))
        torch.testing.assert_close(ours, theirs(**batch).logits, atol=1e-5, rtol=1e-5)
    assert "glue_bench" not in (tmp_path / "saved" / "config.json").read_text()


@pytest.mark.parametrize("name", ["distilbert", "deberta-v2", "modernbert"])
def test_training_with_dropout_draws_the_same_masks_for_the_same_seed(name: str) -> None:
    flat = pair(name)[0].train()
    encoded = encoded_of([5, 1, 9], seed=4, pad_id=1)
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(logits_and_gradients(flat, encoded)[0])
    flat.eval()
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2]) or not any(
        module.p for module in flat.modules() if isinstance(module, torch.nn.Dropout)
    )
