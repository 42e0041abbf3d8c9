"""The table: medians, published numbers under the right convention, honest notes, every format."""

import csv
import dataclasses
import io
import json
from pathlib import Path

import pytest

from glue_bench.cli.shared import TABLE_FORMATS
from glue_bench.errors import InputError
from glue_bench.report.formats import read_baseline, render_report
from glue_bench.report.model import CARD_TASKS
from glue_bench.report.table import build_report
from glue_bench.runs.record import Record
from glue_bench.tasks.published import load_published
from tests.support.making import DISTILROBERTA, ROBERTA, make_record, scores_of
from tests.support.report_rows import approx, means, mrpc, published, report_of, row_of


def test_a_row_is_the_median_with_its_range_next_to_the_published_number() -> None:
    row = row_of(mrpc(1, 0.85, 0.89), mrpc(2, 0.84, 0.88), mrpc(3, 0.86, 0.90))
    assert row.summary is not None
    assert (row.summary.median, row.summary.minimum, row.summary.maximum) == approx((87.0, 86.0, 88.0))
    assert (published(row), row.difference, row.seeds) == (86.6, approx(0.4), [1, 2, 3])
    assert (row.metric, row.n, row.comparable, row.note) == ("mean of accuracy and F1", 408, True, "")


@pytest.mark.parametrize(("count", "words"), [(1, "1 row of validation has"), (20, "20 rows of validation have")])
def test_validation_rows_that_were_trained_on_are_counted_in_the_note(count: int, words: str) -> None:
    records = [mrpc(seed, 0.85, 0.89) for seed in (1, 2)]
    data = {**records[0].data, "overlap": {"validation": count}}
    row = row_of(*(dataclasses.replace(record, data=data) for record in records))
    assert (row.note, row.comparable) == (f"{words} the texts of a training row", True)


def test_each_published_number_is_compared_under_its_own_convention() -> None:
    scores = {"validation_matched": {"accuracy": 0.85}, "validation_mismatched": {"accuracy": 0.86}}
    ours = row_of(make_record(task="mnli", scores=scores, encoder=DISTILROBERTA))
    theirs = row_of(make_record(task="mnli", scores=scores, encoder=ROBERTA))
    assert (ours.median, published(ours), ours.n) == (approx(85.5), 84.0, 19647)
    assert (theirs.median, published(theirs), theirs.n) == (approx(85.0), 87.6, 9815)


def test_a_forced_convention_never_puts_different_kinds_of_numbers_side_by_side() -> None:
    row = row_of(mrpc(1, 0.85, 0.89), convention="paper")
    assert (row.median, published(row), row.difference) == (approx(85.0), None, None)
    assert row.note == "the published number is under the convention card"
    alike = row_of(make_record(task="rte", scores=scores_of("rte", 0.7), encoder=DISTILROBERTA), convention="paper")
    assert (published(alike), alike.difference) == (67.9, approx(2.1))


def test_rows_that_are_not_comparable_get_the_reason_and_no_difference() -> None:
    row = row_of(mrpc(1, 0.85, 0.89, reasons=("train has 100 rows, official 3,668",)))
    assert (row.comparable, row.difference) == (False, None)
    assert row.note == "not comparable: train has 100 rows, official 3,668"


def test_a_verdict_gives_only_the_reasons_of_finished_runs() -> None:
    finished = mrpc(1, 0.85, 0.89, comparable=False, not_comparable_because=["train has 100 rows"])
    failed = mrpc(2, 0, 0, status="failed", comparable=False, not_comparable_because=["the run did not finish"])
    verdict = row_of(finished, failed).verdict
    assert verdict is not None
    assert (verdict.kind, verdict.reason) == ("not comparable", "train has 100 rows")


def test_only_runs_that_differ_just_in_the_seed_are_averaged() -> None:
    (section,) = report_of(
        mrpc(1, 0.80, 0.80),
        mrpc(2, 0.82, 0.82),
        mrpc(1, 0.90, 0.90, setting="111", words=("trainer.epochs=5",)),
    ).sections
    assert [(row.median, len(row.seeds)) for row in section.rows] == [
        (approx(90.0), 1),
        (approx(81.0), 2),
    ]
    assert [row.differs for row in section.rows] == [{"trainer.epochs": 5}, {"trainer.epochs": 10}]


@pytest.mark.parametrize(
    ("what", "other", "usual"), [("precision", "bfloat16", "float32"), ("engine", "padded", "flat")]
)
def test_runs_of_different_precision_or_engine_are_kept_apart_and_say_so(what: str, other: str, usual: str) -> None:
    runs = [mrpc(1, 0.8, 0.8, **{what: usual}), mrpc(2, 0.9, 0.9, **{what: other})]
    (section,) = report_of(*runs).sections
    assert sorted(row.differs[what] for row in section.rows) == sorted([other, usual])


