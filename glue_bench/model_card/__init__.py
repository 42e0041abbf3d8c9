"""A finished run as a model to share: weights, tokenizer, and a card that tells its scores. Knows no torch."""

from glue_bench.model_card.folder import write_card
from glue_bench.model_card.push import check_push, push_card

__all__ = ["check_push", "push_card", "write_card"]
