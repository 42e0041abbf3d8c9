"""A run's configuration back to the words of the command line that asks for it. Knows no files, no Hydra."""

import dataclasses
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from glue_bench.config import EXECUTION_KEYS, DataConfig, EncoderConfig, TrainerConfig
from glue_bench.records import Record

RESULTS_DIR = "again"  # a folder of its own: in the old one the runs are there already
_PLAIN = re.compile(r"[A-Za-z_][\w./-]*")
_MEANINGFUL = ("null", "true", "false", "nan", "inf", "yes", "no", "on", "off")
# Only how often something is written down.
_LEFT_OUT = ("log_every", "snapshot_minutes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What the command line means where it says nothing, from conf/."""

    tasks: Sequence[str]
    encoders: Mapping[str, EncoderConfig]  # by name
    trainer: TrainerConfig  # its execution values
    data: DataConfig


def sweep_words(record: Record, defaults: Defaults, *, seeds: Sequence[int]) -> list[str]:
    """The `key=value` words after `glue-bench sweep` that make the same runs in the folder RESULTS_DIR."""
    config = record.config
    words = [f"tasks=[{record.task}]", f"seeds=[{','.join(map(str, seeds))}]"]
    words += _encoder_words(config["encoder"], defaults)
    words += _data_words(config["data"], defaults.data)
    words += [_word("recipe", record.recipe)]
    words += [_word("init", config["init"])] if config.get("init", "pretrained") != "pretrained" else []
    if record.selection != "last":
        words.append(_word("selection", record.selection))
    if record.selection == "holdout":
        words.append(_word("holdout", config["holdout"]))
    words += [_word(f"grid.{key}", values) for key, values in (config.get("grid") or {}).items()]
    words += _trainer_words(config, defaults.trainer)
    return [*words, f"results_dir={RESULTS_DIR}"]


def join_command(words: Sequence[str], *, own_task: bool) -> str:
    """The whole command, quoted for a shell.

    Args:
        own_task: the task is not a shipped one: the folder of its YAML file must be named.
    """
    config_dir = ["--config-dir", "my_conf"] if own_task else []
    return shlex.join(["glue-bench", "sweep", *words, *config_dir])


def _encoder_words(encoder: Mapping[str, Any], defaults: Defaults) -> list[str]:
    """By name, if that still means the same; else in full."""
    shipped = defaults.encoders.get(str(encoder.get("name")))
    revision = [_word("encoder.revision", encoder["revision"])] if encoder.get("hub_id") else []
    if shipped is not None and {**dataclasses.asdict(shipped), "revision": None} == {**encoder, "revision": None}:
        return [f"encoder={encoder['name']}", *revision]
    on_hub = encoder.get("hub_id") is not None  # a revision is the hub's
    given = {key: value for key, value in encoder.items() if value is not None and (on_hub or key != "revision")}
    return ["encoder=custom", *(_word(f"encoder.{key}", value) for key, value in given.items())]


def _data_words(data: Mapping[str, Any], default: DataConfig) -> list[str]:
    words = [_word("data", data["source"])]
    if data["source"] == "hub":
        words += [_word("data.dataset", data["dataset"])] if data.get("dataset") != default.dataset else []
        words.append(_word("data.revision", data["revision"]))
    if data.get("path"):
        words.append(_word("data.path", data["path"]))
    limits = ("max_train_rows", "max_eval_rows")
    return words + [_word(f"data.{key}", data[key]) for key in limits if data.get(key) is not None]


def _trainer_words(config: Mapping[str, Any], default: TrainerConfig) -> list[str]:
    """What is not the recipe's, what is not the default, and the cell of a grid."""
    trainer = config["trainer"]
    keys = [*(config.get("recipe_changes") or {}), *(config.get("cell") or {})]
    keys += [key for key in EXECUTION_KEYS if key not in _LEFT_OUT and trainer.get(key) != getattr(default, key)]
    if trainer.get("updates") is not None:  # then epochs mean nothing, and are refused
        keys = [key for key in keys if key != "epochs"]
    return [_word(f"trainer.{key}", trainer[key]) for key in dict.fromkeys(keys) if key in trainer]


def _word(key: str, value: Any) -> str:
    return f"{key}={value if key in ('data.path', 'encoder.path') else _value(value)}"


def _value(value: Any) -> str:
    """A value in Hydra's grammar."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(_value(item) for item in value)}]"
    text = str(value)
    if not isinstance(value, str) or (_PLAIN.fullmatch(text) and text.lower() not in _MEANINGFUL):
        return text
    doubled = re.sub(r"(\\+)(?='|$)", r"\1\1", text)
    return "'" + doubled.replace("'", "\\'") + "'"