def test_runs_with_onednns_products_are_kept_apart_from_those_of_earlier_versions_and_say_so() -> None:
    config = mrpc(1, 0.8, 0.8).config
    trainer = {key: value for key, value in config["trainer"].items() if key != "products"}  # which had no such key
    runs = [
        mrpc(1, 0.8, 0.8, config={**config, "trainer": trainer}),
        mrpc(2, 0.8, 0.8, execution={"products": "torch"}),
    ]
    runs += [mrpc(seed, 0.9, 0.9, execution={"products": "onednn"}) for seed in (2, 3)]
    (section,) = report_of(*runs).sections
    assert [(row.differs, row.seeds) for row in section.rows] == [
        ({"products": "onednn"}, [2, 3]),
        ({"products": "torch"}, [1, 2]),
    ]


def test_a_run_that_failed_before_anything_was_read_counts_in_its_own_row() -> None:
    encoder = {"name": "distilroberta", "hub_id": DISTILROBERTA["hub_id"], "revision": DISTILROBERTA["revision"]}
    failed = mrpc(2, 0, 0, status="failed", precision="")
    failed = dataclasses.replace(failed, encoder=encoder, data={**failed.data, "rows": {}})
    row = row_of(mrpc(1, 0.85, 0.89), failed)
    assert (row.seeds, row.unfinished) == ([1], {"failed": 1})


def test_settings_on_other_rows_are_kept_apart() -> None:
    other = {**mrpc(1, 0.8, 0.8).data, "fingerprint": "abc"}
    (section,) = report_of(mrpc(1, 0.8, 0.8), mrpc(1, 0.9, 0.9, setting="111", data=other)).sections
    assert [row.differs for row in section.rows] == [{"rows": "A"}, {"rows": "B"}]
    assert "abc" not in render_report(
        report_of(mrpc(1, 0.8, 0.8), mrpc(1, 0.9, 0.9, setting="111", data=other)), "markdown"
    )


def test_the_mean_of_rows_that_are_not_comparable_gets_no_published_mean() -> None:
    eight = [
        make_record(task=task, encoder=DISTILROBERTA, reasons=("a subset",) if task == "rte" else ())
        for task in CARD_TASKS
    ]
    (section,) = report_of(*eight).sections
    assert means(section) == [(approx(50.0), None)]
    assert "not comparable" in render_report(report_of(*eight), "console", width=160).split("of the eight tasks")[1]


def test_a_changed_recipe_is_named_in_the_title_or_else_in_the_rows() -> None:
    def changed(task: str, **trainer: float) -> Record:
        record = make_record(task=task, words=tuple(f"trainer.{key}={value}" for key, value in trainer.items()))
        return dataclasses.replace(record, setting_id=f"{task}{trainer}")

    both = report_of(changed("rte", epochs=4), changed("mrpc", epochs=4))
    assert "recipe default with epochs=4\n" in render_report(both, "console", width=160)
    assert [row.note for row in both.sections[0].rows] == ["nothing published", "nothing published"]
    one = report_of(changed("rte", epochs=4), make_record(task="mrpc"))
    assert [row.note.split(";")[0] for row in one.sections[0].rows] == ["nothing published", "trainer.epochs=4"]


def test_only_the_protocols_of_the_shown_published_numbers_are_given() -> None:
    text = render_report(report_of(make_record(task="rte", encoder=ROBERTA)), "markdown")
    assert "Protocol of RoBERTa-base" in text
    assert "Protocol of Distil" not in text
    assert "Protocol" not in render_report(report_of(make_record()), "markdown")


def test_failed_runs_are_counted_and_never_averaged() -> None:
    row = row_of(mrpc(1, 0.85, 0.89), mrpc(2, 0, 0, status="diverged"), mrpc(3, 0, 0, status="failed"))
    assert (row.median, row.seeds, row.unfinished) == (approx(87.0), [1], {"failed": 1, "diverged": 1})
    assert "1 failed; 1 diverged" in row.note
    nothing = row_of(mrpc(2, 0, 0, status="diverged"))
    assert (nothing.median, published(nothing), nothing.difference) == (None, 86.6, None)


def test_a_mean_is_given_only_for_all_eight_tasks() -> None:
    eight = [make_record(task=task, scores=scores_of(task, 0.5), encoder=DISTILROBERTA) for task in CARD_TASKS]
    (section,) = report_of(*eight).sections
    assert [row.task for row in section.rows] == list(CARD_TASKS)
    assert means(section) == [(approx(50.0), approx(82.35))]
    (seven,) = report_of(*eight[1:]).sections
    assert means(seven) == []


