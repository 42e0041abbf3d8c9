"""The command line as its users see it: help, mistakes, speed, pipes."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import glue_bench as glue_bench_package
from glue_bench.cli import main
from glue_bench.cli.main import VERBS
from glue_bench.runs.store import RunStore
from tests.conftest import Result
from tests.support.making import DISTILROBERTA, make_record, scores_of
from tests.support.processor import assert_quick
from tests.support.tiny import pair_columns, write_parquet


@pytest.mark.parametrize("verb", [None, *VERBS])
def test_help_takes_under_a_second_and_has_examples(verb: str | None, glue_bench: Callable[..., Result]) -> None:
    result = assert_quick(lambda: glue_bench(*([verb] if verb else []), "--help"), seconds=1.0)
    assert result.returncode == 0
    assert f"glue-bench {verb or 'sweep'}" in result.stdout


@pytest.mark.parametrize(
    ("verb", "hints"),
    [
        (
            "run",
            ["\n\nOne fine-tuning run.\n", "init=mnli is for RTE, MRPC and STS-B", "sample=first|random|stratified"],
        ),
        ("sweep", ["recipe=roberta_paper has a grid, and trainer.KEY=VALUE narrows it", "task=A means a list of one"]),
        (
            "sweep",
            ["seed=A means a list of one", "timeout: minutes without progress", "default: results", "{qnli:mnli}"],
        ),
        ("predict", ["results_dir=FOLDER", "default: results", "may also be a run's folder", "\n\nA finished run on"]),
        ("card", ["results_dir=FOLDER", "default: results", "may also be a run's folder"]),
    ],
)
def test_help_has_the_hints_that_the_schema_does_not_give(
    verb: str, hints: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    text = capsys.readouterr().out
    assert [hint for hint in hints if " ".join(hint.split()) not in " ".join(text.split())] == []
    assert [line for line in text.splitlines() if len(line) > 120] == []


@pytest.mark.parametrize("verb", ["run", "sweep"])
def test_help_lists_the_keys_that_the_verb_takes(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    keys = re.findall(r"^  ([a-z_]+)(?:\.KEY)?=", capsys.readouterr().out, re.MULTILINE)
    assert {"task", "encoder", "data", "trainer", "grid", "seed", "results_dir", "save_model"} <= {*keys}
    for key in keys:
        assert main([verb, f"{key}=x", "no_such_key=1"]) == 2
        assert f"{key}: no such key" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["swep"], "no such verb: swep; did you mean sweep?"),
        (["run", "task=rtee"], "task=rtee: no such task; did you mean rte?"),
        (["run", "rte"], "rte: not KEY=VALUE; did you mean task=rte?"),
        (["run", "task=rte", "--save_model"], "--save_model; keys are written KEY=VALUE: save_model=true"),
        (["run", "task=rte", "--batch-size=8"], "--batch-size=8; keys are written KEY=VALUE: trainer.batch_size=8"),
        (["sweep", "--dryrun"], "unrecognized arguments: --dryrun"),
        (["report", "--format", "pdf"], "invalid choice: 'pdf'"),
        (["report", "taks=rte"], "taks=rte: runs are not chosen by 'taks'; did you mean task"),
        (["report", "results_dir=nowhere"], "results_dir=nowhere: no such folder"),
        (["doctor", "encoder=minilmm"], "encoder=minilmm: no such encoder; did you mean minilm?"),
        (["tasks", "task=rte"], "`tasks` takes no KEY=VALUE"),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_exit_2(
    words: list[str], message: str, forked_glue_bench: Callable[..., Result]
) -> None:
    result = forked_glue_bench(*words)
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "task=rtee", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


HEAVY = ("torch", "transformers", "evaluate", "sklearn")
QUICK = [
    ["report"],
    ["compare", "minilm", "roberta"],
    ["tasks"],
    ["predict", "--text", "a"],
    ["card"],
    ["claims", "distilroberta.path=nowhere"],
    ["doctor", "preset=smoke", "executor=slurm"],
    ["run", "task=rtee"],
    ["run", "task=rte", "trainer.epochs=0"],
    ["sweep", "--dry-run", "preset=sample"],
]


def modules_after(words: list[str], names: tuple[str, ...], *, codes: tuple[int, ...] = (0, 1, 2, 3)) -> set[str]:
    """Return which of these modules a command has imported, run in its own process, which ends with one of `codes`."""
    code = f"""
import sys
from glue_bench.cli import main
try:
    assert main({words!r}) in {codes!r}
except SystemExit:
    pass
