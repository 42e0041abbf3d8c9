"""The metadata of a card: the YAML at its top, with `model-index`, and the files of `.eval_results`. Knows no prose.

`.eval_results/*.yaml` as https://huggingface.co/docs/hub/eval-results describes it. An entry there feeds the
leaderboard of a data set on the hub, so that only scores which may be compared get one. `verified`, `verifyToken` and
`evaluation_framework` are never written: they claim that somebody else ran the evaluation.
"""

from typing import Any

from huggingface_hub import EvalResult, EvalResultEntry, ModelCardData, eval_result_entries_to_yaml

from glue_bench.model_card.facts import card_scores, caveats, changed_values, dataset_title, model_name, rows_title
from glue_bench.runs.record import Record
from glue_bench.tasks.adapter import TaskAdapter

# The hub's names of metrics where they differ from ours.
_METRIC_IDS = {"pearson": "pearsonr", "spearman": "spearmanr"}
# What stands in the place of a data set's id where the rows are of none.
_OWN_ROWS = {"sample": "glue-bench-sample-data", "local": "local-files"}


def card_metadata(record: Record, task: TaskAdapter) -> ModelCardData:
    """The YAML block. No licence and no language: the record knows neither."""
    on_hub = record.data["source"] == "hub"
    base = record.encoder["hub_id"]
    return ModelCardData(
        base_model=base,
        base_model_relation="finetune" if base else None,
        datasets=[record.data["dataset"]] if on_hub else None,
        library_name="transformers",
        metrics=[_metric_id(metric) for metric in task.metrics],
        model_name=model_name(record),
        pipeline_tag="text-classification",
        tags=["glue-bench"],
        eval_results=_model_index(record, task),
    )


def eval_result_files(record: Record, task: TaskAdapter) -> dict[str, list[dict[str, Any]]]:
    """The content of each file of `.eval_results` by name: one score each; none for scores that may not be compared.

    The format has no place for a split or a metric: `notes` says them. `task_id` is the data set's configuration, the
    name that an `eval.yaml` of the data set would have to give the task.
    """
    if record.data["source"] != "hub" or not record.comparable:
        return {}
    files = {}
    for score in card_scores(record, task):
        entry = EvalResultEntry(
            dataset_id=record.data["dataset"],
            task_id=task.hub_config or task.name,
            value=score.value,
            dataset_revision=record.data["revision"],
            date=record.ended or None,
            notes=" ".join(
                [
                    f"{score.title} on the {score.rows} rows of {score.split}, seed {record.seed},",
                    f"glue-bench recipe {record.recipe}.",
                    *caveats(record),
                ]
            ),
        )
        files[f"{task.name}_{score.split}_{score.metric}.yaml"] = eval_result_entries_to_yaml([entry])
    return files


def _model_index(record: Record, task: TaskAdapter) -> list[EvalResult]:
    on_hub = record.data["source"] == "hub"
    return [
        EvalResult(
            task_type="text-classification",
            task_name=task.title if on_hub else rows_title(record, task),
            dataset_type=record.data["dataset"] if on_hub else _OWN_ROWS[record.data["source"]],
            dataset_name=dataset_title(record, task),
            dataset_config=(task.hub_config or task.name) if on_hub else None,
            dataset_split=score.split,
            dataset_revision=record.data["revision"],
            metric_type=_metric_id(score.metric),
            metric_name=score.title,
            metric_value=score.value,
            metric_args={
                "rows": score.rows,
                "seed": record.seed,
                "recipe": record.recipe,
                "recipe_changes": {key: str(value) for key, value in changed_values(record).items()},
                "init": record.init,
                "selection": record.selection,
                "comparable": record.comparable,
                "not_comparable_because": list(record.not_comparable_because),
            },
        )
        for score in card_scores(record, task)
    ]


def _metric_id(metric: str) -> str:
    return _METRIC_IDS.get(metric, metric)
