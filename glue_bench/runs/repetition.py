"""A record back to the words of the command line that make its run again. Knows no files, no Hydra.

The words spell out what the record's configuration says, so that they mean the same run wherever they are read.
"""

import dataclasses
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from glue_bench.config.keys import NOT_IN_RECIPE, fields_of, keys_of
from glue_bench.config.schema import DataConfig, EncoderConfig, TrainerConfig, path_keys
from glue_bench.runs.record import Record
from glue_bench.text import quote_value

RESULTS_DIR = "again"  # a folder of its own: in the old one the runs are there already
_PLAIN = re.compile(r"[A-Za-z_][\w./-]*")
_MEANINGFUL = ("null", "true", "false", "nan", "inf", "yes", "no", "on", "off")
_NO_PATH = ("'", '"', "$", "~")
_USUAL = {item.name: item.about.usual for item in fields_of(TrainerConfig) if item.about.role == "rounding"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What the command line means where it says nothing, from conf/."""

    tasks: Sequence[str]
    encoders: Mapping[str, EncoderConfig]  # by name
    trainer: TrainerConfig  # its execution values
    data: DataConfig


def repeating_words(record: Record, *, private: bool) -> list[str]:
    """The KEY=VALUE words after `glue-bench run` that stand for the record's run id.

    A task or recipe that does not ship with glue-bench needs `--config-dir` beside them. A run that starts from
    another one names the task of that one, which then gets the same words.

    Args:
        private: with this machine's folders and results_dir; False puts FOLDER in their place, for others to read.
    """
    config = record.config
    words = [f"task={record.task}", f"seed={record.seed}", *_encoder_words(record, private=private)]
    words += _data_words(config["data"], private=private)
    words += _setting_words(record, usual=_USUAL)
    return [*words, _word("results_dir", config["results_dir"])] if private else words


def sweep_words(record: Record, defaults: Defaults, *, seeds: Sequence[int]) -> list[str]:
    """The words after `glue-bench sweep` that make the record's run with all seeds in the folder RESULTS_DIR.

    What the defaults say already is left to them; where a run executes is said too.
    """
    usual = {key: getattr(defaults.trainer, key) for key in keys_of(TrainerConfig, "rounding", "execution")}
    words = [f"tasks=[{record.task}]", f"seeds=[{','.join(map(str, seeds))}]"]
    words += _shipped_encoder_words(record, defaults) or _encoder_words(record)
    words += _data_words(record.config["data"], dataset=defaults.data.dataset)
    return [*words, *_setting_words(record, usual=usual), f"results_dir={RESULTS_DIR}"]


def join_command(words: Sequence[str], *, own_task: bool) -> str:
    """The whole command of `sweep_words`, quoted for a shell.

    Args:
        own_task: the task is not a shipped one: the folder of its YAML file must be named.
    """
    config_dir = ["--config-dir", "my_conf"] if own_task else []
    return shlex.join(["glue-bench", "sweep", *words, *config_dir])


def _shipped_encoder_words(record: Record, defaults: Defaults) -> list[str]:
    """The encoder by its name, if that still means the same; else nothing."""
    encoder = record.config["encoder"]
    shipped = defaults.encoders.get(str(encoder.get("name")))
    if shipped is None or {**dataclasses.asdict(shipped), "revision": None} != {**encoder, "revision": None}:
        return []
    revision = [_word("encoder.revision", encoder["revision"])] if encoder.get("hub_id") else []
    return [f"encoder={encoder['name']}", *revision]


def _encoder_words(record: Record, *, private: bool = True) -> list[str]:
    """The encoder by its place, whatever its name ships with."""
    encoder = record.config["encoder"]
    place = next((key for key in ("hub_id", "package") if encoder.get(key)), "path")
    shown = encoder[place] if private or place != "path" else "FOLDER"
    words = ["encoder=custom", _word("encoder.name", record.encoder["name"]), _word(f"encoder.{place}", shown)]
    return [*words, _word("encoder.revision", encoder["revision"])] if place == "hub_id" else words


def _data_words(data: Mapping[str, Any], *, private: bool = True, dataset: str | None = None) -> list[str]:
    """Where the rows are, and how many of them.

    Args:
        dataset: the hub's that need not be named.
    """
    words = [_word("data", data["source"])]
    if data["source"] == "local":
        words.append(_word("data.path", data["path"] if private else "FOLDER"))
    if data["source"] == "hub":
        words += [_word("data.dataset", data["dataset"])] if data.get("dataset") != dataset else []
        words.append(_word("data.revision", data["revision"]))
    limits = ("max_train_rows", "max_eval_rows")
    return words + [_word(f"data.{key}", data[key]) for key in limits if data.get(key) is not None]


def _setting_words(record: Record, *, usual: Mapping[str, Any]) -> list[str]:
    """The recipe, and what it does not say.

    Args:
        usual: execution values that need not be named.
    """
    config, trainer = record.config, record.config["trainer"]
    words = [_word("recipe", record.recipe)]
    if record.init != "pretrained":
        words.append(f"init={record.init.partition(':')[0]}")
    words.append(f"selection={record.selection}")  # a recipe may have one of its own
    if record.selection == "holdout":
        words.append(_word("holdout", config["holdout"]))
    words += [_word(f"grid.{key}", values) for key, values in (config.get("grid") or {}).items()]
    changed = [*(config.get("recipe_changes") or {}), *(config.get("cell") or {})]
    keys = [key for key in changed if key not in keys_of(TrainerConfig, *NOT_IN_RECIPE)]
    keys += [key for key, value in usual.items() if trainer.get(key, value) != value]
    if trainer.get("updates") is not None:  # then epochs mean nothing, and are refused
        keys = [key for key in keys if key != "epochs"]
    return words + [_word(f"trainer.{key}", trainer[key]) for key in dict.fromkeys(keys) if key in trainer]


def _word(key: str, value: Any) -> str:
    if key in path_keys():  # taken as they are, unless they begin like something else
        return f"{key}={quote_value(value) if value[:1] in _NO_PATH else value}"
    return f"{key}={_value(value)}"


def _value(value: Any) -> str:
    """A value in the grammar of overrides: a word, a number, a list of them, or null."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(_value(item) for item in value)}]"
    text = str(value)
    plain = not isinstance(value, str) or (_PLAIN.fullmatch(text) and text.lower() not in _MEANINGFUL)
    return text if plain else quote_value(text)
