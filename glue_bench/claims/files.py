"""Which files of a model are within reach: config, tokenizer, weights, each alone. Knows no claims, no torch."""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open

from glue_bench.config.schema import EncoderConfig
from glue_bench.data.hub import commit_of, fetch_file
from glue_bench.errors import InputError
from glue_bench.files import file_sha256
from glue_bench.models.pretrained import fetch_tokenizer, has_tokenizer

CONFIG, TOKENIZER, WEIGHTS = "config.json", "tokenizer", "model.safetensors"
_LAYER = re.compile(r"(?:^|\.)layer\.(\d+)\.")
_NOT_IN_MASKED_LM = ("pooler.", "position_ids", "lm_head.decoder.")  # the last is the embeddings, or a bias, again


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """What of one model can be read."""

    place: str  # in words
    folder: Path | None  # where the files lie that are not missing
    missing: Mapping[str, str] = field(default_factory=dict)  # CONFIG, TOKENIZER, WEIGHTS: why, in a few words
    remarks: Sequence[str] = ()  # why, in full
    weights_sha256: str | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing of the model is there."""
        return {CONFIG, TOKENIZER, WEIGHTS} <= set(self.missing)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFacts:
    """What the header of a safetensors file tells."""

    layers: int | None  # None where the names are not those of the BERT and RoBERTa families
    width: int | None
    masked_lm: int | None  # numbers of the masked language model, tied ones once; None where it has no head
    everything: int  # numbers of all tensors


def find_files(encoder: EncoderConfig, *, weights: bool) -> ModelFiles:
    """Look into a local folder, or download what the hub has.

    Args:
        weights: download them too; a local folder's are used anyway.

    Raises:
        InputError: a local folder that does not exist.
        DiskError: the hub's cache cannot be written.
    """
    if encoder.hub_id is None:
        return _look_into(Path(encoder.path or ""))
    place, revision = f"{encoder.hub_id} at {encoder.revision}", encoder.revision or "main"
    missing, remarks = dict[str, str](), list[str]()

    def lack(error: InputError, *names: str) -> None:
        missing.update({name: f"{name} is out of reach" for name in names})
        remarks.append(str(error).splitlines()[0])

    try:
        config = fetch_file(encoder.hub_id, CONFIG, revision=revision, repo_type="model")
    except InputError as error:
        lack(error, CONFIG, TOKENIZER, WEIGHTS)
        return ModelFiles(place=place, folder=None, missing=missing, remarks=remarks)
    assert config is not None  # noqa: S101 - only optional files can be None
    folder, commit = config.parent, commit_of(config, CONFIG)
    try:
        fetch_tokenizer(encoder.hub_id, commit)
        if not has_tokenizer(folder):
            missing[TOKENIZER] = "the model has no tokenizer within reach"
    except InputError as error:
        lack(error, TOKENIZER)
    try:
        if weights:
            fetch_file(encoder.hub_id, WEIGHTS, revision=commit, repo_type="model")
        elif not (folder / WEIGHTS).is_file():
            missing[WEIGHTS] = f"{WEIGHTS} is not needed, and not downloaded"
    except InputError as error:
        lack(error, WEIGHTS)
    place = f"{encoder.hub_id} at {commit}"
    return _with_hash(ModelFiles(place=place, folder=folder, missing=missing, remarks=remarks))


def read_weights(path: Path) -> WeightsFacts:
    """Names and shapes of the tensors; none of them is loaded.

    Raises:
        InputError: not a whole safetensors file.
    """
    try:
        with safe_open(path, framework="numpy") as tensors:
            shapes = {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({error})") from error
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    layers = {int(found[1]) for name in shapes if (found := _LAYER.search(name))}
    words = [shape for name, shape in shapes.items() if name.endswith("embeddings.word_embeddings.weight")]
    masked_lm = sum(size for name, size in sizes.items() if not any(part in name for part in _NOT_IN_MASKED_LM))
    return WeightsFacts(
        layers=len(layers) or None,
        width=words[0][-1] if words else None,
        masked_lm=masked_lm if any(name.startswith("lm_head.") for name in sizes) else None,
        everything=sum(sizes.values()),
    )


def _look_into(folder: Path) -> ModelFiles:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    missing = {name: f"the folder has no {name}" for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()}
    if not has_tokenizer(folder):
        missing[TOKENIZER] = "the folder has no tokenizer.json, nor a vocabulary file"
    return _with_hash(ModelFiles(place=str(folder), folder=folder, missing=missing))


def _with_hash(files: ModelFiles) -> ModelFiles:
    if files.folder is None or WEIGHTS in files.missing:
        return files
    return dataclasses.replace(files, weights_sha256=file_sha256(files.folder / WEIGHTS))
