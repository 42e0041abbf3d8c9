"""Zips as the leaderboard wants them, and ways to damage them."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

TASKS = ("cola", "mnli", "mrpc", "qnli", "qqp", "rte", "sst2", "stsb", "wnli")


# File of the zip to rows, first and last prediction allowed: facts of the leaderboard, not of this package.
OFFICIAL = {
    "AX.tsv": (1104, "entailment", "contradiction"),
    "CoLA.tsv": (1063, "0", "1"),
    "MNLI-m.tsv": (9796, "entailment", "contradiction"),
    "MNLI-mm.tsv": (9847, "entailment", "contradiction"),
    "MRPC.tsv": (1725, "0", "1"),
    "QNLI.tsv": (5463, "entailment", "not_entailment"),
    "QQP.tsv": (390965, "0", "1"),
    "RTE.tsv": (3000, "entailment", "not_entailment"),
    "SST-2.tsv": (1821, "0", "1"),
    "STS-B.tsv": (1379, "0.000", "5.000"),
    "WNLI.tsv": (146, "0", "1"),
}


ROWS = 12  # of each file here, so that sixty zips are quick


Contents = dict[str, bytes]


def good_lines(rows: int, words: tuple[str, str]) -> bytes:
    lines = [f"{index}\t{words[index % 2]}" for index in range(rows)]
    return "\n".join(["index\tprediction", *lines, ""]).encode()


def good_contents(rows: int | None = ROWS) -> Contents:
    return {name: good_lines(rows or count, (one, other)) for name, (count, one, other) in OFFICIAL.items()}


def pack(contents: Mapping[str, bytes] | list[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in contents.items() if isinstance(contents, Mapping) else contents:
            archive.writestr(zipfile.ZipInfo(name), content, compress_type=method)
    return stream.getvalue()


COLA, MNLI, QNLI, STSB = "CoLA.tsv", "MNLI-m.tsv", "QNLI.tsv", "STS-B.tsv"


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
