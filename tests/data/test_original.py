"""GLUE as it is unpacked, and rows as everybody else writes them."""

import gzip
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from glue_bench.config.compose import compose_run, compose_task
from glue_bench.config.schema import DataConfig, RunConfig, TaskConfig
from glue_bench.data.rows import TaskData, check_rows, load_task_data
from glue_bench.data.sources import SAMPLE_ROWS, SAMPLE_TASKS, resolve_source
from glue_bench.data.texts import open_texts, read_pieces
from glue_bench.errors import InputError, UsageError
from glue_bench.runs.finished import repeating_words
from glue_bench.runs.identity import make_requests
from tests.support.local_rows import table_of
from tests.support.making import make_record
from tests.support.original_glue import Columns, write_original
from tests.support.tiny import pair_columns, write_parquet

SWAP = "task.columns={sentence1: sentence2, sentence2: sentence1}"
REAL = Path(os.environ.get("GLUE_BENCH_REAL_ROWS") or "/nowhere")


def compose(folder: Path, *words: str, task: str = "rte") -> RunConfig:
    return compose_run([f"task={task}", "data=local", f"data.path={folder}", *words])


def load(folder: Path, *words: str, task: str = "rte") -> TaskData:
    config = compose(folder, *words, task=task)
    return load_task_data(resolve_source(config.data, config.task), config.data, task=config.task)


def write_splits(folder: Path, write: Callable[[Path, Columns], object], *, ending: str) -> Path:
    """Write two splits of rte with `write`, which gets the path and the columns."""
    (folder / "rte").mkdir(parents=True)
    for split, seed in (("train", 1), ("validation", 2)):
        write(folder / "rte" / f"{split}{ending}", pair_columns(6, seed=seed))
    return folder


@pytest.fixture
def expected(tmp_path: Path) -> str:
    """Return the fingerprint of the rows that `write_splits` writes."""
    return load(write_splits(tmp_path / "parquet", write_parquet, ending=".parquet")).fingerprint


