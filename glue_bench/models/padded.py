"""What both engines load; and the padded engine: transformers' model as it is, on batches padded to their longest row.

No code that comes with a model is ever run: weights are safetensors, or on request what torch's weights_only reads.

Shapes: B rows, L tokens of the longest of them.
"""

import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import CONFIG_MAPPING, AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers import __version__ as transformers_version
from transformers.utils import logging as transformers_logging

from glue_bench.errors import InputError, close_match, list_names
from glue_bench.models.families import padding_id
from glue_bench.models.kernels import FlatBatch
from glue_bench.models.placement import is_out_of_memory
from glue_bench.models.pretrained import weight_files
from glue_bench.reading import read_json
from glue_bench.text import plural, quote, reason_of

_WEIGHT = re.compile(r"(weight\w*|bias|gamma|beta)$")  # other tensors are buffers, such as position_ids
_PLAIN = ("F16", "BF16", "F32", "F64")
_LAYER = re.compile(r"\b(layers?|block|h)\.\d+\.")

# Arguments of every from_pretrained call, and of those for weights.
SAFELY: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
_LOADING = {**SAFELY, "weights_only": True, "dtype": torch.float32}
_LOADING |= {"output_loading_info": True, "ignore_mismatched_sizes": True}  # `load_transformer` says what does not fit

# What a config.json could otherwise choose: the code that computes attention or experts (from the hub, even) or joins
# modules, the name of the weights' file, their type, the form of the output, and what is computed in parts or twice to
# save memory. None: transformers' own choice.
_PINNED: dict[str, Any] = {
    **dict.fromkeys(("_attn_implementation", "_experts_implementation", "fusion_config", "transformers_weights")),
    **dict.fromkeys(("output_attentions", "output_hidden_states", "gradient_checkpointing"), False),
    "return_dict": True,
    "chunk_size_feed_forward": 0,
    "dtype": torch.float32,
}
_REFUSED = {  # keys of a config.json
    "quantization_config": "only plain weights are loaded",
    "per_layer_config": "only encoders whose layers are all alike are loaded",
}
# Sizes and shares that a config.json may name; no model with more can be fine-tuned.
_LIMITS: tuple[tuple[str, float, float], ...] = (
    ("num_hidden_layers", 1, 1001),
    ("num_attention_heads", 1, 1001),
    ("hidden_size", 1, 100_001),
    ("intermediate_size", 1, 1_000_001),
    ("vocab_size", 1, 10_000_001),
    ("type_vocab_size", 0, 1001),
    ("initializer_range", 0.0, 10.0),
    ("layer_norm_eps", 0.0, 1.0),
)


def rectangle(batch: FlatBatch) -> tuple[Tensor, Tensor]:
    """Return which places of the rows, (B, L) bool, hold a token, and which token; 0 where there is none."""
    lengths = batch.starts[1:-1] - batch.starts[:-2]
    columns = torch.arange(batch.longest if lengths.is_cuda else int(lengths.max()), device=lengths.device)
    inside = columns < lengths[:, None]
    return inside, torch.where(inside, batch.starts[:-2, None] + columns, 0)


def pad(batch: FlatBatch, config: PretrainedConfig) -> dict[str, Tensor]:
    """Return the arguments of a transformers model, each (B, L) int64; without types for a model with at most one."""
    inside, places = rectangle(batch)
    found = {"input_ids": torch.where(inside, batch.input_ids[places], padding_id(config)), "attention_mask": inside}
    if int(getattr(config, "type_vocab_size", 0) or 0) > 1:
        found["token_type_ids"] = batch.token_type_ids[places] * inside
    return {name: each.long() for name, each in found.items()}


def padded_logits(whole: PreTrainedModel, batch: FlatBatch) -> Tensor:
    """Return the logits of a batch, (B, outputs); an InputError if transformers cannot compute them."""
    given = pad(batch, whole.config)
    try:
        logits: Tensor = whole(**given).logits
    except Exception as error:  # each family has limits of its own, and names them in its own way
        if is_out_of_memory(error) or "CUDA error" in str(error):
            raise
        size = " of ".join(map(plural, given["input_ids"].shape, ("row", "token")))
        raise InputError(f"{name_of(whole.config)}: its model cannot compute {size} ({reason_of(error)})") from error
    return logits


def name_of(config: PretrainedConfig) -> str:
    """Return how messages name a model: by its folder, or the family of one that was made here."""
    return f"encoder folder {config.name_or_path}" if config.name_or_path else str(config.model_type)