def test_encoders_and_data_sources_have_separate_sections() -> None:
    sample = {"source": "sample", "dataset": None, "revision": None, "rows": {"train": 5, "validation": 408}}
    sections = report_of(
        mrpc(1, 0.8, 0.8),
        mrpc(1, 0.8, 0.8, data=sample, setting="222"),
        make_record(task="mrpc", scores=scores_of("mrpc", 0.8)),
    ).sections
    assert [(section.encoder, section.data) for section in sections] == [
        ("distilroberta", "nyu-mll/glue on the hub"),
        ("distilroberta", "sample data"),
        ("tiny", "nyu-mll/glue on the hub"),
    ]


@pytest.mark.parametrize("format_name", TABLE_FORMATS)
def test_every_format_holds_the_numbers(format_name: str) -> None:
    text = render_report(report_of(mrpc(1, 0.85, 0.89), mrpc(2, 0.84, 0.88)), format_name, width=160)
    for word in ("mrpc" if format_name == "csv" else "MRPC", "86.6", "86.5"):
        assert word in text


def test_the_console_table_names_the_published_source_and_the_dev_sets() -> None:
    text = render_report(report_of(mrpc(1, 0.85, 0.89)), "console", width=160)
    assert "published: DistilRoBERTa-base, model card" in text
    assert "validation (dev) split" in text
    assert "like for like" in text
    assert "\x1b" not in text


def test_json_and_csv_can_be_read_back() -> None:
    report = report_of(mrpc(1, 0.85, 0.89), mrpc(2, 0.84, 0.88))
    content = json.loads(render_report(report, "json"))
    (row,) = content["sections"][0]["rows"]
    assert row["median"] == approx(86.5)
    medians = {part: summary["median"] for part, summary in row["parts"].items()}
    assert medians == approx({"validation.accuracy": 84.5, "validation.f1": 88.5})
    (line,) = csv.DictReader(io.StringIO(render_report(report, "csv")))
    assert float(line["median"]) == approx(86.5)
    assert line["task"] == "mrpc"


def test_hostile_names_do_not_break_a_format() -> None:
    encoder = {"name": "=cmd|' /C calc'!A0", "hub_id": None, "revision": None}
    report = report_of(make_record(task="rte", scores=scores_of("rte", 0.5), encoder=encoder))
    assert "\\|" in render_report(report, "markdown").splitlines()[0]
    (line,) = csv.DictReader(io.StringIO(render_report(report, "csv")))
    assert line["encoder"].startswith("'=")
    bold = make_record(task="rte", scores=scores_of("rte", 0.5), encoder={**encoder, "name": "[bold]x[/bold]"})
    assert "[bold]x[/bold]" in render_report(report_of(bold), "console", width=160)


def test_without_runs_the_report_says_so() -> None:
    assert "No runs yet" in render_report(report_of(), "console")
    assert "No runs yet" in render_report(report_of(), "markdown")
    assert json.loads(render_report(report_of(), "json"))["sections"] == []
    assert render_report(report_of(), "csv").startswith("encoder,data,recipe,recipe_changes,task")


def test_the_users_own_published_numbers_are_found_and_damaged_ones_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = {
        "title": "Mine",
        "hub_ids": ["me/mine"],
        "protocol": "",
        "convention_evidence": "",
        "scores": [
            {"task": "rte", "value": 50.0, "convention": "paper", "metric": "accuracy", "split": "validation"}
            | {"n": 277, "source": "a paper", "note": ""}
        ],
    }
    (tmp_path / "mine.json").write_text(json.dumps(own))
    (tmp_path / "broken.json").write_text("{")
    tables = load_published(tmp_path)
    record = make_record(scores=scores_of("rte", 0.6), encoder={"name": "mine", "hub_id": "Me/Mine", "revision": "1"})
    (section,) = build_report([record], tables).sections
    assert section.rows[0].difference == approx(10.0)
    assert len(caplog.messages) == 1
    assert "broken.json" in caplog.messages[0]


def test_the_footnote_claims_no_more_than_the_table_holds() -> None:
    plain, best = mrpc(1, 0.8, 0.8), mrpc(1, 0.9, 0.9, setting="111", selection="best", selected={"score": 0.9})
    assert "last checkpoint; nothing was selected on the dev split." in report_of(plain).footnotes[0]
    assert not any("optimistic" in note for note in report_of(plain).footnotes)
    notes = report_of(plain, best).footnotes
    assert "Rows with a note on selection" in notes[0]
    assert "optimistic" in notes[1]
    held = dataclasses.replace(best, selection="holdout")
    assert "Rows with a note on selection" in report_of(held).footnotes[0]
    assert not any("optimistic" in note for note in report_of(held).footnotes)


