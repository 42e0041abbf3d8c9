"""A finished run as a model to share: weights, tokenizer, and a model card with its scores. Knows no torch.

The folder is written whole or not at all, and never replaces other files. The card is made from the record that belongs
to the weights; nothing is looked up or guessed. `verified` and `verifyToken` are never written: they claim that
somebody else ran the evaluation.
"""

import json
import os
import re
import shlex
import shutil
from pathlib import Path

import jinja2
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from markupsafe import Markup

from glue_bench.config import conf_folder
from glue_bench.config.keys import keys_of
from glue_bench.config.schema import LATER, TrainerConfig, without_effect
from glue_bench.config.task import ScorePart, TaskConfig, metric_title
from glue_bench.data.hub import endpoint, offline_variable
from glue_bench.errors import InputError, UsageError
from glue_bench.files import disk_errors, file_sha256, replace_folder_atomically
from glue_bench.models.pretrained import tokenizer_files
from glue_bench.reading import read_json
from glue_bench.runs.finished import FinishedRun, check_weights, repeating_words
from glue_bench.runs.record import Record
from glue_bench.text import escape_markdown, first_line

MANIFEST = ".glue-bench-card.json"  # the run, and the SHA-256 of every file as it was written
_METRIC_IDS = {"pearson": "pearsonr", "spearman": "spearmanr"}  # the hub's names where they differ from ours
# By the source of the rows: their title, which names a data set only if they are all of it, and the data set's id.
_ROWS = {
    "hub": ("{title} ({dataset})", "{dataset}"),
    "sample": ("sample data generated in the shape of {title}", "glue-bench-sample-data"),
    "local": ("{title}, local files", "local-files"),
}
_CHOSEN = {  # the rows on which the epoch was chosen, by the selection
    "best": "the rows that are scored: the scores are optimistic",
    "holdout": "held-out training rows, not on the rows that are scored",
    "halves": "one half of the development rows; only the other half is scored",
}
_REFUSALS = {  # of the hub, by the status of its answer
    401: "does not know this token (HF_TOKEN, or `hf auth login`)",
    403: "does not let this token write there (it is read-only, or the organisation's rules forbid it)",
}


