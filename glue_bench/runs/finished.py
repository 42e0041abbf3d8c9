"""Finished runs on disk: find the only one that matches (none is chosen by date or score), check that its weights
are its own, and write the command that repeats it. Knows no torch, no Hydra."""

import dataclasses
import itertools
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glue_bench.config.keys import NOT_IN_RECIPE, fields_of, keys_of
from glue_bench.config.schema import PATH_KEYS, DataConfig, EncoderConfig, TrainerConfig, without_effect
from glue_bench.config.task import TaskConfig, start_tasks
from glue_bench.errors import InputError, UsageError, list_names
from glue_bench.files import file_sha256
from glue_bench.models.pretrained import check_no_adapter, has_tokenizer
from glue_bench.runs.listing import Filters, facts_of, known_values
from glue_bench.runs.record import Record, read_record, task_of
from glue_bench.runs.setting import LIMITS, Setting, name_apart, override_word
from glue_bench.runs.store import RunStore
from glue_bench.text import plural, quote_value

RESULTS_DIR = "again"  # for repeated sweeps: in the old folder nothing would be trained
_NO_PATH = ("'", '"', "$", "~")  # a path that begins with one of these must be quoted


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """A finished record, and the folder with all of the run's files."""

    record: Record
    folder: Path

    @property
    def model_folder(self) -> Path:
        """Where its weights are, if it kept them."""
        return self.folder / "model"

    @property
    def has_model(self) -> bool:
        """Whether it kept a model; a file in that place does not count if the run cannot have one."""
        return not self.record.keeps_adapter and (self.model_folder / "model.safetensors").is_file()

    @property
    def task(self) -> TaskConfig:
        """The task as the run used it."""
        return task_of(self.record)

    @property
    def title(self) -> str:
        """Encoder, task, seed and run id, for messages."""
        record = self.record
        return f"{record.encoder['name']} {record.task} seed {record.seed} ({record.run_id})"


def find_finished(store: RunStore, *words: str, need_model: bool = False, **choice: object) -> FinishedRun:
    """Find the only finished run that fits KEY=VALUE words; with `need_model`, among those that kept their weights.

    `choice` is the same for keys without a dot. `run_id` may also be the folder of a run, wherever it is. A UsageError
    if none or several fit lists what there is; an InputError if none of them kept its weights, or the folder has no
    readable record.
    """
    words = (*(f"{key}={value}" for key, value in choice.items() if value is not None), *words)
    asked, own = " ".join(words), [word for word in words if not word.startswith("run_id=")]
    folders = [Path(word.removeprefix("run_id=")) for word in words if word not in own]
    if folder := next((each for each in folders if (each / "record.json").exists()), None):
        place, record = folder, read_record(folder / "record.json")
        if record is None:
            raise InputError(f"{folder}: has no readable record.json")
        if not Filters.read(own).fits(facts_of(record)):
            raise UsageError(f"{asked}: that folder holds {FinishedRun(record=record, folder=folder).title}")
        alike = [(record, folder)]
    else:
        place, records = store.root.parent, [*store.load_all()]
        if not any(record.finished for record in records):
            advice = "`glue-bench run task=rte save_model=true` makes one"
            raise UsageError(f"results_dir={place}: no finished run there; {advice}")
        chosen = Filters.read(words).choose_records(records, place=place)
        alike = [(record, store.folder(*record.place)) for record in chosen]
    found = [FinishedRun(record=record, folder=folder) for record, folder in alike if record.finished]
    if not found:
        states = ", ".join(sorted({record.status for record, _ in alike}))
        raise UsageError(f"{asked}: {states} in {place}; only finished runs have results")
    kept = [run for run in found if run.has_model] if need_model else found
    if not kept:
        raise InputError(_explain_no_weights(found, asked))
    if len(kept) > 1:
        which = f"{plural(len(kept), 'finished run')} {f'match {asked}' if asked else 'are'} in {place}"
        raise UsageError(f"{which}; add one of {list_names(_distinguish([run.record for run in kept]))}")
    return kept[0]


def _distinguish(records: Sequence[Record]) -> list[str]:
    for key in ("task", "encoder", "seed"):
        if len(values := known_values(map(facts_of, records), key)) > 1:
            return [f"{key}={value}" for value in values]
    return [f"run_id={name}" for name in name_apart(records)]


def check_weights(run: FinishedRun) -> Path:
    """Return the folder of the run's weights, after a check that their SHA-256 is the one in its record.

    An InputError if there are none, they are not the record's, or it has no hash of them, no tokenizer is there, or an
    adapter is, which would change them.
    """
    folder, known = run.model_folder, run.record.model_sha256
    if not run.has_model:
        raise InputError(_explain_no_weights([run], run.title))
    check_no_adapter(folder)
    found, again = file_sha256(folder / "model.safetensors"), f"Remove {folder}, then: {_command(run)}"
    if found != known:
        why = f"do not belong to the run's record: their SHA-256 is {found}, the record's model_sha256 {known}"
        raise InputError(f"{folder / 'model.safetensors'}: these weights {why}. {again}")
    if not has_tokenizer(folder):
        missing = "no tokenizer.json and no vocabulary file, so these weights cannot be used"
        raise InputError(f"{folder}: {missing}. {again}")
    return folder