sys.stdout.write("\\n" + " ".join({{*{names!r}}} & set(sys.modules)))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(result.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("words", QUICK, ids=" ".join)
def test_what_trains_nothing_imports_no_torch(words: list[str]) -> None:
    assert modules_after(words, HEAVY) == set()


@pytest.mark.parametrize(
    "words",
    [["report"], ["report", "--format", "html", "--out", "page.html"], ["compare", "tiny", "other"], ["runs"]],
    ids=" ".join,
)
def test_what_reads_finished_runs_imports_no_torch(words: list[str], tmp_path: Path) -> None:
    """The walls that import-linter checks do not see what a library imports, nor what importlib does."""
    shutil.copytree(Path(__file__).parents[1] / "golden" / "results_of_v1", tmp_path / "results")
    assert modules_after(words, HEAVY, codes=(0,)) == set()


@pytest.mark.parametrize("words", [["--help"], ["--version"], *([verb, "--help"] for verb in VERBS)], ids=" ".join)
def test_help_imports_no_torch_and_no_hydra(words: list[str]) -> None:
    assert modules_after(words, (*HEAVY, "hydra", "omegaconf", "scipy", "pandas", "matplotlib")) == set()


def test_only_the_command_line_prints() -> None:
    package = Path(glue_bench_package.__file__).parent
    for path in package.rglob("*.py"):
        place = path.relative_to(package).as_posix()
        if place.startswith("cli/"):
            continue
        every = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        calls = [ast.unparse(node.func) for node in every if isinstance(node, ast.Call)]
        found = [call for call in calls if call in ("print", "sys.stdout.write", "sys.stderr.write")]
        child = place == "doctor/sweep.py"  # whose probe is a child process that reports on its stdout
        assert found == ["sys.stdout.write"] * child, f"{place} prints"


def test_windows_is_refused_in_one_line_before_anything_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "name", "nt")
    code = main(["tasks"])
    monkeypatch.undo()
    assert code == 2
    captured = capsys.readouterr()
    assert captured.err == "glue-bench: works on Linux and macOS only; on Windows, use it inside WSL\n"
    assert captured.out == ""


def test_a_report_of_eighty_runs_takes_under_two_seconds(glue_bench: Callable[..., Result], tmp_path: Path) -> None:
    store = RunStore(tmp_path / "results")
    for task in ("mnli", "qqp", "qnli", "sst2", "cola", "stsb", "mrpc", "rte"):
        for seed in range(10):
            scores = scores_of(task, 0.5 + seed / 100)
            store.save(make_record(task=task, seed=seed, scores=scores, encoder=DISTILROBERTA))
    result = assert_quick(lambda: glue_bench("report"), seconds=2.0)
    assert "54.5 [50.0, 59.0]" in result.stdout


def test_tasks_lists_texts_labels_sizes_metrics_and_published_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks"]) == 0
    listed = capsys.readouterr().out
    for word in ("mnli", "wnli", "premise, hypothesis", "392,702", "9,815, 9,832", "84.0", "matthews_correlation"):
        assert word in listed
    assert "\x1b" not in listed


def test_without_a_network_a_sweep_of_the_hubs_data_ends_at_once_with_three_lines(
    glue_bench: Callable[..., Result], tmp_path: Path
) -> None:
    started = time.perf_counter()
    result = glue_bench("sweep")
    assert result.returncode == 3
    lines = result.stderr.splitlines()
    assert "cannot get config.json at revision fb53ab8" in lines[0]
    assert "data=local data.path=FOLDER" in lines[1]
    assert lines[2].endswith("glue-bench sweep preset=sample")
    assert len(lines) == 3
    assert not (tmp_path / "results").exists()
    assert time.perf_counter() - started < 20


def test_python_m_and_the_console_script_are_the_same() -> None:
    script = Path(sys.executable).with_name("glue-bench")
    calls = [[str(script)], [sys.executable, "-m", "glue_bench"]]
    texts = [subprocess.run([*call, "--help"], capture_output=True, text=True, check=True).stdout for call in calls]
    assert texts[0] == texts[1]


