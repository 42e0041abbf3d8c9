"""Files of rows as other programs write them, and as they get damaged on their way."""

import gzip
import io
import zipfile
from pathlib import Path

import pytest

from glue_bench.data.rows import check_rows
from glue_bench.data.tables import FILE_TYPES, read_table
from glue_bench.errors import InputError
from tests.support.local_rows import classes, columns_of, load

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"


def make_zip() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", bytes(range(256)))
    return content.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.csv", "sentence1,sentence2,label\na,c,0\nb,d,1\n\n"),
        ("train.csv", "sentence1;sentence2;label\r\na;c;0\r\nb;d;1\r\n"),
        ("train.csv", "sentence1, sentence2 ,label\na,c,0.0\nb,d,1.0\n"),
        ("train.csv", "sentence1\tsentence2\tlabel\na\tc\t entailment\nb\td\t1.\n  \n"),
        ("train.tsv", "sentence1\tsentence2\tlabel\na\tc\t0\nb\td\t1\n\r\n\n"),
        ("train.tsv", '"sentence1"\t"sentence2"\t"label"\n"a"\t"c"\t0\n"b"\t"d"\t1\n'),
        ("train.tsv", "sentence1,sentence2,label\na,c,0\nb,d,1"),
        ("train.csv", '\ufeff"sentence1";"sentence2";"label"\r\n"a";"c";"0.0"\r\n"b";"d";"1.0"\r\n\r\n \r\n'),
        ("train.tsv", '\ufeff"sentence1"\t"sentence2"\t"label"\r\n"a"\t"c"\t"0"\r\n"b"\t"d"\t"1"\r\n'),
        ("train.csv", "sep=;\r\nsentence1;sentence2;label\r\na;c;0\r\nb;d;1\r\n"),
        ("train.csv", "\ufeffsep=\t\nsentence1\tsentence2\tlabel\na\tc\t0\nb\td\t1\n"),
        ("train.csv", '"sep=,"\nsentence1,sentence2,label\na,c,0\nb,d,1\n'),
        ("train.csv", "sentence1,,sentence2,label,,\na,,c,0, ,\nb,,d,1,,\n,,,,,\n"),
        ("train.csv", "sentence1,sentence2,label\na,c,0\nb,d,1\n,,\n,,,,\n\n , ,\n"),
        ("train.csv", ",sentence1,sentence2,label\n0,a,c,0\n1,b,d,1\n"),
        ("train.jsonl", '\ufeff{"sentence1": "a", "sentence2": "c", "label": 0.0}\r\n'
                        '{"sentence1": "b", "sentence2": "d", "label": "1"}\r\n\r\n'),
        ("train.jsonl", '{"sentence1": "a", "sentence2": "c", "label": 0, "note": 1}\n'
                        '{"label": "1.0", "sentence2": "d", "sentence1": "b", "other": [2]}\n\n'),
    ],
)  # fmt: skip
def test_rows_as_other_programs_write_them_are_read(name: str, content: str, folder: Path) -> None:
    (folder / "rte" / "train.parquet").unlink()
    (folder / "rte" / name).write_text(content, encoding="utf-8", newline="")
    train = load(folder).splits["train"]
    assert (train.texts, train.labels.tolist()) == ((["a", "b"], ["c", "d"]), [0, 1])


@pytest.mark.parametrize("text", ['say "a"', "tab\there", "two\nlines", '"', '"whole"', "it's", "comma, semi;"])
def test_a_text_survives_pandas_in_csv_and_tsv(text: str, folder: Path) -> None:
    import pandas as pd

    (folder / "rte" / "train.parquet").unlink()
    frame = pd.DataFrame({"sentence1": [text, "plain"], "sentence2": ["b", text], "label": [0, 1]})
    for name, separator in (("train.csv", ","), ("train.tsv", "\t"), ("train.csv", ";")):
        frame.to_csv(folder / "rte" / name, sep=separator, index=False)
        assert load(folder).splits["train"].texts == ([text, "plain"], ["b", text])
        (folder / "rte" / name).unlink()


REVIEWS = ["bad film", '"I loved it,', "another one", 'and you will too."', "good", "awful"]


@pytest.mark.parametrize("texts", [REVIEWS, REVIEWS[1:4], ['"I loved it', '"', "x", 'too"']])
def test_lines_of_a_plain_tsv_are_rows_where_one_begins_and_another_ends_with_a_quotation_mark(
    texts: list[str], tmp_path: Path
) -> None:
    lines = [f"{text}\t{'ab'[row % 2]}\n" for row, text in enumerate(texts)]
    (tmp_path / "train.tsv").write_text("".join(["text\tlabel\n", *lines]))
    rows = check_rows(read_table(tmp_path / "train.tsv"), classes(["a", "b"]))
    assert (rows.texts, rows.labels.tolist()) == ((texts,), [row % 2 for row in range(len(texts))])


@pytest.mark.parametrize("first", ["", "sep=\t\n"])
def test_quotation_marks_around_two_fields_of_a_plain_tsv_are_text(first: str, tmp_path: Path) -> None:
    path = tmp_path / "train.tsv"
    path.write_text(f'{first}sentence1\tsentence2\tlabel\n"Yes,\tno."\t0\n')
    assert columns_of(read_table(path)) == {"sentence1": ['"Yes,'], "sentence2": ['no."'], "label": ["0"]}
    path.write_text(f'{first}sentence1\tsentence2\tlabel\n"Yes\tno."\tx\t0\n')
    assert columns_of(read_table(path)) == {"sentence1": ["Yes\tno."], "sentence2": ["x"], "label": ["0"]}


