"""The part of the schema that describes parameter-efficient fine-tuning. Knows no Hydra, no torch."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from glue_bench.config.keys import ABOVE_ZERO, FRACTION, Rule, at_least, fields_of, later, shown
from glue_bench.config.task import DISTINCT


@dataclass(slots=True, kw_only=True)
class PeftConfig:
    """Parameter-efficient fine-tuning: which few weights are trained. Plans of earlier versions have none of it."""

    method: Literal["none", "lora", "ia3", "bitfit", "prefix"] = later(
        "lora, ia3: adapters of the library peft, and no other weight of the encoder; bitfit: its biases; prefix: keys "
        "and values that every layer gets before those of a row; none: all weights are trained",
        default="none",
    )
    rank: int | None = later("lora: rank of the adapters", at_least(1), default=None)
    alpha: float | None = later("lora: what an adapter adds is multiplied by alpha / rank", ABOVE_ZERO, default=None)
    dropout: float = later("lora: probability of dropout on what an adapter gets", FRACTION, default=0.0)
    targets: list[str] | None = later(
        "lora, ia3: layers that get adapters, by the ends of their names; null: query and value (lora), or key, value "
        "and the feed-forward layer's output (ia3)",
        DISTINCT,
        default=None,
    )
    tokens: int | None = later("prefix: virtual tokens, a key and a value in every layer", at_least(1), default=None)
    head: bool = later("whether the head is trained, too", default=True)

    def rules(self) -> Iterator[Rule]:
        """Require the keys of the method, and no others."""
        for name, usual in PEFT.items():
            value, words = getattr(self, name), f"{shown(usual)} with peft={self.method}"
            yield f"peft.{name}", value, name in PEFT_KEYS[self.method] or value == usual, words
        for name in {"lora": ("rank", "alpha"), "prefix": ("tokens",)}.get(self.method, ()):
            value = getattr(self, name)
            yield f"peft.{name}", value, value is not None, f"a number with peft={self.method}"


PEFT = {item.name: item.default() for item in fields_of(PeftConfig) if item.name != "method"}
PEFT_KEYS = {  # that a method has
    "none": (),
    "lora": ("rank", "alpha", "dropout", "targets", "head"),
    "ia3": ("targets", "head"),
    "bitfit": ("head",),
    "prefix": ("tokens", "head"),
}
