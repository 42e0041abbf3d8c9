"""`glue-bench predict`: a finished run on texts, files and pipes."""

import csv
import dataclasses
import io
import json
import os
import pty
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import glue_bench
from glue_bench.cli import main
from glue_bench.cli.main import parse_arguments
from glue_bench.config.compose import compose_task
from glue_bench.config.task import TaskConfig
from glue_bench.data.rows import Texts, empty_rows
from glue_bench.data.texts import join_rows, split_lines
from glue_bench.errors import InputError
from glue_bench.runs.finished import find_finished
from glue_bench.runs.inference import answer, render_answers
from glue_bench.runs.store import RunStore
from tests.support import warm

PAIR = TaskConfig(
    name="pairs", title="Pairs", kind="classification", texts=["a", "b"], labels=["=no", "jå"], metrics=["accuracy"]
)


@pytest.fixture
def results(trained: Path) -> Path:
    """Make finished runs of a pair task, a single-text task and a regression, with their weights; read only."""
    return trained


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_one_text_in_a_pipe_is_a_json_line_with_every_class(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "task=sst2", f"results_dir={results}", "--text", "-the cat sees the dog."]) == 0
    (line,) = lines_of(capsys.readouterr().out)
    assert (line["idx"], list(line["probabilities"])) == (0, ["negative", "positive"])
    assert sum(line["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert line["label"] == max(line["probabilities"], key=line["probabilities"].get)


@pytest.mark.parametrize("kind", ["parquet", "csv", "tsv", "jsonl"])
def test_a_file_of_the_dev_rows_gives_the_probabilities_of_the_runs_own_logits(
    kind: str, results: Path, local_glue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pq.read_table(local_glue / "rte" / "validation.parquet").to_pandas().drop(columns="label")
    frame["idx"] += 100
    path = tmp_path / f"rows.{kind}"
    write = {
        "parquet": lambda: frame.to_parquet(path),
        "csv": lambda: frame.to_csv(path, index=False),
        "tsv": lambda: frame.to_csv(path, index=False, sep="\t"),
        "jsonl": lambda: frame.to_json(path, orient="records", lines=True),
    }
    write[kind]()
    assert main(["predict", "task=rte", f"results_dir={results}", "--file", str(path)]) == 0
    lines = lines_of(capsys.readouterr().out)
    run = find_finished(RunStore(results), task="rte")
    kept = pq.read_table(run.folder / "predictions" / "validation.parquet").to_pandas()
    logits = np.exp(kept[["logit_0", "logit_1"]].to_numpy(dtype=np.float64))
    expected = logits / logits.sum(axis=1, keepdims=True)
    assert [line["idx"] for line in lines] == [100 + row for row in range(20)]
    found = [[line["probabilities"][name] for name in ("entailment", "not_entailment")] for line in lines]
    np.testing.assert_allclose(found, expected, atol=2e-6)
    names = ["entailment", "not_entailment"]
    assert [line["label"] for line in lines] == [names[code] for code in kept["prediction"]]


def test_a_regression_gives_the_runs_scores_as_csv_in_a_file(
    results: Path, local_glue: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = str(local_glue / "stsb" / "validation.parquet")
    assert main(["predict", "task=stsb", f"results_dir={results}", "--file", rows, "--out", "made/scores.csv"]) == 0
    assert capsys.readouterr().out == ""
    table = list(csv.DictReader(io.StringIO(Path("made/scores.csv").read_text(encoding="utf-8"))))
    run = find_finished(RunStore(results), task="stsb")
    kept = pq.read_table(run.folder / "predictions" / "validation.parquet").to_pydict()["prediction"]
    assert list(table[0]) == ["idx", "sentence1", "sentence2", "score"]
    assert [float(row["score"]) for row in table] == pytest.approx(kept, abs=2e-6)


def test_lines_of_a_pipe_are_rows_and_a_tab_separates_a_pair(results: Path) -> None:
    command = [sys.executable, "-m", "glue_bench", "predict", "task=rte", f"results_dir={results}", "--format", "csv"]
    done = warm.run(command, stdin="a cat.\ta dog.\r\nder Bär\tça va\n")
    assert done.returncode == 0, done.stderr
    rows = list(csv.reader(io.StringIO(done.stdout)))
    assert rows[0] == [
        "idx", "sentence1", "sentence2", "label", "probability_entailment", "probability_not_entailment"
    ]  # fmt: skip
    assert rows[2][:3] == ["1", "der Bär", "ça va"]
    assert [row[0] for row in rows[1:]] == ["0", "1"]


def test_one_text_on_a_terminal_is_a_small_table(results: Path) -> None:
    parent, child = pty.openpty()
    words = ["predict", "task=sst2", f"results_dir={results}", "--text", "the cat sees the dog."]
    command = [sys.executable, "-m", "glue_bench", *words]
    environment = {**os.environ, "TERM": "dumb"}
    done = warm.run(command, stdout=child, env=environment)
    os.close(child)
    shown = os.read(parent, 10_000).decode()
    os.close(parent)
    assert done.returncode == 0, done.stderr
    assert "tiny sst2 seed 1 (seed1-" in shown
    assert [line.split()[0] for line in shown.splitlines() if "0." in line] == ["negative", "positive"]
    assert "{" not in shown


MISTAKES: list[tuple[list[str], int, str]] = [
    (["task=sst2", "--text", "a", "--file", "b.csv"], 2, "--text and --file b.csv: give one of the two"),
    (["task=rte", "--text", "a"], 2, '--text: 1 text, but rte takes --text "sentence1" --text "sentence2"'),
    (["task=sst2", "--text", " "], 2, "--text: sentence is empty"),
    (["task=sst2", "--file", "rows.txt"], 2, "rows.txt: its name must end in one of .parquet, .csv, .tsv, .jsonl"),
    (["task=sst2", "--file", "nowhere.parquet"], 3, "nowhere.parquet: no such file"),
    (["task=sst2", "--file", "other.csv"], 3, "other.csv: no column 'sentence'; it has text"),
    (["task=sst2", "--file", "empty.csv"], 3, "empty.csv: no column 'sentence'; it has none"),
    (["task=sst2", "--file", "header.csv"], 3, "header.csv: no rows"),
    (["task=sst2", "--file", "latin.csv"], 3, "latin.csv: not UTF-8 text (byte 0xe9 in line 2)"),
    (["task=sst2", "--file", "missing.parquet"], 3, "missing.parquet row 2: sentence is None, not text"),
    (["task=sst2", "--file", "nan.jsonl"], 3, "nan.jsonl row 1: sentence is nan, not text"),
    (["task=sst2", "--text", "a", "trainer.epochs=2"], 2, "trainer.epochs=2: no run in "),
    (["task=sst2", "--text", "a", "trainer.epoch=2"], 2, "trainer.epoch=2: not a key of `predict`"),
    (["tusk=sst2", "--text", "a"], 2, "did you mean task?"),
    (["task=sst2", "seed=x", "--text", "a"], 2, "seed=x: must be whole numbers"),
    (["task=sst2", "trainer.device=gpu", "--text", "a"], 2, "trainer.device=gpu: must be auto, cpu, cuda"),
    (["--text", "a"], 2, "4 finished runs are in"),
    (["task=cola", "--text", "a"], 2, "task=cola: no run in"),
]


@pytest.mark.parametrize(("words", "code", "message"), MISTAKES, ids=[" ".join(words) for words, _, _ in MISTAKES])
def test_a_mistake_is_one_line_and_says_where(
    words: list[str], code: int, message: str, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.csv").write_text("text\na\n")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "header.csv").write_text("sentence\n")
    (tmp_path / "latin.csv").write_bytes("sentence\né\n".encode("latin-1"))
    (tmp_path / "nan.jsonl").write_text('{"sentence": NaN}\n')
    pq.write_table(pa.table({"sentence": ["a", None]}), tmp_path / "missing.parquet")
    assert main(["predict", f"results_dir={results}", *words]) == code
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "stdin: no lines"),
        (b"a\tb\n\nc\td\n", "stdin line 2: 1 text, but pairs has a<TAB>b"),
        (b"a\tb\nc\t \n", "stdin line 2: b is empty"),
        (b"a\tb\tc\n", "stdin line 1: 3 texts, but pairs has a<TAB>b"),
        (b"a\tb\n\xe9\tb\n", r"stdin line 2: not UTF-8 text \(byte 0\)"),
    ],
)
def test_a_line_that_is_not_a_row_is_named(content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        split_lines(content, PAIR)


def test_only_line_feeds_end_a_line() -> None:
    rows = split_lines("\ufeffa\u2028b\tc\r\nd\x0be\tf".encode(), PAIR)
    assert rows.texts == (["a\u2028b", "d\x0be"], ["c", "f"])


def test_an_empty_text_in_a_file_is_predicted_with_a_warning(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows.csv").write_text('sentence\na cat.\n""\n""\n')
    assert main(["predict", "task=sst2", f"results_dir={results}", "--file", "rows.csv"]) == 0
    captured = capsys.readouterr()
    assert len(lines_of(captured.out)) == 3
    assert captured.err == "glue-bench: warning: row 2 and 1 more: a text is empty\n"


def test_weights_that_are_not_the_records_predict_nothing(
    tiny_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "task=sst2", "save_model=true", *tiny_words]) == 0
    (weights,) = (tmp_path / "results").rglob("model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x07")
    capsys.readouterr()
    assert main(["predict", f"results_dir={tmp_path / 'results'}", "--text", "a"]) == 3
    captured = capsys.readouterr()
    assert "these weights do not belong to the run's record" in captured.err
    assert captured.out == ""


def test_probabilities_are_a_softmax_even_of_large_logits_and_no_name_is_a_formula() -> None:
    logits = np.array([[1000.0, 1000.0 + np.log(3)], [0.0, -np.inf]], dtype=np.float32)
    logits[1] = [5, -5]
    rows = Texts(texts=(["x", "=1+1"], ["y", "z"]), idx=np.array([7, 9]))
    answers = answer(logits, PAIR, rows=rows, files=["one.csv", "two.csv"])
    np.testing.assert_allclose([*answers[0]["probabilities"].values()], [0.25, 0.75], atol=1e-4)
    (header, first, second) = list(csv.reader(io.StringIO(render_answers(answers, "csv"))))
    assert header == ["idx", "file", "a", "b", "label", "probability_=no", "probability_jå"]
    assert first[:5] == ["7", "one.csv", "x", "y", "jå"]
    assert second[:5] == ["9", "two.csv", "'=1+1", "z", "'=no"]
    assert '"label": "jå"' in render_answers(answers, "jsonl").splitlines()[0]
    assert empty_rows(split_lines(b"a\tb", PAIR)) == ""


def test_whatever_follows_the_option_is_the_text() -> None:
    assert parse_arguments(["predict", "--text", "--text", "--text", "-b", "seed=1"]).text == ["--text", "-b"]


def test_a_regression_score_is_not_clipped() -> None:
    task = compose_task("stsb")
    rows = Texts(texts=(["a", "b"], ["c", "d"]), idx=np.array([0, 1]))
    answers = answer(np.array([[5.5], [-0.25]], dtype=np.float32), task, rows=rows)
    first, second = lines_of(render_answers(answers, "jsonl"))
    assert first == {"idx": 0, "sentence1": "a", "sentence2": "c", "score": 5.5}
    assert second["score"] == -0.25
    assert render_answers(answers, "csv") == "idx,sentence1,sentence2,score\n0,a,c,5.5\n1,b,d,-0.25\n"
    task = dataclasses.replace(task, texts=["probabilities", "b"])  # a name of what classes have
    answers = answer(np.array([[5.5], [-0.25]], dtype=np.float32), task, rows=rows)
    assert render_answers(answers, "csv") == "idx,probabilities,b,score\n0,a,c,5.5\n1,b,d,-0.25\n"


def test_many_texts_files_and_rows_of_python_get_the_same_answers(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = [("the cat sees the dog.", "the dog sees the cat."), ("a bird", "a horse"), ("no", "yes")]
    texts = [word for pair in pairs for text in pair for word in ("--text", text)]
    (tmp_path / "one.csv").write_text("sentence1,sentence2\n{},{}\n".format(*pairs[0]))
    rest = [dict(zip(("sentence1", "sentence2"), pair, strict=True)) for pair in pairs[1:]]
    (tmp_path / "two.json").write_text(json.dumps(rest))
    command, found = ["predict", "task=rte", f"results_dir={results}"], list[list[dict[str, Any]]]()
    for words in (texts, ["--file", "one.csv", "--file", "two.json"]):
        assert main([*command, *words]) == 0
        found.append(lines_of(capsys.readouterr().out))
    assert [line.pop("file") for line in found[1]] == ["one.csv", "two.json", "two.json"]
    assert [line.pop("idx") for line in found[1]] == [0, 0, 1]  # as each file counts
    assert [(line["idx"], line["sentence1"], line["sentence2"]) for line in found[0]] == [
        (number, *pair) for number, pair in enumerate(pairs)
    ]
    answers = glue_bench.predict([pairs[0], *rest], results_dir=results, task="rte")
    assert answers == found[0]
    assert [{key: value for key, value in line.items() if key != "idx"} for line in answers] == found[1]
    (single,) = glue_bench.predict(["a fine cat"], results_dir=results, task="sst2", seed=1, device="cpu")
    assert list(single) == ["idx", "sentence", "label", "probabilities"]


@pytest.mark.parametrize("rows", [["a"], [("a",)], [("a", "b", "c")], [{"sentence1": "a", "text": "b"}], []])
def test_rows_of_another_shape_are_refused(rows: list[Any]) -> None:
    with pytest.raises(
        InputError, match="rows: no rows" if not rows else "rows row 1: must have a and b, nothing else"
    ):
        join_rows(rows, PAIR)
    with pytest.raises(InputError, match="row 1: b is 5, not text"):
        join_rows([("a", 5)], PAIR)  # type: ignore[list-item]


def test_a_closed_stdin_is_nothing_to_read_and_nobody_to_ask(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", None)  # what Python makes of a closed descriptor
    for words, message in [
        (["predict", "task=sst2"], "predict: pass --text TEXT, --file FILE, or lines of sentence to stdin"),
        (["runs", "rm", "task=sst2"], "cannot ask, since stdin is not a terminal; --yes removes them"),
    ]:
        assert main([*words, f"results_dir={results}"]) == 2
        assert message in capsys.readouterr().err
