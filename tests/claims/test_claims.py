"""Claims of a model card against files, runs and this machine."""

import csv
import dataclasses
import io
import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from safetensors.torch import load_file, save_file
from transformers import RobertaConfig, pipeline

from glue_bench.claims import ClaimsReport, check_card, check_scores, render_claims
from glue_bench.claims.card import (
    CARDS,
    Card,
    Claim,
    ClaimRow,
    FillMaskClaim,
    LikelyToken,
    ModelFiles,
    SpeedClaim,
    Verdict,
    find_files,
    load_card,
)
from glue_bench.claims.models import Model, check_model, count_parameters, read_weights
from glue_bench.claims.speed import Bench, check_speed, median_interval
from glue_bench.cli import main
from glue_bench.config.compose import compose_run
from glue_bench.config.schema import EncoderConfig
from glue_bench.errors import InputError
from glue_bench.models.placement import choose_placement
from glue_bench.runs.record import Record
from glue_bench.runs.store import RunStore
from glue_bench.tasks.published import load_published
from tests.conftest import Result
from tests.support.commits import MODEL_COMMIT, ROBERTA_COMMIT
from tests.support.hub_server import HubServer
from tests.support.making import DISTILROBERTA, make_record, scores_of
from tests.support.scored_runs import keep_run

FILES = ("config.json", "tokenizer", "model.safetensors")
PROMPT = "the cat sees the <mask> in the garden."


@pytest.fixture(scope="module")
def card() -> Card:
    return load_card("distilroberta")


@pytest.fixture
def claimed_config(card: Card, tmp_path: Path) -> Callable[..., Path]:
    """Make a folder that holds nothing but the config.json of the claimed architecture, with changes."""

    def make(**changes: Any) -> Path:
        folder = tmp_path / "claimed"
        RobertaConfig(**{**card.models["distilroberta"].architecture, **changes}).save_pretrained(folder)
        return folder

    return make


@pytest.fixture
def copied_tiny(tiny_roberta: Path, tmp_path: Path) -> Path:
    """Copy a tiny RoBERTa, so that a test may damage it."""
    return Path(shutil.copytree(tiny_roberta, tmp_path / "copied"))


def claim_of(card: Card, name: str) -> Any:
    return next(claim for claim in card.claims if claim.id == name)


def check(card: Card, *, repeats: int | None = None, **folders: Path) -> dict[str, ClaimRow]:
    """Return every row by its id, with these folders and nothing else to read."""
    trainer = compose_run(["task=rte", "trainer.device=cpu"]).trainer
    files = {
        name: find_files(
            EncoderConfig(path=str(folders[name]))
            if name in folders
            else compose_run(["task=rte", f"encoder={name}"]).encoder,
            weights=True,
        )
        for name in card.models
    }
    store = RunStore(Path("no_results"))
    report = check_card(card, files=files, store=store, published=load_published(), settings=trainer, repeats=repeats)
    return {row.claim.id: row for row in report.rows}


def test_every_row_of_the_shipped_card_has_a_known_verdict(card: Card) -> None:
    rows = check(card)
    assert len(rows) == 19
    assert {row.verdict for row in rows.values()} <= set(Verdict)
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
    assert "5 would give 75.1M, 6 would give 82.2M, 7 would give 89.3M" in rows["layers"].why
    assert "the same for any number of heads" in rows["heads"].why


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
    assert (rows["layers"].verdict, rows["layers"].found) == (
        "contradicted",
        "6 in config.json, 2 in model.safetensors",
    )
    assert rows["width"].found == "768 in config.json, 32 in model.safetensors"
    assert rows["parameters"].verdict == "contradicted"
    assert rows["heads"].verdict == "confirmed"  # no tensor's shape depends on it


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
    assert read_weights(path).masked_lm == counted
    tensors = load_file(path)
    more = {
        "roberta.pooler.dense.weight": torch.zeros(32, 32),
        "roberta.embeddings.position_ids": torch.zeros(1, 514, dtype=torch.int64),
        "lm_head.decoder.weight": tensors["roberta.embeddings.word_embeddings.weight"].clone(),
    }
    save_file({**tensors, **more}, path)
    facts = read_weights(path)
    assert (facts.layers, facts.width, facts.masked_lm) == (2, 32, counted)
    assert facts.everything == counted + sum(tensor.numel() for tensor in more.values())


