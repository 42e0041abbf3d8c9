"""Every format of the report and of the comparison against golden files; check, compare and load_results."""

import csv
import dataclasses
import io
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import glue_bench as package
from glue_bench.cli.main import main
from glue_bench.config.schema import TaskConfig
from glue_bench.errors import GlueBenchError
from glue_bench.report.formats import render_comparison, render_report
from glue_bench.report.table import build_report
from glue_bench.runs.store import RunStore
from glue_bench.tasks.published import PUBLISHED_ROWS, load_published
from glue_bench.text import escape_latex
from tests.support.golden import ENDINGS, FOLDER
from tests.support.making import DISTILROBERTA, ROBERTA, make_record
from tests.support.reports import PUBLISHED, assert_compiles, compared, has_latex, three
from tests.support.scored_runs import keep_predictions, keep_run


@pytest.mark.parametrize("name", [f"{what}.{end}" for what in ("report", "compare") for end in ENDINGS.values()])
def test_every_format_matches_its_golden_file(texts: Mapping[str, str], name: str) -> None:
    golden = (FOLDER / name).read_text(encoding="utf-8")
    if name.endswith(".json"):
        assert_alike(json.loads(texts[name]), json.loads(golden))
    elif name.endswith(".csv"):
        found, known = (list(csv.DictReader(io.StringIO(text))) for text in (texts[name], golden))
        assert_alike([_numbers(row) for row in found], [_numbers(row) for row in known])
    else:
        assert texts[name] == golden


def assert_alike(found: Any, known: Any) -> None:
    """Compare two values; numbers may differ by another machine's rounding."""
    if isinstance(known, dict):
        assert list(found) == list(known)
        for key in known:
            assert_alike(found[key], known[key])
    elif isinstance(known, list):
        assert len(found) == len(known)
        for left, right in zip(found, known, strict=True):
            assert_alike(left, right)
    else:
        assert found == (pytest.approx(known, rel=1e-6) if isinstance(known, float) else known)


