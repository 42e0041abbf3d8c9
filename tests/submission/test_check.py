"""Damaged submissions are refused with file and line, and good ones pass."""

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from glue_bench.submission.layout import LeaderboardFile, check_submission
from tests.support.zips import COLA, MNLI, QNLI, STSB, Contents, good_contents, pack, write

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


def edit(name: str, change: Callable[[bytes], bytes]) -> bytes:
    """Make a good zip with one file changed."""
    contents = good_contents()
    contents[name] = change(contents[name])
    return pack(contents)


def line(name: str, number: int, text: str) -> bytes:
    """Make a good zip with one line of a file, counted from 1, replaced."""

    def change(content: bytes) -> bytes:
        lines = content.split(b"\n")
        lines[number - 1] = text.encode("utf-8", "surrogateescape")
        return b"\n".join(lines)

    return edit(name, change)


def without_line(name: str, number: int) -> bytes:
    return edit(name, lambda content: b"\n".join(content.split(b"\n")[: number - 1] + content.split(b"\n")[number:]))


def swap_lines(name: str, first: int) -> bytes:
    def change(content: bytes) -> bytes:
        lines = content.split(b"\n")
        lines[first - 1], lines[first] = lines[first], lines[first - 1]
        return b"\n".join(lines)

    return edit(name, change)


def rename(old: str, new: str) -> bytes:
    return pack([(new if name == old else name, content) for name, content in good_contents().items()])


def add(name: str, content: bytes = b"") -> bytes:
    return pack([*good_contents().items(), (name, content)])


def flag(name: str, *, bit: int) -> bytes:
    """Set a flag in a member's header and in the directory's entry for it."""
    packed = bytearray(pack(good_contents()))
    for signature, flags, name_at in ((b"PK\x03\x04", 6, 30), (b"PK\x01\x02", 8, 46)):
        at = packed.find(signature)
        while packed[at + name_at : at + name_at + len(name)] != name.encode():
            at = packed.find(signature, at + 1)
        packed[at + flags] |= bit
    return bytes(packed)


def lie_about_size(name: str, size: int) -> bytes:
    """Make the directory's entry give this uncompressed size for a member."""
    packed = bytearray(pack(good_contents()))
    at = packed.find(b"PK\x01\x02")
    while packed[at + 46 : at + 46 + len(name)] != name.encode():
        at = packed.find(b"PK\x01\x02", at + 1)
    packed[at + 24 : at + 28] = struct.pack("<I", size)
    return bytes(packed)


def break_bytes(name: str) -> bytes:
    """Change one byte of a member's content, so that its checksum is wrong."""
    packed = bytearray(pack(good_contents(), zipfile.ZIP_STORED))
    packed[packed.find(name.encode()) + len(name) + 40] ^= 0xFF
    return bytes(packed)