def test_parameters_are_confirmed_only_if_weights_and_architecture_both_round_to_the_claim(
    card: Card, tmp_path: Path
) -> None:
    from transformers import RobertaForMaskedLM

    config = RobertaConfig(
        vocab_size=50_000, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    RobertaForMaskedLM(config).save_pretrained(tmp_path / "two_million")
    files = ModelFiles(place="here", folder=tmp_path / "two_million", missing={})
    model = Model(card.models["distilroberta"], files)
    claim = claim_of(card, "parameters")
    two = check_model(dataclasses.replace(claim, value=2_000_000), model)
    assert two.verdict == "confirmed", two
    assert two.basis == "config.json and model.safetensors"
    three = check_model(dataclasses.replace(claim, value=3_000_000), model)
    assert (three.verdict, three.why) == ("contradicted", "claimed 3M")


def test_weights_without_a_masked_lm_head_do_not_decide_the_parameters(card: Card, copied_tiny: Path) -> None:
    path = copied_tiny / "model.safetensors"
    save_file({name: tensor for name, tensor in load_file(path).items() if "lm_head" not in name}, path)
    assert read_weights(path).masked_lm is None
    row = check(card, distilroberta=copied_tiny)["parameters"]
    assert "in model.safetensors no masked-LM head" in row.found
    assert row.details["weights_everything"] > 0


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
    assert (uncased.verdict, uncased.why) == ("contradicted", "the ids are the same")
    assert uncased.details["ids"]["english"] == uncased.details["ids"]["English"]


def test_a_damaged_tokenizer_is_reported(card: Card, copied_tiny: Path) -> None:
    (copied_tiny / "tokenizer.json").write_text("{")
    row = check(card, distilroberta=copied_tiny)["case"]
    assert row.verdict == "not checkable here"
    assert "its tokenizer cannot be loaded" in row.why


def model_in(folder: Path) -> Model:
    files = find_files(EncoderConfig(path=str(folder)), weights=True)
    return Model(load_card("distilroberta").models["distilroberta"], files)


@pytest.fixture(scope="module")
def true_claim(tiny_roberta: Path) -> FillMaskClaim:
    """Make a claim of what transformers' own pipeline says about the tiny model."""
    found = pipeline("fill-mask", model=str(tiny_roberta), device="cpu")(PROMPT, top_k=5)
    tokens = [LikelyToken(id=row["token"], token=row["token_str"], score=row["score"]) for row in found]
    return FillMaskClaim(
        id="x", title="x", says="x", model="tiny", source="x", check="x", prompt=PROMPT, tokens=tokens, tolerance=1e-3
    )


def test_fill_mask_finds_what_transformers_pipeline_finds(true_claim: FillMaskClaim, tiny_roberta: Path) -> None:
    row = check_model(true_claim, model_in(tiny_roberta))
    assert row.verdict == "confirmed", row
    for token, (number, word, score) in zip(true_claim.tokens, row.details["tokens"], strict=True):
        assert (token.id, token.token) == (number, word)
        assert score == pytest.approx(token.score, rel=1e-5)


def test_fill_mask_contradicts_another_order_and_another_probability(
    true_claim: FillMaskClaim, tiny_roberta: Path
) -> None:
    model = model_in(tiny_roberta)
    first, second, *rest = true_claim.tokens
    swapped = check_model(dataclasses.replace(true_claim, tokens=[second, first, *rest]), model)
    assert swapped.verdict == "contradicted"
    assert swapped.why.startswith(f"token 1 is {first.id} ")
    assert f"claimed {second.id}" in swapped.why
    for factor, verdict in ((1.002, "contradicted"), (1.0005, "confirmed")):
        raised = [dataclasses.replace(first, score=first.score * factor), second, *rest]
        row = check_model(dataclasses.replace(true_claim, tokens=raised), model)
        assert row.verdict == verdict, row.why


def test_a_tokenizer_without_a_mask_token_cannot_check_fill_mask(true_claim: FillMaskClaim, copied_tiny: Path) -> None:
    config = copied_tiny / "tokenizer_config.json"
    config.write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>"}))
    row = check_model(true_claim, model_in(copied_tiny))
    assert (row.verdict, row.why) == ("not checkable here", "the tokenizer has no mask token")


def test_a_prompt_without_a_mask_cannot_be_checked(true_claim: FillMaskClaim, tiny_roberta: Path) -> None:
    claim = dataclasses.replace(true_claim, prompt="the cat.")
    row = check_model(claim, model_in(tiny_roberta))
    assert (row.verdict, row.why) == ("not checkable here", "the tokenizer finds 0 mask tokens in the prompt")


def test_a_missing_masked_lm_head_is_not_initialised_at_random(true_claim: FillMaskClaim, copied_tiny: Path) -> None:
    path = copied_tiny / "model.safetensors"
    save_file({name: tensor for name, tensor in load_file(path).items() if "lm_head" not in name}, path)
    row = check_model(true_claim, model_in(copied_tiny))
    assert row.verdict == "not checkable here"
    assert "its weights lack lm_head." in row.why


SPEED = SpeedClaim(
    id="speed", title="speed", says="twice as fast", model="a", source="", check="", against="b", phase="training",
    value=2.0, at_least=1.75, below=2.5,
)  # fmt: skip


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ([2.0, 2.1, 1.9, 2.0, 2.2], "confirmed"),
        ([1.75, 2.0, 2.0, 2.0, 2.4], "confirmed"),
        ([1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 9.0], "confirmed"),  # one outlier at each end of eight is left out
        ([1.0, 1.2, 1.1, 1.3, 1.74], "contradicted"),
        ([2.5, 3.0, 3.1, 2.9, 3.3], "contradicted"),
        ([1.7, 2.0, 2.0, 2.0, 2.0], "undecided"),
        ([2.0, 2.0, 2.0, 2.0, 2.5], "undecided"),
    ],
)
def test_the_speed_is_judged_by_the_interval_of_the_median_ratio(ratios: list[float], verdict: str) -> None:
    seconds = np.array([[[1.0, 2.0], [ratio, 3 * ratio]] for ratio in ratios])
    row = check_speed(SPEED, seconds, engine="flat", on_cpu=True, architectures="the stated architecture")
    assert row.verdict == verdict
    assert row.details["ratios"] == ratios
    assert "1.75 to 2.5" in row.why
    assert row.details["processor_ratio"] == pytest.approx(1.5 * row.details["median"])


