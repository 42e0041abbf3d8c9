"""Fetch files of the Hugging Face hub through its client, which obeys HF_ENDPOINT, HF_HOME, HF_TOKEN and so on."""

import contextlib
import errno
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from glue_bench.errors import DISK_ERRNOS, DiskError, GlueBenchError, InputError
from glue_bench.files import file_sha256
from glue_bench.reading import open_regular, read_json
from glue_bench.text import first_line

_COMMIT = re.compile(r"[0-9a-f]{40}")
# Headers of which the client makes paths in its cache, unchecked. W/ marks a weak ETag.
_NAMES = {"X-Repo-Commit": _COMMIT, "X-Linked-Etag": re.compile(r'(W/)?"?\w[\w+=:.-]{0,199}"?', re.ASCII)}
_NAMES |= {"ETag": _NAMES["X-Linked-Etag"], "X-Xet-Hash": re.compile(r"[0-9a-f]{64}")}
_PINNED = re.compile(rf"/resolve/({_COMMIT.pattern})/")

_DISK = (errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, *DISK_ERRNOS)
_OFFLINE_HELP = """\
data=local data.path=FOLDER, encoder=./FOLDER, or a hub cache (HF_HOME) that was filled on another machine
everything offline, on the packaged sample data: glue-bench sweep preset=sample"""


class AbsentError(InputError):
    """The repository has no such file."""


class UnreachableError(InputError):
    """The hub does not respond, or HF_HUB_OFFLINE forbids requests."""


def is_commit(revision: str) -> bool:
    """Return whether `revision` is a full commit hash, which needs no request to be resolved."""
    return bool(_COMMIT.fullmatch(revision))


def cached_file(repo_id: str, filename: str, *, revision: str, repo_type: str) -> Path | None:
    """Return the file in the cache, or None; for a branch or tag, the version that was fetched last."""
    found = look_up(repo_id, filename, revision=revision, repo_type=repo_type)
    return found if isinstance(found, Path) else None


def hub_cache_folder() -> Path:
    """Return the folder of the hub client's cache."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def offline_variable() -> str:
    """Return the environment variable that forbids requests; empty if they are allowed."""
    from huggingface_hub import constants

    names = [name for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") if os.environ.get(name)]
    return (names or ["HF_HUB_OFFLINE"])[0] if constants.HF_HUB_OFFLINE else ""


def ask_size(repo_id: str, filename: str, *, revision: str, repo_type: str, timeout: float) -> int:
    """Return a file's bytes on the hub, 0 if it does not say; errors as in `fetch_file`, after `timeout` seconds."""
    with _readable_errors(f"{repo_type} {repo_id}", filename, revision=revision):
        return _ask(repo_id, filename, revision=revision, repo_type=repo_type, timeout=timeout)


def fetch_file(repo_id: str, filename: str, *, revision: str, repo_type: str, optional: bool = False) -> Path | None:
    """Download a file, or take it from the cache; None for an optional one that is absent.

    An InputError says why it cannot be fetched; for an optional file too, if no request is possible and the cache does
    not know whether it exists.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    may_lack = ", which changes the results if the repository has it" if optional else ""
    with _readable_errors(f"{repo_type} {repo_id}", filename, revision=revision, note=may_lack):
        try:
            cached = look_up(repo_id, filename, revision=revision, repo_type=repo_type)
            if is_commit(revision) and isinstance(cached, Path):  # for a branch or tag the hub is asked first
                return _check_content(cached)
            if cached is False and optional:
                return None  # this commit is known to have no such file
            if not isinstance(cached, Path):
                # Without a network this request fails at once; a download would retry for 23 seconds or more.
                _ask(repo_id, filename, revision=revision, repo_type=repo_type)
            return _check_content(Path(hf_hub_download(repo_id, filename, repo_type=repo_type, revision=revision)))
        except EntryNotFoundError:
            if not optional:
                raise
            # Only a download makes the cache remember that there is no such file.
            with contextlib.suppress(EntryNotFoundError):
                hf_hub_download(repo_id, filename, repo_type=repo_type, revision=revision)
            return None


def commit_of(snapshot_file: Path, filename: str) -> str:
    """Return the commit of a file from `fetch_file`: the cache keeps files under snapshots/COMMIT/FILENAME."""
    return snapshot_file.parents[len(Path(filename).parts) - 1].name


def endpoint() -> str:
    """Return the name of the hub for messages."""
    return os.environ.get("HF_ENDPOINT") or "the Hugging Face hub"


def look_up(repo_id: str, filename: str, *, revision: str, repo_type: str) -> Path | bool | None:
    """Return the file in the cache, else whether the repository has it; None if the cache does not know."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo_id, filename, repo_type=repo_type, revision=revision)
    if found is not None:
        return Path(found) if isinstance(found, str) else False
    folder = hub_cache_folder() / f"{repo_type}s--{repo_id.replace('/', '--')}"
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):  # hf download lists the whole commit there
        return filename in read_json(folder / "trees" / f"{revision}.json")["files"]
    return None


