"""LaTeX that compiles, and the table of a paper."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pytest

from glue_bench.cli.main import main
from glue_bench.report.paper import render_paper
from glue_bench.report.table import build_report
from glue_bench.runs.store import RunStore
from tests.support.reports import PUBLISHED, assert_compiles, has_latex


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


def test_the_paper_style_takes_one_metric_a_column_and_latex(store: RunStore, tmp_path: Path) -> None:
    place, out = f"results_dir={store.root.parent}", tmp_path / "t.tex"
    words = ["report", "--format", "latex", "--style", "paper", "--out", str(out), place, "task!=sst2"]
    assert main(words) == 0
    assert "{\\footnotesize acc./F1}" in out.read_text()
    assert main([*words, "encoder=roberta", "task=mrpc"]) == 0
    assert "{\\footnotesize acc.}" in out.read_text()  # its own published metric
    assert main(["report", place, "--style", "paper"]) == 2
