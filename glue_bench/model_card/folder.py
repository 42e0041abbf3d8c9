"""The folder that `card` writes, whole or not at all; nothing that somebody else put there is ever replaced."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCard

from glue_bench.errors import InputError, UsageError
from glue_bench.files import file_sha256, replace_folder_atomically
from glue_bench.model_card.metadata import card_metadata, eval_result_files
from glue_bench.model_card.text import card_text
from glue_bench.models.pretrained import TOKENIZER_FILES
from glue_bench.runs.finished import FinishedRun, check_weights

MANIFEST = ".glue-bench-card.json"  # the run, and the SHA-256 of every file as it was written
_MANIFEST_VERSION = 1


def write_card(run: FinishedRun, out: Path, *, repo_id: str | None = None) -> Path:
    """README.md, safetensors, config, tokenizer and `.eval_results`: what `pipeline` loads, and what it scores.

    A folder that is there already is only replaced if it is empty, or is this run's card as it was written.

    Args:
        repo_id: ORG/NAME on the hub, which the card's snippet then loads.

    Returns:
        The folder, without links in its path.

    Raises:
        UsageError: `out` holds something else.
        InputError: the weights are not the record's, or their configuration names other labels.
        DiskError: it cannot be written.
    """
    model, out = check_weights(run), out.resolve()
    _check_labels(run)
    _check_replaceable(run, out)
    card = render_card(run, place=repo_id or ".")
    results = eval_result_files(run.record, run.task)
    with replace_folder_atomically(out) as target:
        for name in ("config.json", "model.safetensors", *TOKENIZER_FILES):
            if (model / name).is_file():
                shutil.copyfile(model / name, target / name)
        (target / "README.md").write_text(card, encoding="utf-8", newline="\n")
        for name, content in results.items():
            path = target / ".eval_results" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
        files = {path.relative_to(target).as_posix(): file_sha256(path) for path in _files(target)}
        if files["model.safetensors"] != run.record.model_sha256:
            raise InputError(f"{model / 'model.safetensors'}: changed while it was copied")
        manifest = {"schema_version": _MANIFEST_VERSION, "run_id": run.record.run_id, "files": files}
        (target / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return out


def render_card(run: FinishedRun, *, place: str) -> str:
    """README.md: metadata between lines of dashes, then the text.

    Args:
        place: what the snippet loads.
    """
    block = card_metadata(run.record, run.task).to_yaml(line_break="\n")
    text = f"---\n{block}\n---\n\n{card_text(run.record, run.task, place=place)}"
    ModelCard(text)  # parses the block again, as the hub will
    return text


def _check_labels(run: FinishedRun) -> None:
    """Refuse weights whose configuration would call the outputs something else than the record does."""
    path = run.model_folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        named = [name for _, name in sorted((int(code), name) for code, name in config["id2label"].items())]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: names no labels that can be read ({type(error).__name__}: {error})") from error
    fits = len(named) == 1 if run.task.regression else named == run.task.labels
    if not fits:
        wanted = ", ".join(run.task.labels) or "one score"
        raise InputError(f"{path}: its labels are {', '.join(map(str, named))}, but the run's are {wanted}")


def _check_replaceable(run: FinishedRun, out: Path) -> None:
    """Refuse a folder that holds anything but this run's card, as it was written.

    Raises:
        UsageError: naming what would have been lost.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out}: is a file; allowed is a new or empty folder")
    there = _files(out) if out.is_dir() else []
    if not there:
        return
    manifest = _read_manifest(out / MANIFEST)
    if manifest is None:
        some = ", ".join(sorted(path.relative_to(out).as_posix() for path in there)[:3])
        raise UsageError(f"--out {out}: holds files that are no card's ({some}); allowed is a new or empty folder")
    if manifest["run_id"] != run.record.run_id:
        raise UsageError(f"--out {out}: holds the card of the run {manifest['run_id']}; choose another folder")
    written: Mapping[str, object] = {**manifest["files"], MANIFEST: None}
    for path in there:
        name = path.relative_to(out).as_posix()
        changed = name != MANIFEST and (path.is_symlink() or written.get(name) != file_sha256(path))
        if changed:
            did = "changed" if name in written else "added"
            raise UsageError(f"--out {out}: {name} was {did} since the card was written; choose another folder")


def _read_manifest(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    known = isinstance(content, dict) and isinstance(content.get("files"), dict) and "run_id" in content
    return content if known else None


def _files(folder: Path) -> list[Path]:
    """Every file and link below a folder."""
    return [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
