"""A line of a training's history. Knows no torch: the process that starts runs gets such lines from them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """What is known of an update, and of those since the line before."""

    step: int  # updates done, 1 to steps
    steps: int  # updates in total
    epoch: int  # 1 to epochs
    loss: float  # mean over the updates since the last line
    learning_rate: float
    gradient_norm: float  # before clipping, of this update
    tokens_per_second: float  # real tokens, since the start
    dev: float | None = None  # the task's score on the dev set after this update, if `eval_every` asks for it