def read_model_config(folder: Path) -> PretrainedConfig:
    """Read a model's architecture; an InputError if transformers does not know it, or it needs code from its folder."""
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        content = read_json(folder / "config.json")  # within limits
        config: PretrainedConfig = AutoConfig.from_pretrained(folder, **SAFELY)
    except Exception as error:  # each architecture checks its configuration in its own way
        why = reason_of(error)
        if "trust_remote_code" in str(error):
            why = "needs Python code of its own (auto_map), which is never run; only transformers' models are used"
        elif "does not recognize this architecture" in str(error):
            kind, saved_by = str(content["model_type"]), quote(content.get("transformers_version", "another version"))
            why = f"transformers {transformers_version} does not know model_type {quote(kind)}, which {saved_by} saved "
            why += f"(if later: pip install --upgrade transformers){close_match(kind.lower(), CONFIG_MAPPING)}"
        raise InputError(f"encoder folder {folder}: {why}") from error
    for name, why in _REFUSED.items():
        if content.get(name) is not None:
            raise InputError(f"encoder folder {folder}: {name} in its config.json; {why}")
    rates = [name for name, rate in config.to_dict().items() if "dropout" in name and type(rate) in (int, float)]
    padding = ("pad_token_id", 0, getattr(config, "vocab_size", None) or 10_000_001)  # a row of the embedding table
    for name, lowest, below in (*_LIMITS, padding, *((name, 0.0, 0.99999) for name in rates)):
        value = getattr(config, name, None)
        fits = isinstance(value, int if isinstance(below, int) else int | float) and lowest <= value < below
        if value is not None and not fits:
            limits = f"must be {lowest} or more and below {below}"
            raise InputError(f"encoder folder {folder}: {name} is {value!r} in its config.json; {limits}")
    for name, wanted in _PINNED.items():
        if hasattr(config, name):
            setattr(config, name, wanted)
    return config


def load_transformer(
    folder: Path, config: PretrainedConfig, *, kind: Any = AutoModel
) -> tuple[PreTrainedModel, set[str]]:
    """Load the transformer in float32, and name the weights that are missing, which can only be the pooler's.

    `kind`, its class, decides on a head. An InputError if weights are damaged or do not fit, or layers are missing.
    """
    # Missing weights are drawn at random; a pooler is replaced by the head, anything else is refused.
    # `resolve_pretrained` lets a file of torch's in on request only.
    files = weight_files(folder)  # with an index first, if there are several
    try:
        for path in files[1:] or files:  # transformers would round or misread a weight that is not a plain number
            if path.suffix == ".bin":
                held = torch.load(path, map_location="meta", weights_only=True)
                kinds = {name: str(each.dtype)[6:].upper() for name, each in held.items() if isinstance(each, Tensor)}
            else:
                with safe_open(path, framework="pt") as stream:
                    kinds = {name: stream.get_slice(name).get_dtype() for name in stream.keys()}  # noqa: SIM118
            for name, kept in kinds.items():
                if _WEIGHT.search(name) and kept.replace("FLOAT", "F") not in _PLAIN:
                    must = f"must be {list_names(_PLAIN)}, as before any quantization"
                    raise ValueError(f"{name} has the type {kept}; {must}")
        with torch.random.fork_rng(devices=[]):
            plain = [path.suffix for path in files] != [".bin"]
            model, info = kind.from_pretrained(folder, config=config, use_safetensors=plain, **_LOADING)
    except Exception as error:  # safetensors and transformers raise many kinds
        if is_out_of_memory(error):
            raise
        why = f"{path.name} is damaged, download it again: " if isinstance(error, SafetensorError) else ""
        raise InputError(f"encoder folder {folder}: its weights cannot be loaded ({why}{reason_of(error)})") from error
    missing, named, other = {*info["missing_keys"]}, dict(model.named_parameters()), sorted(info["unexpected_keys"])
    needed = [name for name in missing if "pooler" not in name and "position_ids" not in name]
    sized = [f"{name} {' and '.join(map(str, map(tuple, pair)))}" for name, *pair in info.get("mismatched_keys", ())]
    further = [name for name in other if _LAYER.search(name)]
    broken = [name for name in named.keys() - missing if not named[name].isfinite().all()]
    instead = f", but have {quote(other[0])}" if other and missing.issuperset(named) else ""
    way_out = "take config.json and weights from one model"
    if instead and other[0].startswith("module."):
        way_out = "save them without DataParallel's `module.`"
    for begin, names, end in (
        ("its weights lack ", needed, f"{instead}; {way_out}"),
        ("sizes in the weights that differ from config.json: ", sized, "; take both files from one model"),
        ("its weights have layers that config.json lacks: ", further, "; correct num_hidden_layers there"),
        ("NaN or infinite weights: ", broken, "; download it again"),
    ):
        if names:
            raise InputError(f"encoder folder {folder}: {begin}{list_names(sorted(names), 1)}{end}")
    return model, missing
