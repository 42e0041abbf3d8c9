"""Verdicts use what a published row states: its metric, start, statistic, spread and method."""

import csv
import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import pytest

from glue_bench.cli.report import render_html
from glue_bench.config.task import started_from
from glue_bench.report.comparison import compare
from glue_bench.report.formats import render_report
from glue_bench.report.model import CARD_TASKS, Row
from glue_bench.report.table import build_report, choose_sides
from glue_bench.runs.listing import Filters
from glue_bench.runs.store import RunStore
from glue_bench.statistics.verdicts import BELOW, INCONCLUSIVE, NOT_COMPARABLE, REPRODUCED
from glue_bench.tasks.published import load_published
from tests.support.making import ROBERTA, make_record, scores_of
from tests.support.pages import read_tables
from tests.support.report_rows import means
from tests.support.scored_runs import keep_run

PUBLISHED = load_published()
SCORES = (0.641, 0.660, 0.652, 0.673, 0.639, 0.664)


def row_of(hub_id: str, task: str = "rte", *, scores: tuple[float, ...] = SCORES, **about: Any) -> Row:
    encoder = {"name": "mine", "hub_id": hub_id, "revision": "1"}
    records = [
        make_record(task=task, seed=seed, scores=scores_of(task, score), encoder=encoder, **about)
        for seed, score in enumerate(scores)
    ]
    (section,) = build_report(records, PUBLISHED).sections
    (row,) = section.rows
    return row


def verdict_of(row: Row) -> str:
    assert row.verdict is not None
    return row.verdict.kind


def test_runs_of_a_protocol_are_compared_with_its_row_by_means_and_spreads() -> None:
    row = row_of("google-bert/bert-base-cased", recipe="hf_flax")
    assert row.published is not None
    assert (row.published.value, row.published.deviation) == (64.76, 1.04)
    assert (verdict_of(row), row.note) == (REPRODUCED, "")
    assert row.verdict is not None
    assert row.verdict.reason == "difference -0.9 to +2.3"
    assert row_of("google-bert/bert-base-cased", recipe="default").published.value == 66.1  # type: ignore[union-attr]
    low = row_of("google-bert/bert-base-cased", recipe="hf_flax", scores=(0.54, 0.55, 0.56))
    assert verdict_of(low) == BELOW


@pytest.mark.parametrize(
    ("hub_id", "task", "words"),
    [
        ("chandar-lab/NeoBERT", "sst2", "published is the best of a grid, ours a median over seeds"),
        ("microsoft/deberta-large", "rte", "published with the start mnli, ours is pretrained"),
    ],
)
def test_another_start_or_statistic_is_not_comparable_whatever_the_scores(hub_id: str, task: str, words: str) -> None:
    for scores in (SCORES, (0.954, 0.956, 0.958), (0.908, 0.910, 0.912)):
        row = row_of(hub_id, task, scores=scores)
        assert (verdict_of(row), row.difference) == (NOT_COMPARABLE, None)
        assert row.note == f"not comparable: {words}"


def test_runs_that_train_only_a_part_are_not_compared_with_full_fine_tuning() -> None:
    row = row_of("FacebookAI/roberta-base", scores=(0.785, 0.787, 0.789), words=("freeze=encoder",))
    assert (verdict_of(row), row.difference) == (NOT_COMPARABLE, None)
    assert "published for full fine-tuning, ours is freeze=encoder" in row.note
    assert verdict_of(row_of("FacebookAI/roberta-base", scores=(0.785, 0.787, 0.789))) == REPRODUCED


def test_a_metric_that_is_not_stated_is_not_comparable_but_one_that_tasks_have_alone_is() -> None:
    row = row_of("albert/albert-base-v2", "mnli")
    assert (verdict_of(row), row.published, row.difference) == (NOT_COMPARABLE, None, None)
    assert row.note == "the published number is 84.6, under a convention that is not stated"
    alone = row_of("albert/albert-base-v2", "sst2", scores=(0.927, 0.929, 0.931))
    assert verdict_of(alone) in (REPRODUCED, INCONCLUSIVE)


def test_a_row_of_another_metric_shows_our_scores_under_it() -> None:
    row = row_of("google/electra-base-discriminator", "stsb", scores=(0.91, 0.912, 0.914))
    assert (row.metric, row.convention) == ("Spearman", "validation.spearman")
    assert row.published is not None
    assert verdict_of(row) == REPRODUCED


def test_runs_that_started_from_mnli_are_compared_with_a_row_that_did() -> None:
    alike: dict[str, Any] = {"init": "mnli:seed1-0", "reasons": (started_from("mnli"),)}
    row = row_of("microsoft/deberta-large", scores=(0.908, 0.910, 0.912), **alike)
    assert (verdict_of(row), row.comparable, row.note) == (REPRODUCED, True, "")
    other = row_of("microsoft/deberta-large", **{**alike, "reasons": (started_from("mnli"), "sample data")})
    assert (verdict_of(other), other.note) == (NOT_COMPARABLE, "not comparable: sample data")
    pretrained = row_of("FacebookAI/roberta-base", **alike)
    assert verdict_of(pretrained) == NOT_COMPARABLE


