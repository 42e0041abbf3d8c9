"""What can go wrong before a verb works: signals, variables that libraries read, missing docstrings, little memory."""

import importlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from glue_bench.cli import main, tasks
from glue_bench.errors import variables_behind

FINDER = """
import os, sys
class Finder:
    def find_spec(name, path=None, target=None):
        if name == os.environ["AT"]:
            os.kill(os.getpid(), int(os.environ["NUMBER"]))
sys.meta_path.insert(0, Finder)
"""
SCRIPT = "import sys\nfrom glue_bench.cli import main\nsys.exit(main())\n"
ROOT = str(Path(__file__).parents[2])


@pytest.mark.parametrize(
    ("module", "name", "code"),
    [
        ("glue_bench.cli", "SIGINT", 130),
        ("argparse", "SIGTERM", 143),
        ("glue_bench.cli.tasks", "SIGINT", 130),
        ("glue_bench.config.compose", "SIGUSR1", 75),
        ("hydra", "SIGHUP", 129),
    ],
)
@pytest.mark.parametrize("script", [False, True])
def test_a_signal_while_modules_load_is_one_line_and_its_code(
    module: str, name: str, code: int, script: bool, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(FINDER)
    (tmp_path / "glue-bench").write_text(SCRIPT)
    command = [str(tmp_path / "glue-bench")] if script else ["-m", "glue_bench"]
    variables = {**os.environ, "AT": module, "NUMBER": str(int(getattr(signal, name)))}
    variables["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{ROOT}"
    done = subprocess.run(
        [sys.executable, *command, "tasks"],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # the tests may run in the background
    )
    assert (done.returncode, done.stderr) == (code, f"glue-bench: stopped by {name}\n")


def test_without_docstrings_the_variable_is_named_at_once() -> None:
    command = [sys.executable, "-OO", "-m", "glue_bench", "tasks"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"glue-bench: PYTHONOPTIMIZE=2: .*unset it\n", done.stderr)


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("import os; int(os.environ['LIB_TIMEOUT'])", "LIB_TIMEOUT=abc"),
        ("import os\ndef read(n): return int(os.environ[n])\nread('LIB_TIMEOUT'); read('LIB_SIZE')", "LIB_TIMEOUT=abc"),
        (
            "import os\nif os.environ['LIB_SIZE'] != os.environ['LIB_TIMEOUT']: raise RuntimeError",
            "LIB_TIMEOUT=abc, LIB_SIZE=7x",
        ),
        ("try:\n  import inner\nexcept Exception as e: raise RuntimeError('failed') from e", "LIB_TIMEOUT=abc"),
        ("try: 1 / 0\nexcept ZeroDivisionError: import inner", "LIB_TIMEOUT=abc"),
        ("import os\nif os.environ['LIB_TIMEOUT']: raise ImportError('libx.so.1: cannot open')", ""),
        ("raise ValueError('abc')", ""),
    ],
)
def test_an_import_that_fails_names_the_variables_that_it_read(
    source: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "outer.py").write_text(source)
    (tmp_path / "inner.py").write_text("import os; int(os.environ['LIB_TIMEOUT'])")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("LIB_TIMEOUT", "abc")
    monkeypatch.setenv("LIB_SIZE", "7x")
    monkeypatch.setattr(tasks, "execute", lambda _: importlib.import_module("outer"))
    code = main(["tasks"])
    sys.modules.pop("inner", None)
    error = capsys.readouterr().err
    if shown:
        names = " ".join(sorted(shown.split(", ")))
        assert code == 2
        assert " ".join(sorted(error.removeprefix("glue-bench: ").partition(": ")[0].split(", "))) == names
        assert len(error.splitlines()) == 1
    else:
        assert (code, error.partition("Error: ")[0][:28]) == (1, "glue-bench: internal error: ")


def test_the_hubs_own_variables_are_found_and_an_error_of_a_call_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "abc")
    monkeypatch.setenv("ODD(NAME", "1")
    with pytest.raises(ValueError, match="abc") as caught:
        importlib.reload(constants)
    assert variables_behind(caught.value) == "HF_HUB_DOWNLOAD_TIMEOUT=abc"
    assert variables_behind(ValueError("abc")) == ""
    monkeypatch.undo()
    importlib.reload(constants)


def test_too_little_memory_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    monkeypatch.setattr(tasks, "execute", lambda _: torch.empty(2**57))
    assert main(["tasks"]) == 1
    assert re.fullmatch(r"glue-bench: out of memory: .*allocate.*\n", capsys.readouterr().err)
