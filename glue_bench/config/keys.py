"""What is known of one key of the configuration, and how plain values become checked dataclasses. Knows no key."""

import contextlib
import dataclasses
import functools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, field, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

from glue_bench.errors import UsageError, close_match, list_names
from glue_bench.reading import hints_of
from glue_bench.text import quote

# What a value of the trainer or of a task decides:
# scores      what is computed: part of the recipe, and of a run's identity
# rounding    how it is computed: part of a run's identity only
# execution   where it is computed: neither
# bookkeeping what is shown or written down: neither
Role = Literal["scores", "rounding", "execution", "bookkeeping"]
NOT_IN_RECIPE: tuple[Role, ...] = ("rounding", "execution", "bookkeeping")
NOT_IN_IDENTITY: tuple[Role, ...] = ("execution", "bookkeeping")

_MOST_ITEMS = 10  # of a list in a message
_Config = TypeVar("_Config")
Rule = tuple[str, object, bool, str]  # a key, its value, whether the value is allowed, and what it must be


class Must(NamedTuple):
    """What a value must be: in words, and as a test of a value that already has the right type."""

    words: str
    holds: Callable[[Any], bool]

    @classmethod
    def match(cls, words: str, pattern: str) -> "Must":
        """Return the rule for a text that a regular expression matches as a whole."""
        return cls(words, lambda text: bool(re.fullmatch(pattern, text)))


ABOVE_ZERO = Must("above 0", lambda value: value > 0)
# For values that are used as 1 / (1 - value): dropout on a CPU is rounded to 1/65536, and float32 to less.
FRACTION = Must("0 to 0.99999", lambda value: 0 <= value <= 0.99999)


class Key(NamedTuple):
    """What is known of one key, a field of a dataclass."""

    meaning: str = ""
    must: Must | None = None
    role: Role = "scores"
    grid: bool = False  # a grid may list values of it
    path: bool = False  # its value is a path, and is taken literally
    later: bool = False  # newer than the first run ids: at its default value it is left out of them
    usual: Any = None  # for the role "rounding": the value in conf/, which a command need not name
    name: str = ""  # dotted
    hint: Any = None  # its type
    default: Callable[[], Any] = lambda: MISSING  # makes its default value here, if it has one


def key(meaning: str, must: Must | None = None, *, default: Any = MISSING, make: Any = None, **more: Any) -> Any:
    """Declare a field with what is known of its key: `default` or what `make` returns, and the fields of `Key`."""
    known = Key(meaning, must, default=make or (lambda: default), **more)
    given: Any = {} if known.default() is MISSING else {"default_factory": known.default}
    return field(metadata={"key": known}, **given)


# The same for a key of another role.
rounding, execution, bookkeeping = (functools.partial(key, role=role) for role in NOT_IN_RECIPE)
later = functools.partial(key, later=True)


def at_least(lowest: int, unit: str = "") -> Must:
    """Return the rule for a number that is not below `lowest`."""
    return Must(f"{lowest} or more{unit}", lambda value: value >= lowest)


def fields_of(kind: Any) -> tuple[Key, ...]:
    """Return the fields of a dataclass, each with what is known of it."""
    hints, known = hints_of(kind), {item.name: item.metadata.get("key", Key()) for item in dataclasses.fields(kind)}
    return tuple(each._replace(name=name, hint=hints[name]) for name, each in known.items())


def walk(kind: Any, where: str = "") -> Iterator[Key]:
    """Yield every dotted key of a dataclass and of those inside it."""
    for item in fields_of(kind):
        if is_dataclass(item.hint):
            yield from walk(item.hint, f"{where}{item.name}.")
        else:
            yield item._replace(name=f"{where}{item.name}")


def keys_of(kind: Any, *roles: Role) -> tuple[str, ...]:
    """Return the names of a dataclass's fields with one of these roles."""
    return tuple(item.name for item in fields_of(kind) if item.role in roles)


def build(kind: type[_Config], values: object, *, where: str = "") -> _Config:
    """Build a dataclass of the schema from plain values; a UsageError names what is unknown, missing or impossible."""
    if not isinstance(values, Mapping):
        raise UsageError(f"{where}={shown(values)}: must be KEY: VALUE lines")
    known = {item.name: item for item in fields_of(kind)}
    made = dict[str, Any]()
    for name, given in values.items():
        if name not in known:
            raise UsageError(unknown_key(kind, str(name), where=where))
        place, hint, must = join(where, name), known[name].hint, known[name].must
        made[name] = value = convert(hint, given, key=place)
        if must is not None and value is not None:
            optional = ", or null" if NoneType in get_args(hint) else ""
            require(place, value, holds=must.holds(value), words=must.words + optional)
    if lacking := [name for name, item in known.items() if name not in made and item.default() is MISSING]:
        raise UsageError(f"{join(where, lacking[0])}: must be given")
    config = kind(**made)
    for place, value, holds, words in getattr(config, "rules", tuple)():
        require(place, value, holds=holds, words=words)
    return config