def _explain_no_weights(found: Sequence[FinishedRun], asked: str) -> str:
    prefix, able = asked and f"{asked}: ", [run for run in found if not run.record.keeps_adapter]
    if not able:
        why = f"a prefix cannot be merged into a model, so there is none; peft loads {found[0].folder / 'adapter'}"
        return f"{prefix}peft=prefix: {why}"
    none = "this run kept no weights" if len(found) == 1 else f"none of the {len(found)} finished runs kept its weights"
    return f"{prefix}{none}. To train {able[0].title} again and keep them: {_command(able[0])}"


def _command(run: FinishedRun) -> str:
    return shlex.join(["glue-bench", "run", *repeating_words(run.record, private=True), "save_model=true"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """The values that conf/ gives if the user gives none."""

    tasks: Sequence[str]
    encoders: Mapping[str, EncoderConfig]  # by name
    trainer: TrainerConfig  # its execution values
    data: DataConfig


def repeating_words(record: Record, *, private: bool) -> list[str]:
    """Return the KEY=VALUE words after `glue-bench run` that give the record's run id, even if defaults change.

    A task or recipe that does not ship with glue-bench needs `--config-dir` as well. A run that starts from another run
    names the task of the other, which then gets the same words. They are `private` with this machine's folders and
    results_dir; otherwise FOLDER stands there, for others to read.
    """
    usual = {item.name: item.usual for item in fields_of(TrainerConfig) if item.role == "rounding"}
    words = [f"task={record.task}", f"seed={record.seed}", *_words(record, usual, private=private)]
    return [*words, _word("results_dir", record.config["results_dir"])] if private else words


def sweep_words(record: Record, defaults: Defaults, *, seeds: Sequence[int]) -> list[str]:
    """Return the words after `glue-bench sweep` that repeat the record's run with all seeds in RESULTS_DIR.

    Defaults are left out; values that say how a run executes are included.
    """
    usual = {key: getattr(defaults.trainer, key) for key in keys_of(TrainerConfig, "rounding", "execution")}
    lists = [f"tasks=[{record.task}]", f"seeds=[{','.join(map(str, seeds))}]"]
    return [*lists, *_words(record, usual, defaults=defaults), f"results_dir={RESULTS_DIR}"]


def join_command(words: Sequence[str], *, own_task: bool) -> str:
    """Return the whole command of `sweep_words`, quoted for a shell; `own_task`: with the folder of its YAML file."""
    return shlex.join(["glue-bench", "sweep", *words, *(["--config-dir", "my_conf"] if own_task else [])])


def _words(
    record: Record, usual: Mapping[str, Any], *, private: bool = True, defaults: Defaults | None = None
) -> list[str]:
    """Return the words for encoder, data and setting, without `defaults` and `usual` values of the trainer."""
    encoder, data, trainer = (record.config[name] for name in ("encoder", "data", "trainer"))
    shipped = defaults.encoders.get(str(encoder.get("name"))) if defaults else None
    values, any_revision = dict[str, Any](encoder=encoder.get("name")), {"revision": None}
    if shipped is None or dataclasses.asdict(shipped) | any_revision != {"allow_bin": False, **encoder} | any_revision:
        # Its name no longer means the same encoder, or never did. Older records lack allow_bin.
        place = next((key for key in ("hub_id", "package") if encoder.get(key)), "path")
        values = {"encoder": "custom", "encoder.name": record.encoder["name"], f"encoder.{place}": encoder[place]}
        values |= {"encoder.allow_bin": True} if encoder.get("allow_bin") else {}
    values |= {"encoder.revision": encoder["revision"]} if encoder.get("hub_id") else {}
    places = {"local": ["path"], "hub": ["dataset", "revision"], "sample": []}[data["source"]]
    values |= {"data": data["source"], **{f"data.{key}": data[key] for key in places}}
    if defaults and data.get("dataset") == defaults.data.dataset:
        values.pop("data.dataset", None)
    values |= {f"data.{key}": data[key] for key, limit in LIMITS.items() if data.get(key, limit) != limit}
    if not private:
        values |= {key: "FOLDER" for key in PATH_KEYS if key in values}
    if columns := record.config["task"].get("columns"):
        pairs = ", ".join(f"{name}: {quote_value(column)}" for name, column in columns.items())
        values |= {"task.columns": f"{{{pairs}}}"}
    setting = Setting.of(record)
    values |= {"recipe": setting.recipe}
    if setting.init != "pretrained":
        chain = ",".join(map(":".join, itertools.pairwise([setting.task, *start_tasks(setting.init)])))
        usual_start = setting.init in record.config["task"].get("init_from", ())
        values |= {"init": setting.init if usual_start else f"{{{chain}}}"}
    own = {"init_seed": setting.init_seed, **setting.unusual_ways}
    own |= {"selection": setting.selection, "holdout": setting.holdout}  # the selection always: a recipe may set it
    values |= {key: value for key, value in own.items() if value is not None}
    values |= {f"grid.{key}": tried for key, tried in setting.grid.items()}
    hidden = {*keys_of(TrainerConfig, *NOT_IN_RECIPE), *without_effect(trainer)}
    keys = [key for key in (*setting.recipe_changes, *setting.cell) if key in trainer and key not in hidden]
    keys += [key for key, value in usual.items() if trainer.get(key, value) != value]
    values |= {f"trainer.{key}": trainer[key] for key in keys}
    return [_word(key, value) for key, value in values.items()]


def _word(key: str, value: Any) -> str:
    as_it_is = key in ("init", "task.columns") or (key in PATH_KEYS and value[:1] not in _NO_PATH)
    return f"{key}={value}" if as_it_is else override_word(key, value)
