"""Files from the Hugging Face hub at a revision, through its own client and its cache. Knows no data, no models.

The client obeys HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE.
"""

import contextlib
import errno
import os
import re
from pathlib import Path

from glue_bench.errors import DISK_ERRNOS, DiskError, InputError

_COMMIT = re.compile(r"[0-9a-f]{40}")

_OFFLINE_HELP = (
    "without a network: data=local data.path=FOLDER, encoder=custom encoder.path=FOLDER, or the hub client's cache "
    "(HF_HOME) filled elsewhere\n"
    "everything offline, on generated sample data: glue-bench sweep preset=sample"
)


def is_commit(revision: str) -> bool:
    """Whether `revision` names one commit for ever, and needs no question to the hub."""
    return bool(_COMMIT.fullmatch(revision))


def is_cached(repo_id: str, filename: str, *, revision: str, repo_type: str) -> bool:
    """Whether `fetch_file` would find the file at this commit without asking anybody."""
    from huggingface_hub import try_to_load_from_cache

    return is_commit(revision) and isinstance(
        try_to_load_from_cache(repo_id, filename, repo_type=repo_type, revision=revision), str
    )


def fetch_file(repo_id: str, filename: str, *, revision: str, repo_type: str, optional: bool = False) -> Path | None:
    """Download one file, or take it from the cache; None for an optional file that the repository lacks.

    Args:
        revision: a commit is looked up in the cache first; a branch or tag asks the hub and falls back on the cache.

    Raises:
        InputError: one to three lines on what could not be had and what to do.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    where = f"{repo_type} {repo_id}"
    try:
        cached = try_to_load_from_cache(repo_id, filename, repo_type=repo_type, revision=revision)
        if is_commit(revision) and isinstance(cached, str):
            return Path(cached)
        if cached is not None and not isinstance(cached, str) and optional:
            return None  # the cache remembers that this commit has no such file
        if not isinstance(cached, str):
            # One question that fails at once: a download without a network retries for 23 seconds and longer.
            get_hf_file_metadata(hf_hub_url(repo_id, filename, repo_type=repo_type, revision=revision))
        return Path(hf_hub_download(repo_id, filename, repo_type=repo_type, revision=revision))
    except RevisionNotFoundError as error:
        raise InputError(f"{where}: no revision {revision} on {_endpoint()}") from error
    except (GatedRepoError, RepositoryNotFoundError) as error:
        problem = f"{where}: not on {_endpoint()}, or not open to everybody (then set HF_TOKEN)"
        raise InputError(problem) from error
    except EntryNotFoundError as error:
        if optional:
            # The question alone leaves no trace; a download makes the cache remember that there is no such file.
            with contextlib.suppress(EntryNotFoundError):
                hf_hub_download(repo_id, filename, repo_type=repo_type, revision=revision)
            return None
        if isinstance(error, LocalEntryNotFoundError):
            raise InputError(_unreachable(where, filename, revision, "offline")) from error
        raise InputError(f"{where}: no file {filename} at revision {revision}") from error
    except OfflineModeIsEnabled as error:
        if optional:
            return None
        raise InputError(_unreachable(where, filename, revision, "HF_HUB_OFFLINE is set")) from error
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, *DISK_ERRNOS):
            raise DiskError(
                f"{error.filename or 'HF_HOME'}: the hub's cache cannot be written: {error.strerror}"
            ) from error
        raise InputError(_unreachable(where, filename, revision, str(error))) from error
    except Exception as error:  # whatever HTTP library the client uses
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(_unreachable(where, filename, revision, reason)) from error


def commit_of(snapshot_file: Path, filename: str) -> str:
    """The commit that a file from `fetch_file` belongs to: the cache keeps files under snapshots/COMMIT/FILENAME."""
    folder = snapshot_file
    for _ in Path(filename).parts:
        folder = folder.parent
    return folder.name


def _unreachable(where: str, filename: str, revision: str, reason: str) -> str:
    return f"{where}: cannot get {filename} at revision {revision} from {_endpoint()} ({reason})\n{_OFFLINE_HELP}"


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT") or "the Hugging Face hub"
