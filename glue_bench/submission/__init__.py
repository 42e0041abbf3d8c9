"""The GLUE leaderboard's zip: build it from finished runs, and check one. Loads torch only to predict rows."""

from glue_bench.submission.build import Filled, FromRun, Predicted, Progress, Source, build_submission, prepare_sources
from glue_bench.submission.check import check_submission
from glue_bench.submission.choose import PICKS, Wish, choose_runs
from glue_bench.submission.layout import LeaderboardFile, lay_out, parse_fills

__all__ = [
    "PICKS",
    "Filled",
    "FromRun",
    "LeaderboardFile",
    "Predicted",
    "Progress",
    "Source",
    "Wish",
    "build_submission",
    "check_submission",
    "choose_runs",
    "lay_out",
    "parse_fills",
    "prepare_sources",
]
