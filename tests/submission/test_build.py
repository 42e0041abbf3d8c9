"""The leaderboard's zip from finished runs: which run, which rows, and the same bytes every time."""

import dataclasses
import os
import random
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from glue_bench.cli import main
from glue_bench.config.compose import compose_task
from glue_bench.config.schema import DataConfig
from glue_bench.errors import InputError, UsageError
from glue_bench.runs.finished import FinishedRun, find_finished
from glue_bench.runs.inference import load_fine_tuned
from glue_bench.runs.store import RunStore
from glue_bench.submission import FromRun, build_submission, kept_predictions, predict_rows, prepare_sources
from glue_bench.submission.check import check_submission
from glue_bench.submission.layout import LeaderboardFile, Wish, choose_runs, lay_out, parse_fills, write_rows, write_zip
from tests.support.making import make_record, scores_of
from tests.support.tiny import NOUNS, make_local_glue, make_tiny_roberta, pair_columns, sentences, write_parquet

# The leaderboard's rows of the tasks that have a model here; the others are filled.
TEST_ROWS = {
    "sst2/test": 1821,
    "stsb/test": 1379,
    "mnli/test_matched": 9796,
    "mnli/test_mismatched": 9847,
    "ax/test": 1104,
}
FILLS = [word for task in ("cola", "mrpc", "qnli", "qqp", "rte", "wnli") for word in ("--fill", task)]


def write_test_rows(folder: Path, place: str, rows: int) -> Path:
    """Write test rows as the hub has them, but with unreadable labels."""
    pairs = pair_columns(rows, seed=sum(map(ord, place)))
    columns: dict[str, list[object]] = {"label": ["not to be read"] * rows, "idx": list(range(rows))}
    if place.startswith("sst2"):
        columns["sentence"] = list(sentences(rows, seed=8))
    elif place.startswith(("mnli", "ax")):
        columns |= {"premise": pairs["sentence1"], "hypothesis": pairs["sentence2"]}
    else:
        columns |= {"sentence1": pairs["sentence1"], "sentence2": pairs["sentence2"]}
    return write_parquet(folder / f"{place}.parquet", columns)


