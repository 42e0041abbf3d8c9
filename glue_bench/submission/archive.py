"""The members of a stranger's zip: names, sizes and bytes, read with limits. Knows no tasks' rows."""

import stat
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from glue_bench.errors import InputError
from glue_bench.submission.findings import Findings, printable

_READABLE = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_OTHER_METHODS = {9: "deflate64", 12: "bzip2", 14: "lzma", 93: "zstd", 98: "ppmd"}
_ENCRYPTED = 0x1  # bit of a member's flags
_OTHER_FORMATS = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"7z\xbc\xaf": "7-Zip",
    b"Rar!": "RAR",
    b"index": "a table, not packed",
}
# All that zipfile raises on bytes that are no good zip.
_DAMAGES = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    NotImplementedError,
    EOFError,
    ValueError,
    OverflowError,
    RuntimeError,
    OSError,
)


def open_archive(path: Path, findings: Findings, *, most_bytes: int) -> zipfile.ZipFile | None:
    """The zip, or None after saying why it is none.

    Raises:
        InputError: there is no such file, or it cannot be read.
    """
    try:
        if path.is_dir():
            raise InputError(f"{path}: a folder, not a zip file")
        size = path.stat().st_size
        with path.open("rb") as stream:
            start = stream.read(512)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    if size > most_bytes:
        findings.add("size", f"{size:,} bytes; at most {most_bytes:,} are looked at")
        return None
    if not start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        other = next((name for magic, name in _OTHER_FORMATS.items() if start.startswith(magic)), None)
        other = other or ("tar" if start[257:262] == b"ustar" else None)
        findings.add("format", "not a zip file" + (f"; it looks like {other}" if other else "" if size else "; empty"))
        return None
    try:
        return zipfile.ZipFile(path)
    except _DAMAGES as error:
        findings.add("format", f"a damaged zip file, perhaps cut short ({_first_line(error)})")
        return None


def match_members(
    archive: zipfile.ZipFile, wanted: Sequence[str], findings: Findings
) -> dict[str, tuple[zipfile.ZipInfo, str]]:
    """For each wanted name the member that is it, or is meant to be it, and the name it has here.

    Wrong, extra, missing and repeated names are added to `findings`.
    """
    found = dict[str, tuple[zipfile.ZipInfo, str]]()
    others = list[tuple[zipfile.ZipInfo, str]]()
    for info in archive.infolist():
        name = info.orig_filename
        if name not in wanted:
            others.append((info, name))
        elif name in found:
            findings.add("files that are there twice", f"{name} is there twice")
        else:
            found[name] = (info, name)
    for info, name in others:
        meant = _meant(name, [each for each in wanted if each not in found])
        problem = _wrong_name(name, meant, wanted)
        findings.add("files that do not belong", f"{printable(name)}: {problem}")
        if meant is not None and not _escapes(name):
            found[meant] = (info, name)
    for name in wanted:
        if name not in found:
            findings.add("files that are missing", f"{name} is missing")
    return found


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, findings: Findings, *, most_bytes: int) -> bytes:
    """A member's bytes; empty, after saying why, where they cannot be had."""
    if stat.S_ISLNK(info.external_attr >> 16):
        findings.add("kind", "a symbolic link, not a file")
    elif info.flag_bits & _ENCRYPTED:
        findings.add("kind", "encrypted; pack it without a password")
    elif info.compress_type not in _READABLE:
        method = _OTHER_METHODS.get(info.compress_type, info.compress_type)
        findings.add("kind", f"packed by the method {method}; deflate or none is wanted")
    elif info.file_size > most_bytes:
        findings.add("size", f"{info.file_size:,} bytes unpacked; at most {most_bytes:,} are looked at")
    else:
        try:
            with archive.open(info) as stream:
                content = stream.read(most_bytes + 1)  # never more than the directory's entry says
            if len(content) == info.file_size:
                return content
            findings.add("kind", f"damaged: {len(content):,} bytes unpacked, not {info.file_size:,} as it says")
        except _DAMAGES as error:
            findings.add("kind", f"damaged, cannot be unpacked ({_first_line(error)})")
    return b""


def _meant(name: str, missing: Sequence[str]) -> str | None:
    """The missing file that a wrong name stands for, by its letters and digits."""
    by_letters = {_letters(each): each for each in missing}
    return None if name.endswith("/") else by_letters.get(_letters(name.replace("\\", "/")))


def _letters(name: str) -> str:
    return "".join(char for char in PurePosixPath(name).stem.casefold() if char.isalnum())


def _wrong_name(name: str, meant: str | None, wanted: Sequence[str]) -> str:
    if _escapes(name):
        return "a path that leads out of the zip; the files lie at its root"
    if name.endswith("/"):
        return "a folder; the files lie at the root of the zip"
    if "__MACOSX" in name or PurePosixPath(name).name == ".DS_Store":
        return "macOS's own, not a file of the leaderboard; zip without it (zip -X)"
    if "/" in name or "\\" in name:
        return f"in a folder; {meant or 'the files'} must lie at the root of the zip"
    if meant is not None:
        return f"a wrong name; it must be {meant}"
    return f"not a file of the leaderboard; allowed are {', '.join(wanted)}"


def _escapes(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return ".." in parts or parts[0] == "" or parts[0].endswith(":")


def _first_line(error: Exception) -> str:
    return printable((str(error) or type(error).__name__).splitlines()[0])
