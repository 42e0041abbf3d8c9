"""Claims of a model card against files, runs and this machine."""

import dataclasses
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import RobertaConfig, pipeline

from glue_bench.claims import Card, Claim, ClaimVerdict, LikelyToken, load_card
from glue_bench.claims.models import Model, check_model, count_parameters, count_weights
from glue_bench.config.schema import EncoderConfig
from glue_bench.errors import InputError
from glue_bench.tasks.published import load_published
from tests.support.claims import check, claim_of

PROMPT = "the cat sees the <mask> in the garden."


@pytest.fixture
def copied_tiny(tiny_roberta: Path, tmp_path: Path) -> Path:
    """Copy a tiny RoBERTa, so that a test may damage it."""
    return Path(shutil.copytree(tiny_roberta, tmp_path / "copied"))


def test_every_row_of_the_shipped_card_has_a_known_verdict(card: Card) -> None:
    rows = check(card)
    assert len(rows) == 19
    assert {row.verdict for row in rows.values()} <= set(ClaimVerdict)
    for row in rows.values():
        assert row.claim.says
        assert row.claim.source
        assert row.claim.check
        assert row.found or row.why


def test_the_folder_of_claims_is_not_taken_for_a_table_of_published_numbers(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert {"distilroberta", "roberta"} < {table.name for table in load_published()}
    assert caplog.text == ""


def test_the_published_table_has_every_score_that_the_card_claims(card: Card) -> None:
    claim = claim_of(card, "glue")
    table = next(table for table in load_published() if table.name == claim.table)
    assert [table.scores[task].value for task in claim.tasks] == [84.0, 89.4, 90.8, 92.5, 59.3, 88.3, 86.6, 67.9]


def test_without_the_files_the_stated_numbers_are_never_confirmed_by_themselves(card: Card) -> None:
    rows = check(card)
    for name in ("layers", "width", "heads", "case", "fill_mask.man", "fill_mask.woman", "fill_mask.model"):
        assert rows[name].verdict == "not checkable here"
        assert "is out of reach" in rows[name].why
        assert rows[name].found == ""


def test_without_the_files_parameters_are_counted_from_the_stated_architecture_and_say_so(card: Card) -> None:
    rows = check(card)
    for name, counted in (("parameters", 82_170_201), ("parameters.roberta", 124_697_433)):
        assert rows[name].verdict == "confirmed"
        assert rows[name].details["masked_lm"] == counted
        assert f"({counted:,})" in rows[name].found
        assert rows[name].basis == "the stated architecture"
        assert "not from the model's files" in rows[name].why


def test_a_config_that_agrees_confirms_layers_width_heads_and_parameters(
    card: Card, claimed_config: Callable[..., Path]
) -> None:
    rows = check(card, distilroberta=claimed_config())
    for name in ("layers", "width", "heads", "parameters"):
        assert rows[name].verdict == "confirmed"
        assert rows[name].basis == "config.json"
    assert rows["layers"].found == "6 in config.json"
    assert rows["fill_mask.man"].why == "the folder has no model.safetensors"


def test_a_config_with_other_layers_contradicts_layers_and_parameters_and_shows_what_was_found(
    card: Card, claimed_config: Callable[..., Path]
) -> None:
    rows = check(card, distilroberta=claimed_config(num_hidden_layers=5, num_attention_heads=8))
    assert (rows["layers"].verdict, rows["layers"].found) == ("contradicted", "5 in config.json")
    assert (rows["heads"].verdict, rows["heads"].found) == ("contradicted", "8 in config.json")
    assert rows["parameters"].verdict == "contradicted"
    assert rows["parameters"].found.startswith("75.1M")
    assert rows["width"].verdict == "confirmed"


def test_a_weights_file_that_is_not_what_the_config_says_contradicts(
    card: Card, tiny_roberta: Path, claimed_config: Callable[..., Path]
) -> None:
    folder = claimed_config()
    shutil.copyfile(tiny_roberta / "model.safetensors", folder / "model.safetensors")
    rows = check(card, distilroberta=folder)
    assert rows["parameters"].verdict == "contradicted"
    assert rows["parameters"].basis == "config.json and model.safetensors"
    assert rows["layers"].verdict == "confirmed"


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"model_type": "roberta", "hidden_size": "wide"}', '{"model_type": "x"}']
)
def test_a_damaged_config_leaves_the_claims_open_with_the_reason(
    content: str, card: Card, claimed_config: Callable[..., Path]
) -> None:
    folder = claimed_config()
    (folder / "config.json").write_text(content)
    rows = check(card, distilroberta=folder)
    assert rows["layers"].verdict == "not checkable here"
    assert str(folder) in rows["layers"].why
    assert rows["parameters"].basis == "the stated architecture"