def write_card(run: FinishedRun, out: Path, *, repo_id: str | None = None) -> Path:
    """Write README.md, safetensors, config and tokenizer: a folder that `pipeline` loads.

    An existing folder is replaced only if it is empty, or is this run's card as it was written. `repo_id` is ORG/NAME
    on the hub, which the card's snippet then loads. Returns the folder, without links in its path.

    A UsageError if `out` holds something else; an InputError if the weights are not the record's, their configuration
    names other labels, or a file is missing; a DiskError if the folder cannot be written.
    """
    model, record = check_weights(run), run.record
    out = Path(os.path.realpath(out))  # Path.resolve raises a RuntimeError for links that lead in a circle
    if (head := record.config.get("head", "default")) != "default":
        why = "transformers has no class for this head, so `pipeline` could not load the model"
        raise UsageError(f"{run.record.run_id}: head={head}: {why}; must be default. `glue-bench predict` loads it")
    try:
        coded = read_json(model / "config.json")["id2label"]
        labels = [str(coded[code]) for code in sorted(coded, key=int)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{model / 'config.json'}: has no readable labels ({first_line(error)})") from error
    if len(labels) != 1 if run.task.regression else labels != run.task.labels:
        wanted = ", ".join(run.task.labels) or "one score"
        raise InputError(f"{model / 'config.json'}: its labels are {', '.join(labels)}, but the run's are {wanted}")
    _check_replaceable(run, out)
    card = render_card(record, run.task, place=repo_id or ".")
    with replace_folder_atomically(out) as target:
        for path in (model / "config.json", model / "model.safetensors", *tokenizer_files(model)):
            shutil.copyfile(path, target / path.name)
        (target / "README.md").write_text(card, encoding="utf-8", newline="\n")
        files = {path.name: file_sha256(path) for path in target.iterdir()}
        if files["model.safetensors"] != record.model_sha256:
            raise InputError(f"{model / 'model.safetensors'}: changed while it was copied")
        manifest = {"schema_version": 1, "run_id": record.run_id, "files": files}
        (target / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return out


def check_push(repo_id: str) -> None:
    """Find what would stop a push before anything is written.

    A UsageError if the name is malformed, nobody is logged in, or HF_HUB_OFFLINE is set.
    """
    from huggingface_hub import get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo_id if repo_id.count("/") == 1 else "")
    except HFValidationError as error:
        raise UsageError(f"--push {repo_id}: must be ORG/NAME, as in my-org/distilroberta-rte") from error
    if variable := offline_variable():
        raise UsageError(f"--push {repo_id}: {variable} is set; a push needs the hub")
    if get_token() is None:
        how = "Set HF_TOKEN to a token that may write (https://huggingface.co/settings/tokens), or run `hf auth login`"
        raise UsageError(f"--push {repo_id}: not logged in. {how}")


def push_card(folder: Path, repo_id: str) -> str:
    """Upload everything in one commit to a new, private repository, or to an empty one; return the commit's address.

    A UsageError if the repository already holds files; an InputError if the hub cannot be reached, or refuses.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        api.create_repo(repo_id, private=True, exist_ok=True)
        found = api.model_info(repo_id)
        held = [file.rfilename for file in found.siblings or [] if file.rfilename != ".gitattributes"]
        if not held:
            commit = api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                ignore_patterns=[MANIFEST],
                parent_commit=found.sha,  # refused if somebody else has pushed in the meantime
                commit_message="Fine-tuned model with its model card, by glue-bench",
            )
            return str(commit.commit_url)
    except Exception as error:  # the client's own, and those of whatever HTTP library it uses
        why = _REFUSALS.get(getattr(getattr(error, "response", None), "status_code", 0))
        raise InputError(f"--push {repo_id}: {endpoint()}{f' {why}' if why else f': {first_line(error)}'}") from error
    advice = f"choose a new name, or replace its files yourself: hf upload {repo_id} {folder}"
    raise UsageError(f"--push {repo_id}: the repository already holds {held[0]}; {advice}")


def _check_replaceable(run: FinishedRun, out: Path) -> None:
    """Refuse a folder that holds anything but this run's card, as it was written."""
    with disk_errors(out, "cannot be read"):
        try:
            names = sorted(path.name for path in out.iterdir())
        except FileNotFoundError:
            return
        except NotADirectoryError as error:
            raise UsageError(f"--out {out}: is a file; must be a new or empty folder") from error
    if not names:
        return
    try:
        manifest = {} if (out / MANIFEST).is_symlink() else read_json(out / MANIFEST)
        run_id, written = manifest["run_id"], dict(manifest["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:  # no deeper search: it may be the whole disk
        problem = f"holds files that are not a model card's ({', '.join(names[:3])}); must be a new or empty folder"
        raise UsageError(f"--out {out}: {problem}") from error
    if run_id != run.record.run_id:
        raise UsageError(f"--out {out}: holds the model card of the run {run_id}; choose another folder")
    for path in sorted(out.rglob("*")):  # links are not followed
        name = path.relative_to(out).as_posix()
        ours = name == MANIFEST or path.is_dir() or (name in written and written[name] == file_sha256(path))
        if path.is_symlink() or not ours:
            since = "was added or changed since the card was written"
            raise UsageError(f"--out {out}: {name} {since}; choose another folder")


def render_card(record: Record, task: TaskConfig, *, place: str) -> str:
    """Render README.md: metadata between lines of dashes, then the text, with a snippet that loads `place`."""
    environment = jinja2.Environment(  # noqa: S701 - it is Markdown, which is escaped as such
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: value if isinstance(value, Markup) else escape_markdown(str(value)),
    )
    environment.filters |= {"title": lambda part: metric_title([part]), "thousands": "{:,}".format}
    trainer, words = record.config["trainer"], repeating_words(record, private=False)
    command = shlex.join(["glue-bench", "run", *words, "save_model=true"])
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", command)), default=0))  # longer than any backticks in it
    recipe = {*keys_of(TrainerConfig, "scores")}.difference(without_effect(trainer))
    rows_title, dataset_title = _titles(record, task)
    files = [f"task/{record.task}.yaml", f"recipe/{record.recipe}.yaml"]
    template = Path(__file__).with_name("README.md.jinja").read_text(encoding="utf-8")
    text = environment.from_string(template).render(
        record=record,
        task=task,
        place=place,
        metadata=Markup(_metadata(record, task).to_yaml(line_break="\n")),  # noqa: S704 - not HTML
        rows_title=rows_title,
        dataset_title=dataset_title,
        caveats=_caveats(record),
        scores=_scores(record, task),
        settings={key: value for key, value in trainer.items() if key in recipe and value != LATER.get(key)},
        command=Markup(f"{fence}bash\n{command}\n{fence}"),  # noqa: S704 - not HTML
        private=any(word.endswith("=FOLDER") for word in words),
        own_files=[name for name in files if not (conf_folder() / name).is_file()],
    )
    ModelCard(text)  # raises ValueError for metadata that the hub would not accept
    return text


def _scores(record: Record, task: TaskConfig) -> list[tuple[ScorePart, float, int]]:
    """Return each score with its value (0 to 1; correlations -1 to 1) and the number of its rows."""
    scores, rows = record.scores, record.data["rows"]
    return [(part, round(float(scores[part.split][part.metric]), 6), rows[part.split]) for part in task.every_part()]


def _titles(record: Record, task: TaskConfig) -> tuple[str, str]:
    """Return the title of the rows, and the same with why they are not comparable."""
    title = _ROWS[record.data["source"]][0].format(title=task.title, dataset=record.data["dataset"])
    reasons = ", ".join(reason for reason in record.not_comparable_because if reason != "sample data")
    return title, title + ("" if record.comparable else f"; not comparable: {reasons}".removesuffix(": "))


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


def _metadata(record: Record, task: TaskConfig) -> ModelCardData:
    """Build the YAML block. It has no licence and no language, because the record has neither."""
    data, base = record.data, record.encoder["hub_id"]
    on_hub, sample = data["source"] == "hub", "sample-" if data["source"] == "sample" else ""
    rows_title, dataset_title = _titles(record, task)
    changed = {**record.config.get("recipe_changes", {}), **record.config.get("cell", {})}
    changes = {key: str(value) for key, value in changed.items()}
    named = ("seed", "recipe", "init", "selection", "comparable", "not_comparable_because")
    circumstances = {**{key: getattr(record, key) for key in named}, "recipe_changes": changes}
    results = [
        EvalResult(
            task_type="text-classification",
            task_name=task.title if on_hub else rows_title,
            dataset_type=_ROWS[data["source"]][1].format(dataset=data["dataset"]),
            dataset_name=dataset_title,
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
