"""Classification heads in the shapes that transformers gives each family; a regression head has one output.

Shapes: B rows, H the hidden size.
"""

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig


class RobertaHead(nn.Module):
    """Dropout, dense, tanh, dropout, projection (transformers' RobertaClassificationHead)."""

    def __init__(self, config: PretrainedConfig, outputs: int) -> None:
        """Make a head with `outputs` logits; `initialise` gives it weights."""
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = nn.Dropout(_dropout(config))
        self.out_proj = nn.Linear(config.hidden_size, outputs)

    def forward(self, first: Tensor) -> Tensor:
        """(B, H) states of the first tokens to (B, outputs) logits."""
        hidden = torch.tanh(self.dense(self.dropout(first)))
        logits: Tensor = self.out_proj(self.dropout(hidden))
        return logits


class BertHead(nn.Module):
    """Pooler (dense, tanh), dropout, projection (transformers' BertForSequenceClassification)."""

    def __init__(self, config: PretrainedConfig, outputs: int) -> None:
        """Make a head with `outputs` logits; `initialise` gives it weights."""
        super().__init__()
        self.pooler = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = nn.Dropout(_dropout(config))
        self.classifier = nn.Linear(config.hidden_size, outputs)

    def forward(self, first: Tensor) -> Tensor:
        """(B, H) states of the first tokens to (B, outputs) logits."""
        logits: Tensor = self.classifier(self.dropout(torch.tanh(self.pooler(first))))
        return logits


@torch.no_grad()
def initialise(head: nn.Module, *, std: float, seed: int) -> None:
    """Draw the weights from a normal distribution with a seed stream of their own; biases are 0, as in transformers."""
    generator = torch.Generator().manual_seed(seed)
    for module in head.modules():
        if isinstance(module, nn.Linear):
            module.weight.normal_(0.0, std, generator=generator)
            module.bias.zero_()


def _dropout(config: PretrainedConfig) -> float:
    chosen = getattr(config, "classifier_dropout", None)
    return float(config.hidden_dropout_prob if chosen is None else chosen)
