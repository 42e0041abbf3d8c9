"""Serves folders on loopback as hub repositories: tests run the real clients without internet. Knows no GLUE.

    with HubServer(tmp_path) as hub:
        hub.add_repo("dataset", "nyu-mll/glue", "0123456789abcdef0123456789abcdef01234567", Path("glue"))
        env = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_TELEMETRY": "1"}
        subprocess.run([...], env=os.environ | env)  # a new process: the clients read these when imported

Without HF_HUB_DISABLE_TELEMETRY each process first asks for /api/agent-harnesses, even for cached files.

Supported, for models and datasets, at the branch main and at a full 40-hex commit:
    HEAD, GET  [/datasets]/ID/resolve/REV/PATH          hf_hub_download, get_hf_file_metadata
    GET        /api/models|datasets/ID[/revision/REV]   HfApi.model_info, dataset_info; without blob sizes
    GET        /api/models|datasets/ID/tree/REV[/PATH]  snapshot_download, list_repo_tree, HfFileSystem
    POST       /api/models|datasets/ID/paths-info/REV   HfApi.get_paths_info
Refusals are 404 with X-Error-Code RepoNotFound, RevisionNotFound or EntryNotFound. For an unknown repository
the hub says 401 to a client without a token; huggingface_hub accepts that only from an https endpoint.
Uploads, once `accept_uploads` was called: see tests/support/hub_uploads.py.
Left out: Xet (no header offers it, so hf-xet stays idle), redirects to a CDN, Range, tokens for reading, refs.

Checked with huggingface_hub 2.4.0 (hf-xet 1.8.0), datasets 5.2.0, transformers 5.23.0. The folder is read and
hashed again for every request: meant for small files, and a file deleted there is gone for the next request.
"""

import hashlib
import json
import re
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from threading import Thread
from typing import Any, Literal, Self
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from huggingface_hub import constants

from tests.support.hub_uploads import Uploads

RESOLVE = re.compile(r"/(?:(dataset)s/)?(.+?)/resolve/([^/]+)/(.+)")
API = re.compile(r"/api/(model|dataset)s/(.+?)(?:/(revision|tree|paths-info)/([^/]+)(?:/(.*))?)?")
Answer = tuple[int, bytes, dict[str, str]]  # status, body, headers
LFS_SUFFIXES = (".bin", ".parquet", ".safetensors")  # the hub names these by sha256, others by git blob id


class HubServer:
    """A running server. `requests` holds "METHOD /path" of every request, in order of arrival."""

    def __init__(self, root: Path, *, port: int = 0) -> None:
        self.requests: list[str] = []
        self.repos: dict[tuple[str, str], dict[str, tuple[str, Path]]] = {}  # revision -> commit, folder
        self.lies: dict[str, str] = {}  # headers that every answer has
        self.lie: Callable[[str, Answer], Answer] = lambda _, answer: answer  # of "METHOD /path", and the true answer
        self.uploads: Uploads | None = None
        self._root = root
        self._server = ThreadingHTTPServer(("127.0.0.1", port), partial(_Handler, self))
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def add_repo(self, repo_type: Literal["dataset", "model"], repo_id: str, commit: str, folder: Path) -> None:
        """Serve `folder`, relative to root, at `commit` (40 hex digits); main is the commit added last."""
        if not re.fullmatch(r"[0-9a-f]{40}", commit):
            raise ValueError(f"commit is {commit!r}, must be 40 lower-case hex digits")
        found = (commit, self._root / folder)
        self.repos.setdefault((repo_type, repo_id), {}).update({commit: found, "main": found})

    def accept_uploads(self, token: str) -> Uploads:
        """Let holders of the token create model repositories and commit to them; uploads are kept under root."""
        self.uploads = Uploads(root=self._root / "uploads", token=token)
        return self.uploads

    def stop(self) -> None:
        """Close the port: later requests are refused. A second call does nothing."""
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


def point_client_at(server: HubServer, patch: pytest.MonkeyPatch, *, cache: Path) -> None:
    """Let the client in this process use the server and a cache of its own, until `patch` is undone."""
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, server.endpoint)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    patch.setattr(constants, "ENDPOINT", server.endpoint)
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "HF_HUB_CACHE", str(cache))
    patch.setenv("HF_ENDPOINT", server.endpoint)


