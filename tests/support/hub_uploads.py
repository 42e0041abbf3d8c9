"""The hub's side of an upload: new repositories, large files by the Git LFS protocol, commits. Knows no GLUE.

    with HubServer(tmp_path) as hub:
        hub.accept_uploads("a-token")

Supported, for models, with `authorization: Bearer a-token`:
    POST /api/repos/create                     HfApi.create_repo; 409 if it exists
    POST /api/validate-yaml                    the metadata of a README.md
    POST /api/models/ID/preupload/main         which files are large
    POST /ID.git/info/lfs/objects/batch        where to put large files; PUT /lfs/SHA256 takes one
    POST /api/models/ID/commit/main            files, and pointers to large ones; 412 if main moved
Left out: Xet (the client must have HF_HUB_DISABLE_XET=1), multipart, branches, pull requests, deletions.
"""

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import yaml
from huggingface_hub.repocard import REGEX_YAML_BLOCK

Answer = tuple[int, bytes]
_LARGE = re.compile(r".*\.(safetensors|bin|parquet)")


class Repositories(Protocol):
    """The part of the server that uploads need."""

    @property
    def endpoint(self) -> str: ...

    repos: dict[tuple[str, str], dict[str, tuple[str, Path]]]


@dataclass
class Uploads:
    """The repositories and files that were uploaded."""

    root: Path
    token: str
    large: dict[str, bytes] = field(default_factory=dict)  # by SHA-256
    private: dict[str, bool] = field(default_factory=dict)  # by repository
    summaries: list[str] = field(default_factory=list)  # of the commits

    def answer(self, hub: Repositories, method: str, path: str, body: bytes, token: str) -> Answer | None:
        """Return the status and content of a response; None if the request is not part of an upload."""
        if method == "PUT" and (match := re.fullmatch(r"/lfs/([0-9a-f]{64})", path)):
            return self._take_large(match[1], body)
        routes: dict[str, Callable[..., Answer]] = {
            r"/api/repos/create": self._create,
            r"/api/validate-yaml": self._validate,
            r"/api/models/(.+)/preupload/main": self._sort,
            r"/(.+)\.git/info/lfs/objects/batch": self._offer,
            r"/api/models/(.+)/commit/main": self._commit,
        }
        for pattern, respond in routes.items():
            if method == "POST" and (match := re.fullmatch(pattern, path)):
                if token != self.token:
                    return 401, b"Invalid credentials"
                return respond(hub, *match.groups(), body=body)
        return None

    def _create(self, hub: Repositories, *, body: bytes) -> Answer:
        asked = json.loads(body)
        repo_id = f"{asked['organization']}/{asked['name']}"
        url = f"{hub.endpoint}/{repo_id}"
        if ("model", repo_id) in hub.repos:
            return 409, json.dumps({"error": "You already created this model repo", "url": url}).encode()
        self.private[repo_id] = asked.get("visibility") == "private" or bool(asked.get("private"))
        folder = self.root / f"{repo_id}-0"
        folder.mkdir(parents=True)
        (folder / ".gitattributes").write_text("*.safetensors filter=lfs diff=lfs merge=lfs -text\n")
        self._publish(hub, repo_id, folder)
        return 200, json.dumps({"url": url}).encode()

    def _validate(self, hub: Repositories, *, body: bytes) -> Answer:  # noqa: ARG002 - as the other routes
        block = REGEX_YAML_BLOCK.search(json.loads(body)["content"])
        try:
            metadata = yaml.safe_load(block.group(2)) if block else None
        except yaml.YAMLError as error:
            return 400, json.dumps({"errors": [{"message": str(error)}], "warnings": []}).encode()
        errors = [] if isinstance(metadata, dict) else [{"message": "no metadata"}]
        return (400 if errors else 200), json.dumps({"errors": errors, "warnings": []}).encode()

    def _sort(self, hub: Repositories, repo_id: str, *, body: bytes) -> Answer:  # noqa: ARG002
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if _LARGE.fullmatch(file["path"]) else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(body)["files"]
        ]
        return 200, json.dumps({"files": files}).encode()

    def _offer(self, hub: Repositories, repo_id: str, *, body: bytes) -> Answer:  # noqa: ARG002
        objects: list[dict[str, Any]] = [
            {**item, "actions": {"upload": {"href": f"{hub.endpoint}/lfs/{item['oid']}"}}}
            for item in json.loads(body)["objects"]
        ]
        return 200, json.dumps({"transfer": "basic", "objects": objects}).encode()

    def _take_large(self, sha256: str, body: bytes) -> Answer:
        if hashlib.sha256(body).hexdigest() != sha256:
            return 400, b"these bytes have another SHA-256"
        self.large[sha256] = body
        return 200, b""

    def _commit(self, hub: Repositories, repo_id: str, *, body: bytes) -> Answer:
        lines = [json.loads(line) for line in body.splitlines()]
        head, before = hub.repos["model", repo_id]["main"]
        if lines[0]["value"].get("parentCommit", head) != head:
            return 412, b'{"error": "main has moved"}'
        folder = before.with_name(f"{before.name}-next")
        shutil.copytree(before, folder)
        for line in lines[1:]:
            value = line["value"]
            large = line["key"] == "lfsFile"
            path = folder / value["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.large[value["oid"]] if large else base64.b64decode(value["content"]))
        self.summaries.append(lines[0]["value"]["summary"])
        commit = self._publish(hub, repo_id, folder)
        url = f"{hub.endpoint}/{repo_id}/commit/{commit}"
        return 200, json.dumps({"commitUrl": url, "commitOid": commit, "success": True}).encode()

    def _publish(self, hub: Repositories, repo_id: str, folder: Path) -> str:
        commit = hashlib.sha1(f"{repo_id}{folder.name}".encode(), usedforsecurity=False).hexdigest()
        hub.repos.setdefault(("model", repo_id), {}).update({commit: (commit, folder), "main": (commit, folder)})
        return commit