def test_the_weights_file_is_counted_without_its_pooler_buffers_and_tied_copies(
    copied_tiny: Path,
) -> None:
    path = copied_tiny / "model.safetensors"
    counted = count_parameters(RobertaConfig.from_pretrained(copied_tiny))["masked_lm"]
    assert count_weights(path) == counted
    tensors = load_file(path)
    more = {
        "roberta.pooler.dense.weight": torch.zeros(32, 32),
        "roberta.embeddings.position_ids": torch.zeros(1, 514, dtype=torch.int64),
        "lm_head.decoder.weight": tensors["roberta.embeddings.word_embeddings.weight"].clone(),
    }
    save_file({**tensors, **more}, path)
    assert count_weights(path) == counted


def test_parameters_are_confirmed_only_if_weights_and_architecture_both_round_to_the_claim(
    card: Card, tmp_path: Path
) -> None:
    from transformers import RobertaForMaskedLM

    config = RobertaConfig(
        vocab_size=50_000, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    RobertaForMaskedLM(config).save_pretrained(tmp_path / "two_million")
    model = Model(card.models["distilroberta"], EncoderConfig(path=str(tmp_path / "two_million")))
    claim = claim_of(card, "parameters")
    two = check_model(dataclasses.replace(claim, value=2_000_000), model)
    assert two.verdict == "confirmed", two
    assert two.basis == "config.json and model.safetensors"
    three = check_model(dataclasses.replace(claim, value=3_000_000), model)
    assert (three.verdict, three.details["claimed"]) == ("contradicted", 3_000_000)


def test_weights_without_a_masked_lm_head_do_not_decide_the_parameters(card: Card, copied_tiny: Path) -> None:
    path = copied_tiny / "model.safetensors"
    save_file({name: tensor for name, tensor in load_file(path).items() if "lm_head" not in name}, path)
    assert count_weights(path) is None
    row = check(card, distilroberta=copied_tiny)["parameters"]
    assert row.basis == "config.json"
    assert "weights_masked_lm" not in row.details


def test_damaged_weights_leave_what_needs_them_open(card: Card, copied_tiny: Path) -> None:
    path = copied_tiny / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    rows = check(card, distilroberta=copied_tiny)
    assert rows["layers"].found == "2 in config.json"
    assert rows["fill_mask.man"].verdict == "not checkable here"
    assert "its weights cannot be loaded" in rows["fill_mask.man"].why


def test_a_cased_tokenizer_confirms_and_an_uncased_one_contradicts_case_sensitivity(
    card: Card, tiny_roberta: Path, tiny_bert: Path
) -> None:
    cased = check(card, distilroberta=tiny_roberta)["case"]
    assert cased.verdict == "confirmed"
    assert cased.details["ids"]["english"] != cased.details["ids"]["English"]
    uncased = check(card, distilroberta=tiny_bert)["case"]
    assert uncased.verdict == "contradicted"
    assert uncased.details["ids"]["english"] == uncased.details["ids"]["English"]


def test_a_damaged_tokenizer_is_reported(card: Card, copied_tiny: Path) -> None:
    (copied_tiny / "tokenizer.json").write_text("{")
    row = check(card, distilroberta=copied_tiny)["case"]
    assert row.verdict == "not checkable here"
    assert "its tokenizer cannot be loaded" in row.why


def test_a_tokenizer_that_fails_on_the_words_is_reported(card: Card, copied_tiny: Path) -> None:
    model = {"type": "WordLevel", "vocab": {"the": 0}, "unk_token": "<unk>"}  # which has no <unk>
    (copied_tiny / "tokenizer.json").write_text(json.dumps({"version": "1.0", "model": model, "added_tokens": []}))
    (copied_tiny / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    row = check(card, distilroberta=copied_tiny)["case"]
    assert (row.verdict, row.found) == ("not checkable here", "")
    assert "its tokenizer cannot encode these texts" in row.why


@pytest.mark.parametrize("lacking", ["tokenizer", "model.safetensors"])
def test_one_file_that_the_hub_refuses_or_the_cache_holds_damaged_leaves_the_others(
    lacking: str, card: Card, tiny_roberta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch_file(_: str, name: str, **__: str) -> Path:
        return tiny_roberta / name if name != lacking else refuse()

    def refuse() -> Path:
        raise InputError(f"{lacking}: damaged in the cache")

    monkeypatch.setattr("glue_bench.claims.models.fetch_file", fetch_file)
    fetch_tokenizer = (lambda *_: refuse()) if lacking == "tokenizer" else (lambda *_: None)
    monkeypatch.setattr("glue_bench.claims.models.fetch_tokenizer", fetch_tokenizer)
    model = Model(card.models["distilroberta"], EncoderConfig(hub_id="org/name", revision="main"))
    assert model.missing == {lacking: f"{lacking} is out of reach"}
    assert bool(model.weights) == (lacking == "tokenizer")
    assert f"{lacking}: damaged in the cache" in model.describe()


def model_in(folder: Path) -> Model:
    return Model(load_card("distilroberta").models["distilroberta"], EncoderConfig(path=str(folder)))


@pytest.fixture(scope="module")
def true_claim(tiny_roberta: Path) -> Claim:
    """Make a claim of what transformers' own pipeline says about the tiny model."""
    found = pipeline("fill-mask", model=str(tiny_roberta), device="cpu")(PROMPT, top_k=5)
    tokens = [LikelyToken(id=row["token"], token=row["token_str"], score=row["score"]) for row in found]
    return Claim(
        kind="fill_mask",
        id="x",
        title="x",
        says="x",
        model="tiny",
        source="x",
        check="x",
        prompt=PROMPT,
        tokens=tokens,
        tolerance=1e-3,
    )


def test_fill_mask_finds_what_transformers_pipeline_finds(true_claim: Claim, tiny_roberta: Path) -> None:
    row = check_model(true_claim, model_in(tiny_roberta))
    assert row.verdict == "confirmed", row
    for token, (number, word, score) in zip(true_claim.tokens, row.details["tokens"], strict=True):
        assert (token.id, token.token) == (number, word)
        assert score == pytest.approx(token.score, rel=1e-5)


def test_fill_mask_contradicts_another_order_and_another_probability(true_claim: Claim, tiny_roberta: Path) -> None:
    model = model_in(tiny_roberta)
    first, second, *rest = true_claim.tokens
    swapped = check_model(dataclasses.replace(true_claim, tokens=[second, first, *rest]), model)
    assert swapped.verdict == "contradicted"
    assert swapped.why.startswith(f"token 1 is {first.id} ")
    assert f"claimed {second.id}" in swapped.why
    for factor, verdict in ((1.002, "contradicted"), (1.0005, "confirmed")):
        raised = [first._replace(score=first.score * factor), second, *rest]
        row = check_model(dataclasses.replace(true_claim, tokens=raised), model)
        assert row.verdict == verdict, row.why


def test_a_tokenizer_without_a_mask_token_cannot_check_fill_mask(true_claim: Claim, copied_tiny: Path) -> None:
    config = copied_tiny / "tokenizer_config.json"
    config.write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>"}))
    row = check_model(true_claim, model_in(copied_tiny))
    assert (row.verdict, row.why) == ("not checkable here", "the tokenizer has no mask token")


@pytest.mark.parametrize(("prompt", "masks"), [("the cat.", 0), ("the <mask> cat <mask>.", 2)])
def test_a_prompt_without_exactly_one_mask_cannot_be_checked(
    prompt: str, masks: int, true_claim: Claim, tiny_roberta: Path
) -> None:
    row = check_model(dataclasses.replace(true_claim, prompt=prompt), model_in(tiny_roberta))
    assert (row.verdict, row.why) == ("not checkable here", f"the prompt has {masks} mask tokens; must be 1")


def test_a_missing_masked_lm_head_is_not_initialised_at_random(true_claim: Claim, copied_tiny: Path) -> None:
    path = copied_tiny / "model.safetensors"
    assert check_model(true_claim, model_in(copied_tiny)).verdict == "confirmed"
    save_file({name: tensor for name, tensor in load_file(path).items() if "lm_head" not in name}, path)
    row = check_model(true_claim, model_in(copied_tiny))
    assert row.verdict == "not checkable here"
    assert "its weights lack lm_head." in row.why
