"""Words that choose runs: the same grammar for every verb and in Python."""

from pathlib import Path

import pytest

from glue_bench.errors import UsageError
from glue_bench.runs.listing import Filters
from tests.support.making import ROBERTA, make_record

SAMPLE = {"source": "sample", "dataset": None, "revision": None, "rows": {"train": 5, "validation": 5}}
RECORDS = [
    make_record(task="rte", seed=1),
    make_record(task="rte", seed=12, words=("trainer.learning_rate=1e-4", "data.max_train_rows=100")),
    make_record(task="mrpc", seed=2, encoder=ROBERTA, words=("trainer.betas=[0.8,0.99]",)),
    make_record(task="cola", seed=3, data=SAMPLE, status="failed", init="mnli:seed3-abc"),
]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("", [0, 1, 2, 3]),
        ("task=rte", [0, 1]),
        ("tasks=[rte, cola]", [0, 1, 3]),
        ("tasks=rte,mrpc encoders=[tiny]", [0, 1]),
        ("seeds=1-3", [0, 2, 3]),
        ("seeds=[1,10-12]", [0, 1]),
        ("data!=sample", [0, 1, 2]),
        ("tasks!=[rte,mrpc]", [3]),
        ("trainer.learning_rate=0.0001", [1]),
        ("trainer.learning_rate=1e-4", [1]),
        ("trainer.learning_rate!=1e-4 task=rte", [0]),
        ("data.max_train_rows=null", [0, 2, 3]),
        ("data.max_train_rows=100", [1]),
        ("trainer.betas=[0.8,0.99]", [2]),
        ("encoder.hub_id=FacebookAI/roberta-base", [2]),
        ("status=failed init=mnli", [3]),
        ("run_id=seed12-000", [1]),
    ],
)
def test_words_choose_the_runs_that_fit_all_of_them(words: str, found: list[int]) -> None:
    chosen = Filters.read(words.replace(", ", ",").split())
    assert chosen.choose_records(RECORDS, place=Path("r")) == [RECORDS[place] for place in found]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("learning_rate=1e-4", "did you mean trainer.learning_rate=1e-4?"),
        ("taks=rte", "did you mean task"),
        ("trainer.device=cpu", "'trainer.device'"),
        ("task", "must be KEY=VALUE"),
        ("task=", "must be KEY=VALUE"),
        ("seeds=one", "must be whole numbers"),
        ("seeds=3-1", "must be whole numbers"),
        ("seed=1-", "must be whole numbers"),
        ("seeds=[2,1-]", "must be whole numbers"),
        ("seeds=-3", "must be whole numbers"),
    ],
)
def test_a_word_that_chooses_nothing_by_its_form_is_refused(word: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Filters.read([word])
    assert str(caught.value).startswith(f"{word}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task=mrp"], "task=mrp: no run in r fits; did you mean mrpc?"),
        (["trainer.learning_rate=3"], "Allowed: 2e-5, 1e-4"),
        (["holdout=0.1"], "holdout=0.1: no run in r fits: none has holdout"),
        (["peft.rank=8"], "peft.rank=8: no run in r fits: none has peft.rank"),
        (["task=rte", "status=failed"], "task=rte status=failed: no run in r fits all of these"),
    ],
)
def test_a_choice_of_no_run_says_what_there_is(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Filters.read(words).choose_records(RECORDS, place=Path("r"))
    assert message in str(caught.value)
    assert Filters.read(words).choose_records([], place=Path("r")) == []