def convert(hint: Any, value: Any, *, key: str) -> Any:
    """Convert a value to the type that `hint` names; raise a UsageError if it cannot be converted."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any or (value is None and NoneType in args):
        return value
    if is_dataclass(hint):
        return build(hint, value, where=key)  # type: ignore[arg-type]
    if origin in (UnionType, Union):
        kinds = {get_origin(each) or each: each for each in args if each is not NoneType}
        if Literal in kinds and isinstance(value, str):
            names = get_args(kinds.pop(Literal))
            others = [SCALARS[kind].words if kind in SCALARS else "a list" for kind in kinds]
            require(key, value, holds=value in names, words=", or ".join([list_names(names), *others]))
            return value
        return convert(kinds[dict] if dict in kinds and isinstance(value, Mapping) else args[0], value, key=key)
    if origin is Literal:
        require_one_of(key, value, allowed=args)
        return value
    if origin is list:
        require(key, value, holds=isinstance(value, list | tuple), words=f"a list, as in {key}=[A,B]")
        return [convert(args[0], item, key=f"{key}[{place}]") for place, item in enumerate(value)]
    if origin is dict:
        require(key, value, holds=isinstance(value, Mapping), words="KEY: VALUE lines")
        return {convert(args[0], k, key=key): convert(args[1], item, key=f"{key}.{k}") for k, item in value.items()}
    scalar = SCALARS[hint]
    wanted = scalar.words
    with contextlib.suppress(ValueError, OverflowError, KeyError):
        if type(value) in scalar.types:  # a number in ASCII: other alphabets have digits, too
            read = scalar.read(value.encode("ascii") if scalar.most and isinstance(value, str) else value)
            if scalar.most and abs(read) > scalar.most:
                wanted += f" of at most {scalar.most:.10g}"
            elif scalar.most and 0 < abs(read) < scalar.least:
                wanted += f" no closer to 0 than {scalar.least:g}"
            else:
                return read
    wanted += " in UTF-8" if hint is str and isinstance(value, str) else ""
    raise UsageError(f"{key}={shown(value)}: must be {wanted}")


class Scalar(NamedTuple):
    """A type of single values. Numbers have bounds, beyond any use and well within what float32 and clocks hold."""

    words: str
    types: tuple[type, ...]  # that YAML or the command line may give for it
    read: Callable[[Any], Any]
    most: float = 0  # the largest size of a number
    least: float = 0.0  # the smallest that is not 0


_TRUTH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
SCALARS: dict[Any, Scalar] = {
    int: Scalar("a whole number", (int, str), int, 2**32 - 1),  # the largest seed
    float: Scalar("a number", (int, float, str), float, 1e30, 1e-18),
    bool: Scalar("true or false", (bool, int, str), lambda value: _TRUTH[str(value).lower()]),
    # A lone surrogate, such as from bytes that are not UTF-8, could not be written to a record and read again.
    str: Scalar("text", (bool, int, float, str), lambda value: str(value).encode().decode()),
}


def require(key: str, value: object, *, holds: bool, words: str) -> None:
    """Refuse a value unless `holds`, with a UsageError that says what it must be."""
    if not holds:
        raise UsageError(f"{key}={shown(value)}: must be {words}")


def require_one_of(key: str, value: object, *, allowed: "tuple[str, ...] | list[str]") -> None:
    """Refuse a value that is not in the list, with a UsageError that lists the allowed ones and the closest."""
    if value not in allowed:
        words = f"{key}={shown(value)}: must be one of {list_names(allowed)}"
        raise UsageError(words + close_match(str(value), allowed))


def unknown_key(kind: Any, name: str, *, where: str = "") -> str:
    """Return the message for a key that a dataclass does not have."""
    names = [item.name for item in fields_of(kind)]
    close = close_match(name, names, where=join(where, "")) or "."
    return f"{quote(join(where, name))}: no such key{close} Allowed: {list_names(join(where, name) for name in names)}"


def join(where: str, name: str) -> str:
    """Return a dotted key."""
    return f"{where}.{name}" if where else str(name)


def shown(value: object) -> str:
    """Write a value as YAML and the command line do, and as messages show it."""
    if isinstance(value, list | tuple) and len(value) > _MOST_ITEMS:
        return f"{quote(list(value[:_MOST_ITEMS]))} and {len(value) - _MOST_ITEMS:,} more"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else quote(value)
