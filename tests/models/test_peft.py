"""Parameter-efficient methods in a model: what is trained, on both engines, merged, reloaded by peft, and resumed."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from glue_bench.config.compose import compose_run
from glue_bench.config.schema import PeftConfig
from glue_bench.errors import UsageError
from glue_bench.models.classifier import Classifier, load_texts, load_trainable
from glue_bench.models.packing import Packer
from glue_bench.models.padded import pad
from glue_bench.models.trainable import trained
from glue_bench.training.checkpoint import BestEpoch, SnapshotStore
from glue_bench.training.course import StepReport
from glue_bench.training.optimizer import TorchAdamW
from glue_bench.training.stopping import Stopped
from tests.support.families import QUIET, SIZES, config_of
from tests.support.fitting import fit_until
from tests.support.training import CPU, OWNER, encoded_of, settings

peft = pytest.importorskip("peft")
# The second is asked for by peft.
pytestmark = [QUIET, pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")]
LATER = ("eurobert", "gte", "nomic_bert", "jina_embeddings_v3")  # with the names of causal models
FAMILIES = {
    "lora": ("bert", "electra", "distilbert", "albert", "modernbert", "deberta-v2", "mpnet", "megatron-bert", *LATER),
    "ia3": ("roberta", "distilbert", "modernbert", "deberta-v2", *LATER),
    "bitfit": ("roberta", "mpnet"),
}
WITH_PREFIX = ("bert", "roberta", "electra", "xlm-roberta", "camembert")
TOKENS: dict[str, Any] = {"tokens": 3}
CASES = [(family, method) for method, families in FAMILIES.items() for family in families]
LENGTHS = [9, 4, 12, 1, 7, 3]
HEAD = 32 * 32 + 32 + 32 * 2 + 2  # of RoBERTa: a dense layer and the logits
BIASES = 32 + 2 * (3 * 32 + 32 + 32 + 64 + 32 + 32)  # of the norm of the embeddings, and of the parts of both layers
DECAY = 0.3


def load(
    folder: Path,
    method: str = "none",
    *,
    engine: str = "auto",
    freeze: str = "none",
    pooling: str = "default",
    **keys: Any,
) -> Classifier:
    config = compose_run(["task=rte"])
    keys = {"method": method, **({"rank": 8, "alpha": 8.0} if method == "lora" else {}), **keys}
    trainer, how = dataclasses.replace(config.trainer, engine=engine), PeftConfig(**keys)  # type: ignore[arg-type]
    changed = dataclasses.replace(config, trainer=trainer, peft=how, freeze=freeze, head=pooling)  # type: ignore[arg-type]
    return load_trainable(folder, changed, outputs=2, head_seed=1)


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """Make the folder of a tiny encoder of a family, whose vectors are not left at 0 and 1."""
    folder = Path(tmp_path_factory.mktemp("families") / request.param)
    torch.manual_seed(0)
    model = AutoModel.from_config(config_of(request.param))  # type: ignore[no-untyped-call]
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape)
    model.save_pretrained(folder)
    return folder


def move(model: Classifier) -> Classifier:
    """Change what is trained, as training would."""
    generator = torch.Generator().manual_seed(3)
    for parameter in trained(model).values():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def logits_of(model: Classifier) -> torch.Tensor:
    encoded = encoded_of(LENGTHS, seed=5, pad_id=1)
    logits: torch.Tensor = model(model.place(encoded, CPU.device).gather(np.arange(len(encoded))))
    return logits


@pytest.mark.parametrize(
    ("method", "keys", "count"),
    [
        ("lora", {}, 2 * 2 * (2 * 8 * 32) + HEAD),  # layers, query and value, two factors of rank 8
        ("lora", {"rank": 2, "targets": ["intermediate.dense"]}, 2 * (2 * 32 + 2 * 64) + HEAD),
        ("lora", {"head": False}, 2 * 2 * (2 * 8 * 32)),
        ("ia3", {}, 2 * (32 + 32 + 64) + HEAD),  # of keys, values and inner states
        ("ia3", {"targets": ["key"], "head": False}, 2 * 32),
        ("bitfit", {}, BIASES + HEAD),
        ("bitfit", {"head": False}, BIASES),
        ("prefix", TOKENS, 3 * 2 * 2 * 32 + HEAD),  # layers, key and value
        ("prefix", {"tokens": 1, "head": False}, 2 * 2 * 32),
    ],
)
def test_what_is_trained_is_what_is_counted_by_hand(
    tiny_roberta: Path, method: str, keys: dict[str, Any], count: int
) -> None:
    model = load(tiny_roberta, method, **keys)
    assert sum(parameter.numel() for parameter in trained(model).values()) == count
    assert model.engine == ("padded" if method == "prefix" else "flat")
    if method == "prefix":
        return  # which is random at first, and changes the logits
    plain = load(tiny_roberta)  # with the same head; fresh adapters change nothing
    torch.testing.assert_close(logits_of(model.eval()), logits_of(plain.eval()))


@pytest.mark.parametrize(("family", "method"), CASES, indirect=["family"])
def test_flat_padded_merged_and_reloaded_logits_and_gradients_are_equal(
    family: Path, method: str, tmp_path: Path
) -> None:
    keys: dict[str, Any] = {"dropout": 0.5} if method == "lora" else {}
    flat, padded = (move(load(family, method, engine=engine, **keys)) for engine in ("auto", "padded"))
    assert flat.engine == ("padded" if family.name == "megatron-bert" else "flat")
    adapted = {re.sub(r"\d+", "", name) for name in trained(flat) if re.search("lora_A|ia3_l", name)}  # in a layer
    joined = family.name == "modernbert"  # query, key and value
    assert len(adapted) == {"lora": 2, "ia3": 3, "bitfit": 0}[method] - joined
    expected = logits_of(padded)
    assert not torch.allclose(expected, logits_of(load(family).eval()), atol=1e-3)
    torch.testing.assert_close(logits_of(flat), expected, atol=1e-5, rtol=1e-5)
    for model in (flat, padded):
        logits_of(model).square().sum().backward()  # type: ignore[no-untyped-call]
    for name, parameter in trained(flat).items():
        wanted = trained(padded)[name].grad
        torch.testing.assert_close(parameter.grad, wanted, atol=2e-5, rtol=1e-4, msg=name)
    assert all(parameter.grad is None for parameter in flat.parameters() if not parameter.requires_grad)

    packer = Packer(encoded_of(LENGTHS, seed=5, pad_id=1), CPU.device, config=flat.config)
    batch = pad(packer.gather(np.arange(len(LENGTHS))), flat.config)
    if flat.adapters:
        flat.adapters.save(tmp_path, base=str(family), revision=None)
        base = AutoModelForSequenceClassification.from_pretrained(family, num_labels=2)
        again = peft.PeftModel.from_pretrained(base, tmp_path).eval()
        torch.testing.assert_close(again(**batch).logits, expected, atol=1e-5, rtol=1e-5)
    merged = AutoModelForSequenceClassification.from_config(flat.config).eval()  # type: ignore[no-untyped-call]
    merged.load_state_dict(flat.standard_state())  # every name, and no others
    torch.testing.assert_close(merged(**batch).logits, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", WITH_PREFIX, indirect=True)
def test_a_prefix_computes_what_peft_computes_and_is_reloaded_by_it(family: Path, tmp_path: Path) -> None:
    model = move(load(family, "prefix", **TOKENS))
    packer = Packer(encoded_of(LENGTHS, seed=5, pad_id=1), CPU.device, config=model.config)
    batch, logits = pad(packer.gather(np.arange(len(LENGTHS))), model.config), logits_of(model)
    assert model.adapters is not None
    model.adapters.save(tmp_path, base=str(family), revision=None)

    base = AutoModelForSequenceClassification.from_pretrained(family, num_labels=2)
    torch.testing.assert_close(peft.PeftModel.from_pretrained(base, tmp_path).eval()(**batch).logits, logits)
    # The same as a training of peft's starts and leaves, whose prefix is another module than ours.
    base = AutoModelForSequenceClassification.from_pretrained(family, num_labels=2)
    how = peft.PrefixTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=3, modules_to_save=["classifier", "pooler"])
    theirs = peft.get_peft_model(base, how).eval()
    peft.set_peft_model_state_dict(theirs, load_file(tmp_path / "adapter_model.safetensors"))
    expected = theirs(**batch).logits
    torch.testing.assert_close(logits, expected, atol=1e-6, rtol=0)
    for found in (logits, expected):
        found.square().sum().backward()
    gradient = theirs.prompt_encoder["default"].embedding.weight.grad
    (own,) = (parameter.grad for name, parameter in trained(model).items() if "prefix" in name)
    torch.testing.assert_close(own, gradient, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("family", ["modernbert", "deberta-v2", "mpnet", "albert", "distilbert"], indirect=True)
def test_families_that_take_no_prefix_are_refused(family: Path) -> None:
    why = f"transformers' {family.name} takes no keys and values from outside; must be none, lora, ia3 or bitfit"
    with pytest.raises(UsageError, match=f"peft=prefix: {why}"):
        load(family, "prefix", **TOKENS)


def test_a_prefix_goes_before_rows_of_any_length_where_attention_would_be_sparse(tmp_path: Path) -> None:
    config = AutoConfig.for_model("big_bird", **{**SIZES, "max_position_embeddings": 70}, block_size=4)
    AutoModel.from_config(config).save_pretrained(tmp_path)  # type: ignore[no-untyped-call]
    model = load(tmp_path, "prefix", **TOKENS).eval()
    packer = model.place(encoded_of([63, 9], seed=5, pad_id=1), CPU.device)
    each = [model(packer.gather(np.array([row]))) for row in (0, 1)]
    torch.testing.assert_close(model(packer.gather(np.arange(2))), torch.cat(each), atol=1e-6, rtol=0)


def test_the_flat_engine_is_refused_and_positions_are_counted_with_a_prefix(tiny_roberta: Path) -> None:
    why = "peft=prefix adds keys and values that the flat engine has no place for"
    with pytest.raises(UsageError, match=re.escape(f"trainer.engine=flat: not for this encoder ({why})")):
        load(tiny_roberta, "prefix", engine="flat", **TOKENS)
    assert load(tiny_roberta, "prefix", **TOKENS).why_padded == why

    def load_its_texts(longest: int, *, prefix: int) -> None:
        words = ["task=rte", "peft=prefix", f"peft.tokens={prefix}", f"trainer.max_length={longest}"]
        load_texts(tiny_roberta, compose_run(words))

    load_its_texts(492, prefix=20)
    with pytest.raises(UsageError, match=r"max_length=493: .* at most 492 tokens beside the 20 of peft.tokens"):
        load_its_texts(493, prefix=20)
    with pytest.raises(UsageError, match=r"^peft.tokens=512: must be below 512, the positions of this encoder$"):
        load_its_texts(8, prefix=512)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["peft.rank=4"], "peft.rank=4: must be null with peft=none"),
        (["peft=ia3", "peft.alpha=4"], "peft.alpha=4.0: must be null with peft=ia3"),
        (["peft=bitfit", "peft.targets=[query]"], "peft.targets=['query']: must be null with peft=bitfit"),
        (["peft.head=false"], "peft.head=false: must be true with peft=none"),
        (["peft.method=lora"], "peft.rank=null: must be a number with peft=lora"),
        (["peft=lora", "peft.rank=0"], "peft.rank=0: must be 1 or more"),
        (["peft=lora", "freeze=encoder"], "freeze=encoder: must be none with peft=lora"),
        (["peft.method=prefix"], "peft.tokens=null: must be a number with peft=prefix"),
        (["peft=prefix", "peft.tokens=0"], "peft.tokens=0: must be 1 or more"),
        (["peft=lora", "peft.tokens=3"], "peft.tokens=3: must be null with peft=lora"),
        (["peft=prefix", "peft.rank=4"], "peft.rank=4: must be null with peft=prefix"),
        (["peft=prefix", "init=mnli"], "init=mnli: must be pretrained with peft=prefix, which cannot be merged"),
        (["peft=prefix", "trainer.layer_decay=0.9"], "trainer.layer_decay=0.9: must be 1 with peft=prefix"),
    ],
)
def test_keys_that_make_no_sense_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        compose_run(["task=rte", *words])


@pytest.mark.parametrize("family", ["modernbert"], indirect=True)
def test_layers_and_biases_that_an_encoder_lacks_are_refused(family: Path, tiny_roberta: Path) -> None:
    for target in ("qurey", "LayerNorm", "out_proj"):  # the last is the head's
        message = rf"peft.targets=\[{target}\]: must name linear layers of roberta: attention.self.query, "
        with pytest.raises(UsageError, match=message):
            load(tiny_roberta, "lora", targets=["query", target])
    with pytest.raises(UsageError, match=r"peft.rank=33: must be at most 32, the smallest side"):
        load(tiny_roberta, "lora", rank=33)
    with pytest.raises(UsageError, match="peft=bitfit: modernbert has no biases; must be none, lora or ia3"):
        load(family, "bitfit")


def test_vectors_of_ia3_do_not_decay_but_factors_of_lora_and_a_prefix_do(tiny_roberta: Path) -> None:
    for method, part, decays in (("ia3", "ia3_l", {0.0}), ("lora", "lora_", {DECAY}), ("prefix", "prefix", {DECAY})):
        model = load(tiny_roberta, method, **(TOKENS if method == "prefix" else {}))
        groups = TorchAdamW(model, settings(weight_decay=DECAY)).torch.param_groups
        found = {group["weight_decay"] for group in groups for name, p in trained(model).items() if part in name
                 for each in group["params"] if each is p}  # fmt: skip
        assert found == decays


def train(
    model: Classifier, store: SnapshotStore | None = None, *, stop_after: int | None = None
) -> tuple[list[StepReport], float]:
    encoded, history = encoded_of(LENGTHS * 4, seed=5, pad_id=1), list[StepReport]()
    model.cut_vocabulary(encoded.tokens)

    best = BestEpoch(model, lambda: float(len(history)))
    labels, changed = np.arange(len(encoded)) % 2, settings(learning_rate=1e-2)
    _, result = fit_until(
        model, encoded, labels, changed, stop_after=stop_after, history=history, snapshots=store, selection=best
    )
    return history, result.untouched_decay


@pytest.mark.parametrize(
    "how",
    [
        {"method": "lora", "dropout": 0.3},
        {"method": "ia3", "pooling": "max"},
        {"method": "bitfit"},
        {"method": "prefix", "pooling": "mean", **TOKENS},
        {"freeze": "encoder"},
    ],
    ids=str,
)
def test_frozen_weights_stay_as_they_are_and_an_interrupted_training_ends_with_the_same_bits(
    tiny_roberta: Path, tmp_path: Path, how: dict[str, Any]
) -> None:
    before = {name: value.clone() for name, value in load(tiny_roberta, **how).state_dict().items()}
    whole, model, again = (load(tiny_roberta, **how) for _ in range(3))
    history, decay = train(whole)
    assert decay == 1  # no row of the embedding table shrinks
    store = SnapshotStore(tmp_path, belongs_to=OWNER)
    with pytest.raises(Stopped):
        train(model, store, stop_after=4)
    snapshot = store.newest()
    assert snapshot is not None
    kept = {name.removeprefix("model.") for name in snapshot.tensors if name.startswith("model.")}
    assert kept == trained(model).keys()  # and so a snapshot is small
    assert [(line.step, line.loss) for line in train(again, store)[0]] == [(line.step, line.loss) for line in history]
    for model in (whole, again):
        model.restore_vocabulary(decay=decay)
    for (name, one), other in zip(whole.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other), name
        assert torch.equal(one, before[name]) is not one.requires_grad, name