def test_each_other_published_row_of_an_encoder_has_its_line_and_verdict(tmp_path: Path) -> None:
    encoder = {"name": "mine", "hub_id": "google-bert/bert-base-cased", "revision": "1"}
    records = [
        make_record(seed=seed, scores=scores_of("rte", score), encoder=encoder, recipe="hf_flax")
        for seed, score in enumerate(SCORES)
    ]
    report = build_report(records, PUBLISHED)
    (ours,) = report.finished
    assert {name: (row.published.value, verdict_of(row)) for name, row in ours.others.items() if row.published} == {
        "bert-base-cased@distil": (66.1, REPRODUCED),
        "bert-base-cased@run_glue": (65.7, REPRODUCED),
    }
    for text in (render_report(report, name) for name in ("console", "markdown", "latex", "json")):
        assert "bert-base-cased@distil" in text
        assert "66.1" in text
    content = json.loads(render_report(report, "json"))["sections"][0]["other_published"]
    assert [each["verdict"] for each in content] == [REPRODUCED, REPRODUCED]
    (line,) = csv.DictReader(io.StringIO(render_report(report, "csv")))
    assert json.loads(line["other_published"]) == content
    page = render_html(report, records, published=PUBLISHED, store=RunStore(tmp_path), convention=None)
    (table,) = [rows for title, rows in read_tables(page).items() if "other published rows" in title]
    assert table[0] == ["task", "published row", "metric", "ours", "published", "difference", "verdict"]
    assert [row[1:] for row in table[1:]] == [
        ["bert-base-cased@distil", "accuracy", "65.6 [63.9, 67.3]", "66.1", "-0.5", "reproduced"],
        ["bert-base-cased@run_glue", "accuracy", "65.6 [63.9, 67.3]", "65.7", "-0.1", "reproduced"],
    ]


def test_an_encoder_with_one_published_row_has_no_second_table() -> None:
    encoder = {"name": "mine", "hub_id": "google/electra-base-discriminator", "revision": "1"}
    report = build_report([make_record(encoder=encoder)], PUBLISHED)
    assert report.finished[0].others == {}
    assert "other published rows" not in render_report(report, "markdown")
    assert "other_published" not in render_report(report, "json")


@pytest.mark.parametrize(("hub_id", "shown"), [("FacebookAI/roberta-base", True), ("chandar-lab/NeoBERT", False)])
def test_the_published_mean_is_shown_with_ours_only_if_every_number_is_comparable(hub_id: str, shown: bool) -> None:
    encoder = {"name": "mine", "hub_id": hub_id, "revision": "1"}
    report = build_report([make_record(task=task, encoder=encoder) for task in CARD_TASKS], PUBLISHED)
    ((_, published),) = means(report.sections[0])
    assert (published is not None) == shown


@pytest.mark.parametrize(
    ("hub_id", "recipe", "number"),
    [
        ("google-bert/bert-base-cased", "hf_flax", 64.76),
        ("google-bert/bert-base-cased", "hf_2019", 65.7),
        ("chandar-lab/NeoBERT", "neobert", None),  # the best of a grid
        ("microsoft/deberta-large", "deberta", None),  # started from MNLI
    ],
)
def test_compare_sets_the_row_whose_protocol_the_runs_followed_against_the_others(
    hub_id: str, recipe: str, number: float | None, tmp_path: Path
) -> None:
    store = RunStore(tmp_path)
    keep_run(store, task="rte", encoder={"name": "mine", "hub_id": hub_id, "revision": "1"}, recipe=recipe)
    keep_run(store, task="rte", encoder=ROBERTA)
    sides = choose_sides(["mine", "roberta"], store, published=PUBLISHED, filters=Filters.read(()), by=None)
    kept = compare(sides, PUBLISHED).published_kept
    assert kept == (None if number is None else pytest.approx(100 * number / 78.7))


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"runs": 5, "statistic": "mean"}, "as the mean of 5 runs."),
        ({"runs": 5, "statistic": "median"}, "as the median of 5 runs."),
        ({"runs": 1, "statistic": "one run"}, "as that of one run."),
        ({"runs": None, "statistic": "not stated"}, "is not documented; the verdict assumes one."),
    ],
)
def test_the_protocol_of_the_row_that_is_compared_is_given_once_whatever_rows_share_its_title(
    about: dict[str, Any], words: str
) -> None:
    (shown,) = [table for table in PUBLISHED if table.name == "roberta"]
    tables = [dataclasses.replace(shown, protocol="3 epochs", **about)]
    tables.append(dataclasses.replace(shown, name="other", status="quoted", protocol="another"))
    notes = build_report([make_record(encoder=ROBERTA)], tables).footnotes
    (note,) = [note for note in notes if note.startswith("Protocol of")]
    assert note.startswith(f"Protocol of {shown.title}: 3 epochs. The ")
    assert note.endswith(words)
