"""Rows of one task: from the hub, a local folder or the sample generator, checked and fingerprinted."""

from glue_bench.data.load import check_texts, load_task_data
from glue_bench.data.rows import Split, TaskData, Texts
from glue_bench.data.sources import DataSource, find_file, hub_files, resolve_source
from glue_bench.data.tables import Table, read_table
from glue_bench.data.texts import TextFile, open_texts, read_pieces

__all__ = [
    "DataSource",
    "Split",
    "Table",
    "TaskData",
    "TextFile",
    "Texts",
    "check_texts",
    "find_file",
    "hub_files",
    "load_task_data",
    "open_texts",
    "read_pieces",
    "read_table",
    "resolve_source",
]