def test_the_configuration_is_found_from_any_folder(glue_bench: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").write_text("not: this one")
    assert glue_bench("tasks").returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["conf"]


def test_where_there_are_no_runs_the_folder_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", f"results_dir={tmp_path}"]) == 0
    assert capsys.readouterr().err == f"no runs under {tmp_path / 'runs'}\n"
    assert main(["compare", "minilm", "roberta", f"results_dir={tmp_path}"]) == 2
    assert f"minilm: there are no finished runs of this encoder in {tmp_path}" in capsys.readouterr().err
    assert main(["submit", "build", f"results_dir={tmp_path}"]) == 2
    assert "no finished run there; `glue-bench sweep" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["run", "task=rte", "data=local", "data.path=" + "x" * 300],
        ["run", "task=rte", "encoder=custom", "encoder.path=" + "x" * 300, "data=sample"],
        ["run", "task=rte", "encoder=custom", "encoder.package=os.path/x", "data=sample"],
        ["report", "results_dir=" + "x" * 300],
        ["sweep", "--dry-run", "results_dir=loop/inner"],
        ["tasks", "--config-dir", "x" * 300],
        ["tasks", "--config-dir", ""],
        ["report", "--out", ""],
        ["report", "--check", "x/" * 3000],
        ["sweep", "--plan", "plan.jsonl", "--index", "²"],
        ["report", b"results_dir=caf\xe9"],
    ],
)
def test_an_impossible_path_is_one_line(
    words: list[str], tmp_path: Path, forked_glue_bench: Callable[..., Result]
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    result = forked_glue_bench(*words)
    assert result.returncode == 2, result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "internal error" not in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["run", "task=rte", f"trainer.epochs={'9' * 3000}"],
        ["run", "task=rte", f"results_dir={'x' * 3000}", "trainer.epochs=0"],
        ["run", "task=rte", "seed='\x1b[31m\x07'"],
        ["sweep", f"tasks=[{','.join(f't{number}' for number in range(400))}]"],
        ["report", "results_dir=a\x1b]0;title\x07b"],
        ["predict", "a\nb\nc\nd\ne=5"],
        ["y" * 5000],
        ["run", f"--{'z' * 5000}"],
    ],
    ids=lambda words: words[-1][:30],
)
def test_whatever_a_user_writes_the_message_is_short_and_a_terminal_obeys_nothing(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(words)
    except SystemExit as end:
        code = int(str(end.code))
    printed = capsys.readouterr().err.removesuffix("\n")
    assert code == 2
    assert len(printed) <= 600
    assert len(printed.split("\n")) <= 3
    assert all(line.isprintable() for line in printed.split("\n"))


def test_a_title_with_escape_sequences_is_shown_and_not_obeyed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "conf" / "task").mkdir(parents=True)
    facts = {"name": "own", "title": "T", "kind": "classification", "texts": ["a\x1b[1m"], "metrics": ["accuracy"]}
    (tmp_path / "conf" / "task" / "own.yaml").write_text(json.dumps({**facts, "labels": ["no\x07", "yes\r\nx"]}))
    assert main(["tasks", "--config-dir", "conf"]) == 0
    printed = capsys.readouterr().out
    assert r"a\x1b" in printed
    assert not {"\x1b", "\x07", "\r"} & set(printed)


@pytest.mark.parametrize(
    ("word", "one"),
    [
        ("seeds=1-5", "seed"),
        ("tasks=rte", "task"),
        ("grid.epochs=[2,3]", "trainer.epochs"),
        ("grid.lr=3", "trainer.lr"),
    ],
)
@pytest.mark.parametrize("more", [(), ("-m", "seed=1,2")], ids=len)
def test_run_takes_no_lists_of_a_sweep(
    word: str, one: str, more: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "task=rte", *more, word]) == 2
    line = f"glue-bench: {word}: `run` takes one {one}, with {one}=; `sweep` takes several\n"
    assert capsys.readouterr().err == line
    if word.startswith("grid.epochs"):  # which value it is of the grid
        assert main(["run", *more, word, "trainer.epochs=2"]) == 2
        assert "task: must be given" in capsys.readouterr().err


@pytest.mark.parametrize("words", [("executor=serial",), ("executor=local", "executor.workers=2")], ids=" ".join)
def test_empty_texts_are_named_once_in_a_sweep_for_each_file(
    words: tuple[str, ...],
    tiny_words: list[str],
    local_glue: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = Path(shutil.copytree(local_glue, tmp_path / "data"))
    for split, count in (("train", 8), ("validation", 4)):
        columns = pair_columns(count, seed=2)
        write_parquet(data / "rte" / f"{split}.parquet", {**columns, "sentence2": ["", " ", *columns["sentence2"][2:]]})
    change = [f"data.path={data}", "tasks=[rte]", "seeds=[1,2]"]
    assert main(["sweep", *tiny_words, *change, *words]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "a text is empty" in line]
    said = [f"glue-bench: warning: {data}/rte/{name}.parquet: row 1 and 1 more:" for name in ("train", "validation")]
    assert len(lines) == 2
    assert all(line.startswith(start) for line, start in zip(sorted(lines), said, strict=True))
