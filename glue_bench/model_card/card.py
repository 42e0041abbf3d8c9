"""The README.md of a model card and the files of `.eval_results`, from the record that belongs to the weights.

Everything is read from the record; nothing is looked up or guessed. `.eval_results/*.yaml` follows
https://huggingface.co/docs/hub/eval-results: an entry there feeds the leaderboard of a data set on the hub, so only
comparable scores get one. `verified`, `verifyToken` and `evaluation_framework` are never written: they claim that
somebody else ran the evaluation.
"""

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from huggingface_hub import EvalResult, EvalResultEntry, ModelCard, ModelCardData, eval_result_entries_to_yaml

from glue_bench.config import conf_folder
from glue_bench.config.keys import keys_of
from glue_bench.config.schema import TrainerConfig
from glue_bench.runs.finished import repeating_words
from glue_bench.runs.record import Record
from glue_bench.tasks.adapter import ScorePart, TaskAdapter, metric_title
from glue_bench.text import escape_markdown

# The hub's names of metrics where they differ from ours.
_METRIC_IDS = {"pearson": "pearsonr", "spearman": "spearmanr"}
# The data set's id for rows that have none on the hub.
_OWN_ROWS = {"sample": "glue-bench-sample-data", "local": "local-files"}
_LICENCE = (
    "Not stated, because the record does not say. It depends on the licences of the encoder and of the data. Add it to "
    "the metadata, under the key license, once you have checked."
)


def render_card(record: Record, task: TaskAdapter, *, place: str) -> str:
    """Render README.md: metadata between lines of dashes, then the text, with a snippet that loads `place`."""
    sections = [_opening(record, task), _score_table(record, task), _usage(record, task, place=place)]
    sections += [_training(record), _data(record, task), _repetition(record), ["## Licence", "", _LICENCE]]
    metadata = _metadata(record, task).to_yaml(line_break="\n")
    text = "\n\n".join([f"---\n{metadata}\n---", *("\n".join(lines) for lines in sections)]) + "\n"
    ModelCard(text)  # raises ValueError for metadata that the hub would not accept
    return text


def eval_result_files(record: Record, task: TaskAdapter) -> dict[str, list[dict[str, Any]]]:
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


def _scores(record: Record, task: TaskAdapter) -> list[tuple[ScorePart, float, int]]:
    """Return each score with its value (0 to 1; correlations -1 to 1) and the number of its rows."""
    scores, rows = record.scores, record.data["rows"]
    return [(part, round(float(scores[part.split][part.metric]), 6), rows[part.split]) for part in task.every_part()]


def _rows_title(record: Record, task: TaskAdapter) -> str:
    """Describe the rows; name a data set only if they are all of it."""
    data, title = record.data, task.title
    if data["source"] == "hub":
        return f"{title} ({data['dataset']})"
    return f"sample data generated in the shape of {title}" if data["source"] == "sample" else f"{title}, local files"


def _dataset_title(record: Record, task: TaskAdapter) -> str:
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
    if record.selection == "best":
        notes.append("The epoch was chosen on the rows that are scored: the scores are optimistic.")
    if record.selection == "holdout":
        notes.append("The epoch was chosen on held-out training rows, not on the rows that are scored.")
    if record.config.get("grid"):
        notes.append("The run is one cell of a grid: if the cell was chosen by these scores, they are optimistic.")
    notes.append("These are scores on development rows, not test scores, and of one seed; other seeds differ.")
    return notes


def _changed_values(record: Record) -> Mapping[str, object]:
    return {**record.config.get("recipe_changes", {}), **record.config.get("cell", {})}


def _metadata(record: Record, task: TaskAdapter) -> ModelCardData:
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


def _opening(record: Record, task: TaskAdapter) -> list[str]:
    encoder = record.encoder
    base = f"{encoder['hub_id']} at revision {encoder['revision']}" if encoder["hub_id"] else encoder["name"]
    start = "" if record.init == "pretrained" else f", starting from the fine-tuned model of {record.init},"
    text = (
        f"{base}{start} with a {task.kind} head, fine-tuned by glue-bench. The weights (SHA-256 "
        f"{record.model_sha256}) belong to the run {record.run_id}; this card was made from its record."
    )
    heading = f"# {escape_markdown(encoder['name'])} fine-tuned on {escape_markdown(_rows_title(record, task))}"
    return [heading, "", escape_markdown(text), "", *(f"- {escape_markdown(note)}" for note in _caveats(record))]


