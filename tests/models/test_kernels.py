"""The CPU's own forms of dropout, lookups and attention against torch's; and how rows share attention blocks."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from transformers import RobertaConfig

from glue_bench.config.keys import FRACTION
from glue_bench.data.encoding import TextEncoder
from glue_bench.models import kernels
from glue_bench.models.classifier import load_classifier
from glue_bench.models.kernels import (
    BLOCK_COST,
    AttentionKind,
    FlatBatch,
    Noise,
    attend,
    drop,
    look_up,
    pick,
    split_by_length,
)  # fmt: skip
from glue_bench.models.packing import Packer
from glue_bench.models.placement import choose_placement
from glue_bench.training.trainer import fit, predict
from tests.support.training import CPU, STREAMS, encoded_of, rows_of, settings

HEADS, WIDTH = 3, 12


def batch_of(lengths: list[int]) -> FlatBatch:
    packer = Packer(encoded_of(lengths, seed=1, pad_id=1), config=RobertaConfig(), device=CPU.device)
    return packer.gather(np.arange(len(lengths)))


def states(count: int, seed: int) -> Tensor:
    return torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def assert_same_gradients(ours: Tensor, theirs: Tensor, sources: Sequence[Tensor]) -> None:
    gradients = (torch.autograd.grad(result.square().sum(), sources) for result in (ours, theirs))
    for mine, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, expected, atol=1e-5, rtol=0)


def expected_attention(query: Tensor, key: Tensor, value: Tensor, lengths: list[int]) -> Tensor:
    """Compute the attention of each row by itself, without padding."""
    contexts, start = [], 0
    for row, length in enumerate(lengths):
        inside = slice(start, start + length)
        own = query[inside] if len(query) == sum(lengths) else query[row : row + 1]
        q, k, v = (part.view(len(part), HEADS, -1).transpose(0, 1) for part in (own, key[inside], value[inside]))
        context = functional.scaled_dot_product_attention(q, k, v)
        contexts.append(context.transpose(0, 1).reshape(len(own), WIDTH))
        start += length
    return torch.cat(contexts)


def kind(*, dropout: float = 0.0, noise: Noise | None = None) -> AttentionKind:
    return AttentionKind(heads=HEADS, scale=(WIDTH // HEADS) ** -0.5, dropout=dropout, noise=noise)


@pytest.mark.parametrize("plain", [True, False], ids=["cpu's own", "torch's"])
@pytest.mark.parametrize("first_only", [False, True])
@pytest.mark.parametrize("lengths", [[1], [4, 4], [7, 3, 1], [90, 80, 3, 2, 1, 1]])
def test_attention_and_its_gradients_equal_those_of_each_row_by_itself(
    lengths: list[int], first_only: bool, plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "is_plain", lambda _: plain)
    batch, total = batch_of(lengths), sum(lengths)
    inputs = [states(len(lengths) if first_only else total, 1), states(total, 2), states(total, 3)]
    query, key, value = inputs
    ours = attend(query, key=key, value=value, batch=batch, kind=kind())
    expected = expected_attention(query, key, value, lengths)
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=0)
    weights = torch.randn(ours.shape, generator=torch.Generator().manual_seed(4))
    for mine, theirs in zip(
        torch.autograd.grad((ours * weights).sum(), inputs),
        torch.autograd.grad((expected * weights).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=0)


def test_the_long_rows_of_that_test_do_not_share_a_block_with_the_short_ones() -> None:
    assert len(batch_of([90, 80, 3, 2, 1, 1]).blocks(HEADS).whole) == 2
    assert len(batch_of([7, 3, 1]).blocks(HEADS).whole) == 1


def test_the_gradient_of_attention_with_dropout_is_that_of_the_same_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths, masks = [5, 3], list[Tensor]()
    original = Noise.mask

    def keep(noise: Noise, states: Tensor, probability: float) -> Tensor:
        masks.append(original(noise, states, probability))
        return masks[-1]

    monkeypatch.setattr(Noise, "mask", keep)
    batch, inputs = batch_of(lengths), [states(8, seed) for seed in (1, 2, 3)]
    query, key, value = inputs
    ours = attend(query, key=key, value=value, batch=batch, kind=kind(dropout=0.4, noise=Noise()))
    (mask,) = masks
    assert (mask == 0).any()
    assert (mask != 0).any()
    contexts, start = [], 0
    for row, length in enumerate(lengths):
        q, k, v = (
            part[start : start + length].view(length, HEADS, -1).transpose(0, 1) for part in inputs
        )  # (heads, length, size)
        probs = torch.softmax(q @ k.transpose(1, 2) / (WIDTH // HEADS) ** 0.5, -1)
        kept = probs * mask[row * HEADS : (row + 1) * HEADS, :length, :length]
        contexts.append((kept @ v).transpose(0, 1).reshape(length, WIDTH))
        start += length
    expected = torch.cat(contexts)
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=0)
    assert_same_gradients(ours, expected, inputs)


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_a_mask_drops_as_often_as_it_says_and_keeps_the_mean(probability: float) -> None:
    torch.manual_seed(1)
    mask = Noise().mask(torch.empty(1000, 1001), probability)
    dropped = (mask == 0).double().mean().item()
    assert dropped == pytest.approx(probability, abs=4 * (probability * (1 - probability) / mask.numel()) ** 0.5 + 1e-5)
    assert sorted(set(mask.flatten().tolist())) == pytest.approx([0.0, 1 / (1 - probability)], rel=1e-3)
    assert mask.double().mean().item() == pytest.approx(1, abs=0.01)
    rows = (mask == 0).double()
    assert torch.corrcoef(rows[:8]).fill_diagonal_(0).abs().max() < 0.2  # independent from row to row


def test_masks_follow_torchs_seed_and_differ_from_each_other() -> None:
    def draw() -> list[Tensor]:
        noise = Noise()
        return [noise.mask(torch.empty(64), 0.5), noise.mask(torch.empty(64), 0.5)]

    torch.manual_seed(5)
    first, second = draw(), draw()
    torch.manual_seed(5)
    again = draw()
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], second[0])


def test_dropout_is_applied_in_training_only() -> None:
    hidden, dropout = states(50, 1), nn.Dropout(0.5)
    assert (drop(hidden, dropout, noise=Noise()) == 0).any()
    summed = drop(hidden, dropout, noise=Noise(), residual=torch.ones_like(hidden))
    assert ((summed == 1) | torch.isclose(summed, 1 + 2 * hidden, rtol=1e-4)).all()
    dropout.eval()
    assert torch.equal(drop(hidden, dropout, noise=None), hidden)
    assert torch.equal(drop(hidden, dropout, noise=Noise(), residual=hidden), 2 * hidden)


@pytest.mark.parametrize("rows", [1, 2, 17])
def test_lookups_have_torchs_values_and_gradients(rows: int) -> None:
    torch.manual_seed(0)
    table, hidden = nn.Embedding(9, WIDTH, padding_idx=2), states(9, 1)
    ids = torch.randint(0, 9, (rows,))
    ours = look_up(ids, table), pick(hidden, ids)
    theirs = table(ids), hidden.index_select(0, ids)
    for mine, expected, sources in zip(ours, theirs, [(table.weight,), (hidden,)], strict=True):
        torch.testing.assert_close(mine, expected, atol=1e-6, rtol=0)
        assert_same_gradients(mine, expected, sources)


@settings_of_hypothesis(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(lengths=st.lists(st.integers(1, 300), min_size=1, max_size=40))
def test_rows_are_cut_into_groups_that_cost_at_most_as_much_as_one_block(lengths: list[int]) -> None:
    ordered = np.sort(np.array(lengths))[::-1]
    runs = list(split_by_length(ordered))
    assert [begin for begin, _ in runs] + [len(ordered)] == [0] + [end for _, end in runs]
    entries = sum((end - begin) * int(ordered[begin]) ** 2 + BLOCK_COST for begin, end in runs)
    assert entries <= len(ordered) * int(ordered[0]) ** 2 + 2 * BLOCK_COST


def test_the_operations_for_other_devices_give_the_same_logits(
    tiny_roberta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_classifier(tiny_roberta, outputs=2, head_seed=1)
    encoded = encoded_of([40, 3, 9, 1, 200], seed=1, pad_id=1)
    ours = predict(model, encoded, batch_size=5, placement=CPU)
    monkeypatch.setattr(kernels, "is_plain", lambda _: False)
    monkeypatch.setattr("glue_bench.models.kernels.split_by_length", lambda lengths: [(0, len(lengths))])
    theirs = predict(model, encoded, batch_size=5, placement=CPU)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_bfloat16_goes_through_torchs_operations_and_stays_near(tiny_roberta: Path) -> None:
    model = load_classifier(tiny_roberta, outputs=2, head_seed=1)
    encoded = encoded_of([40, 3, 9, 1, 20], seed=1, pad_id=1)
    exact = predict(model, encoded, batch_size=5, placement=CPU)
    rounded = predict(model, encoded, batch_size=5, placement=choose_placement("cpu", "bfloat16"))
    np.testing.assert_allclose(rounded, exact, atol=0.02)
    assert not np.array_equal(rounded, exact)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("deterministic", [False, True])
def test_a_gpu_trains_to_the_weights_of_a_cpu(tiny_roberta: Path, deterministic: bool) -> None:
    weights = []
    for device in ("cpu", "cuda", "cuda"):
        model = load_classifier(tiny_roberta, outputs=2, head_seed=1)
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        rows = rows_of("binary")
        fit(
            model,
            TextEncoder(tiny_roberta, max_length=64).encode(rows),
            labels=rows.labels,
            settings=settings(),
            streams=STREAMS,
            placement=choose_placement(device, "float32", deterministic=deterministic),
            history=[],
        )
        weights.append([parameter.detach().cpu() for parameter in model.parameters()])
    for on_cpu, on_gpu, again in zip(*weights, strict=True):
        torch.testing.assert_close(on_gpu, on_cpu, atol=1e-3, rtol=0)
        assert not deterministic or torch.equal(on_gpu, again)


@pytest.mark.parametrize("probability", [0.0, 1e-18, 0.5, 0.9999, 0.99999])
def test_every_dropout_that_a_configuration_may_have_makes_a_finite_mask(probability: float) -> None:
    assert FRACTION.holds(probability)
    mask = Noise().mask(torch.empty(64, 64), probability)
    assert torch.isfinite(mask).all()
