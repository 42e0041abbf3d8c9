"""What each parameter-efficient method learns on the sample; minutes. Run by `nox -s slow`."""

from collections import Counter
from pathlib import Path

import pytest

from glue_bench.cli import main
from glue_bench.data.sources import SAMPLE_ROWS
from glue_bench.data.tables import read_table
from glue_bench.runs.store import RunStore


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["peft=lora", "trainer.learning_rate=4e-3"],
        ["peft=ia3", "trainer.learning_rate=2e-2"],
        ["peft=bitfit", "trainer.learning_rate=3e-3"],
        ["peft=prefix", "trainer.learning_rate=3e-2", "trainer.max_length=128"],
    ],
    ids=lambda words: words[0],
)
def test_a_method_beats_the_majority_class_clearly_on_the_sample(words: list[str], tmp_path: Path) -> None:
    words = ["task=sst2", "data=sample", "encoder=minilm", "trainer.epochs=5", "trainer.batch_size=16", *words]
    assert main(["run", *words, "trainer.device=cpu", f"results_dir={tmp_path}"]) == 0
    (record,) = RunStore(tmp_path).load_all()
    labels = Counter(read_table(SAMPLE_ROWS / "sst2" / "validation.parquet").read("label"))
    assert record.scores["validation"]["accuracy"] > max(labels.values()) / sum(labels.values()) + 0.12
    assert record.encoder["trained"] < record.encoder["parameters"] / 50
