"""A card's folder to a repository on the hub, only ever when asked. Overwrites nothing that is there."""

import os
import re
from pathlib import Path

from glue_bench.errors import InputError, UsageError
from glue_bench.model_card.folder import MANIFEST

# What the hub takes for a name, as its client checks it.
_REPO = re.compile(r"\w([\w.-]*\w)?/\w([\w.-]*\w)?", re.ASCII)
_LONGEST = 96


def check_push(repo_id: str) -> None:
    """Find what would stop a push before anything is written.

    Raises:
        UsageError: the name is none, nobody is logged in, or the hub's client was told to stay offline.
    """
    from huggingface_hub import constants, get_token

    if not _REPO.fullmatch(repo_id) or len(repo_id) > _LONGEST or any(part in repo_id for part in ("--", "..")):
        raise UsageError(f"--push {repo_id}: allowed is ORG/NAME, as in --push my-org/distilroberta-rte")
    if constants.HF_HUB_OFFLINE:
        raise UsageError(f"--push {repo_id}: HF_HUB_OFFLINE is set; a push needs the hub")
    if get_token() is None:
        raise UsageError(
            f"--push {repo_id}: not logged in. Set HF_TOKEN to a token that may write "
            "(https://huggingface.co/settings/tokens), or run `hf auth login`"
        )


def push_card(folder: Path, repo_id: str) -> str:
    """Upload everything in one commit to a repository that is new, and then private, or still empty.

    Returns:
        The commit's address.

    Raises:
        UsageError: the repository holds files already.
        InputError: the hub cannot be reached, or refuses.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        api.create_repo(repo_id, private=True, exist_ok=True)
        found = api.model_info(repo_id)
        there = [file.rfilename for file in found.siblings or [] if file.rfilename != ".gitattributes"]
        if there:
            raise UsageError(
                f"--push {repo_id}: the repository holds {there[0]} already; choose a new name, or replace what it "
                f"holds yourself: hf upload {repo_id} {folder}"
            )
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            ignore_patterns=[MANIFEST],
            parent_commit=found.sha,  # so that nothing that came meanwhile is overwritten
            commit_message="Fine-tuned model with its card, by glue-bench",
        )
    except UsageError:
        raise
    except Exception as error:  # the client's own, and those of whatever HTTP library it uses
        raise InputError(f"--push {repo_id}: {_explain(error)}") from error
    return str(commit.commit_url)


def _explain(error: BaseException) -> str:
    """One line, with what to do where that is known."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    endpoint = os.environ.get("HF_ENDPOINT") or "the Hugging Face hub"
    if status == 401:
        return f"{endpoint} does not know this token (HF_TOKEN, or `hf auth login`)"
    if status == 403:
        return f"{endpoint} does not let this token write there (its rights are read-only, or the organisation's)"
    lines = (str(error).strip() or type(error).__name__).splitlines()
    return f"{endpoint}: {' '.join(line.strip() for line in lines if line.strip())[:300]}"
