"""A model card's claims, each checked as far as this machine and its files allow. Knows no command line."""

from glue_bench.card_claims.check import check_card
from glue_bench.card_claims.files import ModelFiles, find_files
from glue_bench.card_claims.render import FORMATS, render_claims
from glue_bench.card_claims.rows import ClaimRow, ClaimsReport
from glue_bench.card_claims.statements import Card, load_card

__all__ = [
    "FORMATS",
    "Card",
    "ClaimRow",
    "ClaimsReport",
    "ModelFiles",
    "check_card",
    "find_files",
    "load_card",
    "render_claims",
]
