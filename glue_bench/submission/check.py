"""A submission's zip against what the leaderboard wants: every fault, with file and line. Changes nothing."""

from collections.abc import Sequence
from pathlib import Path

from glue_bench.submission.archive import match_members, open_archive, read_member
from glue_bench.submission.findings import Fault, Findings
from glue_bench.submission.layout import LeaderboardFile
from glue_bench.submission.lines import check_lines

_DIRECTORY = 65_536  # bytes for names and dates


def check_submission(path: Path, files: Sequence[LeaderboardFile]) -> list[Fault]:
    """Every reason to refuse the zip, of one kind in one file the first few and a count; empty if there is none.

    Args:
        files: what the zip must hold, from `lay_out`.

    Raises:
        InputError: there is no such file, or it cannot be read.
    """
    whole = Findings(None)
    archive = open_archive(path, whole, most_bytes=_DIRECTORY + sum(file.most_bytes for file in files))
    if archive is None:
        return whole.faults()
    with archive:
        found = match_members(archive, [file.name for file in files], whole)
        faults = whole.faults()
        for file in files:
            if file.name in found:
                info, name = found[file.name]
                findings = Findings(name)
                content = read_member(archive, info, findings, most_bytes=file.most_bytes)
                if content or not findings.count:
                    check_lines(content, file, findings)
                faults += findings.faults()
    return faults
