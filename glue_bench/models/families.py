"""FAMILIES: what is known of each family of encoders, by the `model_type` of its config.json."""

from dataclasses import dataclass

from transformers import PretrainedConfig

from glue_bench.models.heads import BertHead, RobertaHead


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One family. The defaults are those of a family that is not listed: BERT's positions, transformers' own head."""

    head: type[RobertaHead] | type[BertHead] | None = None  # with a head of ours comes the flat engine
    first_position: int | None = 0  # the position id of a row's first token; None: the padding id + 1


# Position ids that start after the padding id leave fewer for tokens than the embedding table has rows.
_AFTER_PADDING = (
    "data2vec-text", "esm", "ibert", "layoutlmv3", "lilt", "longformer", "luke", "markuplm", "roberta-prelayernorm",
    "xlm-roberta-xl", "xmod",
)  # fmt: skip
FAMILIES = {
    "bert": Family(head=BertHead),
    **dict.fromkeys(("roberta", "xlm-roberta", "camembert"), Family(head=RobertaHead, first_position=None)),
    "mpnet": Family(first_position=2),
    **dict.fromkeys(_AFTER_PADDING, Family(first_position=None)),
}


def family_of(config: PretrainedConfig) -> Family:
    """The family of a configuration."""
    return FAMILIES.get(config.model_type, Family())


def padding_id(config: PretrainedConfig) -> int:
    """The padding token's id; 0 where a model names none, since nothing attends to padding."""
    return 0 if config.pad_token_id is None else int(config.pad_token_id)


def first_position(config: PretrainedConfig) -> int:
    """The position id of a row's first token."""
    known = family_of(config).first_position
    return padding_id(config) + 1 if known is None else known


def max_positions(config: PretrainedConfig) -> int:
    """The longest row in tokens: RoBERTa's 514 position embeddings hold 512 tokens."""
    positions = int(getattr(config, "max_position_embeddings", 0) or 0) or 2**31
    return positions - first_position(config)
