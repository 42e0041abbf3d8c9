"""Files from the Hugging Face hub at a revision, through its own client and its cache. Knows no data, no models.

The client obeys HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE.
"""

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

from glue_bench.errors import DISK_ERRNOS, DiskError, InputError

_COMMIT = re.compile(r"[0-9a-f]{40}")

_OFFLINE_HELP = (
    "without a network: data=local data.path=FOLDER, encoder=custom encoder.path=FOLDER, or the hub client's cache "
    "(HF_HOME) filled elsewhere\n"
    "everything offline, on generated sample data: glue-bench sweep preset=sample"
)


class UnreachableError(InputError):
    """The hub does not answer, or must not be asked."""


def is_commit(revision: str) -> bool:
    """Whether `revision` names one commit for ever, and needs no question to the hub."""
    return bool(_COMMIT.fullmatch(revision))


def is_cached(repo_id: str, filename: str, *, revision: str, repo_type: str) -> bool:
    """Whether `fetch_file` would find the file at this commit without asking anybody."""
    return is_commit(revision) and isinstance(_look_up(repo_id, filename, revision, repo_type), Path)


def cached_file(repo_id: str, filename: str, *, revision: str, repo_type: str) -> Path | None:
    """The file as the cache has it; for a branch or tag, as it was when it was last fetched."""
    found = _look_up(repo_id, filename, revision, repo_type)
    return found if isinstance(found, Path) else None


def is_known_absent(repo_id: str, filename: str, *, revision: str, repo_type: str) -> bool:
    """Whether the cache remembers that the repository has no such file."""
    return _look_up(repo_id, filename, revision, repo_type) is False


def hub_cache_folder() -> Path:
    """Where the hub's client keeps what it downloads."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids to ask the hub."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def ask_size(repo_id: str, filename: str, *, revision: str, repo_type: str, timeout: float) -> int:
    """Bytes of a file on the hub, learnt by one question; nothing is downloaded. 0 where the hub does not say.

    Args:
        timeout: seconds for each of connecting and answering.

    Raises:
        UnreachableError: nobody answers, or HF_HUB_OFFLINE is set.
        InputError: there is no such repository, revision or file, or it is not open to us.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    with _told_in_lines(f"{repo_type} {repo_id}", filename, revision):
        url = hf_hub_url(repo_id, filename, repo_type=repo_type, revision=revision)
        return get_hf_file_metadata(url, timeout=timeout).size or 0


def fetch_file(repo_id: str, filename: str, *, revision: str, repo_type: str, optional: bool = False) -> Path | None:
    """Download one file, or take it from the cache; None for an optional file that the repository lacks.

    Args:
        revision: a commit is looked up in the cache first; a branch or tag asks the hub and falls back on the cache.

    Raises:
        InputError: one to three lines on what could not be had and what to do.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, OfflineModeIsEnabled

    with _told_in_lines(f"{repo_type} {repo_id}", filename, revision):
        try:
            cached = _look_up(repo_id, filename, revision, repo_type)
            if is_commit(revision) and isinstance(cached, Path):
                return cached
            if cached is False and optional:
                return None  # the cache remembers that this commit has no such file
            if not isinstance(cached, Path):
                # One question that fails at once: a download without a network retries for 23 seconds and longer.
                get_hf_file_metadata(hf_hub_url(repo_id, filename, repo_type=repo_type, revision=revision))
            return Path(hf_hub_download(repo_id, filename, repo_type=repo_type, revision=revision))
        except EntryNotFoundError:
            if not optional:
                raise
            # The question alone leaves no trace; a download makes the cache remember that there is no such file.
            with contextlib.suppress(EntryNotFoundError):
                hf_hub_download(repo_id, filename, repo_type=repo_type, revision=revision)
            return None
        except OfflineModeIsEnabled:
            if not optional:
                raise
            return None


def commit_of(snapshot_file: Path, filename: str) -> str:
    """The commit that a file from `fetch_file` belongs to: the cache keeps files under snapshots/COMMIT/FILENAME."""
    folder = snapshot_file
    for _ in Path(filename).parts:
        folder = folder.parent
    return folder.name


def endpoint() -> str:
    """The hub as messages name it."""
    return os.environ.get("HF_ENDPOINT") or "the Hugging Face hub"


def _look_up(repo_id: str, filename: str, revision: str, repo_type: str) -> Path | bool | None:
    """What the cache says: the file, False for one that is known not to be there, None where it knows nothing."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo_id, filename, repo_type=repo_type, revision=revision)
    return Path(found) if isinstance(found, str) else None if found is None else False


@contextlib.contextmanager
def _told_in_lines(where: str, filename: str, revision: str) -> Iterator[None]:
    """Whatever the client raises, as an InputError of one to three lines."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except RevisionNotFoundError as error:
        raise InputError(f"{where}: no revision {revision} on {endpoint()}") from error
    except (GatedRepoError, RepositoryNotFoundError) as error:
        problem = f"{where}: not on {endpoint()}, or not open to everybody (then set HF_TOKEN)"
        raise InputError(problem) from error
    except LocalEntryNotFoundError as error:
        raise _unreachable(where, filename, revision, "offline") from error
    except EntryNotFoundError as error:
        raise InputError(f"{where}: no file {filename} at revision {revision}") from error
    except OfflineModeIsEnabled as error:
        raise _unreachable(where, filename, revision, "HF_HUB_OFFLINE is set") from error
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, *DISK_ERRNOS):
            raise DiskError(
                f"{error.filename or 'HF_HOME'}: the hub's cache cannot be written: {error.strerror}"
            ) from error
        raise _unreachable(where, filename, revision, str(error)) from error
    except Exception as error:  # whatever HTTP library the client uses
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise _unreachable(where, filename, revision, reason) from error


def _unreachable(where: str, filename: str, revision: str, reason: str) -> UnreachableError:
    problem = f"{where}: cannot get {filename} at revision {revision} from {endpoint()} ({reason})"
    return UnreachableError(f"{problem}\n{_OFFLINE_HELP}")
