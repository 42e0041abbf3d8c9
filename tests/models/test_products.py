"""Matrix products on a CPU: oneDNN's are exact, used only where they pay, and change nothing but the last digits."""

import contextlib
import dataclasses
import itertools
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from glue_bench.data.encoding import TextEncoder
from glue_bench.errors import UsageError
from glue_bench.models import products
from glue_bench.models.classifier import Classifier, load_classifier
from glue_bench.models.placement import Placement, choose_placement
from glue_bench.models.products import OneDNNLinear, Probe, choose_products, probe, used
from glue_bench.training.course import StepReport
from glue_bench.training.trainer import fit, predict
from tests.support.golden_losses import CASES, RECORDED, measure
from tests.support.training import CPU, ONEDNN, STREAMS, rows_of, settings


@pytest.mark.parametrize("shape", [(1, 48), (37, 48), (1, 70, 48), (3, 5, 48)], ids=str)
@pytest.mark.parametrize("learns", ["states weight bias", "states weight", "weight bias", "states"])
def test_onednns_products_and_gradients_are_those_of_float64(shape: tuple[int, ...], learns: str) -> None:
    numbers = torch.Generator().manual_seed(len(shape))
    layer = {
        name: torch.randn(size, generator=numbers).requires_grad_(name in learns)
        for name, size in {"states": shape, "weight": (96, 48), "bias": (96,)}.items()
    }
    exact = {name: part.detach().double().requires_grad_(part.requires_grad) for name, part in layer.items()}
    ours: Tensor = OneDNNLinear.apply(*layer.values())  # type: ignore[no-untyped-call]
    theirs = nn.functional.linear(*exact.values())
    outer = torch.randn(ours.shape, generator=numbers)
    torch.autograd.backward(ours, outer)
    torch.autograd.backward(theirs, outer.double())
    pairs: list[Any] = [(ours.detach(), theirs.detach())]
    pairs += [(layer[name].grad, exact[name].grad) for name in learns.split()]
    for found, expected in pairs:
        assert found.shape == expected.shape
        assert found.is_contiguous()
        assert float((found - expected).norm() / expected.norm()) < 1e-6
    assert [name for name, part in layer.items() if part.grad is not None] == learns.split()


@pytest.mark.parametrize(
    ("found", "auto"),
    [
        (Probe(error=3e-7, onednn=207, torch=104, wider=True), "onednn"),  # AMD with AVX-512
        (Probe(error=3e-7, onednn=90, torch=104, wider=True), "onednn"),  # the same, with much else at work
        (Probe(error=3e-3, onednn=900, torch=210, wider=True), "torch"),  # bfloat16 in disguise
        (Probe(error=float("nan"), onednn=900, torch=210, wider=True), "torch"),
        (Probe(error=3e-7, onednn=110, torch=100), "torch"),  # the same instructions
        (Probe(error=float("inf")), "torch"),
    ],
)
def test_onednn_multiplies_only_where_a_probe_finds_it_exact_and_its_vectors_are_wider(
    found: Probe, auto: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "probe", lambda: found)
    assert choose_placement("cpu", "float32", multiply="auto").products == choose_products("auto") == auto
    assert choose_placement("cpu", "bfloat16", multiply="auto").products == choose_products("torch") == "torch"
    exact = "onednn" if found.error <= 1e-6 else "torch"
    assert choose_placement("cpu", "float32", multiply="auto", before="onednn").products == exact
    assert choose_placement("cpu", "float32", multiply="auto", before="torch").products == "torch"
    if found.error <= 1e-6:
        assert choose_products("onednn") == "onednn"
    else:
        with pytest.raises(UsageError, match=r"trainer.products=onednn: not exact on this machine .*auto or torch"):
            choose_products("onednn")


def test_the_probe_multiplies_on_one_thread_once_in_a_process_and_changes_no_setting() -> None:
    threads = torch.get_num_threads()
    probe.cache_clear()
    found = probe()
    assert probe() is found
    assert 0 < found.error < 1e-6
    assert min(found.onednn, found.torch) > 0.1
    assert torch.get_num_threads() == threads
    assert used.get() == "torch"


@pytest.mark.parametrize("busy", ["onednn", "torch"])
@pytest.mark.parametrize(
    ("capability", "vendor", "auto"),
    [
        ("AVX512", "AuthenticAMD", "onednn"),
        ("AVX512", "HygonGenuine", "onednn"),
        ("AVX512", "GenuineIntel", "torch"),
        ("AVX2", "AuthenticAMD", "torch"),
        ("DEFAULT", "", "torch"),
    ],
)
def test_the_processor_decides_and_not_what_else_it_has_to_do(
    capability: str, vendor: str, auto: str, busy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    takes = {"onednn": [1.0, 100.0, 1.0, 1.0], "torch": [1.0, 1.0, 1.0, 100.0]}[busy]
    seconds = itertools.accumulate(itertools.cycle(takes))
    monkeypatch.setattr("time.thread_time", lambda: next(seconds))
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(products, "processor_fact", lambda _: vendor)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    probe.cache_clear()
    try:
        found = probe()
        assert {"onednn": found.onednn, "torch": found.torch}[busy] < 0.1 * max(found.onednn, found.torch)
        assert choose_products("auto") == auto
    finally:
        probe.cache_clear()


def test_a_probe_of_a_torch_without_onednn_finds_nothing_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any) -> Tensor:
        raise AttributeError("'_OpNamespace' 'mkldnn' object has no attribute '_linear_pointwise'")

    monkeypatch.setattr(products, "multiply_by_onednn", missing)
    found = probe.__wrapped__()
    assert (found.error, str(found)) == (float("inf"), "oneDNN cannot be called")


