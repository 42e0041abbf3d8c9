"""Which runs of a results folder are meant: KEY=VALUE words that a run must fit, for every verb and in Python."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from glue_bench.config.keys import keys_of
from glue_bench.config.schema import TrainerConfig
from glue_bench.errors import UsageError, did_you_mean
from glue_bench.reading import whole_number
from glue_bench.runs.record import Record
from glue_bench.runs.setting import USUAL_WAYS, Setting, override_value, show_value, sort_place

_Run = TypeVar("_Run")
_PLURALS = {"tasks": "task", "encoders": "encoder", "seeds": "seed"}
_TRAINER = tuple(f"trainer.{name}" for name in keys_of(TrainerConfig, "scores", "rounding"))
_PLAIN = "task tasks encoder encoders data seed seeds status recipe init selection holdout precision setting_id run_id"
_DOTTED = "data.revision data.max_train_rows data.max_eval_rows data.sample encoder.hub_id encoder.revision"
KEYS = (*_PLAIN.split(), *USUAL_WAYS, *_DOTTED.split(), *_TRAINER)
HELP = """\
which runs (all by default; several words: runs that fit all of them):
  tasks=[A,B] encoders=[A,B] seeds=1-3    also task=NAME, encoder=NAME, seed=N
  data=hub|local|sample  status=finished|failed|diverged|interrupted
  recipe=NAME  init=mnli  selection=last  trainer.KEY=VALUE  data.max_train_rows=N  setting_id=ID  run_id=ID
  KEY=[A,B] is any of them, KEY!=VALUE all others: data!=sample leaves sample data out
"""


@dataclass(frozen=True, slots=True)
class _Filter:
    word: str
    key: str
    values: Sequence[str]
    wanted: bool  # False for KEY!=VALUE

    def fits(self, facts: Mapping[str, Any]) -> bool:
        value = facts.get(self.key)
        return value != "" and any(is_written(value, text) for text in self.values) is self.wanted


class Filters(tuple[_Filter, ...]):
    """The runs that fit every filter."""

    __slots__ = ()

    @classmethod
    def read(cls, words: Iterable[str], *, others: Sequence[str] = ()) -> "Filters":
        """Read KEY=VALUE and KEY!=VALUE words; a UsageError, which also names the `others`, for anything else."""
        return cls(_read_word(word, others) for word in words)

    def fits(self, facts: Mapping[str, Any]) -> bool:
        """Check facts as `facts_of` returns them; a fact that is unknown, an empty text, fits no filter."""
        return all(each.fits(facts) for each in self)

    def fits_task(self, name: str) -> bool:
        """Check whether runs of this task can fit."""
        return all(each.fits({"task": name}) for each in self if each.key == "task")

    def choose_records(self, records: Iterable[Record], *, place: Path) -> list[Record]:
        """Return the records that fit, as `choose`."""
        return self.choose([(record, facts_of(record)) for record in records], place=place)

    def choose(self, every: Sequence[tuple[_Run, Mapping[str, Any]]], *, place: Path) -> list[_Run]:
        """Return the runs of the results folder `place` that fit; each is given with its facts, as of `facts_of`.

        A UsageError if there are runs, and none fits; it lists the values that there are.
        """
        left = list(every)
        for number, each in enumerate(self if left else (), start=1):
            found = [(run, facts) for run, facts in left if each.fits(facts)]
            if not found:
                values = known_values([facts for _, facts in left], each.key)
                hint = did_you_mean(each.values[0], values) if values else f": none has {each.key}"
                words, all_of = " ".join(one.word for one in self[:number]), " all of these" if number > 1 else ""
                raise UsageError(f"{words}: no run in {place} fits{all_of}{hint}")
            left = found
        return [run for run, _ in left]


def facts_of(record: Record) -> dict[str, Any]:
    """Return everything by which a run can be chosen."""
    own = {"seed": record.seed, "status": record.status, "run_id": record.run_id, "setting_id": record.setting_id}
    return {**Setting.of(record).facts(), **own}


def known_values(every: Iterable[Mapping[str, Any]], key: str) -> list[str]:
    """Return the values of one fact as words, sorted, numbers by size."""
    values = {show_value(facts[key]): facts[key] for facts in every if facts.get(key, "") != ""}
    return sorted(values, key=lambda text: sort_place({key: values[text]}))


def _read_word(word: str, others: Sequence[str]) -> _Filter:
    name, equals, text = word.partition("=")
    wanted, name = not name.endswith("!"), name.removesuffix("!")
    if name not in KEYS:
        hint = next((key for key in KEYS if key.rpartition(".")[2] == name), None)
        close = f"; did you mean {hint}={text}?" if hint else did_you_mean(name, [*KEYS, *others])
        raise UsageError(f"{word}: runs are not chosen by {name!r}{close}")
    if not equals or not text:
        raise UsageError(f"{word}: must be KEY=VALUE or KEY!=VALUE")
    key = _PLURALS.get(name, name)
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    values = [part.strip().strip("'\"") for part in inner.split(",")]
    seeds = list[str]()
    for value in values if key == "seed" else ():
        first, dash, last = value.partition("-")
        low, high = whole_number(first), whole_number(last if dash else first)
        if low is None or high is None or not low <= high < low + 1000:
            raise UsageError(f"{word}: must be whole numbers, as in seeds=1-3 or seeds=[1,5]")
        seeds += map(str, range(low, high + 1))
    values = [*(seeds or values), text]  # the whole text, too: a value may be a list
    return _Filter(word, key, [*dict.fromkeys(values)], wanted)


def is_written(value: Any, text: str) -> bool:
    """Check whether a text of the command line means this value."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(text) == value
        except ValueError:
            return False
    return text in (value, override_value(value), show_value(value))
