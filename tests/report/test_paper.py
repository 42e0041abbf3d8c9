"""LaTeX that compiles, and the table of a paper."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pytest

from glue_bench.cli.main import main
from glue_bench.errors import UsageError
from glue_bench.report.formats import render_paper
from glue_bench.report.model import CARD_TASKS
from glue_bench.report.table import build_report
from glue_bench.runs.store import RunStore
from tests.support.making import DISTILROBERTA, make_record, scores_of
from tests.support.reports import PUBLISHED, assert_compiles, changed_task, has_latex


@pytest.mark.skipif(not has_latex(), reason="no pdflatex with booktabs on this machine")
@pytest.mark.parametrize("name", ["report.tex", "compare.tex"])
def test_latex_compiles(texts: Mapping[str, str], name: str, tmp_path: Path) -> None:
    (tmp_path / "table.tex").write_text(texts[name], encoding="utf-8")
    assert_compiles(tmp_path)


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


def test_the_paper_style_takes_one_metric_per_column_and_latex(store: RunStore, tmp_path: Path) -> None:
    place, out = f"results_dir={store.root.parent}", tmp_path / "t.tex"
    words = ["report", "--format", "latex", "--style", "paper", "--out", str(out), place, "task!=sst2"]
    assert main(words) == 0
    assert "{\\footnotesize acc./F1}" in out.read_text()
    assert main([*words, "encoder=roberta", "task=mrpc"]) == 0
    assert "{\\footnotesize acc.}" in out.read_text()  # its own published metric
    assert main(["report", place, "--style", "paper"]) == 2


@pytest.mark.parametrize(("spread", "mean"), [("sd", 51.7), ("range", 50.0)])
def test_the_mean_is_that_of_the_eight_tasks_whatever_others_have_a_column(
    spread: Literal["sd", "range"], mean: float
) -> None:
    scores = {1: 0.45, 2: 0.5, 3: 0.6}
    records = [make_record(task=t, seed=s, scores=scores_of(t, v)) for t in CARD_TASKS for s, v in scores.items()]
    records.append(make_record(task="wnli", scores=scores_of("wnli", 0.1)))
    latex = render_paper(build_report(records, PUBLISHED), spread=spread)
    (line,) = [line for line in latex.splitlines() if line.startswith("tiny &")]
    assert line.endswith(rf"& {mean} \\")


def test_an_own_task_whose_file_changed_gets_no_column_of_two_metrics() -> None:
    report = build_report([make_record(), changed_task("recall")], PUBLISHED)
    with pytest.raises(UsageError, match=r"no column for recall of other and accuracy of tiny on RTE; .*encoder=NAME"):
        render_paper(report)


@pytest.mark.parametrize("selection", ["last", "best", "holdout", "halves"])
def test_the_note_denies_a_selection_only_where_there_was_none_on_dev_rows(selection: str) -> None:
    latex = render_paper(build_report([make_record(selection=selection)], PUBLISHED))
    assert ("Nothing was selected on the development sets" in latex) == (selection in ("last", "holdout"))


def test_the_published_numbers_are_those_of_the_sections_every_row() -> None:
    runs = [make_record(task=task, encoder=DISTILROBERTA) for task in ("rte", "cola", "wnli")]
    runs.append(make_record(setting="111", encoder=DISTILROBERTA, words=("trainer.epochs=20",)))
    latex = render_paper(build_report(runs, PUBLISHED))
    assert r"\quad published & 59.3 & 67.9 & 52.1 \\" in latex.splitlines()


@pytest.mark.parametrize("name", ["[x]", "*x"])
def test_a_name_is_not_read_as_an_option_of_the_line_before(name: str) -> None:
    report = build_report([make_record(), make_record(encoder={**DISTILROBERTA, "name": name})], PUBLISHED)
    assert f"\n{{}}{name} &" in render_paper(report)