def _score_table(record: Record, task: TaskAdapter) -> list[str]:
    note = "" if record.comparable else "not comparable"
    rows = [
        [part.split, metric_title([part]), f"{value:.4f}", f"{count:,}", str(record.seed), note]
        for part, value, count in _scores(record, task)
    ]
    scale = f"On {_dataset_title(record, task)}. 1 is perfect; correlations range from -1 to 1."
    table = _table(["split", "metric", "score", "rows", "seed", "note"], rows)
    return ["## Scores", "", escape_markdown(scale), "", *table]


def _usage(record: Record, task: TaskAdapter, *, place: str) -> list[str]:
    pair = len(task.texts) == 2
    example = '{"text": "A man sleeps.", "text_pair": "A man is awake."}' if pair else '"A man sleeps."'
    remark = "  # in this folder, or its path from elsewhere" if place == "." else ""
    code = [
        "from transformers import pipeline",
        "",
        f'classify = pipeline("text-classification", model={json.dumps(place)}){remark}',
        f"classify({example}, top_k=None, truncation=True, max_length={record.config['trainer']['max_length']})",
    ]
    outputs = f"Outputs, in order: {', '.join(f'{code} {label}' for code, label in enumerate(task.labels))}."
    if task.label_range:
        low, high = task.label_range
        outputs = f"The output is the score itself, trained on {low:g} to {high:g}; it can be outside of that range."
    words = escape_markdown(f"{outputs} Trained on {' and '.join(task.texts)}.")
    return ["## How to use it", "", *_fence("python", code), "", words]


def _training(record: Record) -> list[str]:
    trainer = record.config["trainer"]
    recipe = set(keys_of(TrainerConfig, "scores")) - ({"epochs"} if trainer["updates"] is not None else set())
    settings = {key: value for key, value in trainer.items() if key in recipe and value is not None}
    changed = ", ".join(f"{key}={value}" for key, value in _changed_values(record).items())
    facts = {
        "recipe": record.recipe + (f" with {changed}" if changed else ""),
        **settings,
        "seed": record.seed,
        "start": record.init,
        "weights of": {"last": "the last epoch"}.get(record.selection, f"the best epoch ({record.selection})"),
        "updates done": f"{record.steps:,}",
        "tokens trained on": f"{record.tokens:,}",
        "seconds of training": record.seconds.get("train", ""),
        "device": record.device,
        "precision": record.precision,
        "engine": record.engine,
        "processes": record.processes,
    }
    if record.selected:
        facts["epoch kept"] = record.selected["epoch"]
    versions = ", ".join(f"{name} {number}" for name, number in record.versions.items())
    return ["## Training", "", *_pairs(facts), "", escape_markdown(f"Versions: {versions}. Ended {record.ended}.")]


def _data(record: Record, task: TaskAdapter) -> list[str]:
    data = record.data
    facts: dict[str, object] = {"source": data["source"]}
    if data["source"] == "hub":
        configuration = task.hub_config or task.name
        facts |= {"data set": data["dataset"], "configuration": configuration, "revision": data["revision"]}
    facts["fingerprint of all texts and labels"] = data["fingerprint"]
    facts |= {f"rows of {split}": f"{rows:,}" for split, rows in data["rows"].items()}
    cut = data.get("truncated", {})
    facts |= {f"rows of {split} that were cut": f"{rows:,}" for split, rows in cut.items() if rows}
    facts["encoder's weights, SHA-256"] = record.encoder["weights_sha256"]
    return ["## Data and encoder", "", *_pairs(facts)]


def _repetition(record: Record) -> list[str]:
    words = repeating_words(record, private=False)
    command = _fence("bash", [shlex.join(["glue-bench", "run", *words, "save_model=true"])])
    remarks = list[str]()
    if any(word.endswith("=FOLDER") for word in words):
        remarks.append("FOLDER stands for files that are not public; the fingerprint or SHA-256 above identifies them.")
    files = [f"task/{record.task}.yaml", f"recipe/{record.recipe}.yaml"]
    own = [name for name in files if not (conf_folder() / name).is_file()]
    if own:
        remarks.append(f"It needs --config-dir with {' and '.join(own)}, which glue-bench does not include.")
    if record.git:
        remarks.append(f"glue-bench was at commit {record.git}.")
    shown = ["", *(escape_markdown(remark) for remark in remarks)] if remarks else []
    return ["## How to repeat it", "", *command, *shown]


def _pairs(facts: Mapping[str, object]) -> list[str]:
    return _table(["", ""], [[key, str(value)] for key, value in facts.items()])


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(headers)} |", "|" + "---|" * len(headers)]
    return [*lines, *(f"| {' | '.join(escape_markdown(cell) for cell in row)} |" for row in rows)]


def _fence(language: str, code: Sequence[str]) -> list[str]:
    """Put code between fences that are longer than any run of backticks in it."""
    longest = max((len(ticks) for ticks in re.findall("`+", "\n".join(code))), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{language}", *code, fence]
