"""Every format of the report and of the comparison against golden files; check, compare and load_results."""

import csv
import dataclasses
import functools
import io
import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest

import glue_bench as package
from glue_bench.cli.main import main
from glue_bench.config.schema import TaskConfig
from glue_bench.errors import GlueBenchError, UsageError
from glue_bench.report.check import check_report, read_baseline
from glue_bench.report.comparison import compare
from glue_bench.report.formats import render_comparison, render_report
from glue_bench.report.model import CARD_TASKS
from glue_bench.report.paper import render_paper
from glue_bench.report.sides import choose_sides
from glue_bench.report.table import build_report
from glue_bench.runs.filters import Filters
from glue_bench.runs.record import Record
from glue_bench.runs.store import RunStore
from glue_bench.tasks.published import PUBLISHED_ROWS, load_published
from tests.support.golden import ENDINGS, FOLDER, render_all
from tests.support.making import DISTILROBERTA, ROBERTA, make_record
from tests.support.scored_runs import SHARES, keep_run, results_with_two_encoders

PUBLISHED = load_published()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    return results_with_two_encoders(tmp_path_factory.mktemp("two"))


@pytest.fixture(scope="module")
def texts(store: RunStore) -> Mapping[str, str]:
    return render_all(store)


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
    assert rte.interval is None
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


