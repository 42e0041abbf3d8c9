"""Finished runs on disk: find the only one that matches (none is chosen by date or score), check that its weights
are its own, and write the command that repeats it. Knows no torch, no Hydra."""

import dataclasses
import difflib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glue_bench.config.keys import NOT_IN_RECIPE, fields_of, keys_of
from glue_bench.config.schema import PATH_KEYS, DataConfig, EncoderConfig, TrainerConfig
from glue_bench.config.task import TaskConfig
from glue_bench.errors import InputError, UsageError, did_you_mean, list_names
from glue_bench.files import file_sha256
from glue_bench.models.pretrained import check_no_adapter, has_tokenizer
from glue_bench.runs.filters import ALL_RUNS, Filters, known_values
from glue_bench.runs.record import Record, read_record, task_of
from glue_bench.runs.setting import LIMITS, Setting, override_word, show_words, tell_apart
from glue_bench.runs.store import RunStore
from glue_bench.text import plural, quote_value

RESULTS_DIR = "again"  # for repeated sweeps: in the old folder nothing would be trained
_LISTED, _LISTED_IDS = 8, 5  # runs that an error lists
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
        """Whether it kept a model; what lies in the place of one that it cannot have is none."""
        return not self.record.keeps_adapter and (self.model_folder / "model.safetensors").is_file()

    @property
    def task(self) -> TaskConfig:
        """The task as the run used it."""
        return task_of(self.record)

    @property
    def facts(self) -> dict[str, object]:
        """The properties by which a run can be found."""
        record = self.record
        return {"encoder": record.encoder["name"], "task": record.task, "seed": record.seed, "run_id": record.run_id}

    @property
    def title(self) -> str:
        """Encoder, task, seed and run id, for messages."""
        return "{encoder} {task} seed {seed} ({run_id})".format(**self.facts)


def find_finished(
    store: RunStore,
    *,
    encoder: str | None = None,
    task: str | None = None,
    seed: int | None = None,
    run_id: str | None = None,
    filters: Filters = ALL_RUNS,
    need_model: bool = False,
) -> FinishedRun:
    """Find the only finished run that has all the given properties; with `need_model`, among those that kept weights.

    `run_id` is an id, or the folder of a run, wherever it is. A UsageError if none or several match lists what there
    is; an InputError if none of them kept its weights, or the folder has no readable record.
    """
    given = {"encoder": encoder, "task": task, "seed": seed, "run_id": run_id}
    wanted = {key: value for key, value in given.items() if value is not None}
    asked = " ".join(f"{key}={value}" for key, value in wanted.items())
    if run_id is not None and (Path(run_id) / "record.json").exists():
        run = open_run_folder(Path(run_id), need_model=need_model)
        if not {**wanted, "run_id": run.record.run_id}.items() <= run.facts.items():
            raise UsageError(f"{asked}: that folder holds {run.title}")
        return run
    results = store.root.parent
    records = filters.choose_records(store.load_all(), place=results)
    every = [FinishedRun(record=record, folder=store.folder(*record.place)) for record in records]
    alike = [run for run in every if wanted.items() <= run.facts.items()]
    found = [run for run in alike if run.record.finished]
    if alike and not found:
        states = ", ".join(sorted({run.record.status for run in alike}))
        raise UsageError(f"{asked or 'runs'}: {states} in {results}; only finished runs have results")
    if not found:
        here = [run for run in every if run.record.finished]
        raise UsageError(_explain_none(wanted, asked, here=here, results=results))
    kept = [run for run in found if run.has_model] if need_model else found
    if not kept:
        raise InputError(_explain_no_weights(found, asked))
    if len(kept) > 1:
        which = f"{plural(len(kept), 'finished run')} {f'match {asked}' if asked else 'are'} in {results}"
        raise UsageError(f"{which}; add one of {list_names(_distinguish(kept), _LISTED)}")
    return kept[0]


