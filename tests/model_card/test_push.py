"""Pushing a card to a hub on loopback."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from glue_bench.files import file_sha256
from tests.conftest import Result
from tests.support.cards import CARD_FILES, run_of
from tests.support.hub_server import HubServer


@dataclasses.dataclass
class Pushing:
    """The command line against a hub on loopback that accepts uploads."""

    server: HubServer
    root: Path
    call: Callable[..., Result]

    def push(self, results: Path, repo_id: str, **env: str) -> Result:
        """Run `glue-bench card task=rte --push`."""
        settings = {
            "HF_ENDPOINT": self.server.endpoint,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_TOKEN": "hf_right",
        }
        return self.call("card", "task=rte", f"results_dir={results}", "--push", repo_id, env={**settings, **env})


@pytest.fixture
def hub(tmp_path: Path, glue_bench: Callable[..., Result]) -> Iterator[Pushing]:
    """Start a hub without repositories."""
    with HubServer(tmp_path / "hub") as server:
        server.accept_uploads("hf_right")
        yield Pushing(server, tmp_path / "hub", glue_bench)


def test_a_push_makes_a_private_repository_with_the_card_and_the_weights(results: Path, hub: Pushing) -> None:
    result = hub.push(results, "my-org/tiny-rte")
    assert result.returncode == 0, result.stderr
    run, uploads = run_of(results, "rte"), hub.server.uploads
    assert uploads is not None
    assert uploads.private == {"my-org/tiny-rte": True}
    commit, folder = hub.server.repos["model", "my-org/tiny-rte"]["main"]
    assert result.stderr.splitlines()[-1] == f"pushed: {hub.server.endpoint}/my-org/tiny-rte/commit/{commit}"
    assert sorted(path.name for path in folder.iterdir()) == [".gitattributes", *CARD_FILES]
    assert file_sha256(folder / "model.safetensors") == run.record.model_sha256
    assert 'model="my-org/tiny-rte"' in (folder / "README.md").read_text()
    assert len(uploads.summaries) == 1


def test_a_repository_that_holds_something_is_left_alone(results: Path, hub: Pushing) -> None:
    assert hub.push(results, "my-org/tiny-rte").returncode == 0
    before = dict(hub.server.repos["model", "my-org/tiny-rte"])
    result = hub.push(results, "my-org/tiny-rte")
    assert result.returncode == 2
    assert "--push my-org/tiny-rte: the repository already holds README.md" in result.stderr.splitlines()[-1]
    assert hub.server.repos["model", "my-org/tiny-rte"] == before


def test_without_push_no_request_is_made(results: Path, hub: Pushing) -> None:
    env = {"HF_ENDPOINT": hub.server.endpoint, "HF_HUB_OFFLINE": "0", "HF_TOKEN": "hf_right"}
    assert hub.call("card", "task=rte", f"results_dir={results}", env=env).returncode == 0
    assert hub.server.requests == []


@pytest.mark.parametrize(
    ("repo_id", "env", "code", "message"),
    [
        ("my-org/tiny", {"HF_TOKEN": ""}, 2, "not logged in. Set HF_TOKEN to a token that may write"),
        ("my-org/tiny", {"HF_HUB_OFFLINE": "1"}, 2, "HF_HUB_OFFLINE is set"),
        ("tiny", {}, 2, "--push tiny: must be ORG/NAME"),
        ("my-org/a--b", {}, 2, "--push my-org/a--b: must be ORG/NAME"),
        ("../tiny", {}, 2, "--push ../tiny: must be ORG/NAME"),
        ("my-org/tiny", {"HF_TOKEN": "hf_wrong"}, 3, "does not know this token"),
        ("my-org/tiny", {"HF_ENDPOINT": "http://127.0.0.1:9"}, 3, "--push my-org/tiny: http://127.0.0.1:9: "),
    ],
    ids=["no token", "offline", "no organisation", "dashes", "dots", "wrong token", "nobody there"],
)
def test_each_obstacle_to_a_push_is_one_line(
    repo_id: str, env: dict[str, str], code: int, message: str, results: Path, hub: Pushing
) -> None:
    result = hub.push(results, repo_id, **env)
    assert result.returncode == code, result.stderr
    assert message in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
    assert hub.server.repos == {}
    if code == 2:  # found before anything was written
        assert len(result.stderr.splitlines()) == 1
        assert not (results / "cards").exists()
