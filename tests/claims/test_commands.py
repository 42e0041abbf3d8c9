"""`glue-bench claims`: formats, mistakes, exit codes, files from the hub."""

import csv
import dataclasses
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from glue_bench.claims import Claim, ClaimRow, ClaimsReport, ClaimVerdict, load_card, render_claims
from glue_bench.cli import main
from glue_bench.runs.store import RunStore
from tests.conftest import Result
from tests.support.claims import distil_records
from tests.support.commits import MODEL_COMMIT, ROBERTA_COMMIT
from tests.support.hub_server import HubServer


def hostile_report() -> ClaimsReport:
    claim = Claim(kind="case", id="=1+1", title="a|b", model="<script>", says="[x](y)", check="-", source="+")
    hostile = ClaimRow(
        claim=claim,
        verdict=ClaimVerdict.CONTRADICTED,
        found="*bold*",
        why="back`tick",
        basis="@here",
        details={"n": 1},
    )
    return ClaimsReport(title="<i>card</i> [red]x[/red]", rows=[hostile], notes=["_note_"], machine={"threads": 2})


def test_hostile_text_is_escaped_in_every_format() -> None:
    report = hostile_report()
    assert report.counts["contradicted"] == 1
    markdown = render_claims(report, "markdown")
    for escaped in (r"a\|b", r"\[x\](y)", r"\*bold\*", r"back\`tick", r"\_note\_", r"\<i\>card"):
        assert escaped in markdown
    (row,) = csv.DictReader(io.StringIO(render_claims(report, "csv")))
    assert (row["id"], row["basis"], row["check"], row["source"]) == ("'=1+1", "'@here", "'-", "'+")
    content = json.loads(render_claims(report, "json"))
    assert content["schema_version"] == 1
    assert content["verdicts"]["contradicted"] == 1
    assert content["claims"][0]["details"] == {"n": 1}
    assert content["machine"] == {"threads": 2}
    console = render_claims(report, "console", width=160)
    assert "[red]x[/red]" in console
    assert "\x1b" not in console


def test_a_card_without_claims_has_a_table_in_every_format() -> None:
    report = dataclasses.replace(hostile_report(), rows=[])
    assert render_claims(report, "csv") == "id,title,model,claimed,found,verdict,why,basis,check,source\n"
    assert json.loads(render_claims(report, "json"))["claims"] == []
    for name in ("console", "markdown", "latex"):
        assert "no claims" in render_claims(report, name)


def test_the_json_schema_is_what_the_documentation_lists() -> None:
    documented = (Path(__file__).parents[2] / "docs" / "claims.md").read_text()
    content = json.loads(render_claims(hostile_report(), "json"))
    for key in (*content, *content["claims"][0], *ClaimVerdict):
        assert f"`{key}`" in documented, key


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["result_dir=x"], "not a key of `claims`; did you mean results_dir?"),
        (["distilroberta.path=nowhere"], "distilroberta.path=nowhere: no such folder"),
        (["results_dir=nowhere"], "results_dir=nowhere: no such folder"),
        (["--repeats", "4"], "--repeats 4: must be 5 or more"),
        (["trainer.engine=fast"], "trainer.engine"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["claims", "--quick", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_a_named_folder_without_any_file_of_a_model_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["claims", "--quick", f"distilroberta.path={tmp_path}"]) == 3
    error = capsys.readouterr().err
    assert f"distilroberta.path={tmp_path}: holds no model: the folder has no config.json" in error
    assert "model.safetensors" in error


def test_a_contradicted_claim_exits_with_1_and_the_table_shows_it(
    claimed_config: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = claimed_config(num_hidden_layers=5)
    assert (
        main(["claims", "--quick", f"distilroberta.path={folder}", "--format", "csv", "--out", "made/claims.csv"]) == 1
    )
    assert capsys.readouterr().out == ""
    rows = {row["id"]: row for row in csv.DictReader(io.StringIO(Path("made/claims.csv").read_text()))}
    assert (rows["layers"]["verdict"], rows["layers"]["found"]) == ("contradicted", "5 in config.json")
    assert main(["claims", "--quick", f"distilroberta.path={claimed_config()}"]) == 0


def test_the_command_reads_the_runs_under_results_dir(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = RunStore(tmp_path / "results")
    for record in distil_records({1: 0.66, 2: 0.68}):
        store.save(record)
    assert main(["claims", "--quick", "--format", "json", f"results_dir={tmp_path / 'results'}"]) == 0
    rows = {row["id"]: row for row in json.loads(capsys.readouterr().out)["claims"]}
    assert rows["glue.rte"]["found"] == "67.0 [66.0, 68.0]"


def test_every_claim_of_the_shipped_card_is_about_its_models_and_has_a_rule() -> None:
    card = load_card("distilroberta")
    for claim in card.claims:
        assert {claim.model, claim.against or claim.model} <= card.models.keys()
    assert len(card.rules) == 1 + len({claim.kind for claim in card.claims})  # the first: what the verdicts mean


@pytest.fixture
def hub_root(tiny_roberta: Path, tmp_path: Path) -> Path:
    root = tmp_path / "hub"
    shutil.copytree(tiny_roberta, root / "distil")
    shutil.copytree(tiny_roberta, root / "base")
    return root


def test_files_from_the_hub_are_checked_and_only_the_needed_ones_downloaded(
    hub_root: Path, hub_port: int, hub_bench: Callable[..., Result], glue_bench: Callable[..., Result]
) -> None:
    with HubServer(hub_root, port=hub_port) as server:
        server.add_repo("model", "distilbert/distilroberta-base", MODEL_COMMIT, Path("distil"))
        server.add_repo("model", "FacebookAI/roberta-base", ROBERTA_COMMIT, Path("base"))
        result = hub_bench("claims", "--quick", "--format", "json")
        asked = [line for line in server.requests if "FacebookAI/roberta-base" in line]
        assert any("config.json" in line for line in asked)
        assert not any("safetensors" in line for line in asked)
        (hub_root / "distil" / "model.safetensors").unlink()
    assert result.returncode == 1, result.stderr
    content = json.loads(result.stdout)
    rows = {row["id"]: row for row in content["claims"]}
    assert (rows["layers"]["verdict"], rows["layers"]["found"]) == ("contradicted", "2 in config.json")
    assert rows["case"]["verdict"] == "confirmed"
    assert rows["fill_mask.man"]["verdict"] == "contradicted"
    assert rows["fill_mask.man"]["found"]
    assert rows["parameters.roberta"]["basis"] == "config.json"
    assert any(MODEL_COMMIT in note and "SHA-256 of model.safetensors" in note for note in content["notes"])
    offline = glue_bench("claims", "--quick", "--format", "json")
    assert json.loads(offline.stdout)["claims"] == content["claims"]  # from the cache


def test_a_hub_without_the_weights_still_gives_config_and_tokenizer(
    hub_root: Path, hub_port: int, hub_bench: Callable[..., Result]
) -> None:
    (hub_root / "distil" / "model.safetensors").unlink()
    with HubServer(hub_root, port=hub_port) as server:
        server.add_repo("model", "distilbert/distilroberta-base", MODEL_COMMIT, Path("distil"))
        result = hub_bench("claims", "--quick", "--format", "json")
    rows = {row["id"]: row for row in json.loads(result.stdout)["claims"]}
    assert rows["layers"]["found"] == "2 in config.json"
    assert rows["case"]["verdict"] == "confirmed"
    assert rows["fill_mask.man"]["why"] == "model.safetensors is out of reach"
    assert rows["parameters.roberta"]["basis"] == "the stated architecture"
