"""`glue-bench submit check`: what is allowed, the list of faults, exit codes."""

import random
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glue_bench.cli import main
from glue_bench.errors import InputError
from glue_bench.submission.layout import SHOWN, LeaderboardFile, check_submission
from tests.support.zips import COLA, OFFICIAL, STSB, good_contents, pack, write


def test_the_files_are_the_leaderboards(official: tuple[LeaderboardFile, ...]) -> None:
    assert [file.name for file in official] == list(OFFICIAL)
    for file in official:
        rows, first, last = OFFICIAL[file.name]
        assert file.rows == rows
        if file.task.label_range is None:
            words = list(file.words.values())
            assert (words[0], words[-1]) == (first, last)
        else:
            assert file.task.label_range == [float(first), float(last)]


def test_every_fault_is_listed_and_of_one_kind_the_first_few_with_a_count(
    files: tuple[LeaderboardFile, ...], tmp_path: Path
) -> None:
    contents = good_contents()
    contents[COLA] = contents[COLA].replace(b"\t1", b"\tyes").replace(b"\n11\t", b"\n99\t")
    contents[STSB] = contents[STSB].replace(b"5.000", b"9")
    del contents["WNLI.tsv"]
    faults = check_submission(write(tmp_path / "sub.zip", pack(contents)), files)
    assert [fault.partition(": ")[0] for fault in faults] == [
        "WNLI.tsv is missing",
        *[f"{COLA} line {number}" for number in (3, 5, 7, 9, 11, 13, 13)],
        COLA,
        *[f"{STSB} line {number}" for number in (3, 5, 7, 9, 11)],
        STSB,
    ]
    assert faults[8] == "CoLA.tsv: and 1 more: wrong predictions"
    assert SHOWN == 5


def test_a_file_of_nothing_but_faults_gives_few_lines(official: tuple[LeaderboardFile, ...], tmp_path: Path) -> None:
    contents = good_contents(None)
    contents["QQP.tsv"] = contents["QQP.tsv"].replace(b"\n", b" \r\n")
    faults = check_submission(write(tmp_path / "sub.zip", pack(contents)), official)
    assert 2 * SHOWN < len(faults) < 3 * SHOWN
    assert "QQP.tsv: and 390,960 more: wrong predictions" in faults


@pytest.mark.parametrize(("name", "shown"), [("sub.zip", "sub.zip"), ("\x1b[31mred\n.zip", "\\x1b[31mred\\n.zip")])
def test_a_whole_official_zip_passes_by_the_command_line_in_one_line_that_a_terminal_does_not_obey(
    name: str, shown: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / name, pack(good_contents(None)))
    assert main(["submit", "check", str(path)]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{tmp_path / shown}: as the leaderboard wants it: 11 files, 426,309 predictions\n"
    assert captured.err == ""


def test_a_refused_zip_lists_its_faults_and_exits_with_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    contents = good_contents(None)
    contents[COLA] = contents[COLA].replace(b"\n7\t1", b"\n7\tyes")
    contents["RTE.tsv"] = contents["RTE.tsv"].replace(b"\n7\tnot_entailment", b"\n7\tno")
    del contents["AX.tsv"]
    path = write(tmp_path / "sub.zip", pack(contents))
    assert main(["submit", "check", str(path)]) == 3
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        "AX.tsv is missing",
        "CoLA.tsv line 9: prediction is 'yes'; must be 0 (unacceptable) or 1 (acceptable)",
        "RTE.tsv line 9: prediction is 'no'; must be entailment or not_entailment",
    ]
    assert captured.err == f"glue-bench: {path}: the leaderboard would refuse it; 3 faults, listed above\n"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["submit", "check", "nowhere.zip"], 3, "nowhere.zip: cannot be read: No such file or directory"),
        (["submit", "check", "."], 3, ".: cannot be read: Is a directory"),
        (["submit", "check"], 2, "submit check: name one file, as in `glue-bench submit check FILE.zip`"),
        (["submit", "chek"], 2, "submit chek: no such action; did you mean check? Allowed: build, check"),
        (
            ["submit", "check", "a.zip", "b.zip"],
            2,
            "submit check: name one file, as in `glue-bench submit check FILE.zip`, not a.zip and b.zip",
        ),
        (["submit"], 2, "submit: name an action. Allowed: build, check"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == code
    assert capsys.readouterr().err == f"glue-bench: {message}\n"


def test_checking_imports_neither_torch_nor_pandas(tmp_path: Path) -> None:
    path = write(tmp_path / "sub.zip", pack(good_contents()))
    code = f"""
import sys
from glue_bench.cli import main
main(["submit", "check", {str(path)!r}])
heavy = {{"torch", "transformers", "evaluate", "sklearn", "pandas", "datasets"}} & set(sys.modules)
sys.exit(f"imported {{heavy}}" if heavy else 0)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.returncode == 0, result.stderr


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
def test_no_damage_of_single_bytes_is_an_internal_error(
    seed: int, method: int, files: tuple[LeaderboardFile, ...], tmp_path: Path
) -> None:
    rng, packed = random.Random(seed), bytearray(pack(good_contents(), method))
    for _ in range(rng.randint(1, 3)):
        packed[rng.randrange(len(packed))] = rng.randrange(256)
    check_submission(write(tmp_path / "sub.zip", bytes(packed)), files)


def test_a_folder_in_place_of_a_file_is_an_input_error(files: tuple[LeaderboardFile, ...], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Is a directory"):
        check_submission(tmp_path, files)
