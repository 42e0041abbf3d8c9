"""Rows of one task: from the hub, a local folder or the sample generator, checked and fingerprinted."""

from glue_bench.data.load import load_task_data
from glue_bench.data.rows import Split, TaskData
from glue_bench.data.sources import DataSource, resolve_source

__all__ = ["DataSource", "Split", "TaskData", "load_task_data", "resolve_source"]
