"""A finished run as a model to share: weights, tokenizer, and a card with its scores. Knows no torch.

The folder is written whole or not at all, and never replaces other files.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

import yaml

from glue_bench.data.hub import endpoint, offline_variable
from glue_bench.errors import DiskError, InputError, UsageError
from glue_bench.files import file_sha256, replace_folder_atomically
from glue_bench.model_card.card import eval_result_files, render_card
from glue_bench.models.pretrained import tokenizer_files
from glue_bench.reading import conform, is_file_name, read_json
from glue_bench.runs.finished import FinishedRun, check_weights
from glue_bench.text import first_line

MANIFEST = ".glue-bench-card.json"  # the run, and the SHA-256 of every file as it was written
_MANIFEST_VERSION = 1


def write_card(run: FinishedRun, out: Path, *, repo_id: str | None = None) -> Path:
    """Write README.md, safetensors, config, tokenizer and `.eval_results`: a folder that `pipeline` loads.

    An existing folder is replaced only if it is empty, or is this run's card as it was written. `repo_id` is ORG/NAME
    on the hub, which the card's snippet then loads. Returns the folder, without links in its path.

    A UsageError if `out` holds something else; an InputError if the weights are not the record's, their configuration
    names other labels, or a file is missing; a DiskError if the folder cannot be written.
    """
    model, record = check_weights(run), run.record
    out = Path(os.path.realpath(out))  # Path.resolve raises a RuntimeError for links that lead in a circle
    if (head := record.config.get("head", "default")) != "default":
        why = "transformers has no class for this head, so `pipeline` could not load the model"
        raise UsageError(f"{run.record.run_id}: head={head}: {why}; must be default. `glue-bench predict` loads it")
    _check_labels(run)
    _check_replaceable(run, out)
    card, results = render_card(record, run.task, place=repo_id or "."), eval_result_files(record, run.task)
    with replace_folder_atomically(out) as target:
        for path in (model / "config.json", model / "model.safetensors", *tokenizer_files(model)):
            shutil.copyfile(path, target / path.name)
        (target / "README.md").write_text(card, encoding="utf-8", newline="\n")
        for name, content in results.items():
            path = target / ".eval_results" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
        written = [path for path in target.rglob("*") if not path.is_dir()]
        files = {path.relative_to(target).as_posix(): file_sha256(path) for path in written}
        if files["model.safetensors"] != record.model_sha256:
            raise InputError(f"{model / 'model.safetensors'}: changed while it was copied")
        manifest = {"schema_version": _MANIFEST_VERSION, "run_id": record.run_id, "files": files}
        (target / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return out


def check_push(repo_id: str) -> None:
    """Find what would stop a push before anything is written.

    A UsageError if the name is malformed, nobody is logged in, or HF_HUB_OFFLINE is set.
    """
    from huggingface_hub import get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo_id if repo_id.count("/") == 1 else "")
    except HFValidationError as error:
        problem = f"--push {repo_id}: must be ORG/NAME, as in --push my-org/distilroberta-rte"
        raise UsageError(problem) from error
    if variable := offline_variable():
        raise UsageError(f"--push {repo_id}: {variable} is set; a push needs the hub")
    if get_token() is None:
        how = "Set HF_TOKEN to a token that may write (https://huggingface.co/settings/tokens), or run `hf auth login`"
        raise UsageError(f"--push {repo_id}: not logged in. {how}")


def push_card(folder: Path, repo_id: str) -> str:
    """Upload everything in one commit to a new, private repository, or to an empty one; return the commit's address.

    A UsageError if the repository already holds files; an InputError if the hub cannot be reached, or refuses.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        api.create_repo(repo_id, private=True, exist_ok=True)
        found = api.model_info(repo_id)
        for file in found.siblings or []:
            if file.rfilename != ".gitattributes":
                advice = f"choose a new name, or replace its files yourself: hf upload {repo_id} {folder}"
                raise UsageError(f"--push {repo_id}: the repository already holds {file.rfilename}; {advice}")
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            ignore_patterns=[MANIFEST],
            parent_commit=found.sha,  # refused if somebody else has pushed in the meantime
            commit_message="Fine-tuned model with its card, by glue-bench",
        )
    except UsageError:
        raise
    except Exception as error:  # the client's own, and those of whatever HTTP library it uses
        raise InputError(f"--push {repo_id}: {_explain(error)}") from error
    return str(commit.commit_url)


def _check_labels(run: FinishedRun) -> None:
    path = run.model_folder / "config.json"
    try:
        config = read_json(path)
        conform(_Labels, config, where="")
        labels = [name for _, name in sorted((int(code), name) for code, name in config["id2label"].items())]
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: has no readable labels ({first_line(error)})") from error
    if len(labels) != 1 if run.task.regression else labels != run.task.labels:
        wanted = ", ".join(run.task.labels) or "one score"
        raise InputError(f"{path}: its labels are {', '.join(map(str, labels))}, but the run's are {wanted}")


def _check_replaceable(run: FinishedRun, out: Path) -> None:
    """Refuse a folder that holds anything but this run's card, as it was written."""
    try:
        names = sorted(path.name for path in out.iterdir())
    except FileNotFoundError:
        return
    except NotADirectoryError as error:
        raise UsageError(f"--out {out}: is a file; must be a new or empty folder") from error
    except OSError as error:
        raise DiskError(f"--out {out}: cannot be read: {error.strerror}") from error
    if not names:
        return
    try:
        manifest = {} if (out / MANIFEST).is_symlink() else read_json(out / MANIFEST)
        conform(_Manifest, manifest, where="")
        run_id, written = manifest["run_id"], manifest["files"]
        if not all(is_file_name(part) for name in written for part in name.split("/")):
            raise ValueError("names files outside of its folder")
    except (OSError, ValueError) as error:  # no deeper search: it may be the whole disk
        problem = f"holds files that are not a card's ({', '.join(names[:3])}); must be a new or empty folder"
        raise UsageError(f"--out {out}: {problem}") from error
    if run_id != run.record.run_id:
        raise UsageError(f"--out {out}: holds the card of the run {run_id}; choose another folder")
    # Each after the folder that it is in, which shows whether it is a link.
    folders = sorted({parent for name in written for parent in Path(name).parents})
    for path in (path for folder in folders for path in (out / folder).glob("*")):  # its own folders, and no other
        name = path.relative_to(out).as_posix()
        ours = name == MANIFEST or Path(name) in folders or written.get(name)
        if path.is_symlink() or not ours or (name in written and written[name] != file_sha256(path)):
            did = "changed" if name in written else "added"
            raise UsageError(f"--out {out}: {name} was {did} since the card was written; choose another folder")


class _Manifest(TypedDict):
    run_id: str
    files: Mapping[str, str]


class _Labels(TypedDict):
    id2label: Mapping[str, str]


def _explain(error: BaseException) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 401:
        return f"{endpoint()} does not know this token (HF_TOKEN, or `hf auth login`)"
    if status == 403:
        reason = "it is read-only, or the organisation's rules forbid it"
        return f"{endpoint()} does not let this token write there ({reason})"
    return f"{endpoint()}: {' '.join((str(error).strip() or type(error).__name__).split())[:300]}"
