"""A model card's claims, each checked as far as this machine and the model's files allow."""

from glue_bench.claims.check import check_card
from glue_bench.claims.files import ModelFiles, find_files
from glue_bench.claims.statements import FORMATS, Card, ClaimRow, ClaimsReport, load_card, render_claims

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
