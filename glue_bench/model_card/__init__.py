"""A finished run as a model to share: weights, tokenizer, and a card with its scores. Knows no torch."""

from glue_bench.model_card.folder import check_push, push_card, write_card

__all__ = ["check_push", "push_card", "write_card"]