def rows_of(columns: Columns) -> list[dict[str, object]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def as_csv(columns: Columns) -> bytes:
    return "".join(",".join(map(str, row)) + "\n" for row in (columns, *zip(*columns.values(), strict=True))).encode()


@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("task", SAMPLE_TASKS)
def test_the_original_form_gives_the_rows_of_the_parquet_files(task: str, line_end: str, tmp_path: Path) -> None:
    facts = compose_task(task)
    splits = {name: pq.read_table(SAMPLE_ROWS / task / f"{name}.parquet").to_pydict() for name in split_names(facts)}
    for shift, columns in enumerate(splits.values()):
        columns["idx"] = [2 * row + shift for row in range(len(columns["label"]))]  # MRPC's two splits are one file
    write_original(tmp_path, task, splits, line_end=line_end)
    if task == "stsb":  # the hub's scores are float32
        splits = {name: {**columns, "label": np.float32(columns["label"])} for name, columns in splits.items()}
    for name, columns in splits.items():
        write_parquet(tmp_path / "hub" / task / f"{name}.parquet", columns)
    assert load(tmp_path, task=task).fingerprints == load(tmp_path / "hub", task=task).fingerprints


@pytest.mark.parametrize("task", ["cola", "sst2", "mrpc", "qqp", "mnli", "qnli"])
def test_real_rows_in_the_original_form_give_the_same_rows(task: str, tmp_path: Path) -> None:
    if not (REAL / task).is_dir():
        pytest.skip("GLUE_BENCH_REAL_ROWS names no folder with real rows, TASK/SPLIT.parquet")
    facts = compose_task(task)
    splits = {name: pq.read_table(REAL / task / f"{name}.parquet").to_pydict() for name in split_names(facts)}
    write_original(tmp_path, task, splits)
    found = load(tmp_path, task=task)
    assert found.fingerprints == load(REAL, task=task).fingerprints
    if task == "mrpc":
        assert found.splits["validation"].idx.tolist() == splits["validation"]["idx"]  # of the file with both splits


def split_names(task: TaskConfig) -> tuple[str, ...]:
    return task.train, *task.validation


def test_tsv_files_of_mrpc_come_before_the_paraphrases(tmp_path: Path) -> None:
    folder = write_original(tmp_path, "mrpc", {"train": pair_columns(4, seed=1), "validation": pair_columns(3, seed=2)})
    pairs = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t10\t11\ta\tb\n"
    (folder / "dev.tsv").write_text(pairs)
    assert load(tmp_path, task="mrpc").splits["validation"].texts == (["a"], ["b"])
    (folder / "dev.tsv").unlink()
    (folder / "dev_ids.tsv").unlink()
    with pytest.raises(
        InputError, match=r"dev_ids\.tsv: no such file; it says which rows of msr_paraphrase_train\.txt"
    ):
        load(tmp_path, task="mrpc")


@pytest.mark.parametrize(
    ("task", "place", "file", "header"),
    [
        ("mnli", "ax/test", "diagnostic/diagnostic.tsv", "index\tsentence1\tsentence2"),
        ("mrpc", "test", "MRPC/msr_paraphrase_test.txt", "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String"),
        ("mrpc", "test", "MRPC/test.tsv", "index\t#1 ID\t#2 ID\t#1 String\t#2 String"),
        ("mnli", "test_matched", "MNLI/test_matched.tsv", "index\tpromptID\tpairID\tsentence1\tsentence2"),
        ("cola", "test", "CoLA/test.tsv", "index\tsentence"),
    ],
)
def test_test_rows_are_found_in_the_original_form(
    task: str, place: str, file: str, header: str, tmp_path: Path
) -> None:
    (tmp_path / file).parent.mkdir()
    names = header.split("\t")
    rows = ["\t".join(str(row) if name == "index" else f"{name} {row}" for name in names) for row in range(3)]
    (tmp_path / file).write_text("\n".join([header, *rows, ""]))
    facts = compose_task(task)
    texts = open_texts(DataConfig(source="local", path=str(tmp_path)), facts, place=place)
    (piece,) = read_pieces(texts, facts)
    assert (texts.rows, piece.idx.tolist()) == (3, [0, 1, 2])
    assert [column[0] for column in piece.texts] == [f"{name} 0" for name in names[-len(facts.texts) :]]


@pytest.mark.parametrize("ending", [".csv.gz", ".tsv.gz", ".jsonl.gz", ".json.gz", ".json", "-lines.json"])
def test_compressed_files_and_json_are_read(ending: str, expected: str, tmp_path: Path) -> None:
    def write(path: Path, columns: Columns) -> None:
        content = as_csv(columns)
        if "tsv" in ending:
            content = content.replace(b",", b"\t")
        elif "json" in ending:
            listed = "jsonl" not in ending and "lines" not in ending
            rows = rows_of(columns)
            content = (json.dumps(rows, indent=1) if listed else "\n".join(map(json.dumps, rows))).encode()
        path.write_bytes(gzip.compress(content) if ending.endswith(".gz") else content)

    folder = write_splits(tmp_path / "other", write, ending=ending.removeprefix("-lines"))
    assert load(folder).fingerprint == expected


@pytest.mark.parametrize("idx", ["kept", "missing"])
@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl.gz"])
def test_several_files_are_one_split(ending: str, idx: str, expected: str, tmp_path: Path) -> None:
    def write(path: Path, columns: Columns) -> None:
        for number, rows in enumerate((slice(0, 4), slice(4, None))):
            part = {name: values[rows] for name, values in columns.items() if name != "idx" or idx == "kept"}
            file = path.with_name(f"{path.name}-{number:05}-of-00002.{ending}")
            if ending == "parquet":
                write_parquet(file, part)
            else:
                lines = "\n".join(map(json.dumps, rows_of(part))).encode()
                file.write_bytes(as_csv(part) if ending == "csv" else gzip.compress(lines))

    folder = write_splits(tmp_path / "other", write, ending="")
    data = load(folder)
    assert data.fingerprint == expected
    assert data.splits["train"].idx.tolist() == [*range(6)]
    (folder / "rte" / f"train-00000-of-00002.{ending}").unlink()
    with pytest.raises(InputError, match="train has 1 of 2 files; number 00000 is missing"):
        load(folder)


@pytest.mark.parametrize("together", [False, True], ids=["data sets", "one dictionary"])
def test_what_save_to_disk_wrote_is_read(together: bool, expected: str, tmp_path: Path) -> None:
    names = {"label": ClassLabel(names=["not_entailment", "entailment"]), "idx": Value("int32")}
    features = Features({**dict.fromkeys(("sentence1", "sentence2"), Value("string")), **names})
    splits = {}
    for split, seed in (("train", 1), ("validation", 2)):
        columns = pair_columns(6, seed=seed)
        columns["label"] = [1 - int(str(code)) for code in columns["label"]]
        splits[split] = Dataset.from_dict(columns, features=features)
    if together:
        DatasetDict(splits).save_to_disk(tmp_path / "other" / "rte", num_shards={"train": 2, "validation": 1})
    else:
        for split, rows in splits.items():
            rows.save_to_disk(tmp_path / "other" / "rte" / split)
    assert load(tmp_path / "other").fingerprint == expected
    max((tmp_path / "other" / "rte" / "train").glob("data-*.arrow")).unlink()
    with pytest.raises(
        InputError, match="data has 1 of 2 files; number 00001 is missing" if together else "no such file"
    ):
        load(tmp_path / "other")


def test_columns_of_other_names_are_mapped(expected: str, tmp_path: Path) -> None:
    names = {"sentence1": "text_a", "sentence2": "text b", "label": "stars", "idx": "number"}

    def write(path: Path, columns: Columns) -> None:
        write_parquet(path, {**{names[name]: values for name, values in columns.items()}, "label": ["?"] * 6})

    folder = write_splits(tmp_path / "other", write, ending=".parquet")
    words = ["task.columns={sentence1: text_a, sentence2: 'text b', label: stars, idx: number}"]
    assert load(folder, *words).fingerprint == expected
    with pytest.raises(InputError, match=r"no column 'sterne' \(task\.columns\.label\); it has text_a, text b, stars"):
        load(folder, "task.columns={sentence1: text_a, sentence2: 'text b', label: sterne}")
    with pytest.raises(UsageError, match=r"task\.columns=text: must be one of sentence1, sentence2, label, idx"):
        load(folder, "task.columns={text: text_a}")
    for clash in ("sentence1: a, sentence2: a", "sentence1: sentence2", "idx: label", "label: idx", "sentence2: label"):
        with pytest.raises(UsageError, match="must be different names"):
            load(folder, f"task.columns={{{clash}}}")
    swapped = load(tmp_path / "parquet", SWAP).splits["train"]
    assert swapped.texts == load(folder, *words).splits["train"].texts[::-1]


def test_no_two_columns_are_read_from_one_of_the_original_ones(tmp_path: Path) -> None:
    for split in ("train", "validation_matched", "validation_mismatched"):
        rows: Columns = {"sentence1": ["a"], "sentence2": ["b"], "label": [0]}
        write_parquet(tmp_path / "mnli" / f"{split}.parquet", rows)
    assert load(tmp_path, task="mnli").splits["train"].texts == (["a"], ["b"])
    with pytest.raises(InputError, match="no column 'hypothesis'; it has sentence1, sentence2, label, premise"):
        load(tmp_path, "task.columns={premise: sentence2}", task="mnli")


def test_names_of_columns_enter_the_run_id_only_where_they_are_given(tmp_path: Path, tiny_roberta: Path) -> None:
    folder = write_splits(tmp_path, write_parquet, ending=".parquet")
    words = ["encoder=custom", f"encoder.path={tiny_roberta}"]
    ids = [
        make_requests(compose(folder, *words, *more), [1])[0].run_id
        for more in ([], ["task.columns={}"], ["task.columns={label: idx, idx: label}"])
    ]
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize("packed", [False, True], ids=["crlf", "gzip"])
def test_a_copy_with_other_line_ends_or_compressed_is_the_same_run(
    packed: bool, tmp_path: Path, tiny_roberta: Path
) -> None:
    def write(path: Path, columns: Columns) -> None:
        path.write_bytes(as_csv(columns).replace(b"the ", b'"two\nlines, ', 1).replace(b".", b'"', 1))

    first = write_splits(tmp_path / "one", write, ending=".csv")
    shutil.copytree(first, tmp_path / "two")
    for path in (tmp_path / "two" / "rte").iterdir():
        content = path.read_bytes().replace(b"\n", b"\r\n")
        path.unlink()
        path.with_name(f"{path.name}{'.gz' if packed else ''}").write_bytes(
            gzip.compress(content) if packed else content
        )
    words = ["encoder=custom", f"encoder.path={tiny_roberta}"]
    one, two = (make_requests(compose(folder, *words), [1])[0] for folder in (first, tmp_path / "two"))
    assert one.run_id == two.run_id
    assert load(first).fingerprint == load(tmp_path / "two").fingerprint


@pytest.mark.parametrize(
    ("labels", "values", "codes"),
    [
        (["no", "yes"], [True, "false", "TRUE", " False "], [1, 0, 1, 0]),
        (["True", "False"], [True, "false", "TRUE"], [0, 1, 0]),
        (["no", "yes"], ["LABEL_1", "LABEL_0", "1.0"], [1, 0, 1]),
        (["LABEL_1", "LABEL_0"], ["LABEL_1", "LABEL_0", 1], [0, 1, 1]),
        (["a", "b", "c"], ["LABEL_2", "2", "c"], [2, 2, 2]),
    ],
)
def test_labels_as_other_programs_write_them(labels: list[str], values: list[object], codes: list[int]) -> None:
    facts = TaskConfig(name="x", title="X", kind="classification", texts=["text"], labels=labels, metrics=["accuracy"])
    columns: dict[str, list[object]] = {"text": ["a"] * len(values), "label": values}
    assert check_rows(table_of(columns), facts).labels.tolist() == codes
    assert check_rows(table_of({**columns, "idx": ["q-1"] * len(values)}), facts).idx[-1] > 0


@pytest.mark.parametrize("names", [["0", "1"], ["LABEL_0", "LABEL_1"]])
def test_declared_names_that_are_only_numbers_are_the_codes(names: list[str], expected: str, tmp_path: Path) -> None:
    def write(path: Path, columns: Columns) -> None:
        features = Features(
            {**dict.fromkeys(("sentence1", "sentence2"), Value("string")), "label": ClassLabel(names=names)}
        )
        Dataset.from_dict({name: columns[name] for name in features}, features=features).to_parquet(path)

    assert load(write_splits(tmp_path / "other", write, ending=".parquet")).fingerprint == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.csv.gz", b"no gzip", "train.csv.gz: cannot be read: Not a gzipped file"),
        ("train.csv.gz", gzip.compress(b"sentence1,sentence2,label\n", mtime=0)[:-9], "train.csv.gz: cannot be read"),
        ("train.json", b'[{"sentence1": "a"}', "train.json: not JSON"),
        ("train.json", b"[1]", "train.json item 1: not an object"),
        ("train.json", b'{"a": 1}\n{', "train.json line 2: not JSON"),
        ("train/data.arrow", b"no arrow", "data.arrow: not a readable Arrow file"),
    ],
)
def test_a_damaged_file_of_these_is_named(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    folder = write_splits(tmp_path, write_parquet, ending=".parquet")
    (folder / "rte" / "train.parquet").unlink()
    path = folder / "rte" / name
    if name.startswith("train/"):
        path.parent.mkdir()
        (path.parent / "state.json").touch()
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load(folder)
    assert message in str(caught.value)


@pytest.mark.parametrize("how", ["random", "stratified"])
def test_a_drawn_sample_follows_the_seed_for_training_rows_only(how: str, tmp_path: Path) -> None:
    columns = {split: pair_columns(40, seed=seed) for split, seed in (("train", 1), ("validation", 2))}
    for split, values in columns.items():
        values["label"] = [int(row % 5 == 0) for row in range(40)]  # a fifth
        write_parquet(tmp_path / "rte" / f"{split}.parquet", values)
    config = compose(tmp_path, f"data.sample={how}", "data.max_train_rows=20", "data.max_eval_rows=10")
    source = resolve_source(config.data, config.task)
    drawn = [load_task_data(source, config.data, task=config.task, seed=seed) for seed in (1, 1, 2)]
    one, again, two = ([*data.splits["train"].idx] for data in drawn)
    assert one == again == sorted(one) != two
    assert drawn[0].splits["validation"].fingerprint == drawn[2].splits["validation"].fingerprint
    assert drawn[0].rows == {"train": 20, "validation": 10}
    if how == "stratified":
        assert [split.labels.sum() for split in drawn[0].splits.values()] == [4, 2]
    first = compose(tmp_path, "data.max_train_rows=20", "data.max_eval_rows=10")
    assert [*load_task_data(source, first.data, task=config.task, seed=5).splits["train"].idx] == [*range(20)]
    identities = [resolve_source(each.data, config.task).identity for each in (config, first)]
    assert identities[0] == {**identities[1], "sample": how}


def test_the_command_that_repeats_a_run_names_its_columns_and_its_sample() -> None:
    words = ("data=local", "data.path=/rows", "data.max_train_rows=5", "data.sample=stratified")
    record = make_record(task="rte", words=(*words, "task.columns={sentence1: 'text: a', label: \"it's\"}"))
    again = compose_run(
        [word for word in repeating_words(record, private=True) if not word.startswith(("encoder", "results_dir"))]
    )
    assert again.task.columns == {"sentence1": "text: a", "label": "it's"}
    assert (again.data.sample, again.data.max_train_rows) == ("stratified", 5)


def test_rows_of_both_splits_are_counted(tmp_path: Path) -> None:
    write_parquet(tmp_path / "rte" / "train.parquet", pair_columns(20, seed=1))
    columns = pair_columns(20, seed=1)
    columns["sentence2"][3:] = [f"other {row}" for row in range(17)]
    write_parquet(tmp_path / "rte" / "validation.parquet", columns)
    assert load(tmp_path).overlap("train") == {"validation": 3}
    columns["sentence2"][:3] = ["x", "y", "z"]
    write_parquet(tmp_path / "rte" / "validation.parquet", columns)
    assert load(tmp_path).overlap("train") == {}
