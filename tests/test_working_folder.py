"""A user's own Python files beside the results are data: no process of ours imports or runs them."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.conftest import Result

# Modules of the standard library and of packages that a run, a sweep or the doctor imports.
NAMES = ("statistics", "evaluate", "torch", "yaml", "csv", "email", "signal", "selectors", "omegaconf")
TRAP = "import pathlib\npathlib.Path({proof!r}).touch()\nraise SystemExit('the trap')\n"


@pytest.fixture
def trapped(tmp_path: Path) -> Path:
    """Fill the working folder with modules that report when they are imported; return the file that would appear."""
    proof = tmp_path.with_name("proof")
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(TRAP.format(proof=str(proof)))
    return proof


@pytest.mark.parametrize(
    "words",
    [
        ["sweep", "executor=local", "tasks=[rte]", "seeds=[1,2]"],
        ["doctor", "tasks=[rte]"],
        ["run", "task=rte"],
        ["report"],
    ],
    ids=lambda words: words[0],
)
def test_modules_in_the_working_folder_are_not_imported_and_nothing_is_written_outside_the_results_and_the_caches(
    words: Sequence[str],
    tiny_words: list[str],
    trapped: Path,
    glue_bench: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configuration = [] if words[0] == "report" else tiny_words
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)  # which `main` sets
    home, before = tmp_path / "home", {*tmp_path.iterdir()}
    home.mkdir()
    done = glue_bench(*words, *configuration, env={"HOME": str(home)}, timeout=300)
    assert (done.returncode, trapped.exists()) == (0, False), done.stderr[-1000:]
    assert {path.name for path in {*tmp_path.iterdir()} - before} <= {"cache", "hf_home", "home", "results"}
    assert list(home.iterdir()) == []


def test_a_program_that_imports_the_package_keeps_its_own_path(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import sys; before = list(sys.path); import glue_bench; assert sys.path == before"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONSAFEPATH"}
    subprocess.run([sys.executable, "-m", "mine"], cwd=tmp_path, env=environment, check=True)
