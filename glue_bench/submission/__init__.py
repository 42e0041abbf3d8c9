"""The GLUE leaderboard's zip: built from test predictions, and checked. Loads torch only where rows are predicted."""

from glue_bench.submission.build import (
    Filled,
    FromRun,
    Progress,
    Readiness,
    Source,
    build_submission,
    prepare_sources,
)
from glue_bench.submission.check import check_submission
from glue_bench.submission.choose import PICKS, Choice, Wish, choose_runs
from glue_bench.submission.fill import Fill, parse_fills
from glue_bench.submission.findings import Fault
from glue_bench.submission.layout import LeaderboardFile, lay_out
from glue_bench.submission.predict import Predicted

__all__ = [
    "PICKS",
    "Choice",
    "Fault",
    "Fill",
    "Filled",
    "FromRun",
    "LeaderboardFile",
    "Predicted",
    "Progress",
    "Readiness",
    "Source",
    "Wish",
    "build_submission",
    "check_submission",
    "choose_runs",
    "lay_out",
    "parse_fills",
    "prepare_sources",
]
