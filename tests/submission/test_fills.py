"""Mistakes in the words of `submit build`."""

import dataclasses
from pathlib import Path

import pytest

from glue_bench.cli import main
from glue_bench.submission.check import check_submission
from glue_bench.submission.layout import write_rows, write_zip
from tests.support.building import layout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["encodr=tiny"], "encodr=tiny: not a key of `submit build`; did you mean encoder?"),
        (["trainer.batch=3"], "trainer.batch=3: not a key of `submit build`"),
        (["seed=one"], "seed=one: must be one whole number"),
        (["seed=1", "--pick", "best"], "seed=1 and --pick best: give one of the two"),
        (["results_dir=nowhere"], "results_dir=nowhere: no such folder"),
        (["data.path=x"], "data.path=x: only read with data=local"),
    ],
)
def test_a_mistake_in_the_words_is_one_line_and_exit_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", "build", *words]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith(f"glue-bench: {message}")
    assert errors.count("\n") == 1


def test_options_of_build_are_refused_by_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", "check", "a.zip", "--fill", "wnli"]) == 2
    assert capsys.readouterr().err == "glue-bench: --fill: for `submit build`, not for `submit check`\n"


def test_a_whole_zip_is_checked_against_small_files_too(tmp_path: Path) -> None:
    files = [dataclasses.replace(file, rows=3) for file in layout("rte")]
    write_zip(tmp_path / "sub.zip", {"RTE.tsv": write_rows(files[0], ["entailment"] * 3)})
    assert check_submission(tmp_path / "sub.zip", files) == []
