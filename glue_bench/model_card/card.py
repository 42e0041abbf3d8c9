"""The README.md of a model card and the files of `.eval_results`, from the record that belongs to the weights.

Everything is read from the record; nothing is looked up or guessed. `.eval_results/*.yaml` follows
https://huggingface.co/docs/hub/eval-results: an entry there feeds the leaderboard of a data set on the hub, so only
comparable scores get one. `verified`, `verifyToken` and `evaluation_framework` are never written: they claim that
somebody else ran the evaluation.
"""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from huggingface_hub import EvalResult, EvalResultEntry, ModelCard, ModelCardData, eval_result_entries_to_yaml
from markupsafe import Markup

from glue_bench.config import conf_folder
from glue_bench.config.keys import keys_of
from glue_bench.config.schema import LATER, TrainerConfig, without_effect
from glue_bench.config.task import ScorePart, TaskConfig, metric_title
from glue_bench.runs.finished import repeating_words
from glue_bench.runs.record import Record
from glue_bench.text import escape_markdown

# The hub's names of metrics where they differ from ours.
_METRIC_IDS = {"pearson": "pearsonr", "spearman": "spearmanr"}
# The data set's id for rows that have none on the hub.
_OWN_ROWS = {"sample": "glue-bench-sample-data", "local": "local-files"}
# The rows on which the epoch was chosen, by the selection.
_CHOSEN = {
    "best": "the rows that are scored: the scores are optimistic",
    "holdout": "held-out training rows, not on the rows that are scored",
    "halves": "one half of the development rows; only the other half is scored",
}
_TEMPLATE = Path(__file__).with_name("README.md.jinja")


def render_card(record: Record, task: TaskConfig, *, place: str) -> str:
    """Render README.md: metadata between lines of dashes, then the text, with a snippet that loads `place`."""
    environment = jinja2.Environment(  # noqa: S701 - it is Markdown, which `_escape` escapes
        undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True, finalize=_escape
    )
    environment.filters |= {"title": lambda part: metric_title([part]), "thousands": "{:,}".format}
    trainer, words = record.config["trainer"], repeating_words(record, private=False)
    recipe = {*keys_of(TrainerConfig, "scores")}.difference(without_effect(trainer))
    files = [f"task/{record.task}.yaml", f"recipe/{record.recipe}.yaml"]
    text = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        record=record,
        task=task,
        place=place,
        metadata=Markup(_metadata(record, task).to_yaml(line_break="\n")),  # noqa: S704 - not HTML
        rows_title=_rows_title(record, task),
        dataset_title=_dataset_title(record, task),
        caveats=_caveats(record),
        scores=_scores(record, task),
        changes=", ".join(f"{key}={value}" for key, value in _changed_values(record).items()),
        settings={key: value for key, value in trainer.items() if key in recipe and value != LATER.get(key)},
        command=_fence("bash", shlex.join(["glue-bench", "run", *words, "save_model=true"])),
        private=any(word.endswith("=FOLDER") for word in words),
        own_files=[name for name in files if not (conf_folder() / name).is_file()],
    )
    ModelCard(text)  # raises ValueError for metadata that the hub would not accept
    return text


def _escape(value: object) -> str:
    return value if isinstance(value, Markup) else escape_markdown(str(value))


def eval_result_files(record: Record, task: TaskConfig) -> dict[str, list[dict[str, Any]]]:
    """Return the content of each file of `.eval_results` by name: one score each; empty if not comparable.

    The format has no field for a split or a metric: `notes` names them. `task_id` is the data set's configuration, as
    an `eval.yaml` of the data set would have to name the task.
    """
    if record.data["source"] != "hub" or not record.comparable:
        return {}
    files = {}
    for part, value, rows in _scores(record, task):
        where = f"{metric_title([part])} on the {rows} rows of {part.split}, seed {record.seed},"
        entry = EvalResultEntry(
            dataset_id=record.data["dataset"],
            task_id=task.hub_config or task.name,
            value=value,
            dataset_revision=record.data["revision"],
            date=record.ended or None,
            notes=" ".join([where, f"glue-bench recipe {record.recipe}.", *_caveats(record)]),
        )
        files[f"{task.name}_{part.split}_{part.metric}.yaml"] = eval_result_entries_to_yaml([entry])
    return files