def write_learnable_mnli(path: Path) -> None:
    """Write three classes that the first noun decides, so that a tiny model predicts all of them."""
    first, second = sentences(500, seed=5), sentences(500, seed=6)
    label = [min(NOUNS.index(text.split()[1]) // 3, 2) for text in first]
    write_parquet(path, {"premise": list(first), "hypothesis": list(second), "label": list(label)})


@dataclasses.dataclass(frozen=True)
class Bench:
    """Finished runs with their weights, and a data set with test rows."""

    glue: Path
    results: Path
    words: list[str]  # that made the runs

    def copy(self, folder: Path) -> "Bench":
        """Copy the bench, to change it."""
        shutil.copytree(self.results, folder / "results")
        shutil.copytree(self.glue, folder / "glue")
        words = [f"data.path={folder / 'glue'}" if word.startswith("data.path=") else word for word in self.words]
        return Bench(folder / "glue", folder / "results", words)

    def build(self, *words: str) -> int:
        """Run `submit build` with these results."""
        return main(["submit", "build", f"results_dir={self.results}", "trainer.device=cpu", *words])

    def run(self, task: str, seed: int = 1) -> FinishedRun:
        """Return one of the runs."""
        return find_finished(RunStore(self.results), task=task, seed=seed, need_model=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Train runs of three tasks, and build a zip from them."""
    root = tmp_path_factory.mktemp("submission")
    glue, encoder = make_local_glue(root / "glue", train=256), make_tiny_roberta(root / "tiny")
    for place, rows in TEST_ROWS.items():
        write_test_rows(glue, place, rows)
    write_learnable_mnli(glue / "mnli" / "train.parquet")
    words = ["encoder=custom", f"encoder.path={encoder}", "encoder.name=tiny", "data=local", f"data.path={glue}"]
    words += ["trainer.epochs=6", "trainer.learning_rate=3e-3", "trainer.device=cpu"]
    bench = Bench(glue, root / "results", words)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLUE_BENCH_CACHE", str(root / "cache"))
        for task, seed in (("sst2", 1), ("sst2", 2), ("sst2", 3), ("stsb", 1), ("mnli", 1)):
            command = ["run", f"task={task}", f"seed={seed}", *words, "save_model=true", f"results_dir={bench.results}"]
            assert main(command) == 0
        assert bench.build(*FILLS) == 0
    return bench


def lines_of(path: Path, name: str) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.read(name).decode("ascii").splitlines()


def test_the_zip_passes_its_own_check(made: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", "check", str(made.results / "submission-tiny.zip")]) == 0
    assert "11 files, 426,309 predictions" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "place", "task"),
    [
        ("AX.tsv", "ax/test", "mnli"),
        ("MNLI-mm.tsv", "mnli/test_mismatched", "mnli"),
        ("STS-B.tsv", "stsb/test", "stsb"),
    ],
)
def test_its_predictions_are_those_that_transformers_makes_with_the_kept_weights(
    name: str, place: str, task: str, made: Bench
) -> None:
    run = made.run(task)
    model = AutoModelForSequenceClassification.from_pretrained(run.model_folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(run.model_folder)
    rows = pq.read_table(made.glue / f"{place}.parquet").slice(0, 200).to_pydict()
    first, second = (rows[column] for column in run.task.texts)
    with torch.inference_mode():
        logits = model(**tokenizer(first, second, padding=True, return_tensors="pt")).logits
    found = [line.split("\t") for line in lines_of(made.results / "submission-tiny.zip", name)[1:201]]
    assert [index for index, _ in found] == [str(index) for index in range(200)]
    if task == "stsb":
        scores = logits[:, 0].clamp(0, 5).tolist()
        assert np.abs(np.array([float(text) for _, text in found]) - scores).max() < 6e-4
    else:
        labels = [model.config.id2label[code] for code in logits.argmax(dim=1).tolist()]
        assert len(set(labels)) > 1  # no constant would pass
        assert [text for _, text in found] == labels


def test_predictions_of_test_rows_are_kept_without_labels_and_without_scores(made: Bench) -> None:
    run = made.run("mnli")
    for place, outputs in (("test_matched", 3), ("ax/test", 3)):
        table = pq.read_table(run.folder / "predictions" / f"{place}.parquet")
        assert table.column_names == ["idx", "prediction", *(f"logit_{number}" for number in range(outputs))]
    assert set(run.record.scores) == {"validation_matched", "validation_mismatched"}
    assert sorted(path.name for path in (run.folder / "predictions").iterdir()) == [
        "ax",
        "test_matched.parquet",
        "test_mismatched.parquet",
        "validation_matched.parquet",
        "validation_mismatched.parquet",
    ]


def test_a_second_build_predicts_nothing_and_writes_the_same_bytes(made: Bench, tmp_path: Path) -> None:
    code = f"""
import sys
from glue_bench.cli import main
code = main({["submit", "build", f"results_dir={made.results}", *FILLS, "--out", str(tmp_path / "again.zip")]!r})
sys.exit("imported torch" if "torch" in sys.modules else code)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False)
    assert result.returncode == 0, result.stderr
    assert "predicting" not in result.stderr
    assert "STS-B.tsv       1,379 rows  tiny stsb seed 1" in result.stdout
    assert result.stdout.count("; kept\n") == 5
    first = (made.results / "submission-tiny.zip").read_bytes()
    assert (tmp_path / "again.zip").read_bytes() == first


def test_predicting_again_from_the_weights_gives_the_same_bytes(
    made: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = made.copy(tmp_path)
    for path in bench.results.rglob("test*.parquet"):
        path.unlink()
    assert bench.build(f"data.path={made.glue}", "data=local", *FILLS, "--out", "sub.zip") == 0
    assert "AX.tsv, 1,104 rows: predicting with tiny mnli seed 1" in capsys.readouterr().err
    assert Path("sub.zip").read_bytes() == (made.results / "submission-tiny.zip").read_bytes()


def test_it_says_which_run_each_file_comes_from_and_which_were_filled(
    made: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    assert made.build(*FILLS, "--fill", "stsb=2.5", "--out", "sub.zip") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 12
    assert lines[0].startswith("AX.tsv          1,104 rows  tiny mnli seed 1 (seed1-")
    assert "the only seed" in lines[0]
    assert "median of 3 seeds on the dev set" in next(line for line in lines if line.startswith("SST-2"))
    assert "STS-B.tsv       1,379 rows  no model: 2.500 in every line, because of --fill" in lines
    assert lines[10] == "WNLI.tsv          146 rows  no model: not_entailment in every line, because of --fill"
    assert lines_of(Path("sub.zip"), "WNLI.tsv")[1:] == [f"{index}\t0" for index in range(146)]
    assert set(lines_of(Path("sub.zip"), "STS-B.tsv")[1:]) == {f"{index}\t2.500" for index in range(1379)}


def test_tasks_without_a_run_are_named_with_a_command_that_makes_them(
    made: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = made.copy(tmp_path)
    write_test_rows(made.glue, "rte/test", 3000)
    (bench.results / "submission-tiny.zip").unlink()
    others = [word for task in ("cola", "mrpc", "qnli", "qqp", "wnli") for word in ("--fill", task)]
    assert bench.build(*others) == 3
    errors = capsys.readouterr().err.splitlines()
    assert errors[0] == "no finished run of tiny for rte; train:"
    assert errors[2] == "  or use one constant prediction for each: --fill rte"
    assert errors[-1] == "glue-bench: submit build: the leaderboard takes all files or none; see above"
    command = shlex.split(errors[1])
    assert command[:4] == ["glue-bench", "sweep", "tasks=[rte]", "seeds=[1,2,3]"]
    assert not (bench.results / "submission-tiny.zip").exists()
    assert main([*command[1:], "executor=serial"]) == 0
    assert bench.build(*others, "--out", "sub.zip") == 0
    assert "RTE.tsv         3,000 rows  tiny rte seed" in capsys.readouterr().out


def test_of_several_seeds_the_median_on_the_dev_set_is_taken_or_the_best_or_the_one_named(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    for seed, score in enumerate((0.70, 0.90, 0.60, 0.80), start=1):
        store.save(make_record(task="rte", seed=seed, scores=scores_of("rte", score)))

    def chosen(**wish: object) -> tuple[int, str]:
        encoder, choices = choose_runs(store, ["rte"], wish=Wish(**wish))  # type: ignore[arg-type]
        assert encoder == "tiny"
        return choices["rte"].run.record.seed, choices["rte"].why

    assert chosen() == (1, "median of 4 seeds on the dev set")  # the lower of the two in the middle
    assert chosen(pick="best") == (2, "best of 4 seeds on the dev set")
    assert chosen(seed=3) == (3, "seed=3")
    assert chosen(run_ids=["seed4-000"]) == (4, "named")
    store.save(make_record(task="rte", seed=5, scores=scores_of("rte", 0.75)))
    assert chosen() == (5, "median of 5 seeds on the dev set")


def test_failed_runs_and_runs_on_sample_data_are_never_chosen(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    store.save(make_record(task="rte", seed=1))
    store.save(make_record(task="rte", seed=2, status="failed", scores={}))
    store.save(make_record(task="mrpc", seed=1, data={**make_record(task="mrpc").data, "source": "sample"}))
    _, choices = choose_runs(store, ["rte", "mrpc"], wish=Wish())
    assert {task: choice.run.record.seed for task, choice in choices.items()} == {"rte": 1}
    with pytest.raises(UsageError, match="no finished run there except on sample data"):
        choose_runs(store, ["mrpc"], wish=Wish())


def test_several_settings_of_a_task_are_refused_with_the_words_that_select_one(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    store.save(make_record(task="rte", seed=1))
    store.save(make_record(task="rte", seed=1, setting="111", words=("recipe=hf_2019",), recipe="hf_2019"))
    with pytest.raises(UsageError, match="2 settings; add recipe=default or recipe=hf_2019"):
        choose_runs(store, ["rte"], wish=Wish())
    _, choices = choose_runs(store, ["rte"], wish=Wish(settings={"recipe": "hf_2019"}))
    assert choices["rte"].run.record.run_id == "seed1-111"
    store.save(make_record(task="mrpc", seed=1, words=("trainer.epochs=3",)))
    store.save(make_record(task="mrpc", seed=1, setting="222", words=("trainer.epochs=5",)))
    with pytest.raises(UsageError, match=r"task=mrpc: .* add trainer.epochs=3 or trainer.epochs=5"):
        choose_runs(store, ["mrpc"], wish=Wish())
    _, choices = choose_runs(store, ["mrpc"], wish=Wish(settings={"trainer.epochs": "5.0"}))
    assert choices["mrpc"].run.record.run_id == "seed1-222"
    store.save(make_record(task="cola", seed=1))
    store.save(make_record(task="cola", seed=1, setting="333"))
    with pytest.raises(UsageError, match=r"add run_id=\[...\] with one of seed1-000 \(recipe default on hub\), s"):
        choose_runs(store, ["cola"], wish=Wish())


def test_a_start_from_mnli_is_required_only_of_tasks_that_have_it(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    for task in ("mnli", "rte"):
        store.save(make_record(task=task))
    store.save(make_record(task="rte", setting="111", init="mnli:seed1-000"))
    _, choices = choose_runs(store, ["mnli", "rte"], wish=Wish(settings={"init": "mnli"}))
    assert [choice.run.record.init for choice in choices.values()] == ["pretrained", "mnli:seed1-000"]


def test_the_encoder_must_be_named_if_several_have_finished_runs(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    with pytest.raises(UsageError, match="no finished run there; `glue-bench sweep"):
        choose_runs(store, ["rte"], wish=Wish())
    for name in ("tiny", "small"):
        store.save(make_record(encoder={**make_record().encoder, "name": name}))
    with pytest.raises(UsageError, match="several have finished runs; add encoder=small or encoder=tiny"):
        choose_runs(store, ["rte"], wish=Wish())
    with pytest.raises(UsageError, match=r"encoder=tinny: no finished run; did you mean tiny\?"):
        choose_runs(store, ["rte"], wish=Wish(encoder="tinny"))
    with pytest.raises(UsageError, match="run_id=seed9-000: no such finished run of tiny"):
        choose_runs(store, ["rte"], wish=Wish(encoder="tiny", run_ids=["seed9-000"]))


def layout(task: str) -> tuple[LeaderboardFile, ...]:
    return lay_out([compose_task(task)])


def sources_of(bench: Bench, task: str) -> tuple[list[FromRun], list[str]]:
    """Return what `prepare_sources` finds for one task of a bench, and its problems."""
    _, choices = choose_runs(RunStore(bench.results), [task], wish=Wish())
    facts = {task: compose_task(task)}
    data = DataConfig(source="local", path=str(bench.glue))
    sources, _, problems = prepare_sources(layout(task), facts, choices=choices, fills={}, data=data)
    return [source for source in sources if isinstance(source, FromRun)], problems


def test_other_numbers_of_test_rows_are_refused_in_one_line_each(made: Bench, tmp_path: Path) -> None:
    bench = made.copy(tmp_path)
    path = write_test_rows(bench.glue, "mnli/test_matched", 500)
    (bench.glue / "ax" / "test.parquet").unlink()
    found, problems = sources_of(bench, "mnli")
    assert [source.file.name for source in found] == ["MNLI-mm.tsv"]
    assert problems == [
        f"AX.tsv: {bench.glue / 'ax' / 'test.parquet'}: no such file, nor test.csv, test.tsv, test.jsonl, "
        "test.json, one of these with .gz, test-00000-of-00001.parquet, or a folder test of save_to_disk",
        f"MNLI-m.tsv: {path}: 500 rows; the leaderboard wants predictions for 9,796",
    ]


def test_missing_and_wrong_weights_are_reported_before_anything_is_predicted(made: Bench, tmp_path: Path) -> None:
    bench = made.copy(tmp_path)
    run = bench.run("mnli")
    for path in run.folder.rglob("test*.parquet"):
        path.unlink()
    weights = run.model_folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    _, problems = sources_of(bench, "mnli")
    assert len(problems) == 1
    assert "these weights do not belong to the run's record" in problems[0]
    weights.unlink()
    _, problems = sources_of(bench, "mnli")
    assert len(problems) == 1
    assert "kept no weights. To train it again and keep them: glue-bench run task=mnli seed=1" in problems[0]


def test_stored_predictions_need_no_weights(made: Bench, tmp_path: Path) -> None:
    bench = made.copy(tmp_path)
    shutil.rmtree(bench.run("stsb").model_folder)
    found, problems = sources_of(bench, "stsb")
    assert problems == []
    assert found[0].kept is not None


@pytest.mark.parametrize("change", ["rows", "weights", "damage"])
def test_kept_predictions_of_other_rows_or_weights_or_damaged_ones_are_not_used(
    change: str, made: Bench, tmp_path: Path
) -> None:
    bench = made.copy(tmp_path)
    (source,), _ = sources_of(bench, "sst2")
    assert source.kept is not None
    run = source.choice.run
    if change == "rows":
        path = bench.glue / "sst2" / "test.parquet"
        columns = pq.read_table(path).to_pydict()
        write_parquet(path, {**columns, "sentence": [*columns["sentence"][:-1], "another one"]})
    elif change == "weights":
        run = dataclasses.replace(run, record=dataclasses.replace(run.record, model_sha256="0" * 64))
    else:
        (run.folder / "predictions" / "test.parquet").write_bytes(b"PAR1 and nothing else")
    (now,), _ = sources_of(bench, "sst2")
    assert kept_predictions(run, "test", file=now.texts) is None


def test_rows_in_another_order_than_their_idx_are_refused(made: Bench, tmp_path: Path) -> None:
    bench = made.copy(tmp_path)
    path = bench.glue / "stsb" / "test.parquet"
    table = pq.read_table(path)
    pq.write_table(table.take([*range(100), 101, 100, *range(102, 1379)]), path)
    (source,), problems = sources_of(bench, "stsb")
    assert problems == []
    with pytest.raises(InputError, match="row 102: idx 100 follows 101; test rows must be in their official order"):
        build_submission([source], tmp_path / "sub.zip", device="cpu")


def stop_halfway(source: FromRun, *, done: int, fresh: int) -> None:  # noqa: ARG001
    """Stop as a signal would."""
    if done > source.file.rows / 2:
        raise KeyboardInterrupt


def test_an_interrupted_build_resumes_where_it_stopped(made: Bench, tmp_path: Path) -> None:
    bench = made.copy(tmp_path)
    whole = bench.run("mnli").folder / "predictions" / "test_matched.parquet"
    expected = pq.read_table(whole)
    whole.unlink()
    source = next(source for source in sources_of(bench, "mnli")[0] if source.file.name == "MNLI-m.tsv")
    with pytest.raises(KeyboardInterrupt):
        build_submission([source], tmp_path / "sub.zip", device="cpu", on_rows=stop_halfway)
    assert not whole.exists()
    assert not (tmp_path / "sub.zip").exists()
    told = list[dict[str, int]]()
    build_submission([source], tmp_path / "sub.zip", device="cpu", on_rows=lambda _, **rows: told.append(rows))
    assert [tuple(rows.values()) for rows in told] == [(0, 0), (4096, 0), (8192, 0), (9796, 9796 - 2 * 4096)]
    assert pq.read_table(whole).equals(expected)
    assert not list(whole.parent.glob(".*"))


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
def test_test_rows_may_be_in_other_kinds_of_files(kind: str, made: Bench, tmp_path: Path) -> None:
    bench = made.copy(tmp_path)
    path = bench.glue / "mnli" / "test_matched.parquet"
    table = pq.read_table(path, columns=["premise", "hypothesis"]).to_pandas()
    path.unlink()
    if kind == "jsonl":
        table.to_json(path.with_suffix(".jsonl"), orient="records", lines=True)
    else:
        table.to_csv(path.with_suffix(f".{kind}"), sep="," if kind == "csv" else "\t", index=False)
    source = next(source for source in sources_of(bench, "mnli")[0] if source.file.name == "MNLI-m.tsv")
    fine_tuned = load_fine_tuned(source.choice.run, device="cpu")
    found = predict_rows(source.choice.run, "test_matched", file=source.texts, load=lambda: fine_tuned)
    kept = made.run("mnli").folder / "predictions" / "test_matched.parquet"
    assert np.array_equal(found, pq.read_table(kept)["prediction"].to_numpy())
    idx = pq.read_table(source.choice.run.folder / "predictions" / "test_matched.parquet")["idx"].to_numpy()
    assert np.array_equal(idx, np.arange(9796))


@pytest.mark.slow
def test_many_rows_take_no_more_memory_than_few(made: Bench, tmp_path: Path) -> None:
    bench = made.copy(tmp_path)
    run = bench.run("mnli")
    rows, rng = 24 * 4096, random.Random(0)
    pool = sentences(10_000, seed=1)
    lengths = [1 + min(5, int(rng.expovariate(0.7))) for _ in range(2 * rows)]  # as uneven as QQP's
    texts: list[object] = [" ".join(rng.choices(pool, k=length)) for length in lengths]
    write_parquet(bench.glue / "mnli" / "many.parquet", {"premise": texts[:rows], "hypothesis": texts[rows:]})
    code = f"""
import functools
from pathlib import Path
from glue_bench.config.schema import DataConfig
from glue_bench.data.texts import open_texts
from glue_bench.runs.finished import open_run_folder
from glue_bench.submission import predict_rows

def load():
    from glue_bench.runs.inference import load_fine_tuned
    return load_fine_tuned(run, device="cpu")

def on_rows(*, done, fresh):
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    print(done, pages * 4 // 1024)

run = open_run_folder(Path({str(run.folder)!r}))
file = open_texts(DataConfig(source="local", path={str(bench.glue)!r}), run.task, place="many")
predict_rows(run, "many", file=file, load=functools.cache(load), on_rows=on_rows)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False)
    assert result.returncode == 0, result.stderr
    megabytes = {int(done): int(used) for done, used in (line.split() for line in result.stdout.splitlines())}
    assert len(megabytes) == 24
    assert megabytes[rows] - megabytes[4 * 4096] < 70


def test_scores_are_clipped_to_their_range_and_rounded_to_three_decimals() -> None:
    (file,) = layout("stsb")
    file = dataclasses.replace(file, rows=6)
    content = write_rows(file, np.array([-0.3, -0.0, 5.2, 4.99951, 2.0005001, 3]))
    assert content.decode() == "index\tprediction\n0\t0.000\n1\t0.000\n2\t5.000\n3\t5.000\n4\t2.001\n5\t3.000\n"
    with pytest.raises(ValueError, match="finite"):
        write_rows(file, np.array([np.nan] * 6))
    with pytest.raises(ValueError, match="5 predictions for 6 rows"):
        write_rows(file, np.zeros(5))


def test_classes_are_written_as_the_file_wants_them() -> None:
    (cola,) = layout("cola")
    (rte,) = layout("rte")
    names = ["acceptable", "unacceptable"]
    assert write_rows(dataclasses.replace(cola, rows=2), names) == b"index\tprediction\n0\t1\n1\t0\n"
    names = ["not_entailment", "entailment"]
    assert write_rows(dataclasses.replace(rte, rows=2), names).endswith(b"0\tnot_entailment\n1\tentailment\n")
    with pytest.raises(ValueError, match="'neutral' is not one of entailment, not_entailment"):
        write_rows(dataclasses.replace(rte, rows=1), ["neutral"])


def test_a_zip_has_no_trace_of_when_where_and_in_which_order_it_was_made(tmp_path: Path) -> None:
    contents = {"b.tsv": b"2", "a.tsv": b"1" * 5000}
    write_zip(tmp_path / "1.zip", contents)
    before = os.umask(0o077)
    try:
        write_zip(tmp_path / "2.zip", dict(reversed(contents.items())))
    finally:
        os.umask(before)
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "1.zip") as archive:
        assert [(info.filename, info.date_time[0], info.compress_type) for info in archive.infolist()] == [
            ("a.tsv", 1980, zipfile.ZIP_STORED),
            ("b.tsv", 1980, zipfile.ZIP_STORED),
        ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["wnly"], "--fill wnly: unknown task; did you mean wnli?"),
        (["wnli=entails"], "--fill wnli=entails: unknown class"),
        (["wnli=2"], "--fill wnli=2: unknown class. Allowed: not_entailment, entailment"),
        (["stsb=6"], "--fill stsb=6: must be a number from 0 to 5"),
        (["stsb=nan"], "--fill stsb=nan: must be a number from 0 to 5"),
        (["wnli", "wnli=1"], "--fill wnli=1: wnli has a --fill already"),
    ],
)
def test_an_invalid_fill_is_one_line(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_fills(words, [*layout("wnli"), *layout("stsb")])
    assert str(caught.value).startswith(message)


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
