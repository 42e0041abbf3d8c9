"""FAMILIES: what differs between the families of encoders, by `model_type` in config.json, and is in no configuration.

An unlisted family counts its positions from 0 and has no shortcut; whether the flat engine serves it is found out by a
check when it is loaded.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from transformers import PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_FOR_MASKED_LM_MAPPING_NAMES

# The modules of a layer of the original Transformer, as BERT and those that copy it name them, and as DistilBERT does.
_LAYER = {
    "layers": ("encoder.layer", "transformer.layer"),  # in the transformer; all others are in a layer
    "query": ("attention.self.query", "attention.q_lin"),
    "key": ("attention.self.key", "attention.k_lin"),
    "value": ("attention.self.value", "attention.v_lin"),
    "attention_dropout": ("attention.self.dropout", "attention.dropout"),
    "projection": ("attention.output.dense", "attention.out_lin"),
    "projection_dropout": ("attention.output.dropout", ""),
    "attention_norm": ("attention.output.LayerNorm", "sa_layer_norm"),
    "inner": ("intermediate.dense", "ffn.lin1"),
    "activation": ("intermediate.intermediate_act_fn", "ffn.activation"),
    "outer": ("output.dense", "ffn.lin2"),
    "outer_dropout": ("output.dropout", "ffn.dropout"),
    "outer_norm": ("output.LayerNorm", "output_layer_norm"),
}
_BERT_LAYER, _DISTILBERT_LAYER = ({key: names[kind] for key, names in _LAYER.items() if names[kind]} for kind in (0, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One family."""

    first_position: int | None = 0  # the position id of a row's first token; None: the padding id + 1
    layer: Mapping[str, str] | None = None  # whose layers the module `kernels` computes, the last one for first tokens
    kernels: bool = False  # whether `fused` can train it; its head is drawn alone then: to change it changes scores
    relative: str = ""  # class of its attention modules, if they have positions of their own and take equal lengths


# Their position ids start after the padding id, so fewer tokens fit than the embedding table has rows.
_AFTER_PADDING = (
    "data2vec-text", "esm", "ibert", "layoutlmv3", "lilt", "longformer", "luke", "markuplm", "roberta-prelayernorm",
    "xlm-roberta-xl", "xmod",
)  # fmt: skip
FAMILIES = {
    "bert": Family(layer=_BERT_LAYER, kernels=True),
    **dict.fromkeys(
        ("roberta", "xlm-roberta", "camembert"), Family(first_position=None, layer=_BERT_LAYER, kernels=True)
    ),
    **dict.fromkeys(("electra", "ernie"), Family(layer=_BERT_LAYER)),
    "distilbert": Family(layer=_DISTILBERT_LAYER),
    "deberta-v2": Family(relative="DisentangledSelfAttention"),
    "mpnet": Family(first_position=2, relative="MPNetSelfAttention"),
    **dict.fromkeys(_AFTER_PADDING, Family(first_position=None)),
}


def why_refused(config: PretrainedConfig) -> str:
    """Return why no classifier of one vector per row can be made from this family; empty if one can."""
    kind, only = config.model_type, "only bidirectional encoders can be fine-tuned"
    causal = kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    reasons = {
        f"is_decoder=true in its config.json; {only}": getattr(config, "is_decoder", False),
        f"add_cross_attention=true in its config.json; {only}": getattr(config, "add_cross_attention", False),
        f"{kind} is an encoder with a decoder; {only}": getattr(config, "is_encoder_decoder", False),
        f"{kind} is a causal model, with a head on the last token; {only}": causal,
        f"{kind} has no vocabulary: no vocab_size in its config.json": not getattr(config, "vocab_size", None),
        f"{kind} has no attention mask, so a row's logits would change with the padding of its batch": kind == "fnet",
    }
    return next((why for why, holds in reasons.items() if holds), "")


def family_of(config: PretrainedConfig) -> Family:
    """Return the family of a configuration."""
    return FAMILIES.get(config.model_type, Family())


def padding_id(config: PretrainedConfig) -> int:
    """Return the padding token's id; 0 if a model names none, since nothing attends to padding."""
    return 0 if config.pad_token_id is None else int(config.pad_token_id)


def first_position(config: PretrainedConfig) -> int:
    """Return the position id of a row's first token."""
    known = family_of(config).first_position
    return padding_id(config) + 1 if known is None else known


def max_positions(config: PretrainedConfig) -> int:
    """Return the longest row in tokens: RoBERTa's 514 position embeddings are enough for 512 tokens."""
    positions = int(getattr(config, "max_position_embeddings", 0) or 0)
    return (positions if positions > 0 else 2**31) - first_position(config)  # with relative positions only, any length
