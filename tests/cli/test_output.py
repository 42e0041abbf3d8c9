"""Where the output goes: files, links, pipes, full disks, and readers that go away."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from glue_bench.cli import main
from glue_bench.runs.store import RunStore
from tests.conftest import Result
from tests.support import warm
from tests.support.making import make_record, scores_of
from tests.support.warm import WarmProcess


def test_a_report_goes_to_a_file_if_asked(tmp_path: Path) -> None:
    RunStore(tmp_path / "results").save(make_record(scores=scores_of("rte", 0.5)))
    assert main(["report", "--format", "json", "--out", "made/report.json"]) == 0
    assert json.loads(Path("made/report.json").read_text())["sections"][0]["rows"][0]["median"] == 50.0


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    command = f"{sys.executable} -m glue_bench tasks | true"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=tmp_path, check=False)  # noqa: S602
    assert result.stderr == ""


def test_out_writes_through_a_link_and_into_a_device(tmp_path: Path) -> None:
    (tmp_path / "link.md").symlink_to("target.md")
    (tmp_path / "target.md").write_text("old")
    assert main(["report", "--format", "markdown", "--out", "link.md"]) == 0
    assert (tmp_path / "link.md").is_symlink()
    assert "No runs yet" in (tmp_path / "target.md").read_text()
    assert main(["report", "--out", "/dev/null"]) == 0
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("env", [{"FORCE_COLOR": "1"}, {"PYTHONIOENCODING": "latin-1"}], ids=str)
def test_a_pipe_gets_plain_text_whatever_the_environment(
    env: dict[str, str], glue_bench: Callable[..., Result]
) -> None:
    result = glue_bench("tasks", env=env)
    assert result.returncode == 0, result.stderr
    assert "\x1b" not in result.stdout
    assert "392,702" in result.stdout


def test_a_reader_that_goes_away_changes_neither_the_run_nor_how_it_ends(tiny_words: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "glue_bench", "run", "-m", "task=rte,sst2", *tiny_words]
    process = WarmProcess(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stderr is not None
    process.stderr.read(1)
    process.stderr.close()  # as `2>&1 | head -1` does
    assert process.wait(timeout=120) == 0
    records = list(RunStore(tmp_path / "results").load_all())
    assert [record.status for record in records] == ["finished", "finished"]


@pytest.mark.parametrize("stderr", ["full", "closed"])
def test_progress_that_cannot_be_written_is_dropped(stderr: str, tiny_words: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "glue_bench", "run", "task=rte", *tiny_words]
    if stderr == "full":
        with Path("/dev/full").open("w") as full:
            assert warm.run(command, stderr=full).returncode == 0
    else:
        assert subprocess.run(f"{shlex.join(command)} >&- 2>&-", shell=True, check=False).returncode == 0  # noqa: S602
    assert [record.status for record in RunStore(tmp_path / "results").load_all()] == ["finished"]


@pytest.mark.parametrize("executor", ["local", "serial"])
def test_ctrl_c_through_a_pipe_keeps_a_snapshot_although_the_reader_dies_first(
    executor: str, tiny_words: list[str], tmp_path: Path
) -> None:
    words = [*tiny_words, "trainer.epochs=50000", f"executor={executor}", "seeds=[1]", "tasks=[rte]"]
    command = [sys.executable, "-m", "glue_bench", "sweep", *words]
    with WarmProcess(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        deadline = time.monotonic() + 80
        while not any("training" in path.read_text() for path in tmp_path.rglob("claim-*.json")):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert process.stderr is not None
        process.stderr.close()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=90) == 128 + signal.SIGINT
    assert list(tmp_path.glob("results/runs/tiny/rte/*/snapshots/step-*"))
    assert [record.status for record in RunStore(tmp_path / "results").load_all()] == ["interrupted"]


@pytest.mark.parametrize("words", [["report"], ["tasks"], ["report", "--format", "json"]], ids=str)
def test_a_full_disk_behind_stdout_ends_with_74(words: list[str], tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "glue_bench", *words]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, "internal error" in done.stderr) == (74, False), done.stderr
    assert "Exception ignored" not in done.stderr


def test_the_usual_output_never_goes_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    victim = tmp_path / "victim.html"
    victim.write_text("mine")
    for path in (tmp_path / "results" / "report.html", tmp_path / "chosen.html"):
        path.symlink_to(victim)
    assert main(["report", "--format", "html"]) == 0
    assert (victim.read_text(), (tmp_path / "results" / "report.html").is_symlink()) == ("mine", False)
    assert main(["report", "--format", "html", "--out", "chosen.html"]) == 0  # which the user has named
    assert "<html" in victim.read_text()


@pytest.mark.parametrize("out", ["folder", "pipe", "loop", "link", "file/inner", "/proc/x", "/dev/full", "link/inner"])
def test_what_cannot_be_written_is_named_in_one_line(out: str, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo("pipe")  # nobody reads it, which is not waited for
    Path("folder").mkdir()
    Path("file").touch()
    Path("loop").symlink_to("loop")
    Path("link").symlink_to("missing/file")
    assert main(["report", "--format", "json", "--out", out]) == 74
    said, error = capsys.readouterr().err.splitlines()
    assert said.startswith("no runs under")
    assert error.startswith(f"glue-bench: {out}: cannot be written: ")


@pytest.mark.parametrize("columns", ["0", "1", "20", "40", "wide"])
@pytest.mark.parametrize(
    ("words", "letters"),
    [
        (["runs"], "tinyrtefinished"),
        (["published", "protocol=card"], "distilroberta"),
        (["tasks"], "wnlinot_entailment392,702"),
    ],
)
def test_the_narrowest_terminal_shows_every_letter(
    words: list[str],
    letters: str,
    columns: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    RunStore(Path("results")).save(make_record())
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(words) == 0
    assert Counter(letters) <= Counter(capsys.readouterr().out.partition("\u2500")[2])  # below the headers