def test_the_column_of_initial_weights_is_shown_only_if_some_are_not_pretrained() -> None:
    plain = make_record(task="rte", scores=scores_of("rte", 0.7), encoder=ROBERTA)
    reasons = ("starts from a run on MNLI",)
    mnli = [
        make_record(
            scores=scores_of("rte", 0.8), encoder=ROBERTA, seed=seed, init=f"mnli:seed{seed}-abc", reasons=reasons
        )
        for seed in (1, 2)
    ]
    for format_name in ("console", "markdown"):
        assert "init" not in render_report(report_of(plain), format_name, width=160)
    lines = render_report(report_of(plain, *mnli), "markdown").splitlines()
    assert lines[2].startswith("| task | init | metric | dev rows |")
    assert lines[3] == "|---|---|---|--:|--:|--:|--:|--:|---|---|"
    assert [line.split(" | ")[1] for line in lines[4:6]] == ["pretrained", "mnli"]
    assert "pretrained" in render_report(report_of(plain, *mnli), "console", width=160)
    (section,) = report_of(plain, *mnli).sections
    assert [(row.setting.init, row.seeds, row.comparable) for row in section.rows] == [
        ("pretrained", [1], True),
        ("mnli", [1, 2], False),
    ]
    (line,) = csv.DictReader(io.StringIO(render_report(report_of(plain), "csv")))
    assert line["init"] == "pretrained"


def test_runs_with_other_initial_weights_do_not_change_the_mean_of_eight() -> None:
    eight = [make_record(task=task, encoder=ROBERTA, setting=task) for task in CARD_TASKS]
    other = make_record(
        task="rte", scores=scores_of("rte", 0.9), encoder=ROBERTA, init="mnli:seed1-abc", reasons=("other weights",)
    )
    (section,) = report_of(*eight, other).sections
    assert (len(section.rows), means(section)) == (9, [(approx(50.0), approx(86.35))])
    (mean,) = [line for line in render_report(report_of(*eight, other), "markdown").splitlines() if "| mean |" in line]
    assert mean.startswith("| mean | pretrained | of the eight tasks |")
    (mixed,) = report_of(*(record for record in eight if record.task != "rte"), other).sections
    assert means(mixed) == [(approx((7 * 50.0 + 90.0) / 8), None)]


def test_failed_runs_are_words_in_the_score_cell_and_numbers_in_json() -> None:
    some = [mrpc(1, 0.8, 0.8), mrpc(2, 0, 0, status="failed"), mrpc(3, 0, 0, status="diverged")]
    assert "| 80.0 (1 of 3 failed, 1 of 3 diverged) |" in render_report(report_of(*some), "markdown")
    assert "| diverged |" in render_report(report_of(some[2]), "markdown")
    (row,) = json.loads(render_report(report_of(*some), "json"))["sections"][0]["rows"]
    assert (row["median"], row["unfinished"]) == (approx(80.0), {"failed": 1, "diverged": 1})
    (line,) = csv.DictReader(io.StringIO(render_report(report_of(*some), "csv")))
    assert (float(line["median"]), json.loads(line["unfinished"])) == (approx(80.0), {"failed": 1, "diverged": 1})


@pytest.mark.parametrize(
    "change",
    [
        {"decimals": -400},
        {"decimals": 10**9},
        {"decimals": 0.5},
        {"title": 5},
        {"hub_ids": "me/mine"},
        {"runs": 2},
        {"scores": 5},
        {"scores": [{}]},
        {"runs": True},
    ],
    ids=str,
)
def test_impossible_published_numbers_are_named_and_ignored(
    change: dict[str, object], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = {"title": "Mine", "hub_ids": ["me/mine"], "protocol": "", "convention_evidence": "", "scores": []}
    (tmp_path / "mine.json").write_text(json.dumps(good))
    assert "mine" in [table.name for table in load_published(tmp_path)]
    (tmp_path / "mine.json").write_text(json.dumps({**good, **change}))
    assert "mine" not in [table.name for table in load_published(tmp_path)]
    assert [message.count("mine.json") for message in caplog.messages] == [1]


@pytest.mark.parametrize("value", ["1e308", "9" * 400, "NaN", '"x"', "null", "-1e999", "[1]"])
def test_an_earlier_report_with_impossible_numbers_is_refused(value: str, tmp_path: Path) -> None:
    text = render_report(report_of(make_record(scores=scores_of("rte", 0.6))), "json")
    content = json.loads(text)
    content["sections"][0]["rows"][0]["values"] = ["HERE"]
    (tmp_path / "old.json").write_text(json.dumps(content).replace('"HERE"', value))
    with pytest.raises(InputError, match=r"--check .*old\.json: not written by"):
        read_baseline(tmp_path / "old.json")
