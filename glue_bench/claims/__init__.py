"""A model card's claims, each checked as far as this machine and its files allow. Knows no command line."""

from glue_bench.claims.check import check_card
from glue_bench.claims.files import ModelFiles, find_files
from glue_bench.claims.render import FORMATS, render_claims
from glue_bench.claims.rows import ClaimRow, ClaimsReport
from glue_bench.claims.statements import Card, load_card

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
