"""What a run leaves in the process that carried it out."""

import gc
from pathlib import Path

import pytest

from glue_bench.config.compose import compose_run
from glue_bench.models.classifier import Classifier
from glue_bench.runs.experiment import Experiment
from glue_bench.runs.identity import make_requests
from glue_bench.runs.store import RunStore


@pytest.mark.parametrize("selection", ["last", "best"])
def test_the_model_leaves_memory_with_its_run(selection: str, tiny_words: list[str], tmp_path: Path) -> None:
    """Without the collector of cycles: the next run of a serial sweep loads its model at once."""
    words = ["task=rte", *tiny_words, "trainer.epochs=2", f"selection={selection}"]
    (request,) = make_requests(compose_run(words), [1])
    gc.collect()
    gc.disable()
    try:
        assert Experiment(request, RunStore(tmp_path / "results")).run().finished
        assert not [each for each in gc.get_objects() if type(each) is Classifier]
    finally:
        gc.enable()
