"""FAMILIES: the position ids and the classification head of each family of encoders, by `model_type` in config.json.

Heads have the shapes that transformers gives them; one for regression has one output. B rows, H the hidden size.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_FOR_MASKED_LM_MAPPING_NAMES


class RobertaHead(nn.Module):
    """Dropout, dense, tanh, dropout, projection (transformers' RobertaClassificationHead)."""

    def __init__(self, config: PretrainedConfig, outputs: int) -> None:
        """Make a head of `outputs` logits; `initialise` gives it weights."""
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = nn.Dropout(_dropout(config))
        self.out_proj = nn.Linear(config.hidden_size, outputs)

    def forward(self, first: Tensor) -> Tensor:
        """Turn the first tokens' states, (B, H), into logits, (B, outputs)."""
        hidden = torch.tanh(self.dense(self.dropout(first)))
        logits: Tensor = self.out_proj(self.dropout(hidden))
        return logits


class BertHead(nn.Module):
    """Pooler (dense, tanh), dropout, projection (transformers' BertForSequenceClassification)."""

    def __init__(self, config: PretrainedConfig, outputs: int) -> None:
        """Make a head of `outputs` logits; `initialise` gives it weights."""
        super().__init__()
        self.pooler = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = nn.Dropout(_dropout(config))
        self.classifier = nn.Linear(config.hidden_size, outputs)

    def forward(self, first: Tensor) -> Tensor:
        """Turn the first tokens' states, (B, H), into logits, (B, outputs)."""
        logits: Tensor = self.classifier(self.dropout(torch.tanh(self.pooler(first))))
        return logits


@torch.no_grad()
def initialise(head: nn.Module, *, std: float, seed: int) -> None:
    """Draw the weights from a normal distribution with their own seed stream; biases are 0, as in transformers."""
    generator = torch.Generator().manual_seed(seed)
    for module in head.modules():
        if isinstance(module, nn.Linear):
            module.weight.normal_(0.0, std, generator=generator)
            module.bias.zero_()


def _dropout(config: PretrainedConfig) -> float:
    chosen = getattr(config, "classifier_dropout", None)
    return float(config.hidden_dropout_prob if chosen is None else chosen)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One family. The defaults are for unlisted families: BERT's positions, transformers' own head."""

    head: type[RobertaHead] | type[BertHead] | None = None  # None: no flat engine either
    first_position: int | None = 0  # the position id of a row's first token; None: the padding id + 1


# Their position ids start after the padding id, so fewer tokens fit than the embedding table has rows.
_AFTER_PADDING = (
    "data2vec-text", "esm", "ibert", "layoutlmv3", "lilt", "longformer", "luke", "markuplm", "roberta-prelayernorm",
    "xlm-roberta-xl", "xmod",
)  # fmt: skip
_WITHOUT_MASK = ("fnet",)
FAMILIES = {
    "bert": Family(head=BertHead),
    **dict.fromkeys(("roberta", "xlm-roberta", "camembert"), Family(head=RobertaHead, first_position=None)),
    "mpnet": Family(first_position=2),
    **dict.fromkeys(_AFTER_PADDING, Family(first_position=None)),
}


def why_refused(config: PretrainedConfig) -> str:
    """Return why no classifier of one vector per row can be made from this family; empty if one can."""
    kind = config.model_type
    if getattr(config, "is_decoder", False):
        return "is_decoder=true in its config.json; only bidirectional encoders can be fine-tuned"
    if getattr(config, "is_encoder_decoder", False):
        return f"{kind} is an encoder with a decoder, whose head looks for </s>; only encoders can be fine-tuned"
    if kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        return f"{kind} is a causal model, with a head on the last token; only bidirectional encoders can be fine-tuned"
    if kind in _WITHOUT_MASK:
        return f"{kind} has no attention mask, so a row's logits would change with the padding of its batch"
    return ""


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
    positions = positions if positions > 0 else 2**31  # relative positions only
    return positions - first_position(config)