def test_an_only_column_of_a_tsv_is_never_guessed(tmp_path: Path) -> None:
    path = tmp_path / "texts.tsv"
    path.write_text('text\n"I loved it,\nand you will too."\n')
    with pytest.raises(InputError, match=r"'\"?I loved it,\\nand you will too\.\"?' may be one text, or one text per"):
        read_table(path)
    path.write_text('"text"\n"I loved it,\nand you will too."\n"b"\n')
    assert read_table(path).read("text") == ["I loved it,\nand you will too.", "b"]
    path.write_text('text\n"I loved it,\nand you" will too."\n')
    assert read_table(path).read("text") == ['"I loved it,', 'and you" will too."']
    path.write_text('text\na\n""\n\n')
    assert read_table(path).read("text") == ["a", ""]
    path.write_text('text\na\n\n""\n')
    with pytest.raises(InputError, match="line 3: 0 fields, not 1"):
        read_table(path)


def test_a_compressed_file_is_read_whatever_the_case_of_its_ending(tmp_path: Path) -> None:
    path = tmp_path / "texts.csv.GZ"
    path.write_bytes(gzip.compress(b"text,label\na,0\n"))
    assert read_table(path).read("text") == ["a"]


def test_a_field_of_any_length_is_read(folder: Path) -> None:
    (folder / "rte" / "train.parquet").unlink()
    (folder / "rte" / "train.csv").write_text(f"sentence1,sentence2,label\n{'x' * 400_000},b,0\n")
    assert len(load(folder).splits["train"].texts[0][0]) == 400_000


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.csv", "sentence1,sentence2,label\né,c,0\n".encode("latin-1"), "text (byte 0xe9 in line 2); convert it"),
        ("train.jsonl", b'{"sentence1": "\xe9"}', "(byte 0xe9 in line 1); convert it: iconv -f ENCODING -t UTF-8"),
        ("train.csv", "sentence1,sentence2,label\nд,c,0\n".encode("cp1251"), "iconv -f ENCODING -t UTF-8"),
        ("train.csv", "sentence1,sentence2,label\n好,c,0\n".encode("gbk"), "iconv -f ENCODING -t UTF-8"),
        ("train.tsv", "sentence1\tsentence2\tlabel\n".encode("utf-16"), "it is UTF-16; convert it: iconv -f UTF-16"),
        ("train.csv", "好,你\n".encode("utf-16"), "it is UTF-16; convert it: iconv -f UTF-16"),
        ("train.csv", "sentence1\n".encode("utf-32"), "it is UTF-32; convert it: iconv -f UTF-32 -t UTF-8"),
        ("train.csv", "sentence1,label\na,0\n".encode("utf-16-le"), "(byte 0x00 in line 1); convert it: iconv -f E"),
        ("train.jsonl", '{"sentence1": "a"}'.encode("utf-16-be"), "(ENCODING may be UTF-16LE or UTF-16BE)"),
        (
            "train.csv",
            gzip.compress(b"a" * 200, mtime=0),
            "train.csv: not UTF-8 text; it is compressed with gzip; its name must end",
        ),
        ("train.csv", make_zip(), "train.csv: not UTF-8 text; it is a zip archive, such as Excel's .xlsx"),
        ("train.jsonl", b"\xd0\xcf\x11\xe0\xa1\xb1", "it is an Excel file; save it as CSV UTF-8"),
        ("train.csv", b"PAR1\x15\x04\xff", "it is Parquet; its name must end in .parquet"),
        ("train.parquet", gzip.compress(b"a" * 200, mtime=0), "not a readable Parquet file (it is compressed with"),
        ("train.parquet", make_zip(), "not a readable Parquet file (it is a zip archive"),
        *((f"train.{kind}", POINTER, "cannot be read: a Git LFS pointer; run git lfs pull") for kind in FILE_TYPES),
        ("train.csv", b"sentence1,sentence2,label,,\na,c,0,y,x\n", "train.csv: duplicate column ''"),
        ("train.csv", b"sentence1,sentence2,label\na,c,0\n,,\nb,d,1\n", "train.csv row 2: label is ''"),
        ("train.csv", b"sentence1,sentence2,label\na,c,0\n,,,\n,,\nb,d,1\n", "train.csv line 3: 4 fields, not 3"),
        ("train.csv", b"sep=;\nsentence1;sentence2;label\na;c\n", "train.csv line 3: 2 fields, not 3"),
        ("train.tsv", b'sentence1\tsentence2\tlabel\n"a\tb\nc\td\te\tf"\tg\t0\n', "line 2: 2 fields, not 3; quotation"),
        ("train.csv", b"sentence1,sentence2,label\na,c,0\n\nb,d,1\n", "train.csv line 3: 0 fields, not 3"),
        ("train.csv", b"sentence1,sentence2,label\na,c,1.5\n", "label is '1.5'; it must be one of 0"),
        ("train.jsonl", b'{"sentence1": "a", "label": 0}\n', "no column 'sentence2'"),
        (
            "train.jsonl",
            b'{"sentence1":"a","sentence2":"b","label":0}\n{"sentence1":"a","label":0}',
            "row 2: sentence2",
        ),
        ("train.jsonl", b"\n\n", "no column 'sentence1'; it has none"),
        ("train.jsonl", b"[" * 100_000, "train.jsonl line 1: not JSON"),
        ("train.csv", b"sentence1,sentence2,label\na,b," + b"\x1b" * 5000, r"label is '\x1b"),
    ],
)
def test_rows_that_cannot_be_read_are_named_with_the_reason(
    name: str, content: bytes, message: str, folder: Path
) -> None:
    (folder / "rte" / "train.parquet").unlink()
    (folder / "rte" / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        load(folder)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 800