def list_entries(folder: Path) -> list[dict[str, Any]]:
    """Return every file and folder below `folder` as the hub's tree and paths-info describe it."""
    entries: list[dict[str, Any]] = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir():
            entries.append({"type": "directory", "path": name, "size": 0, "oid": "0" * 40})
            continue
        data = path.read_bytes()
        git_id = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        entries.append({"type": "file", "path": name, "size": len(data), "oid": git_id})
        if name.endswith(LFS_SUFFIXES):
            sha256 = hashlib.sha256(data).hexdigest()
            entries[-1]["lfs"] = {"oid": sha256, "size": len(data), "pointerSize": 134}
    return entries


class _Handler(BaseHTTPRequestHandler):
    """One request. Uses HTTP/1.0: connections close after the response, so none is served after stop()."""

    def __init__(self, hub: HubServer, *args: Any) -> None:
        self.hub = hub
        super().__init__(*args)

    def do_GET(self) -> None:
        self.hub.requests.append(f"{self.command} {self.path}")
        path = unquote(urlsplit(self.path).path)
        if self._answer_upload(path):
            return
        if match := API.fullmatch(path):
            self._answer_api(*match.groups())
        elif match := RESOLVE.fullmatch(path):
            self._answer_file(*match.groups())
        else:
            self._send(404, f"this server does not speak {path}".encode(), {})

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815 - http.server sets the names

    def log_message(self, *args: object) -> None:
        """Print nothing: tests read HubServer.requests."""

    def _answer_upload(self, path: str) -> bool:
        """Serve the request if it belongs to an upload, and return whether it did."""
        if self.hub.uploads is None or self.command not in ("POST", "PUT") or "/paths-info/" in path:
            return False
        body = self.rfile.read(int(self.headers["Content-Length"]))
        token = (self.headers["Authorization"] or "").removeprefix("Bearer ")
        answer = self.hub.uploads.answer(self.hub, self.command, path, body, token)
        status, content = answer or (404, f"this server does not speak {path}".encode())
        self._send(status, content, {"Content-Type": "application/json"})
        return True

    def _answer_api(
        self, repo_type: str, repo_id: str, what: str | None, revision: str | None, below: str | None
    ) -> None:
        found = self._find(repo_type, repo_id, revision or "main")
        if found is None:
            return
        commit, folder = found
        entries = list_entries(folder)
        answer: object
        if what == "tree":
            depth = None if "recursive=true" in self.path.lower() else 1
            top = PurePosixPath(below or "")
            answer = [entry for entry in entries if top in [*PurePosixPath(entry["path"]).parents][:depth]]
            if below and not answer:
                self._refuse("EntryNotFound", {"X-Repo-Commit": commit})
                return
        elif what == "paths-info":
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            answer = [entry for entry in entries if entry["path"] in form["paths"]]
        else:
            files = [{"rfilename": entry["path"]} for entry in entries if entry["type"] == "file"]
            answer = {"id": repo_id, "sha": commit, "private": False, "tags": [], "siblings": files}
        self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _answer_file(self, repo_type: str | None, repo_id: str, revision: str, name: str) -> None:
        found = self._find(repo_type or "model", repo_id, revision)
        if found is None:
            return
        commit, folder = found
        files = {entry["path"]: entry for entry in list_entries(folder) if entry["type"] == "file"}
        headers = {"X-Repo-Commit": commit}
        if name not in files:
            self._refuse("EntryNotFound", headers)
            return
        headers["ETag"] = f'"{files[name]["oid"]}"'
        if "lfs" in files[name]:
            headers["X-Linked-Etag"] = f'"{files[name]["lfs"]["oid"]}"'
            headers["X-Linked-Size"] = str(files[name]["size"])
        self._send(200, (folder / name).read_bytes(), headers)

    def _find(self, repo_type: str, repo_id: str, revision: str) -> tuple[str, Path] | None:
        """Return (commit, folder), or refuse the request and return None."""
        repo = self.hub.repos.get((repo_type, repo_id))
        if repo is None or revision not in repo:
            self._refuse("RepoNotFound" if repo is None else "RevisionNotFound", {})
            return None
        return repo[revision]

    def _refuse(self, code: str, headers: dict[str, str]) -> None:
        self._send(404, code.encode(), {"X-Error-Code": code, **headers})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        status, body, headers = self.hub.lie(f"{self.command} {self.path}", (status, body, headers))
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers, **self.hub.lies}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
