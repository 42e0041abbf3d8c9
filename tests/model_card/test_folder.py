"""The folder of a card: what is in it, and what is never replaced."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from glue_bench.cli import main
from glue_bench.errors import InputError, UsageError
from glue_bench.files import file_sha256
from glue_bench.model_card import MANIFEST, write_card
from tests.support.cards import CARD_FILES, run_of


def test_a_cards_folder_holds_what_the_run_kept_and_no_path_of_this_machine(
    results: Path, tiny_roberta: Path, local_glue: Path, tmp_path: Path
) -> None:
    run = run_of(results, "rte")
    folder = write_card(run, tmp_path / "model")
    assert sorted(path.name for path in folder.iterdir()) == [MANIFEST, *CARD_FILES]
    assert file_sha256(folder / "model.safetensors") == run.record.model_sha256
    texts = "".join(path.read_text() for path in folder.iterdir() if path.suffix in (".md", ".json"))
    for place in (tiny_roberta, local_glue, results, tmp_path):
        assert str(place) not in texts
    assert "encoder.path=FOLDER" in texts


def test_a_card_is_replaced_only_if_nobody_changed_it(results: Path, tmp_path: Path) -> None:
    run, out = run_of(results, "rte"), tmp_path / "model"
    write_card(run, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    write_card(run, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    with pytest.raises(UsageError, match=f"holds the model card of the run {run.record.run_id}"):
        write_card(run_of(results, "sst2"), out)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"notes\.txt was added or changed since the card was written"):
        write_card(run, out)
    (out / "notes.txt").unlink()
    with (out / "README.md").open("a") as readme:
        readme.write("license\n")
    with pytest.raises(UsageError, match=r"README\.md was added or changed since the card was written"):
        write_card(run, out)
    assert (out / "README.md").read_text().endswith("license\n")


def test_a_folder_or_file_of_the_users_is_never_replaced(results: Path, tmp_path: Path) -> None:
    run = run_of(results, "rte")
    (tmp_path / "mine").mkdir()
    write_card(run, tmp_path / "mine")  # empty
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("years")
    with pytest.raises(UsageError, match=r"holds files that are not a model card's \(thesis\.tex\)"):
        write_card(run, tmp_path / "other")
    os.mkfifo(tmp_path / "pipe")
    for out in (tmp_path / "other" / "thesis.tex", tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(UsageError, match="is a file"):
            write_card(run, out)
    with pytest.raises(UsageError, match="holds files that are not a model card's"):
        write_card(run, run.folder)
    (tmp_path / "link").symlink_to("mine")
    write_card(run, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "other" / "thesis.tex").read_text() == "years"


def test_weights_that_are_not_the_records_get_no_card(results: Path, tmp_path: Path) -> None:
    run = run_of(results, "rte")
    path = run.model_folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    with pytest.raises(InputError, match="do not belong to the run's record"):
        write_card(run, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_configuration_with_other_labels_gets_no_card(results: Path, tmp_path: Path) -> None:
    run = run_of(results, "rte")
    path = run.model_folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "id2label": {"0": "not_entailment", "1": "entailment"}}))
    with pytest.raises(InputError, match="its labels are not_entailment, entailment, but the run's are entailment"):
        write_card(run, tmp_path / "model")
    path.write_text("{}")
    with pytest.raises(InputError, match="has no readable labels"):
        write_card(run, tmp_path / "model")


def test_a_run_without_its_tokenizer_gets_no_card(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run_of(results, "rte").model_folder
    for path in folder.glob("*token*"):
        path.unlink()
    assert main(["card", "task=rte", f"results_dir={results}", "--out", "model"]) == 3
    error = capsys.readouterr().err
    assert f"{folder}: no tokenizer.json and no vocabulary file" in error
    assert len(error.splitlines()) == 1
    assert not Path("model").exists()


def test_a_folder_that_is_not_a_card_is_refused_without_searching_its_subfolders(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "disk" / "home").mkdir(parents=True)

    def search(folder: Path, *_: object) -> Iterator[Path]:
        raise AssertionError(f"{folder} is searched")

    monkeypatch.setattr(Path, "rglob", search)
    with pytest.raises(UsageError, match=r"holds files that are not a model card's \(home\)"):
        write_card(run_of(results, "rte"), tmp_path / "disk")


def test_a_card_needs_no_torch(results: Path, tmp_path: Path) -> None:
    import subprocess
    import sys

    code = f"""