def open_run_folder(folder: Path, *, need_model: bool = False) -> FinishedRun:
    """Open the run of one folder, wherever it is.

    A UsageError if it did not finish, an InputError if its record cannot be read, or weights that are needed lack.
    """
    record = read_record(folder / "record.json")
    if record is None:
        raise InputError(f"{folder}: has no readable record.json")
    if not record.finished:
        raise UsageError(f"{folder}: this run is {record.status}; only finished runs have results")
    run = FinishedRun(record=record, folder=folder)
    if need_model and not run.has_model:
        raise InputError(_explain_no_weights([run], str(folder)))
    return run


def check_weights(run: FinishedRun) -> Path:
    """Return the folder of the run's weights, after a check that their SHA-256 is the one in its record.

    An InputError if there are none, they are not the record's, the record has no hash of them, no tokenizer is there,
    or an adapter is, which would change them.
    """
    path = run.model_folder / "model.safetensors"
    if not run.has_model:
        raise InputError(_explain_no_weights([run], run.title))
    check_no_adapter(run.model_folder)
    known, found = run.record.model_sha256, file_sha256(path)
    if known is None:
        unknown = "names no model_sha256, so nothing proves that these weights are the run's. Remove"
        raise InputError(f"{run.folder / 'record.json'}: {unknown} {run.model_folder}, then: {_command(run)}")
    if found != known:
        hashes = f"their SHA-256 is {found}, the record's model_sha256 {known}"
        raise InputError(f"{path}: these weights do not belong to the run's record: {hashes}")
    if not has_tokenizer(run.model_folder):
        missing = "no tokenizer.json and no vocabulary file, so nobody can use these weights"
        raise InputError(f"{run.model_folder}: {missing}. Remove it, then: {_command(run)}")
    return run.model_folder


def _explain_none(wanted: Mapping[str, object], asked: str, *, here: Sequence[FinishedRun], results: Path) -> str:
    if not here:
        return f"results_dir={results}: no finished run there; `glue-bench run task=rte save_model=true` makes one"
    titles = {run.record.run_id: f"run_id={run.record.run_id} ({_place(run)})" for run in here}
    run_id = wanted.get("run_id")
    if run_id is not None and run_id not in titles:
        close = difflib.get_close_matches(str(run_id), titles, n=1)
        known = list_names(titles.values(), _LISTED_IDS)
        hint = f"; did you mean {titles[close[0]]}?" if close else f". There are {known}"
        return f"run_id={run_id}: no finished run in {results} has this id{hint}"
    for key, value in wanted.items():
        names = list(dict.fromkeys(str(run.facts[key]) for run in here))
        if str(value) not in names:
            return f"{key}={value}: no finished run in {results}{did_you_mean(str(value), names[: 2 * _LISTED])}"
    seeds = {_place(run): [str(other.record.seed) for other in here if _place(other) == _place(run)] for run in here}
    each = [f"{place} seed={','.join(dict.fromkeys(numbers))}" for place, numbers in seeds.items()]
    return f"{asked}: no finished run in {results} has all of these; there are {list_names(each, _LISTED)}"


def _distinguish(found: Sequence[FinishedRun]) -> Iterable[str]:
    for key in ("task", "encoder", "seed"):
        if len(values := known_values([run.facts for run in found], key)) > 1:
            return [f"{key}={value}" for value in values]
    words = map(show_words, tell_apart([Setting.of(run.record) for run in found]))
    return [f"run_id={run.record.run_id} ({word})" for run, word in zip(found, words, strict=True)]


def _explain_no_weights(found: Sequence[FinishedRun], asked: str) -> str:
    able = [run for run in found if not run.record.keeps_adapter]
    if not able:
        why = f"a prefix cannot be merged into a model, so there is none; peft loads {found[0].folder / 'adapter'}"
        return f"{asked or found[0].title}: peft=prefix: {why}"
    first = able[0]
    if len(found) == 1:
        return f"{asked or first.title}: this run kept no weights. To train it again and keep them: {_command(first)}"
    none = f"{asked and f'{asked}: '}none of the {len(found)} finished runs kept its weights"
    return f"{none}. To train the first again ({first.title}) and keep them: {_command(first)}"