@pytest.mark.parametrize(("count", "ends"), [(5, (0, 4)), (7, (0, 6)), (8, (1, 6)), (12, (2, 9)), (30, (10, 19))])
def test_the_interval_of_the_median_has_the_certainty_that_it_says(count: int, ends: tuple[int, int]) -> None:
    (low, high), certainty = median_interval(list(range(count))[::-1], certainty=0.9)
    assert (low, high) == ends
    # It misses the median if at most `low` values are on one side of the median.
    assert certainty == pytest.approx(1 - 2 * scipy.stats.binom.cdf(low, count, 0.5))
    assert certainty >= 0.9


def test_a_deeper_model_is_measured_to_be_slower_in_training_and_inference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glue_bench.claims.speed.LEAST_SECONDS", 0.05)
    shape = RobertaConfig(
        vocab_size=300, hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, pad_token_id=1
    )
    shallow, deep = shape, RobertaConfig.from_dict({**shape.to_dict(), "num_hidden_layers": 12})
    trainer = compose_run(["task=rte", "trainer.device=cpu"]).trainer
    bench = Bench(shallow, deep, settings=trainer)
    for phase in ("training", "inference"):
        pairs = list[tuple[int, float]]()

        def on_pair(number: int, ratio: float, pairs: list[tuple[int, float]] = pairs) -> None:
            pairs.append((number, ratio))

        seconds = bench.measure(phase, repeats=5, on_pair=on_pair)
        assert [number for number, _ in pairs] == [1, 2, 3, 4, 5]
        ratios = seconds[:, 1] / seconds[:, 0]  # (pairs, clocks)
        assert ratios[:, 0].tolist() == [ratio for _, ratio in pairs]
        assert np.median(ratios, axis=0).min() > 1.5
        assert bench.engine == "flat"
    assert bench.machine()["device"] == choose_placement("cpu", "auto").device.type


