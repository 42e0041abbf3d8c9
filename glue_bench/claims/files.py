"""Find a model's config, tokenizer and weights, each alone, and read what the weights' header says. Loads no torch."""

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
from glue_bench.text import first_line

CONFIG, TOKENIZER, WEIGHTS = "config.json", "tokenizer", "model.safetensors"
_LAYER = re.compile(r"(?:^|\.)layer\.(\d+)\.")
_NOT_IN_MASKED_LM = ("pooler.", "position_ids", "lm_head.decoder.")  # the last is the embeddings, or a bias, again


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """The files of one model that can be read."""

    place: str  # in words
    folder: Path | None  # of the files that are not missing
    missing: Mapping[str, str] = field(default_factory=dict)  # CONFIG, TOKENIZER, WEIGHTS: why, in a few words
    remarks: Sequence[str] = ()  # why, in full
    weights_sha256: str | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing of the model can be read."""
        return {CONFIG, TOKENIZER, WEIGHTS} <= set(self.missing)

    def folder_with(self, *names: str) -> Path:
        """The folder, if it has these files.

        Raises:
            InputError: why one of them is missing.
        """
        for name in names:
            if self.folder is None or name in self.missing:
                raise InputError(self.missing[name])
        assert self.folder is not None  # noqa: S101 - a name is given
        return self.folder


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsHeader:
    """What the names and shapes in a safetensors file say."""

    layers: int | None  # None for names that are not those of the BERT and RoBERTa families
    width: int | None
    masked_lm: int | None  # numbers of the masked language model, tied ones once; None without its head
    everything: int  # numbers of all tensors


def find_files(encoder: EncoderConfig, *, weights: bool) -> ModelFiles:
    """Search a local folder, or download from the hub.

    Args:
        weights: download them too; a local folder's are used anyway.

    Raises:
        InputError: a local folder that does not exist.
        DiskError: the hub's cache cannot be written.
    """
    missing, remarks = dict[str, str](), list[str]()
    if encoder.hub_id is None:
        folder = Path(encoder.path or "")
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder")
        missing |= {name: f"the folder has no {name}" for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()}
        if not has_tokenizer(folder):
            missing[TOKENIZER] = "the folder has no tokenizer.json, nor a vocabulary file"
        return _with_hash(str(folder), folder, missing=missing)

    def miss(error: InputError, *names: str) -> None:
        missing.update({name: f"{name} is out of reach" for name in names})
        remarks.append(first_line(error))

    revision = encoder.revision or "main"
    try:
        config = fetch_file(encoder.hub_id, CONFIG, revision=revision, repo_type="model")
    except InputError as error:
        miss(error, CONFIG, TOKENIZER, WEIGHTS)
        place = f"{encoder.hub_id} at {revision}"
        return ModelFiles(place=place, folder=None, missing=missing, remarks=remarks)
    assert config is not None  # noqa: S101 - only optional files can be None
    folder, commit = config.parent, commit_of(config, CONFIG)
    try:
        fetch_tokenizer(encoder.hub_id, commit)
        if not has_tokenizer(folder):
            missing[TOKENIZER] = "the model has no tokenizer within reach"
    except InputError as error:
        miss(error, TOKENIZER)
    try:
        if weights:
            fetch_file(encoder.hub_id, WEIGHTS, revision=commit, repo_type="model")
        elif not (folder / WEIGHTS).is_file():
            missing[WEIGHTS] = f"{WEIGHTS} is not needed, and not downloaded"
    except InputError as error:
        miss(error, WEIGHTS)
    return _with_hash(f"{encoder.hub_id} at {commit}", folder, missing=missing, remarks=remarks)


def _with_hash(place: str, folder: Path, *, missing: Mapping[str, str], remarks: Sequence[str] = ()) -> ModelFiles:
    sha256 = None if WEIGHTS in missing else file_sha256(folder / WEIGHTS)
    return ModelFiles(place=place, folder=folder, missing=missing, remarks=remarks, weights_sha256=sha256)


def read_weights(path: Path) -> WeightsHeader:
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
    return WeightsHeader(
        layers=len(layers) or None,
        width=words[0][-1] if words else None,
        masked_lm=masked_lm if any(name.startswith("lm_head.") for name in sizes) else None,
        everything=sum(sizes.values()),
    )
