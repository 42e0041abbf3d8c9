"""The flat engine against the padded one, which is transformers' own forward pass."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glue_bench.data.encoding import Encoded, TextEncoder
from glue_bench.models.classifier import Classifier, load_classifier
from glue_bench.models.kernels import FlatBatch
from glue_bench.training.trainer import fit, predict
from tests.support.training import CPU, STREAMS, encoded_of, rows_of
from tests.support.training import settings as trainer_settings

LONGEST = {"tiny_roberta": 512, "tiny_bert": 128}
KEEP_FIXTURES = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def logits_and_gradients(
    model: Classifier, encoded: Encoded, *, cut: bool
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.eval()  # dropout off; gradients all the same
    if cut:
        model.cut_vocabulary(encoded.tokens)
    logits = model(model.place(encoded, torch.device("cpu")).gather(np.arange(len(encoded))))
    logits.square().sum().backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return logits.detach(), gradients


@pytest.mark.parametrize("cut", [False, True], ids=["whole-table", "cut-table"])
@pytest.mark.parametrize("family", list(LONGEST))
@settings(max_examples=15, deadline=None, suppress_health_check=KEEP_FIXTURES)
@given(data=st.data())
def test_logits_and_gradients_equal_the_padded_engines_for_any_lengths(
    family: str, cut: bool, request: pytest.FixtureRequest, data: st.DataObject
) -> None:
    folder: Path = request.getfixturevalue(family)
    lengths = data.draw(st.lists(st.one_of(st.integers(1, 12), st.just(LONGEST[family])), min_size=1, max_size=5))
    flat = load_classifier(folder, outputs=3, head_seed=1, engine="flat")
    padded = load_classifier(folder, outputs=3, head_seed=1, engine="padded")
    encoded = encoded_of(lengths, seed=data.draw(st.integers(0, 99)), pad_id=int(flat.config.pad_token_id))
    ours, our_gradients = logits_and_gradients(flat, encoded, cut=cut)
    expected, expected_gradients = logits_and_gradients(padded, encoded, cut=False)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)
    for name, gradient in expected_gradients.items():
        if cut and "word_embeddings" in name:
            gradient = gradient[torch.from_numpy(np.unique(encoded.tokens).astype(np.int64))]
        torch.testing.assert_close(our_gradients[name], gradient, atol=1e-5, rtol=1e-5, msg=name)


def trained(folder: Path, engine: str, *, cut: bool) -> Classifier:
    """Do a whole fine-tuning run without dropout."""
    model = load_classifier(folder, outputs=2, head_seed=1, engine=engine)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    rows = rows_of("binary")
    encoded = TextEncoder(folder, max_length=64).encode(rows)
    if cut:
        model.cut_vocabulary(encoded.tokens)
    result = fit(
        model,
        encoded,
        labels=rows.labels,
        settings=trainer_settings(weight_decay=1.0, log_every=100),
        streams=STREAMS,
        placement=CPU,
        history=[],
    )
    model.restore_vocabulary(decay=result.untouched_decay)
    return model


@pytest.mark.parametrize("family", list(LONGEST))
def test_fine_tuning_ends_with_the_same_weights_on_either_engine_cut_or_not(
    family: str, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(family)
    expected = trained(folder, "padded", cut=False).standard_state()
    for cut in (False, True):
        ours = trained(folder, "flat", cut=cut).standard_state()
        assert ours.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(ours[name], value, atol=1e-4, rtol=0, msg=f"{name}, cut={cut}")


def test_rows_that_never_occur_only_decay(tiny_roberta: Path) -> None:
    before = load_classifier(tiny_roberta, outputs=2, head_seed=1).standard_state()
    after = trained(tiny_roberta, "flat", cut=True).standard_state()
    name = "roberta.embeddings.word_embeddings.weight"
    occurring = set(TextEncoder(tiny_roberta, max_length=64).encode(rows_of("binary")).tokens.tolist())
    absent = [token for token in range(len(before[name])) if token not in occurring]
    assert absent
    shares = (after[name][absent] / before[name][absent]).nan_to_num(1.0)
    shares = shares[before[name][absent] != 0]
    assert shares.std() < 1e-5
    assert 0.9 < shares.mean() < 0.995


def test_prediction_is_the_same_with_a_cut_table(tiny_roberta: Path) -> None:
    model = load_classifier(tiny_roberta, outputs=2, head_seed=1)
    encoded = TextEncoder(tiny_roberta, max_length=64).encode(rows_of("binary"))
    whole = predict(model, encoded, batch_size=16, placement=CPU)
    model.cut_vocabulary(encoded.tokens)
    np.testing.assert_array_equal(predict(model, encoded, batch_size=16, placement=CPU), whole)


def test_a_flat_batch_has_no_padding(tiny_roberta: Path) -> None:
    model = load_classifier(tiny_roberta, outputs=2, head_seed=1, engine="flat")
    encoded = encoded_of([3, 1, 9], seed=1, pad_id=1)
    batch = model.place(encoded, torch.device("cpu")).gather(np.array([2, 0, 1]))
    assert isinstance(batch, FlatBatch)
    assert {field.name for field in dataclasses.fields(batch)} > {"starts", "position_ids"}
    assert len(batch.input_ids) == 13
