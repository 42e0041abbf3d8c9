"""The words of `submit build`: mistakes, and where a zip of constant predictions goes."""

import dataclasses
import io
import os
import threading
import zipfile
from pathlib import Path

import pytest

from glue_bench.cli import main
from glue_bench.submission.layout import check_submission, pack_zip, write_rows
from tests.support.building import layout
from tests.support.zips import TASKS

EVERY = [f"--fill={task}" for task in TASKS]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["encodr=tiny"], "encodr=tiny: not a key of `submit build`; did you mean encoder?"),
        (["trainer.batch=3"], "trainer.batch=3: not a key of `submit build`; did you mean trainer.batch_size?"),
        (
            ["x=y"],
            "x=y: not a key of `submit build`. Allowed: results_dir, data, data.path, data.dataset,",
        ),
        (["tasks=[rte]"], "tasks=[rte]: not a key of `submit build`"),
        (["status=failed"], "status=failed: not a key of `submit build`"),
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
    assert capsys.readouterr().err == "glue-bench: --fill: only for `submit build`, not for `submit check`\n"


def test_a_whole_zip_is_checked_against_small_files_too(tmp_path: Path) -> None:
    files = [dataclasses.replace(file, rows=3) for file in layout("rte")]
    (tmp_path / "sub.zip").write_bytes(pack_zip({"RTE.tsv": write_rows(files[0], ["entailment"] * 3)}))
    assert check_submission(tmp_path / "sub.zip", files) == []


@pytest.mark.parametrize("before", [None, "old"], ids=["dangling", "whole"])
def test_the_zip_goes_where_a_link_leads(before: str | None, tmp_path: Path) -> None:
    link, target = tmp_path / "link.zip", tmp_path / "target.zip"
    link.symlink_to(target)
    if before is not None:
        target.write_text(before)
    assert main(["submit", "build", *EVERY, "--out", str(link)]) == 0
    assert link.is_symlink()
    assert zipfile.is_zipfile(target)


def test_the_zip_goes_into_a_pipe_or_device_which_stays(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", list[bytes]()
    os.mkfifo(pipe)
    stream = os.open(pipe, os.O_RDWR)  # so that the build finds a reader
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    assert main(["submit", "build", *EVERY, "--out", str(pipe)]) == 0
    os.close(stream)
    reader.join()
    assert pipe.is_fifo()
    assert zipfile.is_zipfile(io.BytesIO(read[0]))
    assert main(["submit", "build", *EVERY, "--out", "/dev/full"]) == 74
    assert Path("/dev/full").is_char_device()


def test_a_usual_name_that_is_a_link_is_replaced_and_what_it_led_to_stays(tmp_path: Path) -> None:
    victim, usual = tmp_path / "mine", Path("results/submission-constant.zip")
    victim.write_text("mine")
    usual.parent.mkdir()
    usual.symlink_to(victim)
    assert main(["submit", "build", *EVERY]) == 0
    assert (victim.read_text(), usual.is_symlink()) == ("mine", False)
