"""A tiny configuration of every family that tests train: those that the flat engine serves, and those it pads."""

from typing import Any

import pytest
from transformers import CONFIG_MAPPING, AutoConfig, PretrainedConfig

# What the module of DeBERTa says while it is loaded, in earlier versions of transformers with a recent torch.
QUIET = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")

SIZES = {
    "vocab_size": 300,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "pad_token_id": 1,
    "mask_token_id": 4,
}
DEBERTA = {
    "relative_attention": True,
    "position_buckets": 8,
    "pos_att_type": ["c2p", "p2c"],
    "norm_rel_ebd": "layer_norm",
    "position_biased_input": False,
    "type_vocab_size": 0,
    "pooler_hidden_size": 32,
}
FLAT: dict[str, dict[str, Any]] = {
    "bert": {},
    "roberta": {},
    "xlm-roberta": {},
    "camembert": {},
    "electra": {"embedding_size": 16},
    "ernie": {},
    "albert": {"embedding_size": 16},
    "distilbert": {"dim": 32, "hidden_dim": 48, "n_heads": 4, "n_layers": 3},
    "modernbert": {"local_attention": 8, "global_attn_every_n_layers": 2},
    "modernbert mean": {"local_attention": 8, "global_attn_every_n_layers": 3, "classifier_pooling": "mean"},
    "nomic_bert": {},
    "eurobert": {"num_key_value_heads": 2},
    "gte": {},
    "roberta-prelayernorm": {},
    "xlm-roberta-xl": {},
    "deberta-v2": {**DEBERTA, "share_att_key": True},
    "deberta-v2 own keys": {**DEBERTA, "share_att_key": False},
    "mpnet": {},
}
PADDED: dict[str, dict[str, Any]] = {"roformer": {}, "megatron-bert": {}}
# Their layers or heads read padding.
REFUSED: dict[str, dict[str, Any]] = {
    "convbert": {},
    "yoso": {},
    "nystromformer": {"segment_means_seq_len": 4, "num_landmarks": 4, "initializer_range": 0.1},
    "xlm": {"emb_dim": 32, "n_layers": 2, "n_heads": 4, "summary_type": "mean"},
    "canine": {"num_hash_buckets": 16, "downsampling_rate": 2},
}


def config_of(name: str) -> PretrainedConfig:
    """Return the configuration; skip the test where this version of transformers does not have the family yet."""
    family = name.partition(" ")[0]
    if family not in CONFIG_MAPPING:
        pytest.skip(f"transformers has no {family}")
    return AutoConfig.for_model(family, **{**SIZES, **{**FLAT, **PADDED, **REFUSED}.get(name, {})})
