"""What metadata and text of a card say alike: where the rows came from, and each score. Knows no format.

Everything is read from the record that belongs to the weights; nothing is looked up or guessed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from glue_bench.runs.record import Record
from glue_bench.tasks.adapter import TaskAdapter, metric_title


@dataclass(frozen=True, slots=True, kw_only=True)
class CardScore:
    """One score with what it depends on."""

    split: str
    metric: str  # as records name it
    title: str  # in words
    value: float  # 0 to 1; correlations -1 to 1
    rows: int


def card_scores(record: Record, task: TaskAdapter) -> list[CardScore]:
    """Every score of the run, in the task's order."""
    return [
        CardScore(
            split=part.split,
            metric=part.metric,
            title=metric_title([part]),
            value=round(float(record.scores[part.split][part.metric]), 6),
            rows=int(record.data["rows"][part.split]),
        )
        for part in task.every_part()
    ]


def model_name(record: Record) -> str:
    """What the card calls the model: only the encoder's, the task's and the run's own names."""
    sample = "sample-" if record.data["source"] == "sample" else ""
    return f"{record.encoder['name']}-{sample}{record.task}-seed{record.seed}"


def rows_title(record: Record, task: TaskAdapter) -> str:
    """The rows in words: never the name of a data set that they are not."""
    data, title = record.data, task.title
    return {
        "hub": f"{title} ({data['dataset']})",
        "sample": f"sample data generated in the shape of {title}",
    }.get(data["source"], f"{title}, rows of a local folder")


def dataset_title(record: Record, task: TaskAdapter) -> str:
    """The rows in words, with the reason if no score of them may be compared."""
    name = rows_title(record, task)
    if record.comparable:
        return name
    reasons = [reason for reason in record.not_comparable_because if reason != "sample data"]
    return f"{name}; not comparable{': ' if reasons else ''}{', '.join(reasons)}"


def caveats(record: Record) -> list[str]:
    """What a reader of any score must know, most important first."""
    notes = []
    if not record.comparable:
        reasons = "; ".join(record.not_comparable_because)
        notes.append(f"Not comparable with published GLUE numbers: {reasons}.")
    if record.selection == "best":
        notes.append("The epoch was chosen on the very rows that are scored: the scores are optimistic.")
    if record.selection == "holdout":
        notes.append("The epoch was chosen on training rows that were held out, not on the rows that are scored.")
    if record.config.get("grid"):
        notes.append("The run is one cell of a grid: if the cell was chosen by these scores, they are optimistic.")
    notes.append("Scores of development rows, not test scores, and of one seed: other seeds score otherwise.")
    return notes


def changed_values(record: Record) -> Mapping[str, object]:
    """The trainer values that the recipe's name does not say."""
    return {**record.config.get("recipe_changes", {}), **record.config.get("cell", {})}
