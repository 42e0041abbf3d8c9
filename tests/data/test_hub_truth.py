"""What the hub, its cache, or something else in their place says is checked, and reported as it is."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from huggingface_hub import constants, snapshot_download

from glue_bench.config.compose import compose_sweep
from glue_bench.config.schema import DataConfig, EncoderConfig
from glue_bench.data.hub import UnreachableError, ask_size, fetch_file
from glue_bench.data.sources import resolve_source
from glue_bench.errors import InputError
from glue_bench.models.pretrained import resolve_pretrained, tokenizer_files
from tests.support.hub_server import Answer, HubServer, point_client_at
from tests.support.tiny import pair_columns, write_parquet

COMMIT, OTHER = "1" * 40, "2" * 40


@pytest.fixture
def hub(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """Serve an encoder as org/bert, the same without tokenizer.json as org/cased, and RTE, to this process."""
    shutil.copytree(tiny_bert, tmp_path / "hub/bert")
    cased = Path(shutil.copytree(tiny_bert, tmp_path / "hub/cased"))
    words = json.loads((cased / "tokenizer.json").read_text())["model"]["vocab"]
    (cased / "tokenizer.json").unlink()
    (cased / "vocab.txt").write_text("\n".join(sorted(words, key=words.get)) + "\n")
    (cased / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "do_lower_case": false}')
    for split, seed in (("train", 1), ("validation", 2)):
        write_parquet(tmp_path / f"hub/glue/rte/{split}-00000-of-00001.parquet", pair_columns(6, seed=seed))
    with HubServer(tmp_path / "hub") as server:
        server.add_repo("model", "org/bert", COMMIT, Path("bert"))
        server.add_repo("model", "org/cased", COMMIT, Path("cased"))
        server.add_repo("dataset", "nyu-mll/glue", COMMIT, Path("glue"))
        point_client_at(server, monkeypatch, cache=tmp_path / "cache")
        yield server


def go_offline(patch: pytest.MonkeyPatch) -> None:
    patch.setenv("HF_HUB_OFFLINE", "1")
    patch.setattr(constants, "HF_HUB_OFFLINE", True)


def forget(*names: str) -> None:
    """Remove what the cache has or knows of these files."""
    for name in names:
        for path in [*Path(constants.HF_HUB_CACHE).rglob(name)]:
            path.unlink()


@pytest.mark.parametrize(
    ("repo", "lacking", "refused"),
    [
        ("org/cased", ["tokenizer_config.json"], "tokenizer_config.json"),
        ("org/cased", ["special_tokens_map.json"], "special_tokens_map.json"),
        ("org/cased", ["tokenizer.json"], "tokenizer.json"),
        ("org/cased", ["dict.txt", "spiece.model", "vocab.json"], ""),  # another class of tokenizer's
        ("org/bert", ["tokenizer_config.json"], "tokenizer_config.json"),
        ("org/bert", ["special_tokens_map.json", "added_tokens.json"], ""),
        ("org/bert", ["tokenizer.4.0.0.json"], "tokenizer.4.0.0.json"),
    ],
)
def test_offline_a_file_that_may_change_the_tokens_must_be_known(
    repo: str, lacking: list[str], refused: str, hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if refused == "tokenizer.4.0.0.json":
        folder = tmp_path / "hub/bert"
        shutil.copy(folder / "tokenizer.json", folder / refused)
        (folder / "tokenizer_config.json").write_text(json.dumps({"fast_tokenizer_files": [refused]}))
    encoder = EncoderConfig(hub_id=repo, revision=COMMIT)
    online = {path.name for path in tokenizer_files(resolve_pretrained(encoder).folder)}
    forget(*lacking)
    asked = len(hub.requests)
    with monkeypatch.context() as patch:
        go_offline(patch)
        if refused:
            with pytest.raises(InputError) as caught:
                resolve_pretrained(encoder)
            fault = f"model {repo}: cannot get {refused} at revision {COMMIT} from "
            assert str(caught.value).startswith(fault)
            once = "(HF_HUB_OFFLINE is set)\nHF_HUB_OFFLINE=1 forbids requests: repeat the command once without it"
            assert once in str(caught.value)
            assert ", which changes the results if the repository has it (" in str(caught.value)
        else:
            resolve_pretrained(encoder)
    assert len(hub.requests) == asked
    resolve_pretrained(encoder)  # the way out
    go_offline(monkeypatch)
    assert {path.name for path in tokenizer_files(resolve_pretrained(encoder).folder)} == online


def test_offline_a_cache_that_hf_download_filled_knows_every_file(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = EncoderConfig(hub_id="org/cased", revision=COMMIT)
    snapshot_download("org/cased", revision=COMMIT, ignore_patterns=["tokenizer_config.json"])
    with monkeypatch.context() as patch:
        go_offline(patch)
        with pytest.raises(InputError, match=r"cannot get tokenizer_config\.json at .*HF_HUB_OFFLINE is set"):
            resolve_pretrained(encoder)
    snapshot_download("org/cased", revision=COMMIT)
    asked = len(hub.requests)
    go_offline(monkeypatch)
    resolve_pretrained(encoder)
    assert len(hub.requests) == asked


def damaging(name: str) -> Callable[[str, Answer], Answer]:
    """Return a lie: the right size, hash and headers, with another body."""

    def lie(request: str, answer: Answer) -> Answer:
        status, body, headers = answer
        return (status, body[:-4] + bytes(4), headers) if request == f"GET {name}" else answer

    return lie


def read_all(revision: str = COMMIT) -> None:
    resolve_pretrained(EncoderConfig(hub_id="org/bert", revision=revision))
    data = DataConfig(source="hub", dataset="nyu-mll/glue", revision=revision)
    resolve_source(data, compose_sweep(["tasks=[rte]", "data=sample"]).configs[0].task)


@pytest.mark.parametrize(
    "path",
    [
        f"/org/bert/resolve/{COMMIT}/model.safetensors",
        f"/org/bert/resolve/{COMMIT}/tokenizer.json",
        f"/org/bert/resolve/{COMMIT}/tokenizer_config.json",
        f"/datasets/nyu-mll/glue/resolve/{COMMIT}/rte/validation-00000-of-00001.parquet",
    ],
    ids=["weights", "tokenizer", "small file", "rows"],
)
def test_content_that_its_hash_contradicts_is_refused_until_it_is_deleted(path: str, hub: HubServer) -> None:
    hub.lie = damaging(path)
    for _ in range(2):  # downloaded, and from the cache
        with pytest.raises(
            InputError, match=rf": {path.rpartition('/')[2]} is damaged: .*; delete /.*/blobs/"
        ) as caught:
            read_all()
        assert "\n" not in str(caught.value)
    found = re.search(r"delete (.*) and repeat the command", str(caught.value))
    assert found
    Path(found[1]).unlink()
    hub.lie = lambda _, answer: answer
    read_all()
    read_all()


def test_a_hash_that_is_none_of_the_content_or_the_plain_sha1_of_a_mirror_is_accepted(
    hub: HubServer, tmp_path: Path
) -> None:
    plain = hashlib.sha1((tmp_path / "hub/bert/config.json").read_bytes(), usedforsecurity=False).hexdigest()
    for revision, etag in (("main", plain), (COMMIT, "0123-of-a-mirror")):
        hub.lies = {"ETag": f'"{etag}"', "X-Linked-Etag": f'"{etag}"'}
        found = fetch_file("org/bert", "config.json", revision=revision, repo_type="model")
        assert found
        assert found.readlink().name == etag
        forget("config.json")


def constant(status: int, headers: dict[str, str]) -> Callable[[str, Answer], Answer]:
    return lambda _, __: (status, b"<html>", headers)


def without(header: str) -> Callable[[str, Answer], Answer]:
    return lambda _, answer: (answer[0], answer[1], {key: answer[2][key] for key in answer[2] if key != header})


NO_HUB, WAIT, ACCESS = "what answers is not a hub: check HF_ENDPOINT", "wait, and repeat", "set HF_TOKEN to a token"


@pytest.mark.parametrize(
    ("lie", "advice"),
    [
        (constant(200, {"Content-Type": "text/html"}), NO_HUB),
        (constant(302, {"Location": "http://login.invalid/"}), NO_HUB),
        (constant(404, {}), NO_HUB),
        (without("X-Repo-Commit"), NO_HUB),
        (without("ETag"), NO_HUB),
        (constant(401, {}), ACCESS),
        (constant(403, {}), ACCESS),
        (constant(403, {"X-Error-Message": "Access to this resource is disabled."}), ACCESS),
        (constant(429, {}), WAIT),
        (constant(500, {}), WAIT),
        (constant(503, {}), WAIT),
        (constant(400, {"X-Error-Message": "no such thing"}), ""),
    ],
    ids=["page", "login", "unknown", "no commit", "no etag", "401", "403", "disabled", "429", "500", "503", "400"],
)
def test_what_an_answer_means_is_explained_with_the_way_out(
    lie: Callable[[str, Answer], Answer], advice: str, hub: HubServer
) -> None:
    hub.lie = lie
    for ask in (read_all, size_of_config):
        with pytest.raises(InputError) as caught:
            ask()
        first, *further = str(caught.value).splitlines()
        assert f"cannot get config.json at revision {COMMIT} from {hub.endpoint} (" in first
        assert "offline" not in str(caught.value)
        assert "without a network" not in str(caught.value)
        assert [line[: len(advice)] for line in further] == ([advice] if advice else [])
        assert isinstance(caught.value, UnreachableError) == (advice != ACCESS)  # after which nothing more is asked


def size_of_config() -> int:
    return ask_size("org/bert", "config.json", revision=COMMIT, repo_type="model", timeout=5)


@pytest.mark.parametrize("token", ["hf_é", "hf_…"])
def test_a_token_that_no_header_can_hold_is_named_and_not_shown(
    token: str, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(InputError, match=r"\(the token has characters that no token can have\)\nset HF_") as caught:
        size_of_config()
    assert token not in str(caught.value)
    assert hub.requests == []


@pytest.mark.parametrize(
    ("revision", "names"),
    [
        (COMMIT, ["config.json", "added_tokens.json", "/train-", "/validation-"]),
        ("main", ["added_tokens.json", "/validation-"]),  # the first answer says what main is
    ],
    ids=["pinned", "branch"],
)
def test_an_answer_of_another_commit_is_reported_and_leaves_nothing_behind(
    revision: str, names: list[str], hub: HubServer
) -> None:
    for name in names:
        hub.lie = partial(renamed, name)
        with pytest.raises(InputError, match=f"{hub.endpoint} answers with commit {OTHER} for {COMMIT}$"):
            read_all(revision)
        assert not [*Path(constants.HF_HUB_CACHE).rglob(OTHER)]
    hub.lie = lambda _, answer: answer
    read_all(revision)


def renamed(name: str, request: str, answer: Answer) -> Answer:
    status, body, headers = answer
    return (status, body, {**headers, "X-Repo-Commit": OTHER}) if name in request else answer
