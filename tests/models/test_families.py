"""Families of encoders, each at a tiny random size: flat against padded, which is transformers' own forward pass."""

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, RobertaConfig
from transformers.initialization import no_init_weights

from glue_bench.cli import main
from glue_bench.data.encoding import Encoded
from glue_bench.errors import InputError, UsageError
from glue_bench.models.classifier import (
    POOLINGS,
    Classifier,
    load_classifier,
    load_saved_classifier,
    save_classifier,
)
from glue_bench.models.flat import FlatModel, check
from glue_bench.models.packing import Packer
from glue_bench.models.padded import pad
from glue_bench.runs.store import RunStore
from glue_bench.training.checkpoint import SnapshotStore
from glue_bench.training.course import StepReport
from glue_bench.training.trainer import fit
from tests.support.families import FLAT, PADDED, QUIET, REFUSED, SIZES, config_of
from tests.support.training import CPU, OWNER, STREAMS, encoded_of
from tests.support.training import settings as changed

pytestmark = QUIET
MOST = 36  # tokens of a row, in every family


@functools.cache
def pair(name: str) -> tuple[Classifier, Classifier]:
    """Return a flat and a padded classifier with equal weights; vectors are not left at 0 and 1."""
    flat, padded = (load_classifier(config_of(name), outputs=3, head_seed=1, engine=way) for way in ("auto", "padded"))
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
    model = load_classifier(config_of(name), outputs=3, head_seed=1)
    assert model.engine == "padded"
    assert model.why_padded.startswith("the flat engine's logits or states differ by ")
    with pytest.raises(UsageError, match=r"trainer\.engine=flat: not for this encoder \(the flat engine's logits"):
        load_classifier(config_of(name), outputs=3, head_seed=1, engine="flat")
    reference = load_classifier(config_of(name), outputs=3, head_seed=1, engine="padded")
    encoded = encoded_of([3, 9], seed=1, pad_id=1)
    found, expected = (logits_and_gradients(way.eval(), encoded) for way in (model, reference))
    assert torch.equal(found[0], expected[0])
    assert all(torch.equal(found[1][key], gradient) for key, gradient in expected[1].items())


@pytest.mark.parametrize("name", list(REFUSED))
@pytest.mark.parametrize("engine", ["auto", "padded"])
def test_a_family_whose_logits_of_a_row_change_with_the_rows_beside_it_is_refused(name: str, engine: str) -> None:
    with pytest.raises(InputError, match=f"^{name}: a row's logits or states change by .e[-+]0. with"):
        load_classifier(config_of(name), outputs=3, head_seed=1, engine=engine)


@pytest.mark.parametrize("name", [*FLAT, *PADDED])
def test_no_family_with_large_weights_is_taken_for_one_that_reads_padding(name: str) -> None:
    config = config_of(name)
    config.initializer_range = 0.5
    assert load_classifier(config, outputs=3, head_seed=1, engine="padded").why_padded == "trainer.engine=padded"


def test_padding_is_checked_with_a_head_of_ours_too(tmp_path: Path) -> None:
    AutoModel.from_config(config_of("yoso")).save_pretrained(tmp_path)  # type: ignore[no-untyped-call]
    for head in POOLINGS:
        with pytest.raises(InputError, match="with the padding of its batch"):
            load_classifier(tmp_path, outputs=2, head_seed=1, head=head)


UNCOMPUTED: dict[str, dict[str, Any]] = {
    "nystromformer": {"segment_means_seq_len": 512, "num_landmarks": 64},
    "flaubert": {"emb_dim": 32, "n_layers": 2, "n_heads": 4, "pre_norm": True},
    "lilt": {"hidden_size": 36},
    "layoutlmv3": {},
}