def link(name: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for each, content in good_contents().items():
            info = zipfile.ZipInfo(each)
            info.create_system = 3
            info.external_attr = (0o120777 if each == name else 0o100644) << 16
            archive.writestr(info, b"/etc/passwd" if each == name else content)
    return stream.getvalue()


# The damage, the zip, the beginning of the fault, and some of its words.
DAMAGED: dict[str, tuple[Callable[[], bytes], str, str]] = {
    # the zip itself
    "no bytes": (lambda: b"", "not a readable zip file", ""),
    "plain text": (lambda: good_contents()[COLA], "not a readable zip file", ""),
    "another archive": (lambda: b"7z\xbc\xaf\x27\x1c" + bytes(50), "not a readable zip file", ""),
    "cut short by ten bytes": (lambda: pack(good_contents())[:-10], "not a readable zip file", ""),
    "cut in half": (lambda: pack(good_contents())[:900], "not a readable zip file", ""),
    "no member": (lambda: pack({}), "AX.tsv is missing", ""),
    "something before the zip": (lambda: b"#!/bin/sh\n" + pack(good_contents()), "not a readable zip file", ""),
    "a huge file": (lambda: pack(good_contents()) + bytes(300_000), "", "bytes; at most"),
    # names
    "a file missing": (
        lambda: pack({k: v for k, v in good_contents().items() if k != COLA}),
        "CoLA.tsv is missing",
        "",
    ),
    "no diagnostics": (lambda: pack({k: v for k, v in good_contents().items() if k != "AX.tsv"}), "AX.tsv is mis", ""),
    "an extra file": (
        lambda: add("README.md", b"hello"),
        "README.md: not one of the leaderboard's files",
        "STS-B.tsv and 1 more",
    ),
    "macOS's extra": (lambda: add("__MACOSX/._CoLA.tsv"), "__MACOSX/._CoLA.tsv: in a folder", "root of the zip"),
    "lower case": (lambda: rename(COLA, "cola.tsv"), "cola.tsv: not one of", "did you mean CoLA.tsv?"),
    "no dash": (lambda: rename("SST-2.tsv", "SST2.tsv"), "SST2.tsv: not one of", "did you mean SST-2.tsv?"),
    "underscore": (
        lambda: rename("MNLI-mm.tsv", "MNLI_mm.tsv"),
        "MNLI_mm.tsv: not one of",
        "did you mean MNLI-mm.tsv?",
    ),
    "csv": (lambda: rename(COLA, "CoLA.csv"), "CoLA.csv: not one of", "did you mean CoLA.tsv?"),
    "txt": (lambda: rename("WNLI.tsv", "WNLI.txt"), "WNLI.txt: not one of", "did you mean WNLI.tsv?"),
    "in a folder": (lambda: rename(COLA, "glue/CoLA.tsv"), "glue/CoLA.tsv: in a folder", "root of the zip"),
    "in a Windows folder": (lambda: rename(COLA, "glue\\CoLA.tsv"), "glue\\CoLA.tsv: in a folder", "root of the zip"),
    "a folder's entry": (lambda: add("glue/"), "glue/: in a folder", "root of the zip"),
    "leads out of the zip": (lambda: rename(COLA, "../CoLA.tsv"), "../CoLA.tsv: in a folder", ""),
    "an absolute path": (lambda: rename(COLA, "/CoLA.tsv"), "/CoLA.tsv: in a folder", ""),
    "a drive's path": (lambda: add("C:\\CoLA.tsv"), "C:\\CoLA.tsv: in a folder", ""),
    "twice": (lambda: pack_twice(COLA), "duplicate file CoLA.tsv", ""),
    "two spellings": (lambda: add("cola.tsv", b"x"), "cola.tsv: not one of the leaderboard's files", ""),
    "an escape sequence": (lambda: add("\x1b[2J.tsv"), "\\x1b[2J.tsv: not one of", ""),
    # members
    "encrypted": (lambda: flag(COLA, bit=1), "CoLA.tsv: must be a plain file", "password"),
    "bzip2 inside": (lambda: pack(good_contents(), zipfile.ZIP_BZIP2), "AX.tsv: must be a plain file", "deflate"),
    "a link": (lambda: link(COLA), "CoLA.tsv: must be a plain file", ""),
    "wrong bytes": (lambda: break_bytes(COLA), "CoLA.tsv: cannot be read", "CRC"),
    "a zip bomb": (lambda: edit(COLA, lambda _: bytes(5_000_000)), "CoLA.tsv: 5,000,000 bytes uncompressed", "at most"),
    "less than it says": (lambda: lie_about_size(COLA, 4_000), "CoLA.tsv: ", ""),
    "more than it says": (lambda: lie_about_size(COLA, 20), "CoLA.tsv: ", ""),
    # the whole of a file
    "an empty file": (lambda: edit(COLA, lambda _: b""), "CoLA.tsv line 1: the header is ''", "must be index"),
    "a byte order mark": (
        lambda: edit(COLA, lambda text: b"\xef\xbb\xbf" + text),
        "CoLA.tsv line 1: the header is",
        "ufeff",
    ),
    "UTF-16": (
        lambda: edit(COLA, lambda text: text.decode().encode("utf-16")),
        "CoLA.tsv line 1: the header is",
        "index, a tab",
    ),
    "UTF-16 without a mark": (
        lambda: edit(COLA, lambda t: t.decode().encode("utf-16-le")),
        "CoLA.tsv line 1: the h",
        "",
    ),
    "Windows line ends": (
        lambda: edit(COLA, lambda text: text.replace(b"\n", b"\r\n")),
        "CoLA.tsv line 1: ends with a carriage return",
        "",
    ),
    "one Windows line end": (lambda: line(COLA, 5, "3\t1\r"), "CoLA.tsv line 5: ends with a carriage return", ""),
    "old Macintosh line ends": (
        lambda: edit(COLA, lambda text: text.replace(b"\n", b"\r")),
        "CoLA.tsv line 1: the header is",
        "",
    ),
    "header only": (lambda: edit(COLA, lambda _: b"index\tprediction\n"), "CoLA.tsv line 1: predictions for 0 of", ""),
    # the header
    "no header": (lambda: without_line(COLA, 1), "CoLA.tsv line 1: the header is '0\\t0'", "index, a tab"),
    "header in capitals": (lambda: line(COLA, 1, "Index\tPrediction"), "CoLA.tsv line 1: the header is 'Index", ""),
    "header with commas": (lambda: line(COLA, 1, "index,prediction"), "CoLA.tsv line 1: the header is 'index,", ""),
    "header of another file": (lambda: line(COLA, 1, "id\tlabel"), "CoLA.tsv line 1: the header is 'id\\tlabel'", ""),
    "header the other way round": (lambda: line(COLA, 1, "prediction\tindex"), "CoLA.tsv line 1: the header is", ""),
    "header with a space": (lambda: line(COLA, 1, "index\tprediction "), "CoLA.tsv line 1: the header is", ""),
    # the fields of a line
    "commas": (lambda: line(COLA, 4, "2,0"), "CoLA.tsv line 4: 1 field, not two", "'2,0'"),
    "spaces": (lambda: line(COLA, 4, "2 0"), "CoLA.tsv line 4: 1 field, not two", "'2 0'"),
    "a third field": (lambda: line(COLA, 4, "2\t0\t0.97"), "CoLA.tsv line 4: 3 fields, not two", ""),
    "a blank line inside": (lambda: line(COLA, 4, ""), "CoLA.tsv line 4: 1 field", ""),
    "a blank line at the end": (lambda: edit(COLA, lambda text: text + b"\n"), "CoLA.tsv line 14: 1 field", ""),
    "a line of noise": (lambda: line(COLA, 4, "\udcff\udcfe\x00"), "CoLA.tsv line 4: 1 field, not two", "\\xff"),
    # indexes
    "a line missing": (lambda: without_line(COLA, 5), "CoLA.tsv line 5: index 4; must be 3", ""),
    "which line is missing": (
        lambda: without_line(COLA, 5),
        "CoLA.tsv line 12: predictions for 11 of 12",
        "missing: 3",
    ),
    "the last line missing": (lambda: without_line(COLA, 13), "CoLA.tsv line 12: predictions for 11 of 12", "ing: 11"),
    "one line too many": (
        lambda: edit(COLA, lambda text: text + b"12\t0\n"),
        "CoLA.tsv line 14: index is '12'",
        "from 0 to 11",
    ),
    "an index twice": (lambda: line(COLA, 5, "2\t0"), "CoLA.tsv line 5: duplicate index 2", "on line 4"),
    "two lines swapped": (lambda: swap_lines(COLA, 6), "CoLA.tsv line 6: index 5; must be 4", ""),
    "counted from one": (
        lambda: edit(COLA, lambda _: b"index\tprediction\n" + b"".join(b"%d\t0\n" % n for n in range(1, 13))),
        "CoLA.tsv line 2: index 1; must be 0",
        "from 0",
    ),
    "a negative index": (lambda: line(COLA, 4, "-2\t0"), "CoLA.tsv line 4: index is '-2'", "whole number"),
    "a fractional index": (lambda: line(COLA, 4, "2.0\t0"), "CoLA.tsv line 4: index is '2.0'", "whole number"),
    "an index with zeros": (lambda: line(COLA, 4, "02\t0"), "CoLA.tsv line 4: index is '02'", "whole number"),
    "an index in words": (lambda: line(COLA, 4, "two\t0"), "CoLA.tsv line 4: index is 'two'", "whole number"),
    "an enormous index": (lambda: line(COLA, 4, "9" * 2000 + "\t0"), "CoLA.tsv line 4: index is '999", "whole number"),
    "no index": (lambda: line(COLA, 4, "\t0"), "CoLA.tsv line 4: index is ''", "whole number"),
    "an Arabic digit": (lambda: line(COLA, 4, "٢\t0"), "CoLA.tsv line 4: index is", "whole number"),
    # classes
    "a name for a code": (lambda: line(COLA, 6, "4\tacceptable"), "CoLA.tsv line 6: prediction is 'acceptable'", "0 ("),
    "a code for a name": (lambda: line(MNLI, 6, "4\t1"), "MNLI-m.tsv line 6: prediction is '1'", "neutral"),
    "a code that is none": (
        lambda: line("MRPC.tsv", 6, "4\t2"),
        "MRPC.tsv line 6: prediction is '2'",
        "1 (equivalent)",
    ),
    "a hidden label": (lambda: line("QQP.tsv", 13, "11\t-1"), "QQP.tsv line 13: prediction is '-1'", "duplicate"),
    "a float for a code": (lambda: line("WNLI.tsv", 6, "4\t1.0"), "WNLI.tsv line 6: prediction is '1.0'", "must be"),
    "a name in capitals": (
        lambda: line("RTE.tsv", 6, "4\tEntailment"),
        "RTE.tsv line 6: prediction is 'Ent",
        "must be",
    ),
    "another task's class": (
        lambda: line(QNLI, 6, "4\tneutral"),
        "QNLI.tsv line 6: prediction is 'neutral'",
        "must be",
    ),
    "two-way diagnostics": (lambda: line("AX.tsv", 6, "4\tnot_entailment"), "AX.tsv line 6: prediction is", "neutral"),
    "a dash for an underscore": (lambda: line(QNLI, 6, "4\tnot-entailment"), "QNLI.tsv line 6: prediction is", ""),
    "a class in quotes": (lambda: line(MNLI, 6, '4\t"neutral"'), "MNLI-m.tsv line 6: prediction is", "must be"),
    "a space after a class": (lambda: line("SST-2.tsv", 6, "4\t1 "), "SST-2.tsv line 6: prediction is '1 '", "must be"),
    "no class": (lambda: line("SST-2.tsv", 6, "4\t"), "SST-2.tsv line 6: prediction is ''", "must be"),
    "not ASCII": (lambda: line(MNLI, 6, "4\tneutrál"), "MNLI-m.tsv line 6: prediction is 'neutr\\xe1l'", ""),
    # scores
    "above five": (lambda: line(STSB, 7, "5\t5.001"), "STS-B.tsv line 7: prediction is '5.001'", "from 0 to 5"),
    "below zero": (lambda: line(STSB, 7, "5\t-0.25"), "STS-B.tsv line 7: prediction is '-0.25'", "from 0 to 5"),
    "minus zero": (lambda: line(STSB, 7, "5\t-0.000"), "STS-B.tsv line 7: prediction is '-0.000'", "from 0 to 5"),
    "not a number": (lambda: line(STSB, 7, "5\tnan"), "STS-B.tsv line 7: prediction is 'nan'", "from 0 to 5"),
    "infinite": (lambda: line(STSB, 7, "5\tinf"), "STS-B.tsv line 7: prediction is 'inf'", "from 0 to 5"),
    "no score": (lambda: line(STSB, 7, "5\t"), "STS-B.tsv line 7: prediction is ''", "from 0 to 5"),
    "a score in words": (
        lambda: line(STSB, 7, "5\tsimilar"),
        "STS-B.tsv line 7: prediction is 'similar'",
        "from 0 to 5",
    ),
    "a decimal comma": (lambda: line(STSB, 7, "5\t2,5"), "STS-B.tsv line 7: prediction is '2,5'", "from 0 to 5"),
    "an exponent": (lambda: line(STSB, 7, "5\t2.5e0"), "STS-B.tsv line 7: prediction is '2.5e0'", "from 0 to 5"),
    "an underscore": (lambda: line(STSB, 7, "5\t0_1.5"), "STS-B.tsv line 7: prediction is '0_1.5'", "from 0 to 5"),
    "four decimals": (lambda: line(STSB, 7, "5\t2.5001"), "STS-B.tsv line 7: prediction is '2.5001'", "3 decimals"),
    "no digit before the point": (
        lambda: line(STSB, 7, "5\t.5"),
        "STS-B.tsv line 7: prediction is '.5'",
        "from 0 to 5",
    ),
}


def pack_twice(name: str) -> bytes:
    with pytest.warns(UserWarning, match="Duplicate name"):
        return add(name, b"index\tprediction\n")


def test_at_least_sixty_kinds_of_damage_are_tested() -> None:
    assert len(DAMAGED) >= 60


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_zip_is_refused_with_file_and_line(
    damage: str, files: tuple[LeaderboardFile, ...], tmp_path: Path
) -> None:
    make, start, words = DAMAGED[damage]
    path = tmp_path / "sub.zip"
    path.write_bytes(make())
    faults = check_submission(path, files)
    named = [fault for fault in faults if fault.startswith(start)]
    assert any(words in fault for fault in named), faults
    assert all(fault.isascii() and fault.isprintable() for fault in faults)
    files_at_fault = {fault.split()[0] for fault in faults if " line " in fault}
    assert len(files_at_fault) <= 1, faults  # one damage, one file


def with_comment(contents: Contents) -> bytes:
    stream = io.BytesIO(pack(contents))
    with zipfile.ZipFile(stream, "a") as archive:
        archive.comment = b"our best"
    return stream.getvalue()


def streamed(contents: Contents) -> bytes:
    """Write a zip as a program does into a pipe: sizes after the members."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.parts = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, part: "ReadableBuffer") -> int:
            self.parts += part
            return memoryview(part).nbytes

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return bytes(pipe.parts)


LIBERTIES: dict[str, Callable[[], bytes]] = {
    "deflated": lambda: pack(good_contents()),
    "stored": lambda: pack(good_contents(), zipfile.ZIP_STORED),
    "in another order": lambda: pack(dict(reversed(good_contents().items()))),
    "with a comment": lambda: with_comment(good_contents()),
    "streamed": lambda: streamed(good_contents()),
    "no line end at the very end": lambda: edit(COLA, lambda text: text.removesuffix(b"\n")),
    "whole scores": lambda: line(STSB, 7, "5\t4"),
    "fewer decimals": lambda: line(STSB, 7, "5\t4.5"),
    "the lowest score": lambda: line(STSB, 7, "5\t0"),
    "the highest score": lambda: line(STSB, 7, "5\t5.0"),
}


@pytest.mark.parametrize("liberty", LIBERTIES)
def test_what_the_leaderboard_leaves_open_is_allowed(
    liberty: str, files: tuple[LeaderboardFile, ...], tmp_path: Path
) -> None:
    assert check_submission(write(tmp_path / "sub.zip", LIBERTIES[liberty]()), files) == []