def _place(run: FinishedRun) -> str:
    return "encoder={encoder} task={task}".format(**run.facts)


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
    names the task of the other, which then gets the same words.

    They are `private` with this machine's folders and results_dir; otherwise FOLDER stands there, for others to read.
    """
    usual = {item.name: item.usual for item in fields_of(TrainerConfig) if item.role == "rounding"}
    words = [f"task={record.task}", f"seed={record.seed}", *_encoder_words(record, private=private)]
    words += [*_data_words(record, private=private), *_setting_words(record, usual=usual)]
    return [*words, _path_word("results_dir", record.config["results_dir"])] if private else words


def sweep_words(record: Record, defaults: Defaults, *, seeds: Sequence[int]) -> list[str]:
    """Return the words after `glue-bench sweep` that repeat the record's run with all seeds in RESULTS_DIR.

    Defaults are left out; values of how a run executes are included.
    """
    usual = {key: getattr(defaults.trainer, key) for key in keys_of(TrainerConfig, "rounding", "execution")}
    words = [f"tasks=[{record.task}]", f"seeds=[{','.join(map(str, seeds))}]"]
    encoder = record.config["encoder"]
    shipped = defaults.encoders.get(str(encoder.get("name")))
    plain = {"allow_bin": False, **encoder, "revision": None}  # older records lack allow_bin
    if shipped is not None and {**dataclasses.asdict(shipped), "revision": None} == plain:
        words += [f"encoder={encoder['name']}"]  # its name still means the same
        words += [override_word("encoder.revision", encoder["revision"])] if encoder.get("hub_id") else []
    else:
        words += _encoder_words(record)
    words += [*_data_words(record, dataset=defaults.data.dataset), *_setting_words(record, usual=usual)]
    return [*words, f"results_dir={RESULTS_DIR}"]


def join_command(words: Sequence[str], *, own_task: bool) -> str:
    """Return the whole command of `sweep_words`, quoted for a shell; `own_task`: with the folder of its YAML file."""
    return shlex.join(["glue-bench", "sweep", *words, *(["--config-dir", "my_conf"] if own_task else [])])


def _encoder_words(record: Record, *, private: bool = True) -> list[str]:
    encoder = record.config["encoder"]
    place = next((key for key in ("hub_id", "package") if encoder.get(key)), "path")
    shown = encoder[place] if private or place != "path" else "FOLDER"
    name = override_word("encoder.name", record.encoder["name"])
    words = ["encoder=custom", name, _path_word(f"encoder.{place}", shown)]
    words += ["encoder.allow_bin=true"] if encoder.get("allow_bin") else []
    return [*words, override_word("encoder.revision", encoder["revision"])] if place == "hub_id" else words


def _data_words(record: Record, *, private: bool = True, dataset: str | None = None) -> list[str]:
    data, columns = record.config["data"], record.config["task"].get("columns") or {}
    words = [override_word("data", data["source"])]
    if data["source"] == "local":
        words.append(_path_word("data.path", data["path"] if private else "FOLDER"))
    if data["source"] == "hub":
        words += [override_word("data.dataset", data["dataset"])] if data.get("dataset") != dataset else []
        words.append(override_word("data.revision", data["revision"]))
    words += [override_word(f"data.{key}", data[key]) for key, usual in LIMITS.items() if data.get(key, usual) != usual]
    pairs = ", ".join(f"{name}: {quote_value(column)}" for name, column in columns.items())
    return [*words, f"task.columns={{{pairs}}}"] if columns else words


def _setting_words(record: Record, *, usual: Mapping[str, Any]) -> list[str]:
    trainer, execution = record.config["trainer"], {f"trainer.{key}" for key in keys_of(TrainerConfig, *NOT_IN_RECIPE)}
    words = [word for word in Setting.of(record).words() if word.partition("=")[0] not in execution]
    unusual = [key for key, value in usual.items() if trainer.get(key, value) != value]
    return words + [override_word(f"trainer.{key}", trainer[key]) for key in unusual]


def _path_word(key: str, value: str) -> str:
    if key not in PATH_KEYS:
        return override_word(key, value)
    return f"{key}={quote_value(value) if value[:1] in _NO_PATH else value}"
