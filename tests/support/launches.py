"""How many kernels an update starts on a GPU, counted on a CPU: what torch does there is replaced where it differs.

An operation of torch counts as one kernel unless it only looks at memory in another way, also one on many tensors at
once; a kernel of our own is not run, but counted. Numbers of kernels do not depend on widths, so models may be narrow.
"""

import contextlib
import importlib.util
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import RobertaConfig

from glue_bench.config.schema import TrainerConfig
from glue_bench.models.classifier import load_classifier
from glue_bench.models.kernels import Blocks, FlatBatch, arrange
from glue_bench.training.updates import Updates
from tests.support.training import CPU, FixedShapes, encoded_of

SIX_LAYERS = RobertaConfig(  # as many as DistilRoBERTa
    vocab_size=200,
    hidden_size=32,
    num_hidden_layers=6,
    num_attention_heads=2,
    intermediate_size=64,
    max_position_embeddings=64,
    type_vocab_size=1,
)
# Memory without numbers, other names for the same memory, and what the host does.
FREE = {
    "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "detach", "lift_fresh", "_unsafe_view",
    "_local_scalar_dense", "_record_function_enter_new", "_record_function_exit",
}  # fmt: skip
TRITON = [f"glue_bench.models.triton_{name}" for name in ("kernels", "adamw")]  # where `launch` is used


class Launches(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts kernels by the name of their operation."""

    def __init__(self) -> None:
        """Start at 0."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts = Counter[str]()
        self.ours = list[tuple[Any, tuple[Any, ...], dict[str, Any]]]()  # every launch: kernel, arguments, constants

    @property
    def total(self) -> int:
        """All of them."""
        return self.counts.total()

    def add(self, name: str, count: int = 1) -> None:
        """Count what is not an operation of torch."""
        self.counts[name] += count

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Count an operation that starts a kernel, and let it happen."""
        name = func.overloadpacket.__name__
        if not func.is_view and name not in FREE:
            self.counts[name] += 1
        return func(*args, **(kwargs or {}))


def count_launches(
    settings: TrainerConfig, *, lengths: Sequence[int], config: RobertaConfig = SIX_LAYERS, precision: str = "bfloat16"
) -> Launches:
    """Count the kernels of an update on rows of these lengths, once its shape is captured."""
    launches, rows = Launches(), np.arange(len(lengths))
    why = None if settings.kernels == "auto" else "trainer.kernels=torch"
    model = load_classifier(config, outputs=3, head_seed=1, engine="flat").train()
    with as_on_a_gpu(launches), mock.patch("glue_bench.training.optimizer._why_torch", return_value=why):
        encoded = encoded_of(list(lengths), seed=1, pad_id=1)
        placement = FixedShapes(device=CPU.device, precision=precision)
        updates = Updates(model, encoded, labels=rows % 3, settings=settings, placement=placement)
        for _ in range(4):
            updates.update(rows, seed=1)
        assert str(updates.graphs) == "1 shape"
        launches.counts.clear()
        with launches:
            updates.update(rows, seed=2)
    return launches


@contextlib.contextmanager
def as_on_a_gpu(launches: Launches) -> Iterator[None]:
    """Do what is done on a GPU."""

    def attend(*states: Tensor, attn_mask: Tensor | None, dropout_p: float, scale: float) -> Tensor:  # noqa: ARG001
        found: Tensor = _Attention.apply(*states, launches, attn_mask)  # type: ignore[no-untyped-call]
        return found

    def arrange_in_one(batch: FlatBatch, heads: int, *, lengths: object) -> Blocks:  # noqa: ARG001
        return arrange(batch, heads, lengths=None)

    def count(kernel: Any, _: tuple[int, ...], *arguments: Any, **constants: Any) -> None:
        launches.add(kernel.__name__)
        launches.ours.append((kernel, arguments, constants))

    with contextlib.ExitStack() as ours:
        for name, value in {
            "glue_bench.models.kernels.is_plain": lambda _: False,
            "glue_bench.models.kernels.arrange": arrange_in_one,
            "glue_bench.training.updates.may_capture": lambda *_, **__: True,
            "glue_bench.training.optimizer.Graphs._capture": lambda _, run: run,  # which is run each time
            "torch.nn.functional.scaled_dot_product_attention": attend,
            "torch.nn.functional.dropout": lambda x, p, training, *_: torch.native_dropout(x, p, training)[0],
        }.items():
            ours.enter_context(mock.patch(name, value))
        if importlib.util.find_spec("triton"):
            ours.enter_context(mock.patch("glue_bench.models.fused.is_plain", return_value=False))
            for module in TRITON:
                ours.enter_context(mock.patch(f"{module}.launch", count))
        yield


class _Attention(torch.autograd.Function):
    """torch's attention with a mask: one kernel forward and three backward, and three to prepare the mask."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, launches: Launches, mask: Tensor | None) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.launches = launches
        launches.add("attention forward", 1 if mask is None else 4)
        return query.new_empty(query.shape)

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor | None, ...]:
        ctx.launches.add("attention backward", 3)
        return (*(part.new_empty(part.shape) for part in ctx.saved_tensors), None, None)