def _numbers(row: Mapping[str, str]) -> dict[str, Any]:
    def parse(text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            return text

    return {key: parse(value) for key, value in row.items()}


def test_every_verdict_is_in_the_table(texts: Mapping[str, str]) -> None:
    rows = [row for section in json.loads(texts["report.json"])["sections"] for row in section["rows"]]
    found = {row["verdict"] for row in rows}
    assert found == {"reproduced", "below", "above", "inconclusive", "not comparable", "not run", "failed"}
    assert "| failed 1 of 1 |" in texts["report.md"]
    assert "seed 1 degenerate: constant predictions (positive)" in texts["report.md"]
    assert "1 degenerate run" in texts["report.md"]


def test_intervals_hold_their_median_and_need_predictions(store: RunStore, tmp_path: Path) -> None:
    shutil.copytree(store.root.parent, tmp_path / "results")
    copy = RunStore(tmp_path / "results")
    (path, *_) = copy.root.glob("distilroberta/rte/*/predictions/validation.parquet")
    path.write_bytes(b"damaged")
    rows = {row.task: row for row in build_report(copy.load_all(), PUBLISHED, store=copy).sections[0].rows}
    rte, mrpc = rows["rte"].summary, rows["mrpc"].summary
    assert rte is not None
    assert (rte.low, rte.high) == (None, None)
    assert mrpc is not None
    assert mrpc.low is not None
    assert mrpc.high is not None
    assert mrpc.low < mrpc.mean < mrpc.high
    assert set(rows["mrpc"].parts) == {"validation.accuracy", "validation.f1"}
    assert all(part.low is not None and part.low < part.median for part in rows["mrpc"].parts.values())


def test_a_degenerate_run_widens_no_interval_into_a_reproduction(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    keep_run(store, task="cola", seed=1, always=1, encoder=DISTILROBERTA)
    for seed in (2, 3):
        keep_run(store, task="cola", seed=seed, share=0.81, encoder=DISTILROBERTA)
    (row,) = build_report(store.load_all(), PUBLISHED, store=store).sections[0].rows
    assert row.verdict is not None
    assert row.verdict.high is not None
    assert row.verdict.high > 100  # what makes 59.3 lie inside
    assert (row.verdict.kind, row.verdict.reason) == ("inconclusive", "1 of 3 seeds is degenerate")
    assert row.summary is not None
    assert row.summary.high == 100  # and no score is expected there


def test_a_degenerate_run_is_seen_though_predictions_of_others_cannot_be_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = RunStore(tmp_path)
    keep_run(store, task="cola", seed=1, always=1, encoder=DISTILROBERTA)
    for seed in (2, 3):
        keep_run(store, task="cola", seed=seed, share=0.81, encoder=DISTILROBERTA)
        (store.root / f"distilroberta/cola/seed{seed}-000/predictions/validation.parquet").write_bytes(b"damaged")
    (row,) = build_report(store.load_all(), PUBLISHED, store=store).sections[0].rows
    assert row.verdict is not None
    assert (row.verdict.kind, row.verdict.reason) == ("inconclusive", "1 of 3 seeds is degenerate")
    unread = (
        "stored predictions of seeds 2, 3 cannot be used: no interval, and nobody knows whether they are degenerate"
    )
    assert row.note.startswith(f"{unread}; seed 1 degenerate: constant predictions (acceptable)")
    assert len(caplog.records) == 1  # for the row
    assert row.interval is None


def test_runs_whose_labels_differ_have_no_interval_and_are_still_looked_at(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    runs = [keep_run(store, task="rte", seed=seed, share=0.68, encoder=DISTILROBERTA) for seed in (1, 2, 3)]
    labels = np.arange(277) % 2
    keep_predictions(store, runs[2], {"validation": (labels, np.zeros(277, np.int64), np.eye(2)[labels * 0])})
    (row,) = build_report(store.load_all(), PUBLISHED, store=store).sections[0].rows
    assert row.note.startswith("stored predictions cannot be used: no interval; seed 3 degenerate: ")
    assert (row.interval, list(row.degenerate)) == (None, ["3"])


def test_a_row_without_its_predictions_says_so(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    store.save(make_record(task="rte", encoder=DISTILROBERTA))
    (row,) = build_report(store.load_all(), PUBLISHED, store=store).sections[0].rows
    assert row.note == "stored predictions cannot be used: no interval, and degenerate runs are not detected"
    (row,) = build_report(store.load_all(), PUBLISHED).sections[0].rows
    assert row.note == ""


def test_predictions_of_other_rows_than_the_record_says_are_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = RunStore(tmp_path)
    keep_run(store, task="rte", encoder=DISTILROBERTA)
    (record,) = store.load_all()
    store.save(dataclasses.replace(record, data={**record.data, "rows": {**record.data["rows"], "validation": 276}}))
    (row,) = build_report(store.load_all(), PUBLISHED, store=store).sections[0].rows
    assert row.note.startswith("stored predictions cannot be used")
    assert "validation.parquet of 277 rows; the record says 276" in caplog.text


HOSTILE = "=1+1|x & \\input{/etc/passwd} $x_1^2$ #%~ <script>alert(1)</script> `code` [a](b) *b* \N{SNOWMAN}"


def test_hostile_reasons_stay_text_in_every_format() -> None:
    record = make_record(task="rte", encoder={**DISTILROBERTA, "name": "e"}, reasons=(HOSTILE,))
    report = build_report([record], PUBLISHED)
    latex = render_report(report, "latex")
    assert "\\input{/etc" not in latex
    assert "\\textbackslash{}input\\{/etc/passwd\\} \\$x\\_1\\textasciicircum{}2\\$ \\#\\%\\textasciitilde{}" in latex
    assert "\N{SNOWMAN}" not in latex  # T1 fonts do not have it
    assert escape_latex("a--b---c") == "a-{}-b-{}-{}-c"
    assert escape_latex("Größe u\u0308 \xd7 \xf7 \u6a21") == r"Größe ü $\times$ ? ?"
    markdown = render_report(report, "markdown")
    assert "\\<script\\>" in markdown
    assert "\\[a\\]" in markdown
    assert len({line.replace("\\|", "").count("|") for line in markdown.splitlines() if line.startswith("|")}) == 1
    (line,) = csv.DictReader(io.StringIO(render_report(report, "csv")))
    assert all(not value.startswith(("=", "+", "-", "@")) or _is_number(value) for value in line.values())


@pytest.mark.parametrize("title", ["[bracket", "*star", ":bomb: [red]x[/red]", "\x1b[31mred", "end\\", "--dash"])
def test_a_hostile_title_stays_text_in_console_and_latex(title: str, tmp_path: Path) -> None:
    record = make_record(task="rte", encoder={**DISTILROBERTA, "name": title})
    task = {**record.config["task"], "title": title}
    report = build_report([dataclasses.replace(record, config={**record.config, "task": task})], PUBLISHED)
    console = render_report(report, "console", width=200)
    assert console.startswith(title.replace("\x1b", r"\x1b"))
    assert "\x1b" not in console
    latex = render_report(report, "latex")
    assert "--dash" not in latex  # which would be set as one long dash
    if has_latex():
        (tmp_path / "table.tex").write_text(latex, encoding="utf-8")
        assert_compiles(tmp_path)


def test_a_number_that_is_not_comparable_is_starred_next_to_the_published_one(texts: Mapping[str, str]) -> None:
    (ours,) = [line for line in texts["report.tex"].splitlines() if line.startswith("distilroberta (1)")]
    assert ours.split(" & ")[1:5] == ["84.0", "--", "90.8*", "38.3*"]  # QNLI on a subset, SST-2 degenerate
    assert "* not comparable with published numbers" in texts["report.tex"]


def test_whole_numbers_are_whole_in_csv(texts: Mapping[str, str]) -> None:
    rows = list(csv.DictReader(io.StringIO(texts["report.csv"])))
    assert {row["n"] for row in rows} >= {"19647", "408", ""}


@pytest.mark.parametrize(
    "change", [{"value": None}, {"value": "84.0"}, {"convention": ["card"]}, {"convention": "cart"}, {"note": 1}]
)
def test_an_invalid_table_of_published_numbers_is_ignored(change: dict[str, Any], tmp_path: Path) -> None:
    content = json.loads((PUBLISHED_ROWS / "roberta.json").read_text(encoding="utf-8"))
    (tmp_path / "mine.json").write_text(json.dumps(content))
    assert "mine" in [table.name for table in load_published(tmp_path)]
    content["scores"][0].update(change)
    (tmp_path / "mine.json").write_text(json.dumps(content))
    assert "mine" not in [table.name for table in load_published(tmp_path)]
    (tmp_path / "mine.json").write_text(json.dumps({**content, "scores": [], "hub_ids": [1]}))
    assert "mine" not in [table.name for table in load_published(tmp_path)]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def test_every_table_says_that_damaged_records_were_left_out(
    store: RunStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("distilroberta", "roberta"):
        shutil.copytree(store.root / name / "rte", tmp_path / "runs" / name / "rte")
    next((tmp_path / "runs/roberta/rte").iterdir()).joinpath("record.json").write_text("[" * 100)
    compare = ["compare", "distilroberta", "roberta"]
    for words in (["report"], compare, [*compare, "--format", "json"], ["claims", "--quick", "--format", "latex"]):
        assert main([*words, f"results_dir={tmp_path}"]) == 1, words
        assert "Left out: 1 run with a damaged record." in " ".join(capsys.readouterr().out.split())


def test_results_load_as_a_data_frame(store: RunStore) -> None:
    frame = package.load_results(store.root.parent)
    assert len(frame[(frame.task == "mnli") & (frame.encoder == "roberta")]) == 6  # 3 seeds, 2 splits
    mrpc = frame[(frame.task == "mrpc") & (frame.encoder == "distilroberta") & (frame.metric == "f1")]
    assert sorted(mrpc.seed) == [1, 2, 3]
    assert mrpc.value.between(0, 1).all()
    assert mrpc.rows.unique().tolist() == [408]
    (failed,) = frame[frame.status == "failed"].itertuples()
    assert failed.task == "qqp"
    assert frame.value.isna().sum() == 1
    assert all((Path(folder) / "record.json").is_file() for folder in frame.folder)


def test_a_time_that_cannot_be_read_is_missing_from_the_frame(tmp_path: Path) -> None:
    times = [
        "2026-11-26T10:00:00.123+00:00",
        "2026-11-26",
        "yesterday",
        "11/26/2026",
        "1",
        "nan",
        "99999-01-01",
        "\n",
        "",
    ]
    for seed, ended in enumerate(times):
        RunStore(tmp_path).save(make_record(seed=seed, ended=ended))
    frame = package.load_results(tmp_path)  # a warning would be an error
    assert {*frame[frame.ended.notna()].seed} == {0, 1}
    assert str(frame.ended.dt.tz) == "UTC"


def test_an_empty_folder_gives_an_empty_frame_and_a_missing_one_an_error(tmp_path: Path) -> None:
    assert package.load_results(tmp_path).empty
    with pytest.raises(GlueBenchError, match="no such folder of results"):
        package.load_results(tmp_path / "none")


def test_expected_tasks_get_a_row_where_numbers_are_published(expected: Callable[[str], TaskConfig]) -> None:
    tasks = [expected(name) for name in ("rte", "sst2")]
    ours = build_report(three(0.68), PUBLISHED, expected=tasks).sections[0].rows
    assert [(row.task, row.verdict and row.verdict.kind) for row in ours] == [
        ("sst2", "not run"),
        ("rte", "reproduced"),
    ]
    tiny = [dataclasses.replace(record, encoder={"name": "tiny", "hub_id": None}) for record in three(0.68)]
    assert len(build_report(tiny, PUBLISHED, expected=tasks).sections[0].rows) == 1


@pytest.fixture
def expected() -> Callable[[str], TaskConfig]:
    from glue_bench.config.compose import compose_task

    return compose_task


@pytest.mark.parametrize("width", [60, 80, 100, 130, 200])
def test_a_table_fits_into_a_terminal_without_losing_a_word(store: RunStore, width: int) -> None:
    report = build_report(store.load_all(), PUBLISHED, store=store)
    lines = render_report(report, "console", width=width).splitlines()
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    assert "…" not in text
    assert "84.0 [84.0, 84.0]" in text
    assert "Matthews correlation" in text
    assert ("A wider terminal also shows: dev rows" in text) == (width < 110)


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120])
def test_a_comparison_loses_no_letter_of_what_it_shows(width: int, tmp_path: Path) -> None:
    store, names = RunStore(tmp_path), ("an-encoder-with-a-long-name-0123456789", "another-long-name-9876543210")
    for name, share in zip(names, (0.7, 0.8), strict=True):
        for seed in (1, 2, 3):
            keep_run(store, task="rte", seed=seed, share=share, encoder={**ROBERTA, "name": name})
    text = render_comparison(compared(store, *names), "console", width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    table = "".join("".join(line.split()) for line in text.splitlines())
    assert "RTE" in table
    if width >= 40:
        assert all(f"{row:.1f}" in text for row in (compared(store, *names).tasks[0].first,))


def test_two_seeds_give_no_interval_that_no_score_can_have(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    for seed, share in ((1, 0.6), (2, 0.9)):
        keep_run(store, task="rte", seed=seed, share=share, encoder=DISTILROBERTA)
        keep_run(store, task="rte", seed=seed, share=1.4 - share, encoder=ROBERTA)
    report = build_report(store.load_all(), [], store=store)
    for section in report.sections:
        (row,) = section.rows
        assert row.summary is not None
        assert row.summary.low is not None
        assert row.summary.high is not None
        assert 0 <= row.summary.low <= row.summary.high <= 100
        assert (row.interval, row.few_seeds) == (None, True)
    assert render_report(report, "markdown").count("| too few seeds |") == 2
    found = compared(store, "distilroberta", "roberta")
    assert (found.tasks[0].low >= -100, found.tasks[0].high <= 100, found.tasks[0].few_seeds) == (True, True, True)
    assert "| too few seeds |" in render_comparison(found, "markdown")