import sys
from glue_bench.cli import main
assert main(["card", "task=rte", "results_dir={results}", "--out", "model"]) == 0
sys.exit("imported torch" if {{"torch", "transformers"}} & set(sys.modules) else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr


def test_the_default_place_is_under_the_results(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["card", "task=sst2", f"results_dir={results}"]) == 0
    run = run_of(results, "sst2")
    captured = capsys.readouterr()
    assert captured.out.strip() == str(results / "cards" / "tiny" / "sst2" / run.record.run_id)
    assert os.path.isfile(f"{captured.out.strip()}/README.md")  # noqa: PTH113
    assert "the card says: not comparable: train has 48 rows, official 67,349" in captured.err


def test_the_usual_folder_of_cards_is_never_a_link(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    victim = results.parent / "victim"
    victim.mkdir()
    (results / "cards").symlink_to(victim)
    assert main(["card", "task=rte", f"results_dir={results}"]) == 2
    assert "cards: is a link" in capsys.readouterr().err
    assert list(victim.iterdir()) == []


def test_weights_without_their_tokenizer_are_no_model(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run_of(results, "rte").model_folder
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    (folder / "vocab.json").write_text("{}")  # without merges.txt
    words = [f"results_dir={results}", "task=rte"]
    assert main(["card", *words]) == 3
    assert main(["predict", *words, "--text", "a", "--text", "b"]) == 3
    assert [("no tokenizer.json" in line) for line in capsys.readouterr().err.splitlines()] == [True, True]


def test_a_folder_with_another_cards_manifest_is_not_searched(results: Path, tmp_path: Path) -> None:
    run, out = run_of(results, "rte"), tmp_path / "card"
    write_card(run, out)
    (out / "deep").mkdir()
    (out / "deep" / "loop").symlink_to("/")
    with pytest.raises(UsageError, match="deep/loop was added or changed since the card was written"):
        write_card(run, out)
    (out / MANIFEST).write_text("[" * 100_000)
    with pytest.raises(UsageError, match="holds files that are not a model card's"):
        write_card(run, out)


def test_a_manifest_that_names_files_elsewhere_replaces_none_of_them_and_one_that_is_a_link_is_no_cards(
    results: Path, tmp_path: Path
) -> None:
    run, out = run_of(results, "rte"), tmp_path / "card"
    write_card(run, out)
    manifest, other = json.loads((out / MANIFEST).read_text()), tmp_path / "other"
    other.mkdir()
    (other / "file").write_text("mine")
    for name in ("/etc/passwd", "../other/file", "a/../../other/file", "a//b", "./a", "..", "", "a\0"):
        (out / MANIFEST).write_text(json.dumps({**manifest, "files": {**manifest["files"], name: "0"}}))
        write_card(run, out)
        assert (other / "file").read_text() == "mine"
    (other / MANIFEST).write_text(json.dumps(manifest))
    (out / MANIFEST).unlink()
    (out / MANIFEST).symlink_to(other / MANIFEST)
    with pytest.raises(UsageError, match="holds files that are not a model card's"):
        write_card(run, out)
    (out / MANIFEST).unlink()
    linked = {"linked/file": file_sha256(other / "file"), **manifest["files"]}
    (out / MANIFEST).write_text(json.dumps({**manifest, "files": linked}))
    (out / "linked").symlink_to(other)
    with pytest.raises(UsageError, match="linked was added or changed since"):
        write_card(run, out)
    assert sorted(path.name for path in other.iterdir()) == [MANIFEST, "file"]


@pytest.mark.parametrize("out", ["loop", "loop/inner", "file/inner", "/proc/card"])
def test_a_folder_that_cannot_be_is_one_line(results: Path, out: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("loop").symlink_to("loop")
    Path("file").touch()
    code, error = main(["card", "task=rte", f"results_dir={results}", "--out", out]), capsys.readouterr().err
    assert (code, len(error.splitlines())) == (2 if out.startswith("file") else 74, 1), error