def test_a_row_without_its_predictions_says_so(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    store.save(make_record(task="rte", encoder=DISTILROBERTA))
    (row,) = build_report(store.load_all(), PUBLISHED, store=store).sections[0].rows
    assert row.note == "stored predictions cannot be read: no interval, and degenerate runs are not detected"
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
    assert row.note.startswith("stored predictions cannot be read")
    assert "validation.parquet of 277 rows; the record says 276" in caplog.text


@functools.cache
def has_latex() -> bool:
    """Check for pdflatex and the packages of a preamble."""
    find = shutil.which("kpsewhich")
    if find is None or shutil.which("pdflatex") is None:
        return False
    return subprocess.run([find, "booktabs.sty"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not has_latex(), reason="no pdflatex with booktabs on this machine")
@pytest.mark.parametrize("name", ["report.tex", "compare.tex"])
def test_latex_compiles(texts: Mapping[str, str], name: str, tmp_path: Path) -> None:
    (tmp_path / "table.tex").write_text(texts[name], encoding="utf-8")
    assert_compiles(tmp_path)


def assert_compiles(folder: Path) -> None:
    """Compile a document that contains table.tex."""
    head = "\\documentclass{article}\\usepackage[T1]{fontenc}\\usepackage{booktabs}\\begin{document}\n"
    (folder / "paper.tex").write_text(head + "\\input{table}\n\\end{document}\n", encoding="utf-8")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "paper.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (folder / "paper.pdf").stat().st_size > 10_000


@pytest.mark.parametrize(("convention", "spread"), [("card", "sd"), ("paper", "range")])
def test_a_paper_gets_one_float_with_caption_label_and_note(
    store: RunStore, convention: str, spread: Literal["sd", "range"], tmp_path: Path
) -> None:
    report = build_report(store.load_all(), PUBLISHED, store=store, convention=convention)
    latex = render_paper(report, spread=spread)
    for word in (
        "\\begin{table}",
        "\\caption{",
        "\\label{tab:glue}",
        "\\toprule",
        "\\midrule",
        "\\bottomrule",
        "\\end{table}",
    ):
        assert latex.count(word) == 1, word
    head, metrics, *body = [line.split(" & ") for line in latex.splitlines() if " & " in line]
    assert {len(line) for line in (head, metrics, *body)} == {1 + 7}  # QQP has no finished run
    assert [line[0] for line in body] == ["distilroberta", "\\quad published", "roberta", "\\quad published"]
    assert "QQP" not in latex
    mnli = report.sections[0].rows[0].summary
    assert mnli is not None
    shown = f"{mnli.mean:.1f}\\,{{\\scriptsize $\\pm$ {mnli.deviation:.1f}}}"
    ranged = f"{mnli.median:.1f}\\,{{\\scriptsize [{mnli.minimum:.1f}, {mnli.maximum:.1f}]}}"
    assert (shown in latex, ranged in latex) == (spread == "sd", spread == "range")
    assert ("acc./F1" in metrics[6], "F1" in metrics[6]) == (convention == "card",) * 2
    (caption,) = [line for line in latex.splitlines() if line.startswith("\\caption")]
    assert "over 3 seeds (distilroberta: 1 to 3)" in caption
    assert "RTE 277" in caption
    (note,) = [line for line in latex.splitlines() if "footnotesize Data" in line]
    assert "1 run without a score is not in the numbers." in note
    assert "* not comparable with published numbers" in note
    assert [line[0] for line in body if "*" in "".join(line)] == ["distilroberta"]
    if has_latex():
        (tmp_path / "table.tex").write_text(latex, encoding="utf-8")
        assert_compiles(tmp_path)


def test_the_paper_style_takes_one_metric_a_column_and_latex(store: RunStore, tmp_path: Path) -> None:
    place, out = f"results_dir={store.root.parent}", tmp_path / "t.tex"
    words = ["report", "--format", "latex", "--style", "paper", "--out", str(out), place, "task!=sst2"]
    assert main(words) == 0
    assert "{\\footnotesize acc./F1}" in out.read_text()
    assert main([*words, "encoder=roberta", "task=mrpc"]) == 0
    assert "{\\footnotesize acc.}" in out.read_text()  # its own published metric
    assert main(["report", place, "--style", "paper"]) == 2


HOSTILE = "=1+1|x & \\input{/etc/passwd} $x_1^2$ #%~ <script>alert(1)</script> `code` [a](b) *b* \N{SNOWMAN}"


def test_hostile_reasons_stay_text_in_every_format() -> None:
    record = make_record(task="rte", encoder={**DISTILROBERTA, "name": "e"}, reasons=(HOSTILE,))
    report = build_report([record], PUBLISHED)
    latex = render_report(report, "latex")
    assert "\\input{/etc" not in latex
    assert "\\textbackslash{}input\\{/etc/passwd\\} \\$x\\_1\\textasciicircum{}2\\$ \\#\\%\\textasciitilde{}" in latex
    assert "\N{SNOWMAN}" not in latex  # T1 fonts do not have it
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


def test_the_published_share_of_quality_is_the_known_one(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    for task in CARD_TASKS:
        for encoder in (DISTILROBERTA, ROBERTA):
            keep_run(store, task=task, share=SHARES[task], encoder=encoder)
    found = compared(store, "distilroberta", "roberta")
    assert found.published_kept == pytest.approx(95.4, abs=0.05)
    assert found.kept == pytest.approx(100)
    assert [task.better for task in found.tasks] == [None] * 8
    assert [task.task for task in found.tasks] == list(CARD_TASKS)


def compared(store: RunStore, *words: str, by: str | None = None, only: tuple[str, ...] = ()) -> Any:
    """Compare as the command does."""
    sides = choose_sides(words, store, published=PUBLISHED, filters=Filters.read(only), by=by)
    return compare(sides, PUBLISHED)


def test_swapping_the_encoders_changes_the_sign(store: RunStore) -> None:
    ours, theirs = compared(store, "distilroberta", "roberta"), compared(store, "roberta", "distilroberta")
    for one, other in zip(ours.tasks, theirs.tasks, strict=True):
        assert one.difference == pytest.approx(-other.difference)
        assert one.better == other.better
        assert one.p_value == pytest.approx(other.p_value, abs=0.02)
    assert ours.eval_ratio == pytest.approx(2)
    assert theirs.eval_ratio == pytest.approx(0.5)


def test_only_runs_on_the_same_rows_with_the_same_seeds_are_compared(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    keep_run(store, task="rte", seed=1, encoder=DISTILROBERTA)
    keep_run(store, task="rte", seed=2, encoder=ROBERTA)
    keep_run(store, task="mrpc", encoder=DISTILROBERTA)
    data = {**make_record(task="mrpc").data, "fingerprint": "other"}
    keep_run(store, task="mrpc", encoder=ROBERTA, data=data)
    keep_run(store, task="cola", encoder=DISTILROBERTA)
    found = compared(store, "distilroberta", "roberta")
    assert found.tasks == []
    assert found.skipped == {
        "CoLA": "no finished runs of the second",
        "MRPC": "not the same dev rows",
        "RTE": "no seed in common",
    }
    assert "MRPC is left out: not the same dev rows." in render_comparison(found, "console", width=120)


def test_the_most_similar_settings_are_compared_and_the_choice_is_noted(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    for seed in (1, 2):
        keep_run(store, task="rte", seed=seed, encoder=DISTILROBERTA)
        keep_run(store, task="rte", seed=seed, encoder=ROBERTA, setting="111", words=("trainer.epochs=3",))
    (task,) = compared(store, "distilroberta", "roberta").tasks
    assert (task.note, task.seeds) == ("trainer.epochs=10, 3", [1, 2])
    keep_run(store, task="rte", seed=1, encoder=ROBERTA, setting="222")
    (task,) = compared(store, "distilroberta", "roberta").tasks
    assert (task.note, task.seeds) == ("one of 2 settings of roberta: trainer.epochs=10", [1])


def test_other_initial_weights_are_noted_and_get_no_published_share(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    keep_run(store, task="rte", encoder=DISTILROBERTA)
    keep_run(store, task="rte", encoder=ROBERTA, init="mnli:seed1-111", reasons=("starts from MNLI",))
    found = compared(store, "distilroberta", "roberta")
    assert [task.note for task in found.tasks] == ["init=pretrained, mnli"]
    assert (found.kept is None, found.published_kept) == (False, None)
    keep_run(store, task="rte", encoder=ROBERTA, setting="222")
    found = compared(store, "distilroberta", "roberta")
    assert [task.note for task in found.tasks] == [""]
    assert found.published_kept == pytest.approx(100 * 67.9 / 78.7)


def test_weights_of_parent_runs_are_not_several_encoders(tmp_path: Path) -> None:
    store = RunStore(tmp_path)

    def keep(task: str, seed: int, *, parent: bool, weights: str) -> None:
        encoder = {**ROBERTA, "weights_sha256": weights}
        init = f"mnli:seed{seed}-111" if parent else "pretrained"
        keep_run(store, task=task, seed=seed, encoder=encoder, setting=f"{task}{parent}", init=init)

    for seed in (1, 2):
        for task in ("mrpc", "rte"):
            keep_run(store, task=task, seed=seed, encoder=DISTILROBERTA)
        keep("mrpc", seed, parent=False, weights="pretrained")
        keep("rte", seed, parent=True, weights=f"of seed {seed} of MNLI")
    assert compared(store, "distilroberta", "roberta").several_weights == []
    keep("mrpc", 2, parent=False, weights="others")
    found = compared(store, "distilroberta", "roberta")
    assert found.several_weights == ["roberta"]
    text = render_comparison(found, "markdown")
    assert "The compared runs of roberta began with different weights" in text


def test_runs_with_different_labels_are_not_compared(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    facts = {**make_record(task="rte").data, "fingerprint": None}
    keep_run(store, task="rte", encoder=DISTILROBERTA, data=facts)
    keep_run(store, task="rte", encoder=ROBERTA, data={**facts, "rows": {"train": 2490, "validation": 100}})
    assert compared(store, "distilroberta", "roberta").skipped == {"RTE": "not the same labels"}


def test_tasks_are_compared_in_the_cards_order(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    for task in ("rte", "cola"):
        keep_run(store, task=task, encoder=DISTILROBERTA)
    keep_run(store, task="sst2", encoder=DISTILROBERTA, recipe="other")
    for task in ("mnli", "sst2", "cola", "rte"):
        keep_run(store, task=task, encoder=ROBERTA)
    assert [task.task for task in compared(store, "distilroberta", "roberta").tasks] == ["sst2", "cola", "rte"]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("distilrobert", "roberta"), "did you mean distilroberta"),
        (("roberta", "bert"), "bert: there are no finished runs of this encoder"),
        (
            ("roberta", "roberta"),
            "roberta: compared with itself; its runs have one setting; name two different encoders",
        ),
    ],
)
def test_encoders_without_runs_are_refused_in_one_line(store: RunStore, names: tuple[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        compared(store, *names)


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


def test_compare_prints_and_writes(store: RunStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = f"results_dir={store.root.parent}"
    assert main(["compare", "distilroberta", "roberta", folder]) == 0
    assert "The mean of distilroberta over these 4 tasks is" in capsys.readouterr().out
    assert (
        main(["compare", "distilroberta", "roberta", folder, "--format", "json", "--out", str(tmp_path / "c.json")])
        == 0
    )
    assert json.loads((tmp_path / "c.json").read_text())["first"] == "distilroberta"
    assert main(["compare", "distilroberta", folder]) == 2
    assert "name two encoders" in capsys.readouterr().err


def rows_of(report: Any) -> list[dict[str, Any]]:
    """Return the rows as `report --format json` writes them."""
    content = json.loads(render_report(report, "json"))
    return [row for section in content["sections"] for row in section["rows"] if row["seeds"]]


def three(value: float, *, task: str = "rte", setting: str = "000") -> list[Record]:
    shift = {1: -0.004, 2: 0.0, 3: 0.004}
    return [
        make_record(
            task=task,
            seed=seed,
            setting=setting,
            encoder=DISTILROBERTA,
            scores={"validation": {"accuracy": value + more}},
        )
        for seed, more in shift.items()
    ]


@pytest.mark.parametrize(("now", "fault"), [(0.68, ""), (0.676, ""), (0.60, "the mean fell by 8.0"), (0.72, "")])
def test_a_check_fails_only_on_a_significant_drop(now: float, fault: str) -> None:
    before = rows_of(build_report(three(0.68), PUBLISHED))
    (row,) = check_report(build_report(three(now), PUBLISHED), before)
    assert row.fault.startswith(fault)
    assert bool(row.fault) == bool(fault)


def test_a_check_prints_the_medians_that_the_table_shows() -> None:
    records = [
        dataclasses.replace(record, scores={"validation": {"accuracy": value}})
        for record, value in zip(three(0.7), (0.70, 0.71, 0.50), strict=True)
    ]
    report = build_report(records, PUBLISHED)
    (row,) = check_report(report, rows_of(report))
    assert row.before == pytest.approx(70)
    assert row.after == report.sections[0].rows[0].median


def test_a_check_finds_the_same_setting_under_another_id_and_names_missing_ones() -> None:
    before = rows_of(build_report([*three(0.68), *three(0.90, task="sst2")], PUBLISHED))
    checked = check_report(build_report(three(0.60, setting="111"), PUBLISHED), before)
    faults = {row.title: row.fault for row in checked}
    assert faults["distilroberta RTE"].startswith("the mean fell by 8.0")
    assert faults["distilroberta SST-2"] == "this setting no longer has a finished run"


def test_single_runs_are_checked_by_the_noise_of_their_rows(tmp_path: Path) -> None:
    def report_of(name: str, share: float) -> Any:
        store = RunStore(tmp_path / name)
        keep_run(store, task="rte", share=share, encoder=DISTILROBERTA)
        return build_report(store.load_all(), PUBLISHED, store=store)

    before = rows_of(report_of("before", 0.70))
    (little,) = check_report(report_of("little", 0.67), before)
    (much,) = check_report(report_of("much", 0.50), before)
    assert (little.fault, much.fault[:13]) == ("", "the mean fell")


def test_a_report_checked_against_itself_has_no_fault() -> None:
    slow = [dataclasses.replace(record, precision="float32") for record in three(0.60)]
    fast = [dataclasses.replace(record, precision="bfloat16", seed=record.seed + 3) for record in three(0.70)]
    fast = [dataclasses.replace(record, run_id=f"seed{record.seed}-000") for record in fast]
    report = build_report([*slow, *fast], PUBLISHED)
    checked = check_report(report, rows_of(report))
    assert sorted(row.before for row in checked) == pytest.approx([60, 70])
    assert [(row.after, row.fault) for row in checked] == [(row.before, "") for row in checked]


def test_a_check_on_other_rows_or_under_another_convention_says_so() -> None:
    ours = [
        make_record(task="mrpc", seed=seed, encoder=DISTILROBERTA, scores={"validation": {"accuracy": 0.86, "f1": 0.9}})
        for seed in (1, 2, 3)
    ]
    before = rows_of(build_report(ours, PUBLISHED))
    (row,) = check_report(build_report(ours, PUBLISHED, convention="paper"), before)
    assert row.fault == "now shown as accuracy, before as mean of accuracy and F1: use the same --convention"
    others = [dataclasses.replace(record, data={**record.data, "fingerprint": "1"}) for record in ours]
    (row,) = check_report(build_report(others, PUBLISHED), before)
    assert row.fault == "other texts or labels than before: not the same test"


def test_a_drop_of_unknown_noise_is_not_significant() -> None:
    before = rows_of(build_report(three(0.70)[:1], PUBLISHED))
    (row,) = check_report(build_report(three(0.69)[:1], PUBLISHED), before)
    assert (row.fault, row.remark) == ("", "lower, but the noise of these runs is unknown")


@pytest.mark.parametrize(
    "change",
    [
        {"values": [float("nan")] * 3},
        {"values": [True] * 3},
        {"low": "x"},
        {"n": "277"},
        {"run_ids": None},
        {"seeds": []},
    ],
)
def test_baseline_rows_that_cannot_be_compared_are_refused(change: dict[str, Any], tmp_path: Path) -> None:
    content = json.loads(render_report(build_report(three(0.68), PUBLISHED), "json"))
    content["sections"][0]["rows"][0].update(change)
    path = tmp_path / "earlier.json"
    path.write_text(json.dumps(content))
    with pytest.raises(GlueBenchError, match="not a report of"):
        read_baseline(path)


def test_the_check_is_an_exit_code(store: RunStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, earlier = f"results_dir={store.root.parent}", tmp_path / "earlier.json"
    assert main(["report", folder, "--format", "json", "--out", str(earlier)]) == 0
    assert main(["report", folder, "--check", str(earlier), "--out", str(tmp_path / "t.txt")]) == 0
    assert "none fell significantly" in capsys.readouterr().err
    content = json.loads(earlier.read_text())
    (row,) = [row for row in content["sections"][0]["rows"] if row["task"] == "rte"]
    row["values"], row["mean"] = [value + 10 for value in row["values"]], row["mean"] + 10
    earlier.write_text(json.dumps(content))
    assert main(["report", folder, "--check", str(earlier), "--out", str(tmp_path / "t.txt")]) == 1
    assert "distilroberta RTE" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "[]", '{"sections": 1}', '{"sections": [{"rows": [{"seeds": [1]}]}]}'])
def test_a_file_that_is_not_a_report_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "earlier.json"
    path.write_text(text)
    with pytest.raises(GlueBenchError, match="not a report of"):
        read_baseline(path)


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
        assert row.summary.interval is not None
        assert 0 <= min(row.summary.interval) <= max(row.summary.interval) <= 100
        assert (row.interval, row.few_seeds) == (None, True)
    assert render_report(report, "markdown").count("| too few seeds |") == 2
    found = compared(store, "distilroberta", "roberta")
    assert (found.tasks[0].low >= -100, found.tasks[0].high <= 100, found.tasks[0].few_seeds) == (True, True, True)
    assert "| too few seeds |" in render_comparison(found, "markdown")
