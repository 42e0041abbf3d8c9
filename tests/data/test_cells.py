"""What a cell of a row means: labels by name or by number, scores, row numbers."""

import json
import math
from decimal import Decimal
from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, Features, Value

from glue_bench.config.compose import compose_task
from glue_bench.data.rows import check_rows
from glue_bench.errors import InputError
from tests.support.local_rows import RTE, classes, load, table_of
from tests.support.tiny import write_parquet


def test_labels_are_mapped_by_name_where_the_file_declares_names_in_another_order(folder: Path) -> None:
    reversed_names = ClassLabel(names=["not_entailment", "entailment"])
    features = Features(
        {"sentence1": Value("string"), "sentence2": Value("string"), "label": reversed_names, "idx": Value("int32")}
    )
    Dataset.from_dict(RTE, features=features).to_parquet(folder / "rte" / "train.parquet")
    assert load(folder).splits["train"].labels.tolist() == [1, 0]


def test_a_file_that_declares_other_labels_is_refused(folder: Path) -> None:
    features = Features(
        {**dict.fromkeys(("sentence1", "sentence2"), Value("string")), "label": ClassLabel(names=["a", "b"])}
    )
    rows = {key: RTE[key] for key in ("sentence1", "sentence2", "label")}
    Dataset.from_dict(rows, features=features).to_parquet(folder / "rte" / "train.parquet")
    with pytest.raises(InputError, match="its labels are a, b; rte has entailment, not_entailment"):
        load(folder)


def test_regression_labels_stay_numbers(tmp_path: Path) -> None:
    for split in ("train", "validation"):
        write_parquet(tmp_path / "stsb" / f"{split}.parquet", {**RTE, "label": [2.5, 5.0]})
    assert load(tmp_path, task="stsb").splits["train"].labels.tolist() == [2.5, 5.0]


@pytest.mark.parametrize("score", [-0.1, 5.1, math.nan, math.inf, None, "high"])
def test_a_score_out_of_range_is_refused(tmp_path: Path, score: object) -> None:
    kind = "jsonl" if isinstance(score, str) else "parquet"
    write_parquet(tmp_path / "stsb" / "validation.parquet", {**RTE, "label": [1.0, 2.0]})
    if kind == "parquet":
        write_parquet(tmp_path / "stsb" / "train.parquet", {**RTE, "label": [1.0, score]})
    else:
        rows = [{"sentence1": "a", "sentence2": "b", "label": label} for label in (1.0, score)]
        (tmp_path / "stsb" / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(InputError, match=r"train\.\w+ row 2: label is .*; it must be a number from 0 to 5"):
        load(tmp_path, task="stsb")


@pytest.mark.parametrize(
    ("labels", "values", "codes"),
    [
        (["1", "2", "3"], [1, 2, 3], [0, 1, 2]),
        (["1", "0"], ["1", "0", 1], [0, 1, 0]),
        (["no", "yes"], ["yes", 1, "0"], [1, 1, 0]),
        (["1.0", "0.0"], [1.0, 0.0, 1, 0, "1.0", "0", Decimal("1.00"), True, -0.0], [0, 1, 0, 1, 0, 1, 0, 0, 1]),
        (["-1", "0", "1"], [-1, -1.0, "-1.0", "-1", "+1", " 1. ", "0.0"], [0, 0, 0, 0, 2, 2, 1]),
        (["0.5", "1.5"], [0.5, "0.50", 1.5, "1.5e0"], [0, 0, 1, 1]),
        (["1", "1.0"], ["1", "1.0", 1, 1.0], [0, 1, 0, 1]),
        (["10", "20"], ["LABEL_0", "LABEL_1", 20], [0, 1, 1]),
        (["no", "yes"], [Decimal(1), 0.0, "1e0", False], [1, 0, 1, 0]),
    ],
)
def test_names_have_precedence_over_numbers(labels: list[str], values: list[object], codes: list[int]) -> None:
    table = table_of({"text": ["a"] * len(values), "label": values})
    assert check_rows(table, classes(labels)).labels.tolist() == codes


@pytest.mark.parametrize(
    ("labels", "declared", "codes"),
    [
        (["1", "0"], ["0", "1"], [1, 0]),
        (["1.0", "0.0"], ["1.0", "0.0"], [0, 1]),
        (["10", "20"], ["LABEL_0", "LABEL_1"], [0, 1]),
        (["LABEL_1", "LABEL_0"], ["LABEL_0", "LABEL_1"], [1, 0]),
    ],
)
def test_numbers_are_places_where_the_file_declares_names(
    labels: list[str], declared: list[str], codes: list[int]
) -> None:
    table = table_of({"text": ["a", "b"], "label": [0, 1]}, label_names=declared)
    assert check_rows(table, classes(labels)).labels.tolist() == codes


@pytest.mark.parametrize(
    ("labels", "value", "words"),
    [
        (["1", "0"], 2, "label is 2; it must be one of 1, 0$"),
        (["1", "1.0"], "1.00", "label is '1.00'; it must be one of 1, 1.0$"),
        (["a", "nan"], math.nan, r"label is nan; it must be one of 0 \(a\), 1 \(nan\)$"),
        (["a", "b"], "-1.0", "label is '-1.0', a hidden test label"),
        (["a", "b"], 10**400, "label is 1000"),
        (["a", "b"], "1e999", "label is '1e999'"),
    ],
)
def test_a_cell_that_is_no_label_is_refused_with_the_allowed_ones(labels: list[str], value: object, words: str) -> None:
    with pytest.raises(InputError, match=f"file row 1: {words}"):
        check_rows(table_of({"text": ["a"], "label": [value]}), classes(labels))


@pytest.mark.parametrize(
    ("cells", "idx"),
    [
        (["10.0", "20.0"], [10, 20]),
        (["10", "20.0"], [10, 20]),
        ([10.0, Decimal(20)], [10, 20]),
        (["-5", " 7 "], [-5, 7]),
        (["1e+16", 2**62], [10**16, 2**62]),
        (["q-1", "12.3"], [0, 1]),
        ([None, None], [0, 1]),
    ],
    ids=str,
)
def test_a_whole_number_in_a_cell_is_the_same_idx_in_every_format(cells: list[object], idx: list[int]) -> None:
    columns: dict[str, list[object]] = {"text": ["a", "b"], "label": ["a", "b"]}
    assert check_rows(table_of({**columns, "idx": cells}), classes(["a", "b"])).idx.tolist() == idx
    with pytest.raises(InputError, match=r"row 2: idx is '0\.5', not a whole number"):
        check_rows(table_of({**columns, "idx": [1, "0.5"]}), classes(["a", "b"]))
    with pytest.raises(InputError, match=r"row 1: idx is 9223372036854775808, not a whole number of 64 bits"):
        check_rows(table_of({**columns, "idx": [2**63, 1]}), classes(["a", "b"]))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("idx", 0.5),
        ("idx", True),
        ("idx", float("inf")),
        ("label", {"a": 1}),
        ("label", [0]),
    ],
    ids=str,
)
def test_a_number_of_another_kind_is_refused(column: str, value: object) -> None:
    columns: dict[str, list[object]] = {"sentence1": ["a"], "sentence2": ["b"], "label": [0], "idx": [0]}
    with pytest.raises(InputError, match=rf"row 1: {column} is "):
        check_rows(table_of({**columns, column: [value]}), compose_task("rte"))
    with pytest.raises(InputError, match="row 1: label is True"):
        check_rows(table_of({**columns, "label": [True], "idx": [0]}), compose_task("stsb"))