def _ask(repo_id: str, filename: str, *, revision: str, repo_type: str, timeout: float | None = None) -> int:
    """Return the size of a file on the hub in bytes, 0 if the hub does not say; the client's errors."""
    from huggingface_hub import constants, errors, get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(repo_id, filename, repo_type=repo_type, revision=revision)
    found = get_hf_file_metadata(url, timeout=timeout or constants.HF_HUB_ETAG_TIMEOUT)
    if lacking := [name for name, value in (("X-Repo-Commit", found.commit_hash), ("ETag", found.etag)) if not value]:
        raise errors.FileMetadataError(f"an answer without {lacking[0]}")
    return found.size or 0


def _check_content(path: Path) -> Path:
    """Return a cached file; an InputError if its name is a hash, the hub's ETag, that its content does not have."""
    name = path.readlink().name if path.is_symlink() else ""
    found = {name}
    if re.fullmatch(r"[0-9a-f]{64}", name):
        found = {file_sha256(path)}
    elif _COMMIT.fullmatch(name):  # git's hash of a small file; some mirrors give the plain SHA-1
        with open_regular(path) as stream:
            content = stream.read()
        starts = (b"blob %d\0" % len(content), b"")
        found = {hashlib.sha1(start + content, usedforsecurity=False).hexdigest() for start in starts}
    if name not in found:
        problem = f"{path.name} is damaged: its content does not match its hash on the hub, {name}"
        raise InputError(f"{problem}; delete {path.resolve()} and repeat the command, which downloads it again")
    return path


@contextlib.contextmanager
def _readable_errors(where: str, filename: str, *, revision: str, note: str = "") -> Iterator[None]:
    """Check every answer's headers, and turn whatever the client raises into an error of one to three lines."""
    from huggingface_hub import get_session

    if _check_names not in (checks := get_session().event_hooks["response"]):
        checks.append(_check_names)
    try:
        yield
    except Exception as error:  # also from the client's HTTP library, whichever it uses
        raise _explain(error, where, filename=filename, revision=revision, note=note) from error


def _explain(error: Exception, where: str, *, filename: str, revision: str, note: str) -> GlueBenchError:
    """Return an error that says why a file cannot be fetched, and what to do about it."""
    from huggingface_hub import errors, get_token

    if isinstance(error, InputError):
        return InputError(f"{where}: {error}")
    if isinstance(error, errors.RevisionNotFoundError):
        return InputError(f"{where}: no revision {revision} on {endpoint()}")
    if isinstance(error, errors.GatedRepoError | errors.RepositoryNotFoundError):
        return InputError(f"{where}: not on {endpoint()}, or not public (then set HF_TOKEN)")
    if isinstance(error, errors.LocalEntryNotFoundError):
        error = error.__cause__ if isinstance(error.__cause__, Exception) else error
    elif isinstance(error, errors.EntryNotFoundError):
        return AbsentError(f"{where}: no file {filename} at revision {revision}")
    elif isinstance(error, OSError) and error.errno in _DISK:
        return DiskError(f"{error.filename or 'HF_HOME'}: cannot write to the hub's cache: {error.strerror}")
    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else 0
    kind: type[InputError] = UnreachableError
    reason, set_here = first_line(error), offline_variable()
    advice = "" if status else f"without a network: {_OFFLINE_HELP}"
    if isinstance(error, errors.OfflineModeIsEnabled):
        repo_type, _, repo_id = where.partition(" ")
        fill = f"hf download {repo_id} --repo-type {repo_type} --revision {revision}"
        reason, once = f"{set_here} is set", f"repeat the command once without it, fill the cache by `{fill}`, or use"
        advice = f"{set_here}={os.environ[set_here]} forbids requests: {once} {_OFFLINE_HELP}"
    elif not (get_token() or "").isascii():  # which no header can hold
        reason, kind = "the token has characters that no token can have", InputError
        advice = "set HF_TOKEN to the token as the hub shows it, or unset it; without it, hf auth login's is used"
    elif status in (401, 403):
        kind, advice = InputError, "set HF_TOKEN to a token that may read it, and ask for access on its page"
    elif status in (408, 429) or status >= 500:
        advice = "wait, and repeat the command"
    elif status == 404 or isinstance(error, errors.FileMetadataError):
        advice = "what answers is not a hub: check HF_ENDPOINT, and whether a proxy or the network's login page answers"
    problem = f"cannot get {filename} at revision {revision} from {endpoint()}{note} ({reason})"
    return kind(f"{where}: {problem}\n{advice}".strip())


def _check_names(answer: Any) -> None:
    """Refuse an answer that would make the client write outside its cache, or is of another commit."""
    for header, pattern in _NAMES.items():
        value = answer.headers.get(header)
        used = header != "ETag" or (answer.request.method == "HEAD" and "X-Linked-Etag" not in answer.headers)
        if value is not None and used and not pattern.fullmatch(value):
            raise InputError(f"{endpoint()} answers with {header} {value!r:.60}, which cannot name a file")
    commit, pinned = answer.headers.get("X-Repo-Commit"), _PINNED.search(answer.request.url.path)
    if commit and pinned and commit != pinned[1]:
        raise InputError(f"{endpoint()} answers with commit {commit} for {pinned[1]}")
