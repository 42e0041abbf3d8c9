"""What a configuration changes in the model that is trained: dropout, and how fast each part learns."""

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel

from glue_bench.config.compose import compose_run
from glue_bench.config.schema import WAYS
from glue_bench.data.encoding import Encoded
from glue_bench.errors import InputError, UsageError
from glue_bench.models.classifier import (
    POOLINGS,
    Classifier,
    PooledModel,
    load_classifier,
    load_saved_classifier,
    load_trainable,
    pool,
    save_classifier,
)
from glue_bench.models.padded import read_model_config
from glue_bench.models.trainable import rate_shares
from glue_bench.training.optimizer import TorchAdamW, choose_way
from glue_bench.training.trainer import fit
from tests.support.families import config_of
from tests.support.golden_losses import DATA, ENCODERS
from tests.support.training import ALBERT, CPU, STREAMS, encoded_of, settings

RATE = 1e-3


def load(folder: Path, *, outputs: int = 2, **changes: object) -> Classifier:
    config = compose_run(["task=rte"])
    own = {name: changes.pop(name) for name in WAYS if name in changes}
    trainer = dataclasses.replace(config.trainer, **changes)  # type: ignore[arg-type]
    config = dataclasses.replace(config, trainer=trainer, **own)  # type: ignore[arg-type]
    return load_trainable(folder, config, outputs=outputs, head_seed=1)


def rows_of(lengths: list[int]) -> Encoded:
    """Return rows of one text each, without padding tokens."""
    encoded = encoded_of(lengths, seed=1, pad_id=6, vocabulary=60)
    return dataclasses.replace(encoded, types=np.zeros_like(encoded.types))


def moved(model: Classifier, **changes: object) -> dict[str, float]:
    """Return how far the first update of AdamW moves each parameter, in learning rates, if all gradients are 1."""
    optimizer = TorchAdamW(model, settings(learning_rate=RATE, clip_norm=0.0, **changes))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    betas = settings().betas
    optimizer.apply(torch.tensor([RATE, *(1 - beta for beta in betas)]))
    return {name: float((before[name] - p).detach().mean()) / RATE for name, p in model.named_parameters()}


@pytest.mark.parametrize("family", list(ENCODERS))
def test_the_learning_rate_falls_from_layer_to_layer(family: str) -> None:
    model = load_classifier(DATA / ENCODERS[family], outputs=2, head_seed=1)
    found, layers = moved(model, layer_decay=0.5, weight_decay=0.0), int(model.config.num_hidden_layers)
    heads = [name for name in found if "embed" not in name and "layer." not in name]
    expected = {
        **{name: 0.5 ** (layers + 1) for name in found if "embeddings" in name},
        **{name: 0.5 ** (layers - at) for at in range(layers) for name in found if f"layer.{at}." in name},
        **dict.fromkeys(heads, 1.0),
    }
    assert heads
    assert found == pytest.approx(expected, rel=1e-3)


def test_a_model_whose_layers_share_their_weights_has_no_layer_decay() -> None:
    model = load_classifier(ALBERT, outputs=2, head_seed=1)
    with pytest.raises(UsageError, match=r"trainer\.layer_decay=0\.9: albert has no layers with weights of their own"):
        rate_shares(model.whole, 0.9)
    assert {*rate_shares(model.whole, 1.0).values()} == {1.0}


