"""What the files of a zip contain."""

import dataclasses
import io
import os
import zipfile

import numpy as np
import pytest

from glue_bench.errors import UsageError
from glue_bench.submission.layout import pack_zip, parse_fills, write_rows
from tests.support.building import layout


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


def test_a_zip_has_no_trace_of_when_where_and_in_which_order_it_was_made() -> None:
    contents = {"b.tsv": b"2", "a.tsv": b"1" * 5000}
    first = pack_zip(contents)
    before = os.umask(0o077)
    try:
        second = pack_zip(dict(reversed(contents.items())))
    finally:
        os.umask(before)
    assert first == second
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        assert [(info.filename, info.date_time[0], info.compress_type) for info in archive.infolist()] == [
            ("a.tsv", 1980, zipfile.ZIP_STORED),
            ("b.tsv", 1980, zipfile.ZIP_STORED),
        ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["wnly"], "--fill wnly: unknown task; did you mean wnli?"),
        (["wnli=entails"], "--fill wnli=entails: must be 0 (not_entailment) or 1 (entailment)"),
        (["wnli=entailmen"], "--fill wnli=entailmen: must be 0 (not_entailment) or 1 (entailment); did you mean"),
        (["wnli=2"], "--fill wnli=2: must be 0 (not_entailment) or 1 (entailment)"),
        (["stsb=6"], "--fill stsb=6: must be a number from 0 to 5"),
        (["stsb=nan"], "--fill stsb=nan: must be a number from 0 to 5"),
        (["wnli", "wnli=1"], "--fill wnli=1: wnli has a --fill already"),
    ],
)
def test_an_invalid_fill_is_one_line(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_fills(words, [*layout("wnli"), *layout("stsb")])
    assert str(caught.value).startswith(message)


def test_without_a_prediction_a_score_is_the_middle_of_the_range_as_the_file_writes_it() -> None:
    (file,) = layout("stsb")
    for ends, middle in (([0.0, 5.0], "2.500"), ([0.0, 0.25], "0.125"), ([0.0, 1 / 3], "0.167")):
        other = dataclasses.replace(file, task=dataclasses.replace(file.task, label_range=ends))
        assert parse_fills(["stsb"], [other]) == {"stsb": middle}
