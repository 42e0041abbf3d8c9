"""What the doctor finds on the hub and in its cache."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from glue_bench.doctor import OK, PROBLEM, Finding
from glue_bench.text import format_bytes
from tests.support.commits import DATA_COMMIT, MODEL_COMMIT
from tests.support.findings import advised
from tests.support.hub_server import HubServer
from tests.support.tiny import pair_columns, write_parquet

FILES = ("config.json", "model.safetensors", "tokenizer.json")


class Hub:
    """A hub with a small encoder and RTE at the pinned commits, for a client in a separate process."""

    def __init__(self, root: Path, server: HubServer) -> None:
        self.root, self.server = root, server

    def look(self, *words: str, first: str = "", **env: str) -> dict[str, Finding]:
        """Return the findings on hub, encoder and data of a sweep, after the statements `first`."""
        code = f"""
import dataclasses, json, sys
from glue_bench.config.compose import compose_sweep
from glue_bench.data.sources import resolve_source
from glue_bench.doctor.sweep import examine_inputs
from glue_bench.models.pretrained import resolve_pretrained
config = compose_sweep(sys.argv[1:]).configs[0]
{first}
findings, _ = examine_inputs([config.encoder], config.data, tasks=[config.task])
print(json.dumps([dataclasses.asdict(each) for each in findings]))
"""
        settings = {"HF_ENDPOINT": self.server.endpoint, "HF_HUB_OFFLINE": "0", **env}
        command = [sys.executable, "-c", code, "tasks=[rte]", *words]
        result = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        findings = [Finding(**each) for each in json.loads(result.stdout.splitlines()[-1])]
        advised(findings)
        return {finding.name.partition(" ")[0]: finding for finding in findings}


@pytest.fixture
def hub(tiny_roberta: Path, tmp_path: Path) -> Iterator[Hub]:
    """Start the hub."""
    root = tmp_path / "hub"
    for split, seed in (("train", 1), ("validation", 2)):
        write_parquet(root / "glue" / "rte" / f"{split}-00000-of-00001.parquet", pair_columns(24, seed=seed))
    shutil.copytree(tiny_roberta, root / "model")
    with HubServer(root) as server:
        server.add_repo("dataset", "nyu-mll/glue", DATA_COMMIT, Path("glue"))
        server.add_repo("model", "distilbert/distilroberta-base", MODEL_COMMIT, Path("model"))
        yield Hub(root, server)


FETCH = "resolve_pretrained(config.encoder); resolve_source(config.data, config.task)"


def test_files_on_the_hub_are_announced_but_not_downloaded(hub: Hub, tmp_path: Path) -> None:
    found = hub.look()
    assert {finding.state for finding in found.values()} == {OK}
    assert f"{hub.server.endpoint} answers" in found["hub"].found
    size = sum((hub.root / "model" / name).stat().st_size for name in FILES)
    assert f"to be downloaded, {format_bytes(size)}" in found["encoder"].found
    assert "in 2 files" in found["data"].found
    assert {request.split()[0] for request in hub.server.requests} == {"HEAD"}
    assert not list(tmp_path.rglob("hf_home/**/*.safetensors"))


def test_cached_files_need_no_hub(hub: Hub) -> None:
    hub.look(first=FETCH)
    hub.server.stop()
    found = hub.look()
    assert {finding.state for finding in found.values()} == {OK}
    assert "not needed" in found["hub"].found
    assert "in the hub's cache" in found["encoder"].found
    assert "in the hub's cache" in found["data"].found


def test_a_hub_that_is_down_is_a_problem_and_asked_only_once(hub: Hub) -> None:
    hub.server.stop()
    found = hub.look()
    assert {finding.state for finding in found.values()} == {PROBLEM}
    assert f"{hub.server.endpoint} is out of reach" in found["hub"].found
    assert "lacks config.json, model.safetensors, tokenizer.json" in found["encoder"].found
    assert f"hf download distilbert/distilroberta-base --revision {MODEL_COMMIT}" in found["encoder"].advice
    assert "lacks rte" in found["data"].found


def test_a_hub_that_only_the_data_needs_is_a_problem_too(hub: Hub) -> None:
    hub.server.stop()
    found = hub.look("encoder=custom", f"encoder.path={hub.root / 'model'}")
    assert {name: finding.state for name, finding in found.items()} == {"hub": PROBLEM, "encoder": OK, "data": PROBLEM}


def test_offline_mode_with_an_empty_cache_names_the_setting(hub: Hub) -> None:
    found = hub.look(HF_HUB_OFFLINE="1")
    assert {finding.state for finding in found.values()} == {PROBLEM}
    assert "HF_HUB_OFFLINE is set" in found["hub"].found
    assert hub.server.requests == []


@pytest.mark.parametrize("further", [("tokenizer_config.json",), ()])
def test_a_cache_filled_by_another_client_works_offline_only_as_advised(further: tuple[str, ...], hub: Hub) -> None:
    filled = f"""
from huggingface_hub import hf_hub_download
for name in {FILES + further}:
    hf_hub_download("distilbert/distilroberta-base", name, revision="{MODEL_COMMIT}")
"""
    hub.look("data=sample", first=filled)
    hub.server.stop()
    refused = (
        "try:\n    resolve_pretrained(config.encoder)\nexcept InputError:\n    pass\nelse:\n    sys.exit('it works')"
    )
    refused = f"from glue_bench.errors import InputError\n{refused}"
    down = hub.look("data=sample", first=refused)
    assert (down["hub"].state, down["encoder"].state) == (PROBLEM, PROBLEM)
    assert down["encoder"].advice.startswith("HF_HUB_OFFLINE=1" if further else "elsewhere: hf download distilbert/")
    if not further:  # it may override tokenizer.json
        offline = hub.look("data=sample", first=refused, HF_HUB_OFFLINE="1")
        assert (offline["hub"].state, offline["encoder"].state) == (PROBLEM, PROBLEM)
        assert "runs also ask for tokenizer_config.json" in offline["encoder"].found
        return
    offline = hub.look("data=sample", first="resolve_pretrained(config.encoder)", HF_HUB_OFFLINE="1")
    assert (offline["hub"].state, offline["encoder"].state) == (OK, OK)


@pytest.mark.parametrize(
    ("words", "name", "said"),
    [
        (["data.revision=" + "1" * 40], "data", "no revision 1111"),
        (["tasks=[mrpc]"], "data", "no file mrpc/train-00000-of-00001.parquet"),
        (["encoder=custom", "encoder.hub_id=no/such"], "encoder", "model no/such: not on http://127.0.0.1:"),
    ],
)
def test_files_that_the_hub_does_not_have_are_a_problem_of_that_row_only(
    words: list[str], name: str, said: str, hub: Hub
) -> None:
    found = hub.look(*words)
    assert {key for key, finding in found.items() if finding.state == PROBLEM} == {name}
    assert said in found[name].found


def test_an_encoder_on_the_hub_without_a_tokenizer_is_a_problem(hub: Hub) -> None:
    (hub.root / "model" / "tokenizer.json").unlink()
    assert "has none of tokenizer.json, vocab.json" in hub.look("data=sample")["encoder"].found
    (hub.root / "model" / "vocab.txt").write_text("a\n")
    assert "in 3 files" in hub.look("data=sample")["encoder"].found
