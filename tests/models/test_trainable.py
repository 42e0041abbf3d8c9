"""What a configuration changes in the model that is trained: dropout, and how fast each part learns."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from glue_bench.config.compose import compose_run
from glue_bench.errors import UsageError
from glue_bench.models.classifier import Classifier, load_classifier, make_classifier, save_classifier
from glue_bench.models.padded import read_model_config
from glue_bench.models.trainable import load_trainable, rate_shares
from glue_bench.training.optimizer import TorchAdamW
from glue_bench.training.ways import choose_way
from tests.support.golden_losses import DATA, ENCODERS
from tests.support.training import ALBERT, CPU, encoded_of, settings

RATE = 1e-3


def load(folder: Path, *, outputs: int = 2, **changes: object) -> Classifier:
    config = compose_run(["task=rte"])
    trainer = dataclasses.replace(config.trainer, **changes)  # type: ignore[arg-type]
    return load_trainable(folder, dataclasses.replace(config, trainer=trainer), outputs=outputs, head_seed=1)


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
    model = make_classifier(ALBERT, outputs=2, seed=1)
    with pytest.raises(UsageError, match=r"trainer\.layer_decay=0\.9: albert has no layers with weights of their own"):
        rate_shares(model, 0.9)
    assert {*rate_shares(model, 1.0).values()} == {1.0}


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
        model = load(folder, engine=engine, **changes).train()
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


def test_what_our_gpu_kernels_do_not_have_is_left_to_torch_and_said(
    tiny_roberta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device is stood in for: whether a key is served is decided before anything runs on it."""
    model = load(tiny_roberta)
    gpu = dataclasses.replace(CPU, device=torch.device("cuda", 0))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr("glue_bench.training.ways.TorchAdamW", lambda *_: None)
    from glue_bench.training.distributed import ALONE

    for key, value in {"layer_decay": 0.9, "decay_biases": True}.items():
        changed = settings(**{key: value})
        _, _, words = choose_way(model, changed, updates=1, placement=gpu, processes=ALONE)
        assert words == f"torch: trainer.{key}"
