"""The GLUE leaderboard's zip: built from test predictions, and checked. Knows no torch."""

from glue_bench.submission.check import check_submission
from glue_bench.submission.findings import Fault
from glue_bench.submission.layout import LeaderboardFile, lay_out

__all__ = ["Fault", "LeaderboardFile", "check_submission", "lay_out"]