@pytest.mark.parametrize("name", list(UNCOMPUTED))
@pytest.mark.parametrize("engine", ["auto", "padded"])
def test_an_encoder_that_transformers_cannot_compute_is_refused_with_the_reason(
    name: str, engine: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = AutoConfig.for_model(name, **{**SIZES, **UNCOMPUTED[name]})
    with pytest.raises(InputError, match=rf"^{name}: its model cannot compute 3 rows of 7 tokens \(.+\)$"):
        load_classifier(config, outputs=3, head_seed=1, engine=engine)
    assert not caplog.records


def test_a_length_that_transformers_cannot_compute_is_an_input_error_but_too_little_memory_is_not() -> None:
    model = load_classifier(config_of("megatron-bert"), outputs=3, head_seed=1, engine="padded")
    packer = Packer(encoded_of([41, 3], seed=1, pad_id=1), torch.device("cpu"), config=model.config)
    with pytest.raises(InputError, match=r"^megatron-bert: its model cannot compute 2 rows of 41 tokens \(.+\)$"):
        model(packer.gather(np.arange(2)))

    def fail(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    model.whole.register_forward_pre_hook(fail)
    with pytest.raises(torch.OutOfMemoryError):
        model(packer.gather(np.arange(1, 2)))


def test_a_family_that_the_flat_engine_cannot_run_keeps_its_whole_vocabulary() -> None:
    config = AutoConfig.for_model("longformer", **SIZES, attention_window=[4, 4, 4])
    ours, theirs = (load_classifier(config, outputs=3, head_seed=1, engine=way).eval() for way in ("auto", "padded"))
    assert ours.why_padded.startswith("the flat engine cannot run it: ")
    encoded = encoded_of([3, 29], seed=1, pad_id=1)
    found, expected = (logits_and_gradients(model, encoded) for model in (ours, theirs))
    assert torch.equal(found[0], expected[0])
    assert all(torch.equal(found[1][key], gradient) for key, gradient in expected[1].items())


@pytest.mark.parametrize("name", [*FLAT, *PADDED])
def test_a_saved_classifier_of_every_family_loads_here_and_in_transformers_with_equal_logits(
    name: str, tiny_bert: Path, tmp_path: Path
) -> None:
    model = pair(name)[0] if name in FLAT else load_classifier(config_of(name), outputs=3, head_seed=1).eval()
    save_classifier(model, tmp_path, pretrained=tiny_bert, labels=["a", "b", "c"])
    assert "glue_bench" not in (tmp_path / "config.json").read_text()
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    again = load_saved_classifier(tmp_path, outputs=3).eval()
    assert again.engine == model.engine
    encoded, rows, cpu = encoded_of([5, 1, 9], seed=4, pad_id=1), np.arange(3), torch.device("cpu")
    with torch.no_grad():
        ours, loaded = (way(way.place(encoded, cpu).gather(rows)) for way in (model, again))
        batch = Packer(encoded, cpu, config=model.config).gather(rows)
        expected = theirs(**pad(batch, model.config)).logits
    assert torch.equal(loaded, ours)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)


class LostError(Exception):
    pass


@pytest.mark.parametrize("name", [*FLAT, *PADDED])
def test_a_training_of_every_family_continues_from_its_snapshot_to_the_bit(name: str, tmp_path: Path) -> None:
    lengths = np.random.default_rng(1).integers(1, 20, 24)
    encoded, store = encoded_of([*lengths], seed=4, pad_id=1), SnapshotStore(tmp_path, belongs_to=OWNER)

    def train(snapshots: SnapshotStore | None, *, lost_at: int | None = None) -> tuple[Classifier, list[int]]:
        model = load_classifier(config_of(name), outputs=2, head_seed=1)
        model.cut_vocabulary(encoded.tokens)

        def on_step(line: StepReport) -> None:
            if line.step == lost_at:
                raise LostError

        result = fit(
            model,
            encoded,
            labels=np.arange(24) % 2,
            settings=changed(snapshot_minutes=1e-9),
            streams=STREAMS,
            placement=CPU,
            history=[],
            on_step=on_step,
            snapshots=snapshots,
        )
        return model, result.resumed_at

    with pytest.raises(LostError):
        train(store, lost_at=4)
    (found, resumed), (expected, _) = train(store), train(None)
    assert resumed == [3]
    assert all(map(torch.equal, found.parameters(), expected.parameters()))


def test_an_encoder_that_fails_the_check_says_so_in_log_and_record_and_where_it_is_asked_for(
    tiny_words: list[str], tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "megatron"
    AutoModel.from_config(config_of("megatron-bert")).save_pretrained(folder)  # type: ignore[no-untyped-call]
    (folder / "tokenizer.json").write_bytes((tiny_bert / "tokenizer.json").read_bytes())
    words = ["run", "task=rte", *tiny_words, f"encoder.path={folder}", "trainer.max_length=32"]
    assert main(words) == 0
    (record,) = RunStore(tmp_path / "results").load_all()
    assert record.engine == "padded"
    assert record.execution["padded"].startswith("the flat engine's logits or states differ by ")
    said = [line for line in capsys.readouterr().err.splitlines() if "padded" in line]
    assert [line.endswith(f"runs padded, which is slower: {record.execution['padded']}") for line in said] == [True]
    assert main([*words, "trainer.engine=flat"]) == 2
    assert "trainer.engine=flat: not for this encoder (the flat engine's logits" in capsys.readouterr().err
    AutoModel.from_config(config_of("convbert")).save_pretrained(folder)  # type: ignore[no-untyped-call]
    assert main(words) == 3
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"glue-bench: encoder folder {folder}: a row's logits")


def test_the_check_takes_no_longer_than_a_few_forward_passes() -> None:
    config = RobertaConfig(vocab_size=500, num_hidden_layers=6, type_vocab_size=1)  # wide as DistilRoBERTa
    with no_init_weights():
        whole = AutoModelForSequenceClassification.from_config(config).eval()  # type: ignore[no-untyped-call]
    for parameter in whole.parameters():
        parameter.data.fill_(0.01)
    batch = Packer(encoded_of([7, 1], seed=1, pad_id=1), torch.device("cpu"), config=config).gather(np.arange(2))
    rows = pad(batch, config)

    def seconds(call: Callable[[], Any]) -> float:
        began = time.process_time()
        call()
        return time.process_time() - began

    with torch.no_grad():
        forward = min(seconds(lambda: whole(**rows)) for _ in range(3))
    found = list[tuple[FlatModel | None, str]]()
    assert seconds(lambda: found.append(check(whole))) < 8 * forward
    assert found[0][1] == ""


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
