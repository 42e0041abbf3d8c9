"""The definitions in conf/task against GLUE's own, and what is asked of a task."""

from typing import Any

import pytest

from glue_bench.config.compose import compose_task
from glue_bench.config.task import TaskConfig, headline, metric_title
from glue_bench.tasks.published import load_published

# Wang et al. (arXiv:1804.07461) and the hub's nyu-mll/glue: texts, labels in the order of the codes, rows.
CARDS = [table for table in load_published() if table.name in ("distilroberta", "roberta")]
GLUE = {
    "mnli": ("premise hypothesis", "entailment neutral contradiction", 392702, (9815, 9832)),
    "qqp": ("question1 question2", "not_duplicate duplicate", 363846, (40430,)),
    "qnli": ("question sentence", "entailment not_entailment", 104743, (5463,)),
    "sst2": ("sentence", "negative positive", 67349, (872,)),
    "cola": ("sentence", "unacceptable acceptable", 8551, (1043,)),
    "stsb": ("sentence1 sentence2", "", 5749, (1500,)),
    "mrpc": ("sentence1 sentence2", "not_equivalent equivalent", 3668, (408,)),
    "rte": ("sentence1 sentence2", "entailment not_entailment", 2490, (277,)),
    "wnli": ("sentence1 sentence2", "not_entailment entailment", 635, (71,)),
}


@pytest.mark.parametrize("name", GLUE)
def test_columns_labels_and_sizes_are_glues(name: str) -> None:
    task = compose_task(name)
    texts, labels, train, validation = GLUE[name]
    assert (task.texts, task.labels) == (texts.split(), labels.split())
    assert task.rows[task.train] == train
    assert tuple(task.rows[split] for split in task.validation) == validation


@pytest.mark.parametrize("name", GLUE)
def test_published_numbers_name_the_scores_that_the_task_averages_under_their_convention(name: str) -> None:
    task = compose_task(name)
    for table in CARDS:
        score = table.scores[name]
        parts = task.parts(score.convention)
        assert score.n == sum(task.rows[split] for split in {part.split for part in parts})
        assert ("mean" in score.metric) == (len(parts) > 1)
        assert score.source


def test_the_published_rows_have_the_cards_means() -> None:
    means = {
        table.name: sum(score.value for task, score in table.scores.items() if task != "wnli") / 8 for table in CARDS
    }
    assert means == pytest.approx({"distilroberta": 82.35, "roberta": 86.35})


def test_outputs_are_the_classes_or_one_score() -> None:
    outputs = {name: compose_task(name).outputs for name in ("mnli", "rte", "stsb")}
    assert outputs == {"mnli": 3, "rte": 2, "stsb": 1}


def test_the_headline_is_the_mean_of_the_conventions_parts() -> None:
    mnli = compose_task("mnli")
    scores = {"validation_matched": {"accuracy": 0.8}, "validation_mismatched": {"accuracy": 0.9}}
    assert headline(mnli.parts("card"), scores) == pytest.approx(0.85)
    assert headline(mnli.parts("paper"), scores) == pytest.approx(0.8)
    assert metric_title(mnli.parts("card")) == "mean of matched accuracy and mismatched accuracy"


def test_rows_that_are_not_the_official_ones_are_not_comparable() -> None:
    rte = compose_task("rte")
    official = {"train": 2490, "validation": 277}
    assert rte.not_comparable_because(source="hub", rows=official, fingerprints={}) == []
    assert rte.not_comparable_because(source="local", rows={**official, "train": 2489}, fingerprints={}) == [
        "train has 2,489 rows, official 2,490"
    ]
    assert rte.not_comparable_because(source="sample", rows=official, fingerprints={}) == ["sample data"]


@pytest.mark.parametrize(("given", "metric"), [(None, "accuracy"), ("f1", "f1")])
def test_the_users_own_task_is_scored_by_its_headline_or_first_metric(given: Any, metric: str) -> None:
    facts = TaskConfig(
        name="own", title="Own", kind="classification", texts=["text"], labels=["a", "b"], metrics=["accuracy", "f1"]
    )
    facts.headline = given
    task = facts
    assert task.parts("card") == [("validation", metric)]
    assert task.not_comparable_because(source="local", rows={"train": 5, "validation": 5}, fingerprints={}) == [
        "no official row counts are known for own"
    ]