def test_a_model_too_short_for_the_rows_is_not_timed(card: Card, claimed_config: Callable[..., Path]) -> None:
    row = check(card, repeats=5, distilroberta=claimed_config(max_position_embeddings=66))["speed.training"]
    assert row.verdict == "not checkable here"
    assert row.why == "a model has positions for 64 tokens, but the rows have 74"


def glue_rows(card: Card, *, store: RunStore | None = None, records: Sequence[Record] = ()) -> dict[str, ClaimRow]:
    """Return the rows on GLUE scores from a store, or from these records in a new one."""
    store = store or RunStore(Path(tempfile.mkdtemp(dir=".")))
    for record in records:
        store.save(record)
    return {row.claim.id: row for row in check_scores(claim_of(card, "glue"), store=store, published=load_published())}


def distil_records(values: dict[int, float], **changes: Any) -> list[Any]:
    return [
        make_record(seed=seed, scores=scores_of("rte", value), encoder=DISTILROBERTA, **changes)
        for seed, value in values.items()
    ]


@pytest.mark.parametrize(
    ("values", "verdict", "why"),
    [
        ({1: 0.66, 2: 0.68, 3: 0.70}, "confirmed", "reproduced: 3 seeds"),
        ({1: 0.60, 2: 0.604, 3: 0.608}, "contradicted", "below: 3 seeds"),
        ({1: 0.80, 2: 0.804, 3: 0.808}, "contradicted", "above: 3 seeds"),
        ({1: 0.66}, "undecided", "inconclusive: 1 seed; at least 3 are needed"),
    ],
)
def test_a_score_is_claimed_rightly_where_the_report_says_that_it_was_reproduced(
    card: Card, values: dict[int, float], verdict: str, why: str
) -> None:
    rows = glue_rows(card, records=distil_records(values))
    assert (rows["glue.rte"].verdict, rows["glue.rte"].why) == (verdict, why)
    assert rows["glue.rte"].claim.says == "67.9 (accuracy)"
    assert rows["glue.rte"].details["seeds"] == list(values)
    assert rows["glue.cola"].verdict == "not run"


def test_scores_that_are_not_comparable_or_of_another_encoder_decide_nothing(card: Card) -> None:
    records = distil_records({1: 0.66}, reasons=("sample data",))
    row = glue_rows(card, records=records)["glue.rte"]
    assert row.verdict == "not checkable here"
    assert "sample data" in row.why
    assert glue_rows(card, records=[make_record()])["glue.rte"].verdict == "not run"


def test_runs_that_failed_are_counted_and_the_setting_with_most_seeds_is_shown(card: Card) -> None:
    failed = distil_records({1: 0.5}, status="failed", error="no memory")
    row = glue_rows(card, records=failed)["glue.rte"]
    assert (row.verdict, row.why) == ("not run", "1 failed")
    few = distil_records({1: 0.9}, setting="few", words=("trainer.epochs=1",))
    many = distil_records({1: 0.6, 2: 0.7}, setting="many")
    row = glue_rows(card, records=[*few, *many])["glue.rte"]
    assert row.details["seeds"] == [1, 2]
    assert row.why.endswith("1 other setting in the report")


