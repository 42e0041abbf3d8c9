"""Heads of our own: the states of a row pooled into one vector, then the two layers of RoBERTa's head on <s>.

Shapes: B rows, L tokens of the longest of them, H the hidden size.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

HEAD_KEY = "glue_bench_head"  # in the config.json of a saved model, which transformers keeps and does not read
_DROPOUTS = ("classifier_dropout", "seq_classif_dropout", "hidden_dropout_prob", "dropout")  # the first that is given
POOLINGS = ("first", "mean", "max")
README = """\
transformers has no class for the head of this model: `AutoModel` loads its encoder, and
`AutoModelForSequenceClassification` would add another head with random weights. `glue-bench predict` loads all of it:
logits = classifier(tanh(dense(x))), where x is the {pooling} (token or value) of the row's last states.
"""


class PooledModel(nn.Module):
    """An encoder with a head of ours, used as a model of AutoModelForSequenceClassification is."""

    def __init__(self, transformer: PreTrainedModel, *, pooling: str, outputs: int) -> None:
        """Draw the head's weights as transformers draws linear layers; a pooler of the encoder is left out."""
        super().__init__()
        self.config, self.base_model_prefix, self.pooling = transformer.config, transformer.base_model_prefix, pooling
        if getattr(transformer, "pooler", None) is not None:
            transformer.pooler = None  # type: ignore[assignment]
        setattr(self, self.base_model_prefix, transformer)
        given, hidden = (getattr(self.config, name, None) for name in _DROPOUTS), int(self.config.hidden_size)
        self.dropout = nn.Dropout(next((p for p in given if p is not None), 0.1))
        self.dense, self.classifier = nn.Linear(hidden, hidden), nn.Linear(hidden, outputs)
        for layer in (self.dense, self.classifier):
            nn.init.normal_(layer.weight, std=getattr(self.config, "initializer_range", 0.02))
            nn.init.zeros_(layer.bias)

    @property
    def base_model(self) -> PreTrainedModel:
        """The encoder."""
        found: PreTrainedModel = getattr(self, self.base_model_prefix)
        return found

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **more: Any) -> SequenceClassifierOutput:
        """Return the logits of (B, L) tokens: (B, outputs)."""
        states = self.base_model(input_ids=input_ids, attention_mask=attention_mask, **more)[0]  # (B, L, H)
        pooled = self.dropout(pool(states, attention_mask.bool(), pooling=self.pooling))
        return SequenceClassifierOutput(logits=self.classifier(self.dropout(torch.tanh(self.dense(pooled)))))


def pool(states: Tensor, inside: Tensor, *, pooling: str) -> Tensor:
    """Pool (B, L, H) states, of which those `inside`, (B, L), are a token's, into (B, H); a row without tokens is 0."""
    if pooling == "first":
        return states[:, 0]
    if pooling == "mean":
        return (states * inside[..., None]).sum(1) / inside.sum(1, keepdim=True).clamp(min=1)
    largest = states.masked_fill(~inside[..., None], torch.finfo(states.dtype).min).amax(1)
    return largest.masked_fill(~inside.any(1, keepdim=True), 0)
