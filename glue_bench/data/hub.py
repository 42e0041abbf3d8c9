"""Fetch files of the Hugging Face hub through its client, which obeys HF_ENDPOINT, HF_HOME, HF_TOKEN and so on."""

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from glue_bench.errors import DISK_ERRNOS, DiskError, InputError
from glue_bench.text import first_line

_COMMIT = re.compile(r"[0-9a-f]{40}")
# Headers of which the client makes paths in its cache, unchecked. W/ marks a weak ETag.
_NAMES = {"X-Repo-Commit": _COMMIT, "X-Linked-Etag": re.compile(r'(W/)?"?\w[\w+=:.-]{0,199}"?', re.ASCII)}
_NAMES |= {"ETag": _NAMES["X-Linked-Etag"], "X-Xet-Hash": re.compile(r"[0-9a-f]{64}")}

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


def is_cached(repo_id: str, filename: str, *, revision: str, repo_type: str) -> bool:
    """Return whether `fetch_file` would find the file at this commit without a request."""
    return is_commit(revision) and bool(cached_file(repo_id, filename, revision=revision, repo_type=repo_type))


def cached_file(repo_id: str, filename: str, *, revision: str, repo_type: str) -> Path | None:
    """Return the file in the cache, or None; for a branch or tag, the version that was fetched last."""
    found = _look_up(repo_id, filename, revision=revision, repo_type=repo_type)
    return found if isinstance(found, Path) else None


def is_known_absent(repo_id: str, filename: str, *, revision: str, repo_type: str) -> bool:
    """Return whether the cache remembers that the repository has no such file."""
    return _look_up(repo_id, filename, revision=revision, repo_type=repo_type) is False


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
    """Ask the hub for the size of a file in bytes, without downloading it; 0 if the hub does not say.

    `timeout` is in seconds, for a connection and for a response.

    Raises:
        UnreachableError: the hub does not respond, or HF_HUB_OFFLINE is set.
        InputError: there is no such repository, revision or file, or we have no access.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    with _readable_errors(f"{repo_type} {repo_id}", filename, revision=revision):
        url = hf_hub_url(repo_id, filename, repo_type=repo_type, revision=revision)
        return get_hf_file_metadata(url, timeout=timeout).size or 0


def fetch_file(repo_id: str, filename: str, *, revision: str, repo_type: str, optional: bool = False) -> Path | None:
    """Download one file, or take it from the cache; None for an optional file that the repository lacks.

    A commit is looked up in the cache first; for a branch or tag the hub is asked first. An InputError says why the
    file cannot be fetched.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, OfflineModeIsEnabled

    with _readable_errors(f"{repo_type} {repo_id}", filename, revision=revision):
        try:
            cached = _look_up(repo_id, filename, revision=revision, repo_type=repo_type)
            if is_commit(revision) and isinstance(cached, Path):
                return cached
            if cached is False and optional:
                return None  # this commit is known to have no such file
            if not isinstance(cached, Path):
                # Without a network this request fails at once; a download would retry for 23 seconds or more.
                get_hf_file_metadata(hf_hub_url(repo_id, filename, repo_type=repo_type, revision=revision))
            return Path(hf_hub_download(repo_id, filename, repo_type=repo_type, revision=revision))
        except EntryNotFoundError:
            if not optional:
                raise
            # Only a download makes the cache remember that there is no such file.
            with contextlib.suppress(EntryNotFoundError):
                hf_hub_download(repo_id, filename, repo_type=repo_type, revision=revision)
            return None
        except OfflineModeIsEnabled:
            if not optional:
                raise
            return None


def commit_of(snapshot_file: Path, filename: str) -> str:
    """Return the commit of a file from `fetch_file`: the cache keeps files under snapshots/COMMIT/FILENAME."""
    return snapshot_file.parents[len(Path(filename).parts) - 1].name


def endpoint() -> str:
    """Return the name of the hub for messages."""
    return os.environ.get("HF_ENDPOINT") or "the Hugging Face hub"


def _look_up(repo_id: str, filename: str, *, revision: str, repo_type: str) -> Path | bool | None:
    """Return the file in the cache, False if it is known not to exist, None if nothing is known."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo_id, filename, repo_type=repo_type, revision=revision)
    return Path(found) if isinstance(found, str) else None if found is None else False


@contextlib.contextmanager
def _readable_errors(where: str, filename: str, *, revision: str) -> Iterator[None]:
    """Check every answer's headers, and turn whatever the client raises into an InputError of one to three lines."""
    from huggingface_hub import errors, get_session

    def unreachable(reason: str) -> UnreachableError:
        problem = f"{where}: cannot get {filename} at revision {revision} from {endpoint()} ({reason})"
        set_here = offline_variable()
        why = f"{set_here}={os.environ[set_here]} forbids requests" if set_here else "without a network"
        return UnreachableError(f"{problem}\n{why}: {_OFFLINE_HELP}")

    if _check_names not in (checks := get_session().event_hooks["response"]):
        checks.append(_check_names)
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    except errors.RevisionNotFoundError as error:
        raise InputError(f"{where}: no revision {revision} on {endpoint()}") from error
    except (errors.GatedRepoError, errors.RepositoryNotFoundError) as error:
        raise InputError(f"{where}: not on {endpoint()}, or not public (then set HF_TOKEN)") from error
    except errors.LocalEntryNotFoundError as error:
        raise unreachable("offline") from error
    except errors.EntryNotFoundError as error:
        raise AbsentError(f"{where}: no file {filename} at revision {revision}") from error
    except errors.OfflineModeIsEnabled as error:
        raise unreachable(f"{offline_variable()} is set") from error
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, *DISK_ERRNOS):
            problem = f"{error.filename or 'HF_HOME'}: cannot write to the hub's cache: {error.strerror}"
            raise DiskError(problem) from error
        raise unreachable(first_line(error)) from error
    except Exception as error:  # from the client's HTTP library, whichever it uses
        raise unreachable(first_line(error)) from error


def _check_names(answer: Any) -> None:
    """Refuse an answer of the hub that would make the client write elsewhere than in its cache."""
    for header, pattern in _NAMES.items():
        value = answer.headers.get(header)
        used = header != "ETag" or (answer.request.method == "HEAD" and "X-Linked-Etag" not in answer.headers)
        if value is not None and used and not pattern.fullmatch(value):
            raise InputError(f"{endpoint()} answers with {header} {value!r:.60}, which cannot name a file")
