"""Tasks x seeds x encoders: which runs are missing, and who runs them."""

from glue_bench.sweep.listener import Listener
from glue_bench.sweep.plan import Plan, plan_runs

__all__ = ["Listener", "Plan", "plan_runs"]
