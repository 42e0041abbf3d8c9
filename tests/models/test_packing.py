"""Batches of fixed shapes: what their buffer holds, and that filler changes no logit and no gradient."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st
from transformers import RobertaConfig

from glue_bench.models import kernels
from glue_bench.models.classifier import load_classifier
from glue_bench.models.kernels import Blocks, FlatBatch, arrange
from glue_bench.models.packing import Packer, pack
from glue_bench.models.placement import Layout
from tests.support.training import CPU, encoded_of

LENGTHS = st.lists(st.integers(1, 90), min_size=1, max_size=9)
BUCKETS = st.sampled_from([1, 32, 64])


def packer_of(lengths: list[int]) -> Packer:
    encoded = encoded_of(lengths, seed=1, pad_id=1)
    encoded.tokens[:] *= 3_000 if len(lengths) % 2 else 1  # ids above 65,535 are sorted in another way
    return Packer(encoded, config=RobertaConfig(), device=CPU.device)


def test_a_buffer_gives_back_its_arrays_each_where_a_kernel_can_read_it() -> None:
    arrays = {"a": np.arange(5), "b": np.array([[0.5], [-1e30]]), "c": np.array([True, False]), "d": np.array([7])}
    packed = pack(arrays, torch.device("cpu"), longest=3)
    found = packed.views()
    assert found["a"].tolist() == [0, 1, 2, 3, 4]
    assert found["b"].tolist() == pytest.approx([0.5, -1e30])
    assert (found["c"].tolist(), found["d"].tolist()) == ([1, 0], [7])
    start = packed.buffer.data_ptr()
    assert all((view.data_ptr() - start) % 16 == 0 for view in found.values())
    assert all(view.data_ptr() - start < 4 * len(packed.buffer) for view in found.values())


@given(LENGTHS, BUCKETS, st.integers(0, 70) | st.none())
@example([1], 32, 0)
@example([30, 2], 32, 0)
def test_a_batch_has_its_rows_then_absent_ones_then_filler(lengths: list[int], bucket: int, spare: int | None) -> None:
    count, rows = len(lengths), None if spare is None else len(lengths) + spare
    packer, layout = packer_of(lengths), Layout(bucket=bucket, rows=rows, segments=True)
    batch = packer.gather(np.arange(count), layout=layout)
    total, real = len(batch.input_ids), sum(lengths)
    assert total % bucket == 0
    assert real <= total < max(real, (rows or 0) + 1) + bucket
    assert rows is None or total > rows == len(batch.first)
    as_it_is = packer.gather(np.arange(count))
    assert torch.equal(batch.input_ids[:real], as_it_is.input_ids)
    assert torch.equal(batch.position_ids[:real], as_it_is.position_ids)
    starts = batch.starts.numpy()
    assert starts[: count + 1].tolist() == np.concatenate([[0], np.cumsum(lengths)]).tolist()
    assert starts[-1] == total
    assert len(starts) == len(batch.first) + 2
    assert batch.longest >= np.diff(starts).max()
    assert batch.first[:count].tolist() == starts[:count].tolist()
    assert not batch.first[count:].any()
    for ids, order, segments in (
        (batch.input_ids, batch.word_order, batch.word_segments),
        (batch.position_ids, batch.position_order, batch.position_segments),
    ):
        assert order is not None
        assert segments is not None
        assert len(segments) == total + 1
        kinds, expected = np.unique(ids.numpy()), segments.numpy()
        assert (expected[len(kinds) :] == total).all()
        for place, kind in enumerate(kinds):
            tokens = order.numpy()[expected[place] : expected[place + 1]]
            assert tokens.tolist() == np.flatnonzero(ids.numpy() == kind).tolist()


def test_batches_of_as_many_tokens_and_about_as_long_rows_have_one_key() -> None:
    layout = Layout(bucket=64, rows=4)
    keys = [
        packer_of(lengths).pack(np.arange(len(lengths)), layout=layout, extras={}).key
        for lengths in ([60, 50], [50, 33, 40], [64, 20, 20, 20], [65, 20, 20, 20], [64, 65])
    ]
    assert keys[0] == keys[1] == keys[2]
    assert len({*keys}) == 3


def arrange_as_a_gpu_does(batch: FlatBatch, heads: int, *, lengths: object) -> Blocks:  # noqa: ARG001
    return arrange(batch, heads, lengths=None)


@pytest.mark.parametrize("plain", [True, False], ids=["cpu's own", "a gpu's"])
@given(lengths=LENGTHS, bucket=BUCKETS, spare=st.integers(0, 3) | st.none())
@example(lengths=[32], bucket=32, spare=None)
@example(lengths=[32, 32], bucket=64, spare=0)
@example(lengths=[5], bucket=64, spare=3)
@settings_of_hypothesis(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_filler_and_absent_rows_change_no_logit_and_no_gradient(
    plain: bool, lengths: list[int], bucket: int, spare: int | None, tiny_roberta: Path
) -> None:
    model = load_classifier(tiny_roberta, outputs=2, head_seed=1, engine="flat").eval()
    packer = model.place(encoded_of(lengths, seed=3, pad_id=1), CPU.device)
    order = np.argsort([-length for length in lengths])
    layout = Layout(bucket=bucket, rows=None if spare is None else len(lengths) + spare)
    found = []
    with pytest.MonkeyPatch.context() as patch:
        if not plain:
            patch.setattr(kernels, "is_plain", lambda _: False)
            patch.setattr(kernels, "arrange", arrange_as_a_gpu_does)
        for each in (Layout(), layout):
            model.zero_grad()
            logits = model(packer.gather(order, layout=each))[: len(lengths)]
            assert torch.isfinite(logits).all()
            logits.square().sum().backward()
            gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
            found.append([logits, *gradients])
    assert len(found[0]) > 20
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-5)
