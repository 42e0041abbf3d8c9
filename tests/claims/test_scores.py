"""Claims on scores, checked by the runs of a results folder."""

import dataclasses
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from glue_bench.claims import Card, ClaimRow, check_card, check_scores
from glue_bench.claims.models import Model
from glue_bench.config.compose import compose_run
from glue_bench.config.schema import EncoderConfig
from glue_bench.runs.record import Record
from glue_bench.runs.store import RunStore
from glue_bench.tasks.published import load_published
from tests.support.claims import claim_of, distil_records, keep_scored
from tests.support.making import DISTILROBERTA, make_record
from tests.support.scored_runs import keep_run


def glue_rows(card: Card, *, store: RunStore | None = None, records: Sequence[Record] = ()) -> dict[str, ClaimRow]:
    """Return the rows on GLUE scores from a store, or from these records in a new one."""
    store = store or RunStore(Path(tempfile.mkdtemp(dir=".")))
    keep_scored(store, records)
    return {row.claim.id: row for row in check_scores(claim_of(card, "glue"), store=store, published=load_published())}


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


def test_a_score_whose_predictions_cannot_be_read_is_not_confirmed(card: Card, tmp_path: Path) -> None:
    store = RunStore(tmp_path / "results")
    keep_scored(store, distil_records({1: 0.66, 2: 0.68, 3: 0.70}))
    (store.root / "distilroberta/rte/seed2-000/predictions/validation.parquet").unlink()
    row = glue_rows(card, store=store)["glue.rte"]
    assert (row.verdict, row.why) == ("undecided", "inconclusive: 1 of 3 seeds is without usable predictions")


def test_a_task_without_a_published_number_is_not_checkable(card: Card, tmp_path: Path) -> None:
    row: dict[str, Any] = {
        "title": "T",
        "hub_ids": [DISTILROBERTA["hub_id"]],
        "protocol": "p",
        "convention_evidence": "e",
    }
    row |= {"scores": {"rte": [70.0]}, "metrics": {"rte": ["card"]}, "runs": 1}
    (tmp_path / "distilroberta.json").write_text(json.dumps(row))
    store, published = RunStore(tmp_path / "results"), load_published(tmp_path)
    keep_scored(store, distil_records({1: 0.69, 2: 0.70, 3: 0.71}))
    rows = {row.claim.id: row for row in check_scores(claim_of(card, "glue"), store=store, published=published)}
    assert {str(row.verdict) for name, row in rows.items() if name != "glue.rte"} == {"not checkable here"}
    assert rows["glue.mnli"].why == "the published table distilroberta has no number for this task"
    assert (len(rows), rows["glue.rte"].verdict) == (8, "confirmed")


def test_two_claims_on_scores_read_the_same_runs(card: Card, tmp_path: Path) -> None:
    store = RunStore(tmp_path / "results")
    keep_scored(store, distil_records({1: 0.66, 2: 0.68, 3: 0.70}))
    twice = dataclasses.replace(card, claims=[claim_of(card, "glue")] * 2)
    models = {name: Model(model, EncoderConfig(path="nowhere")) for name, model in card.models.items()}
    trainer = compose_run(["task=rte", "trainer.device=cpu"]).trainer
    report = check_card(twice, models=models, store=store, settings=trainer, repeats=None)
    assert [row.verdict for row in report.rows if row.claim.id == "glue.rte"] == ["confirmed", "confirmed"]


def test_a_setting_that_can_be_judged_counts_before_one_with_more_seeds_that_cannot(card: Card) -> None:
    judged = distil_records({1: 0.66, 2: 0.68, 3: 0.70}, setting="full")
    lora = distil_records(dict.fromkeys(range(1, 6), 0.68), setting="lora", words=("peft=lora",))
    row = glue_rows(card, records=[*judged, *lora])["glue.rte"]
    assert (row.verdict, row.details["setting_id"]) == ("confirmed", "full")


def test_a_score_is_compared_with_the_cards_number_also_if_the_user_has_a_row_that_the_recipe_follows(
    card: Card, tmp_path: Path
) -> None:
    store = RunStore(tmp_path)
    keep_scored(store, distil_records({1: 0.66, 2: 0.68, 3: 0.70}, words=("recipe=fairseq",), recipe="fairseq"))
    known = load_published()
    (cards,) = [table for table in known if table.name == "distilroberta"]
    scores = {"rte": dataclasses.replace(cards.scores["rte"], value=95.0)}
    own = dataclasses.replace(cards, name="mine", protocol_name="fairseq", scores=scores)
    rows = check_scores(claim_of(card, "glue"), store=store, published=[own, *known])
    (row,) = [row for row in rows if row.claim.id == "glue.rte"]
    assert (row.verdict, row.claim.says) == ("confirmed", "67.9 (accuracy)")