class Products(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts products of float32, by operation."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts, self.rows = Counter[str](), list[int]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().partition("::")[2]
        self.counts[name] += 1
        if name == "_linear_pointwise":
            self.rows.append(len(args[0].flatten(0, -2)))
        return func(*args, **(kwargs or {}))


def train(
    folder: Path, placement: Placement, during: contextlib.AbstractContextManager[Any] | None = None, **changes: Any
) -> tuple[Classifier, list[StepReport]]:
    rows, history = rows_of("binary"), list[StepReport]()
    model = load_classifier(folder, outputs=2, head_seed=STREAMS.head)
    encoded = TextEncoder(folder, max_length=64).encode(rows)
    common = {"settings": settings(**changes), "streams": STREAMS, "placement": placement}
    with during or contextlib.nullcontext():
        fit(model, encoded, labels=rows.labels, history=history, **common)  # type: ignore[arg-type]
    return model, history


@pytest.mark.parametrize("family", ["tiny_roberta", "tiny_bert"])
def test_forward_and_backward_products_of_every_layer_of_the_encoder_are_onednns(
    family: str, request: pytest.FixtureRequest
) -> None:
    seen = Products()
    model, _ = train(request.getfixturevalue(family), ONEDNN, seen, updates=1)
    inner = [module for module in model.whole.base_model.modules() if isinstance(module, nn.Linear)]
    outer = [module for module in model.whole.modules() if isinstance(module, nn.Linear)]
    # BERT pools the row that transformers takes a flat batch for, too, which nothing reads.
    assert sum(rows > 1 for rows in seen.rows) == 3 * len(inner)
    assert seen.counts["addmm"] == len(outer) - len(inner)  # the head's
    assert all(rows % 32 == 0 for rows in seen.rows if rows > 64)


def test_nothing_outside_of_training_and_evaluation_multiplies_by_onednn(tiny_roberta: Path) -> None:
    before = torch.backends.fp32_precision, torch.get_float32_matmul_precision()  # type: ignore[attr-defined]
    model, _ = train(tiny_roberta, ONEDNN, updates=1)
    encoded = TextEncoder(tiny_roberta, max_length=64).encode(rows_of("binary"))
    predict(model, encoded, batch_size=32, placement=ONEDNN)
    with Products() as seen, torch.no_grad():
        model(model.place(encoded, torch.device("cpu")).gather(np.arange(4)))
        model.whole(input_ids=torch.full((2, 5), 7))
    assert seen.counts["_linear_pointwise"] == 0
    assert (torch.backends.fp32_precision, torch.get_float32_matmul_precision()) == before  # type: ignore[attr-defined]


def test_products_change_the_last_digits_alone_and_dropout_drops_the_same(tiny_roberta: Path) -> None:
    theirs, ours = (train(tiny_roberta, placement)[1] for placement in (CPU, ONEDNN))
    assert len(ours) == len(theirs) == 26
    np.testing.assert_allclose([line.loss for line in ours], [line.loss for line in theirs], rtol=1e-4)
    assert [line.loss for line in ours] != [line.loss for line in theirs]


@pytest.mark.parametrize("name", ["roberta-flat-rte", "bert-flat-stsb", "a batch in three parts", "the best epoch"])
def test_the_recorded_trainings_are_repeated_up_to_rounding(name: str, tmp_path: Path) -> None:
    case = dataclasses.replace(CASES[name], words=(*CASES[name].words, "trainer.products=onednn"))
    found, expected = measure(case, tmp_path / "results"), RECORDED["cases"][name]
    for key, tolerance in {"losses": 1e-4, "gradient_norms": 1e-3}.items():
        ours, theirs = (list(map(float.fromhex, numbers[key])) for numbers in (found, expected))
        np.testing.assert_allclose(ours, theirs, rtol=tolerance)
    (path,) = tmp_path.rglob("record.json")
    execution = json.loads(path.read_text())["execution"]
    assert execution["products"] == "onednn"
    assert execution["rates"] == str(probe())


_CHILD = """
import sys
import numpy as np, torch
from transformers import BertConfig
from glue_bench.models.classifier import load_classifier
from glue_bench.training.trainer import fit
from tests.support.training import CPU, ONEDNN, STREAMS, encoded_of, settings
torch.set_num_threads(1)
lengths = [*range(301, 1, -1)]
sizes = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4}
model, sizes = load_classifier(BertConfig(vocab_size=500, **sizes), outputs=2, head_seed=1), []
def note(_):
    sizes.append(int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20)
fit(model, encoded_of(lengths, seed=1, pad_id=0), labels=np.arange(300) % 2, placement=ONEDNN, streams=STREAMS,
    settings=settings(epochs=1, batch_size=1), history=[], on_step=note)
print(max(sizes) - sizes[0])
"""


@pytest.mark.slow  # 300 updates
def test_training_on_300_different_lengths_keeps_little_memory() -> None:
    done = subprocess.run([sys.executable, "-c", _CHILD], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 200  # MiB


@pytest.mark.parametrize("part", [slice(0), slice(-1, None), slice(None)], ids=["none", "a row", "all"])
@pytest.mark.parametrize("left", [0.0, float("nan")])
def test_products_of_which_a_part_is_left_out_are_counted(
    part: slice, left: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave_out(*operands: Tensor) -> Tensor:
        product = nn.functional.linear(*operands)
        if product.dtype == torch.bfloat16:
            product[part] = left
        return product

    monkeypatch.setattr(products, "_TOKENS", (32,))
    monkeypatch.setattr(products, "_WIDTHS", (16, 24))
    monkeypatch.setattr(products, "functional", SimpleNamespace(linear=leave_out))
    assert products.count_wrong(torch.device("cpu")) == (24 if part != slice(0) else 0, 24)
