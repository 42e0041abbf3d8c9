"""The Markdown of a card, from the record that belongs to the weights. Knows no YAML, no files."""

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence

from glue_bench.config import conf_folder
from glue_bench.config.keys import keys_of
from glue_bench.config.schema import TrainerConfig
from glue_bench.model_card.facts import card_scores, caveats, changed_values, dataset_title, rows_title
from glue_bench.runs.record import Record
from glue_bench.runs.repetition import repeating_words
from glue_bench.tasks.adapter import TaskAdapter
from glue_bench.text import escape_markdown


def card_text(record: Record, task: TaskAdapter, *, place: str) -> str:
    """The whole text below the metadata.

    Args:
        place: what the snippet loads: a repository's name, or the folder as its reader would name it.
    """
    sections = [
        _opening(record, task),
        _scores(record, task),
        _use(record, task, place),
        _training(record),
        _data(record, task),
        _repeat(record),
        _licence(),
    ]
    return "\n\n".join("\n".join(lines) for lines in sections) + "\n"


def _opening(record: Record, task: TaskAdapter) -> list[str]:
    encoder = record.encoder
    base = f"{encoder['hub_id']} at revision {encoder['revision']}" if encoder["hub_id"] else encoder["name"]
    start = "" if record.init == "pretrained" else f", starting from the fine-tuned model of {record.init},"
    lines = [
        f"# {escape_markdown(encoder['name'])} fine-tuned on {escape_markdown(rows_title(record, task))}",
        "",
        escape_markdown(
            f"{base}{start} with a {task.kind} head, fine-tuned by glue-bench. The weights "
            f"(SHA-256 {record.model_sha256}) belong to the run {record.run_id}, whose record this card was made from."
        ),
        "",
    ]
    return [*lines, *(f"- {escape_markdown(note)}" for note in caveats(record))]


def _scores(record: Record, task: TaskAdapter) -> list[str]:
    rows = [
        [
            score.split,
            score.title,
            f"{score.value:.4f}",
            f"{score.rows:,}",
            str(record.seed),
            "" if record.comparable else "not comparable",
        ]
        for score in card_scores(record, task)
    ]
    return [
        "## Scores",
        "",
        escape_markdown(f"On {dataset_title(record, task)}. 1 is perfect; correlations go from -1 to 1."),
        "",
        *_table(["split", "metric", "score", "rows", "seed", "note"], rows),
    ]


def _use(record: Record, task: TaskAdapter, place: str) -> list[str]:
    pair = len(task.texts) == 2
    wanted = '{"text": "A man sleeps.", "text_pair": "A man is awake."}' if pair else '"A man sleeps."'
    length = record.config["trainer"]["max_length"]
    remark = "  # in this folder, or its path from elsewhere" if place == "." else ""
    code = [
        "from transformers import pipeline",
        "",
        f'classify = pipeline("text-classification", model={json.dumps(place)}){remark}',
        f"classify({wanted}, top_k=None, truncation=True, max_length={length})",
    ]
    if task.regression:
        low, high = task.label_range or (0, 0)
        says = f"The one output is the score itself, trained on {low:g} to {high:g}; it may lie outside."
    else:
        named = ", ".join(f"{code} {label}" for code, label in enumerate(task.labels))
        says = f"Outputs, in order: {named}."
    columns = " and ".join(task.texts)
    return ["## How to use it", "", *_fence("python", code), "", escape_markdown(f"{says} Trained on {columns}.")]


def _training(record: Record) -> list[str]:
    trainer = record.config["trainer"]
    recipe = keys_of(TrainerConfig, "scores")
    settings = {key: value for key, value in trainer.items() if key in recipe and value is not None}
    if trainer["updates"] is not None:
        settings.pop("epochs", None)
    changed = ", ".join(f"{key}={value}" for key, value in changed_values(record).items())
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
        facts |= {"data set": data["dataset"], "configuration": task.hub_config or task.name}
        facts["revision"] = data["revision"]
    facts["fingerprint of all texts and labels"] = data["fingerprint"]
    facts |= {f"rows of {split}": f"{rows:,}" for split, rows in data["rows"].items()}
    cut = {split: rows for split, rows in data.get("truncated", {}).items() if rows}
    facts |= {f"rows of {split} that were cut": f"{rows:,}" for split, rows in cut.items()}
    facts["encoder's weights, SHA-256"] = record.encoder["weights_sha256"]
    return ["## Data and encoder", "", *_pairs(facts)]


def _repeat(record: Record) -> list[str]:
    words = repeating_words(record, private=False)
    lines = ["## How to repeat it", ""]
    lines += _fence("bash", [shlex.join(["glue-bench", "run", *words, "save_model=true"])])
    remarks = []
    if any(word.endswith("=FOLDER") for word in words):
        remarks.append("FOLDER stands for files that are not public; the fingerprint or SHA-256 above tells them.")
    shipped = [("task", record.task), ("recipe", record.recipe)]
    own = [f"{group}/{name}.yaml" for group, name in shipped if not _ships(group, name)]
    if own:
        remarks.append(f"It needs --config-dir with {' and '.join(own)}, which do not come with glue-bench.")
    if record.git:
        remarks.append(f"glue-bench was at commit {record.git}.")
    return [*lines, *([""] if remarks else []), *(escape_markdown(remark) for remark in remarks)]


def _licence() -> list[str]:
    return [
        "## Licence",
        "",
        "Not stated: the record does not know it. It depends on what those of the encoder and of the data allow.",
        "Add it to the metadata, under the key license, once you have looked.",
    ]


def _ships(group: str, name: str) -> bool:
    return re.fullmatch(r"[\w-]+", name) is not None and (conf_folder() / group / f"{name}.yaml").is_file()


def _pairs(facts: Mapping[str, object]) -> list[str]:
    return _table(["", ""], [[key, str(value)] for key, value in facts.items()])


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(headers)} |", "|" + "---|" * len(headers)]
    return [*lines, *(f"| {' | '.join(escape_markdown(cell) for cell in row)} |" for row in rows)]


def _fence(language: str, code: Sequence[str]) -> list[str]:
    """Code between fences that nothing in it can close."""
    longest = max((len(ticks) for ticks in re.findall("`+", "\n".join(code))), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{language}", *code, fence]