def test_a_degenerate_run_leaves_the_claim_undecided_as_in_the_report(card: Card, tmp_path: Path) -> None:
    store = RunStore(tmp_path / "results")
    for seed, share in enumerate((0.708, 0.74, 0.704, 0.653), start=1):
        keep_run(store, task="rte", seed=seed, share=share, encoder=DISTILROBERTA)
    keep_run(store, task="rte", seed=5, always=1, encoder=DISTILROBERTA)
    row = glue_rows(card, store=store)["glue.rte"]
    assert (row.verdict, row.why) == ("undecided", "inconclusive: 1 of 5 seeds is degenerate")


def test_two_claims_on_scores_read_the_same_runs(card: Card, tmp_path: Path) -> None:
    store = RunStore(tmp_path / "results")
    for record in distil_records({1: 0.66, 2: 0.68, 3: 0.70}):
        store.save(record)
    twice = dataclasses.replace(card, claims=[claim_of(card, "glue")] * 2)
    files = {name: ModelFiles(place="nowhere", folder=None, missing=dict.fromkeys(FILES, "x")) for name in card.models}
    trainer = compose_run(["task=rte", "trainer.device=cpu"]).trainer
    report = check_card(twice, files=files, store=store, published=load_published(), settings=trainer, repeats=None)
    assert [row.verdict for row in report.rows if row.claim.id == "glue.rte"] == ["confirmed", "confirmed"]


def hostile_report() -> ClaimsReport:
    claim = Claim(id="=1+1", title="a|b", model="<script>", says="[x](y)", check="-", source="+")
    hostile = ClaimRow(
        claim=claim,
        verdict=Verdict.CONTRADICTED,
        found="*bold*",
        why="back`tick",
        basis="@here",
        details={"n": 1},
    )
    return ClaimsReport(title="<i>card</i> [red]x[/red]", rows=[hostile], notes=["_note_"], machine={"threads": 2})


def test_hostile_text_is_escaped_in_every_format() -> None:
    report = hostile_report()
    assert report.contradicted
    markdown = render_claims(report, "markdown")
    for escaped in (r"a\|b", r"\[x\](y)", r"\*bold\*", r"back\`tick", r"\_note\_", r"\<i\>card"):
        assert escaped in markdown
    (row,) = csv.DictReader(io.StringIO(render_claims(report, "csv")))
    assert (row["id"], row["basis"], row["check"], row["source"]) == ("'=1+1", "'@here", "'-", "'+")
    content = json.loads(render_claims(report, "json"))
    assert content["schema_version"] == 1
    assert content["verdicts"]["contradicted"] == 1
    assert content["claims"][0]["details"] == {"n": 1}
    assert content["machine"] == {"threads": 2}
    console = render_claims(report, "console", width=160)
    assert "[red]x[/red]" in console
    assert "\x1b" not in console