@pytest.mark.parametrize("everything", [False, True])
def test_biases_and_layer_norms_decay_only_if_asked(everything: bool, tiny_roberta: Path) -> None:
    model = load_classifier(tiny_roberta, outputs=2, head_seed=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
    found = moved(model, weight_decay=0.5, decay_biases=everything)
    vectors = {name for name, parameter in model.named_parameters() if parameter.ndim == 1}
    expected = {name: 1.5 if everything or name not in vectors else 1.0 for name in found}
    assert found == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("family", ["tiny_roberta", "tiny_bert"])
@pytest.mark.parametrize("engine", ["flat", "padded"])
def test_dropout_is_that_of_the_configuration_and_a_saved_model_keeps_its_own(
    engine: str, family: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder: Path = request.getfixturevalue(family)
    encoded = encoded_of([9, 5, 20], seed=1, pad_id=1)

    def spread(**changes: object) -> float:
        """Return how much two training passes differ."""
        torch.manual_seed(1)
        model = load(folder, engine=engine, **changes).train()  # type: ignore[arg-type]
        batch = model.place(encoded, CPU.device).gather(torch.arange(3).numpy())
        return float((model(batch) - model(batch)).detach().abs().max())

    assert spread() > 0
    assert spread(dropout=0.0) == 0
    assert spread(dropout=0.0, head_dropout=0.5) > 0
    assert spread(dropout=0.5, head_dropout=0.0) > 0
    model = load(folder, dropout=0.4)
    assert {model.config.hidden_dropout_prob, model.config.attention_probs_dropout_prob} == {0.4}
    save_classifier(model, tmp_path / "saved", pretrained=folder, labels=["a", "b"])
    saved, before = (json.loads((each / "config.json").read_text()) for each in (tmp_path / "saved", folder))
    assert saved["hidden_dropout_prob"] == before["hidden_dropout_prob"] == 0.1
    assert read_model_config(tmp_path / "saved").attention_probs_dropout_prob == 0.1


def test_the_dropout_of_a_head_of_ours_is_the_one_asked_for_though_the_encoders_configuration_has_none(
    tmp_path: Path,
) -> None:
    AutoModel.from_config(config_of("eurobert")).save_pretrained(tmp_path)  # type: ignore[no-untyped-call]
    cases = list[tuple[dict[str, Any], float]]([({}, 0.1), ({"dropout": 0.0}, 0.0)])
    for changes, expected in [*cases, ({"dropout": 0.0, "head_dropout": 0.3}, 0.3)]:
        whole: Any = load(tmp_path, head="mean", **changes).whole
        assert whole.dropout.p == expected


def test_what_our_gpu_kernels_do_not_have_is_left_to_torch_and_said(
    tiny_roberta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device is stood in for: whether a key is served is decided before anything runs on it."""
    model, own = load(tiny_roberta), load(tiny_roberta, head="first")
    gpu = dataclasses.replace(CPU, device=torch.device("cuda", 0))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr("glue_bench.training.optimizer.TorchAdamW", lambda *_: None)
    known: dict[str, Any] = {
        "packer": model.place(encoded_of([3], seed=1, pad_id=1), CPU.device),
        "placement": gpu,
        "alone": True,
    }
    for key, value in {"layer_decay": 0.9, "decay_biases": True}.items():
        changed = settings(**{key: value})
        _, _, words = choose_way(model, changed, updates=1, **known)
        assert words == f"torch: trainer.{key}"
    frozen = load(tiny_roberta, freeze="embeddings")
    for other, why in ((own, "head=first"), (frozen, "some parameters are frozen")):
        assert choose_way(other, settings(), updates=1, **known)[2] == f"torch: {why}"


@pytest.mark.parametrize("family", list(ENCODERS))
@pytest.mark.parametrize("head", POOLINGS)
def test_a_head_of_ours_pools_the_last_states_alike_on_both_engines_and_is_saved_whole(
    head: str, family: str, tmp_path: Path
) -> None:
    folder, encoded = DATA / ENCODERS[family], rows_of([9, 5, 20, 1])
    model, rows = load(folder, head=head).eval(), np.arange(4)
    states = [  # of every row alone, by transformers
        AutoModel.from_pretrained(folder)(torch.from_numpy(encoded.tokens[begin:end])[None].long())[0][0].detach()
        for begin, end in itertools.pairwise(encoded.offsets)
    ]
    pooled = torch.stack([{"first": each[0], "mean": each.mean(0), "max": each.amax(0)}[head] for each in states])
    whole: Any = model.whole
    expected = whole.classifier(torch.tanh(whole.dense(pooled))).detach()
    assert (model.engine, whole.dense.weight.std().item()) == (
        "flat",
        pytest.approx(model.config.initializer_range, rel=0.1),
    )
    padded = load(folder, head=head, engine="padded").eval()
    save_classifier(model, tmp_path, pretrained=folder, labels=["a", "b"])
    saved = load_saved_classifier(tmp_path, outputs=2).eval()
    for made in (model, padded, saved):
        found = made(made.place(encoded, CPU.device).gather(rows)).detach()
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    encoder = AutoModel.from_pretrained(tmp_path)
    assert torch.equal(encoder.get_input_embeddings().weight, whole.base_model.get_input_embeddings().weight)
    assert f"x is the {head}" in (tmp_path / "README.md").read_text()
    with pytest.raises(InputError, match="no classifier with 3 outputs was saved there"):
        load_saved_classifier(tmp_path, outputs=3)
    started = load(tmp_path).whole  # another run's weights, with the usual head
    assert not isinstance(started, PooledModel)


def test_rows_that_are_absent_from_a_batch_change_nothing() -> None:
    states, inside = torch.randn(2, 3, 4, requires_grad=True), torch.tensor([[True, True, False], [False] * 3])
    for head in POOLINGS:
        pooled = pool(states, inside, pooling=head)
        assert torch.isfinite(pooled).all()
        (gradient,) = torch.autograd.grad(pooled[0].sum(), states)
        assert torch.isfinite(gradient).all()
        assert head == "first" or not pooled[1].any()


@pytest.mark.parametrize(("engine", "family"), [*(("flat", family) for family in ENCODERS), ("padded", "bert")])
def test_what_is_frozen_stays_as_it_was_and_all_else_is_trained(engine: str, family: str) -> None:
    encoded = rows_of([9, 5, 20, 7])
    for part in ("embeddings", "encoder"):
        model = load(DATA / ENCODERS[family], freeze=part, engine=engine)
        base = f"whole.{model.whole.base_model_prefix}."
        names = {name for name, _ in model.named_parameters()}
        wanted = {name for name in names if name.startswith(base) and ".pooler." not in name}
        wanted = {name for name in wanted if "embed" in name} if part == "embeddings" else wanted
        assert {name for name, each in model.named_parameters() if not each.requires_grad} == wanted
        whole = {name: each.detach().clone() for name, each in model.named_parameters()}
        model.cut_vocabulary(encoded.tokens)
        result = fit(
            model,
            encoded,
            labels=np.array([0, 1, 0, 1]),
            settings=settings(epochs=2, weight_decay=0.1, engine=engine),
            streams=STREAMS,
            placement=CPU,
            history=[],
        )
        model.restore_vocabulary(decay=result.untouched_decay)
        same = {name for name, each in model.named_parameters() if torch.equal(each, whole[name])}
        assert (same, result.untouched_decay) == (wanted, 1.0)