def _scores(record: Record, task: TaskConfig) -> list[tuple[ScorePart, float, int]]:
    """Return each score with its value (0 to 1; correlations -1 to 1) and the number of its rows."""
    scores, rows = record.scores, record.data["rows"]
    return [(part, round(float(scores[part.split][part.metric]), 6), rows[part.split]) for part in task.every_part()]


def _rows_title(record: Record, task: TaskConfig) -> str:
    """Describe the rows; name a data set only if they are all of it."""
    data, title = record.data, task.title
    if data["source"] == "hub":
        return f"{title} ({data['dataset']})"
    return f"sample data generated in the shape of {title}" if data["source"] == "sample" else f"{title}, local files"


def _dataset_title(record: Record, task: TaskConfig) -> str:
    name = _rows_title(record, task)
    if record.comparable:
        return name
    reasons = [reason for reason in record.not_comparable_because if reason != "sample data"]
    return f"{name}; not comparable{': ' if reasons else ''}{', '.join(reasons)}"


def _caveats(record: Record) -> list[str]:
    """List what a reader of any score must know, most important first."""
    notes = []
    if not record.comparable:
        notes.append(f"Not comparable with published GLUE numbers: {'; '.join(record.not_comparable_because)}.")
    if record.selection in _CHOSEN:
        notes.append(f"The epoch was chosen on {_CHOSEN[record.selection]}.")
    if record.config.get("grid"):
        notes.append("The run is one cell of a grid: if the cell was chosen by these scores, they are optimistic.")
    notes.append("These are scores on development rows, not test scores, and of one seed; other seeds differ.")
    return notes


def _changed_values(record: Record) -> Mapping[str, object]:
    return {**record.config.get("recipe_changes", {}), **record.config.get("cell", {})}


def _metadata(record: Record, task: TaskConfig) -> ModelCardData:
    """Build the YAML block. It has no licence and no language, because the record has neither."""
    data, base = record.data, record.encoder["hub_id"]
    on_hub, sample = data["source"] == "hub", "sample-" if data["source"] == "sample" else ""
    changes = {key: str(value) for key, value in _changed_values(record).items()}
    circumstances = {"seed": record.seed, "recipe": record.recipe, "recipe_changes": changes, "init": record.init}
    circumstances |= {"selection": record.selection, "comparable": record.comparable}
    circumstances["not_comparable_because"] = list(record.not_comparable_because)
    results = [
        EvalResult(
            task_type="text-classification",
            task_name=task.title if on_hub else _rows_title(record, task),
            dataset_type=data["dataset"] if on_hub else _OWN_ROWS[data["source"]],
            dataset_name=_dataset_title(record, task),
            dataset_config=(task.hub_config or task.name) if on_hub else None,
            dataset_split=part.split,
            dataset_revision=data["revision"],
            metric_type=_METRIC_IDS.get(part.metric, part.metric),
            metric_name=metric_title([part]),
            metric_value=value,
            metric_args={"rows": rows, **circumstances},
        )
        for part, value, rows in _scores(record, task)
    ]
    return ModelCardData(
        base_model=base,
        base_model_relation="finetune" if base else None,
        datasets=[data["dataset"]] if on_hub else None,
        library_name="transformers",
        metrics=[_METRIC_IDS.get(metric, metric) for metric in task.metrics],
        model_name=f"{record.encoder['name']}-{sample}{record.task}-seed{record.seed}",
        pipeline_tag="text-classification",
        tags=["glue-bench"],
        eval_results=results,
    )


def _fence(language: str, code: str) -> Markup:
    """Put code between fences that are longer than any run of backticks in it."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", code)), default=0))
    return Markup(f"{fence}{language}\n{code}\n{fence}")  # noqa: S704 - not HTML
