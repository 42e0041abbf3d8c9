"""Owns the sample: eight small GLUE-shaped data sets made on the spot. Knows no files, no network, no model."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from glue_bench.data.sample.acceptability import generate_cola
from glue_bench.data.sample.answers import generate_qnli
from glue_bench.data.sample.claims import generate_rte
from glue_bench.data.sample.entailment import generate_mnli
from glue_bench.data.sample.news import generate_mrpc
from glue_bench.data.sample.questions import generate_qqp
from glue_bench.data.sample.sentiment import generate_sst2
from glue_bench.data.sample.similarity import generate_stsb

__all__ = ["SAMPLE_TASKS", "SAMPLE_VERSION", "generate"]

SAMPLE_TASKS: Final[tuple[str, ...]] = ("mnli", "qqp", "qnli", "sst2", "cola", "stsb", "mrpc", "rte")
# Raised whenever a generated row changes: scores on different versions must not be compared.
SAMPLE_VERSION: Final[int] = 1

GENERATORS: Final[Mapping[str, Callable[[], dict[str, dict[str, list[Any]]]]]] = {
    "mnli": generate_mnli,
    "qqp": generate_qqp,
    "qnli": generate_qnli,
    "sst2": generate_sst2,
    "cola": generate_cola,
    "stsb": generate_stsb,
    "mrpc": generate_mrpc,
    "rte": generate_rte,
}


def generate(task: str) -> dict[str, dict[str, list[Any]]]:
    """The rows of `task`, one of SAMPLE_TASKS: split name to column name to values. Always the same rows.

    Besides its texts every split has `label` (the hub's codes) and `idx` (0 to n - 1).
    """
    return GENERATORS[task]()