def test_the_json_schema_is_what_the_documentation_lists() -> None:
    documented = (Path(__file__).parents[2] / "docs" / "claims.md").read_text()
    content = json.loads(render_claims(hostile_report(), "json"))
    for key in (*content, *content["claims"][0], *Verdict):
        assert f"`{key}`" in documented, key


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["result_dir=x"], "not a key of `claims`; did you mean results_dir?"),
        (["distilroberta.path=nowhere"], "distilroberta.path=nowhere: no such folder"),
        (["results_dir=nowhere"], "results_dir=nowhere: no such folder"),
        (["--repeats", "4"], "--repeats 4: must be 5 or more"),
        (["trainer.engine=fast"], "trainer.engine"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["claims", "--quick", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_a_named_folder_without_any_file_of_a_model_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["claims", "--quick", f"distilroberta.path={tmp_path}"]) == 3
    error = capsys.readouterr().err
    assert f"distilroberta.path={tmp_path}: holds no model: the folder has no config.json" in error
    assert "model.safetensors" in error


def test_a_contradicted_claim_exits_with_1_and_the_table_shows_it(
    claimed_config: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = claimed_config(num_hidden_layers=5)
    assert (
        main(["claims", "--quick", f"distilroberta.path={folder}", "--format", "csv", "--out", "made/claims.csv"]) == 1
    )
    assert capsys.readouterr().out == ""
    rows = {row["id"]: row for row in csv.DictReader(io.StringIO(Path("made/claims.csv").read_text()))}
    assert (rows["layers"]["verdict"], rows["layers"]["found"]) == ("contradicted", "5 in config.json")
    assert main(["claims", "--quick", f"distilroberta.path={claimed_config()}"]) == 0


def test_the_command_reads_the_runs_under_results_dir(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = RunStore(tmp_path / "results")
    for record in distil_records({1: 0.66, 2: 0.68}):
        store.save(record)
    assert main(["claims", "--quick", "--format", "json", f"results_dir={tmp_path / 'results'}"]) == 0
    rows = {row["id"]: row for row in json.loads(capsys.readouterr().out)["claims"]}
    assert rows["glue.rte"]["found"] == "67.0 [66.0, 68.0]"


def test_a_damaged_file_of_claims_is_named(tmp_path: Path) -> None:
    shipped = json.loads((CARDS / "distilroberta.json").read_text())
    damaged: list[Any] = [[], {}, {**shipped, "claims": [{"kind": "taste"}]}, {**shipped, "models": {}}]
    path = tmp_path / "card.json"
    for content in damaged:
        path.write_text(json.dumps(content))
        with pytest.raises(InputError, match="not a readable file of claims"):
            load_card("card", folder=tmp_path)


@pytest.fixture
def hub_root(tiny_roberta: Path, tmp_path: Path) -> Path:
    root = tmp_path / "hub"
    shutil.copytree(tiny_roberta, root / "distil")
    shutil.copytree(tiny_roberta, root / "base")
    return root


def test_files_from_the_hub_are_checked_and_only_the_needed_ones_downloaded(
    hub_root: Path, hub_port: int, hub_bench: Callable[..., Result], glue_bench: Callable[..., Result]
) -> None:
    with HubServer(hub_root, port=hub_port) as server:
        server.add_repo("model", "distilbert/distilroberta-base", MODEL_COMMIT, Path("distil"))
        server.add_repo("model", "FacebookAI/roberta-base", ROBERTA_COMMIT, Path("base"))
        result = hub_bench("claims", "--quick", "--format", "json")
        asked = [line for line in server.requests if "FacebookAI/roberta-base" in line]
        assert any("config.json" in line for line in asked)
        assert not any("safetensors" in line for line in asked)
        (hub_root / "distil" / "model.safetensors").unlink()
    assert result.returncode == 1, result.stderr
    content = json.loads(result.stdout)
    rows = {row["id"]: row for row in content["claims"]}
    assert (rows["layers"]["verdict"], rows["layers"]["found"]) == (
        "contradicted",
        "2 in config.json, 2 in model.safetensors",
    )
    assert rows["case"]["verdict"] == "confirmed"
    assert rows["fill_mask.man"]["verdict"] == "contradicted"
    assert rows["fill_mask.man"]["found"]
    assert rows["parameters.roberta"]["basis"] == "config.json"
    assert any(MODEL_COMMIT in note and "SHA-256 of model.safetensors" in note for note in content["notes"])
    offline = glue_bench("claims", "--quick", "--format", "json")
    assert json.loads(offline.stdout)["claims"] == content["claims"]  # from the cache


def test_a_hub_without_the_weights_still_gives_config_and_tokenizer(
    hub_root: Path, hub_port: int, hub_bench: Callable[..., Result]
) -> None:
    (hub_root / "distil" / "model.safetensors").unlink()
    with HubServer(hub_root, port=hub_port) as server:
        server.add_repo("model", "distilbert/distilroberta-base", MODEL_COMMIT, Path("distil"))
        result = hub_bench("claims", "--quick", "--format", "json")
    rows = {row["id"]: row for row in json.loads(result.stdout)["claims"]}
    assert rows["layers"]["found"] == "2 in config.json"
    assert rows["case"]["verdict"] == "confirmed"
    assert rows["fill_mask.man"]["why"] == "model.safetensors is out of reach"
    assert rows["parameters.roberta"]["basis"] == "the stated architecture"
