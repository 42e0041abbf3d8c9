"""What is minimised, and by what: the loss of a batch, and AdamW, by our own kernels on a GPU, or by torch's.

The methods of `TorchAdamW` are also those of our `triton_adamw.FlatAdamW`. On a GPU `Graphs` can start all kernels of
an update at once, captured from an earlier one.
"""

import importlib.util
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from glue_bench.config.schema import TrainerConfig
from glue_bench.models.classifier import HEAD_KEY, Classifier
from glue_bench.models.families import family_of
from glue_bench.models.packing import Packed, Packer
from glue_bench.models.placement import Placement
from glue_bench.models.trainable import rate_shares, trained
from glue_bench.text import first_line, plural
from glue_bench.training.distributed import Processes

if TYPE_CHECKING:
    from glue_bench.models.triton_adamw import FlatAdamW

Labels = NDArray[np.int64] | NDArray[np.float64]  # class codes or scores
IGNORED = -100  # in place of a class code
_STATE = ("step", "exp_avg", "exp_avg_sq")
_WARM_UPS = 2  # updates of a shape that are made kernel by kernel: libraries get ready, and rare shapes stay so

logger = logging.getLogger(__name__)


class Loss:
    """Cross-entropy for class codes, squared error for scores; divided by `weight` it is torch's mean of the batch."""

    def __init__(self, labels: Labels, *, outputs: int, settings: TrainerConfig, device: torch.device) -> None:
        """Weigh the classes as the settings say, by (n,) class codes or scores of all training rows."""
        self._smoothing, weights = settings.label_smoothing, settings.class_weights
        if weights == "balanced":  # n / (classes * rows of the class), as in scikit-learn
            counts = np.bincount(labels.astype(np.int64), minlength=outputs)
            weights = [len(labels) / (outputs * int(count)) if count else 0.0 for count in counts]
        self.weights = None if weights is None else np.array(weights, np.float32)
        self._on_device = None if weights is None else torch.from_numpy(self.weights).to(device)

    def weight(self, labels: Labels) -> float:
        """Return what the sum over rows with these labels is divided by: their number, or their classes' weights."""
        return len(labels) if self.weights is None else float(self.weights[labels].sum())

    def __call__(self, logits: Tensor, targets: Tensor, *, present: Tensor) -> Tensor:
        """Return the summed loss of (B, outputs) logits and (B,) labels, without absent rows: their gradient is 0."""
        if targets.is_floating_point():
            return functional.mse_loss(logits.squeeze(-1) * present, targets * present, reduction="sum")
        how: dict[str, Any] = {"weight": self._on_device, "label_smoothing": self._smoothing, "ignore_index": IGNORED}
        return functional.cross_entropy(logits, targets.long(), reduction="sum", **how)


class TorchAdamW:
    """torch's AdamW (Loshchilov and Hutter, arXiv:1711.05101). On a GPU no method but `restore` waits for it.

    Biases and layer norms, which are 1-d, only decay with `decay_biases`.
    """

    def __init__(self, model: Classifier, settings: TrainerConfig) -> None:
        """Optimise the parameters of a model on its device; a UsageError if there is no `layer_decay` for it."""
        self._trained = trained(model)
        self._parameters, self._limit = list[Tensor](self._trained.values()), settings.clip_norm
        shares = rate_shares(model.whole, settings.layer_decay)
        alike = defaultdict[tuple[float, float], list[Tensor]](list)
        for name, parameter in self._trained.items():
            matrix = parameter.ndim > 1 and ".ia3_l." not in name  # those of IA3 are vectors, of two dimensions
            decay = settings.weight_decay if settings.decay_biases or matrix else 0.0
            alike[decay, shares.get(name.removeprefix("whole."), 1.0)].append(parameter)
        # torch leaves alone what it does not know: a group's share of the learning rate
        groups = [{"params": each, "weight_decay": key[0], "share": key[1]} for key, each in alike.items()]
        kinds = {parameter.device.type for parameter in self._parameters}
        self._fused, self._on_gpu = kinds <= {"cpu", "cuda"}, kinds == {"cuda"}
        how: dict[str, Any] = {"betas": settings.betas, "eps": settings.epsilon, "fused": self._fused}
        self.torch = torch.optim.AdamW(groups, lr=settings.learning_rate, capturable=self._on_gpu, **how)
        # torch warns of updates outside of a graph, which are intended here.
        self.torch._warned_capturable_if_run_uncaptured = True

    def zero(self, *, micro_batches: int = 1) -> None:  # noqa: ARG002
        """Prepare the gradients of an update, made of this many micro-batches: zero or absent."""
        self.torch.zero_grad()

    def settle(self) -> None:
        """Bring all weights up to date, before anything but training reads them; here they always are."""

    def apply(self, scalars: Tensor) -> Tensor:
        """Clip and make an update; return the gradient's norm before clipping, a scalar on the device.

        The (3,) `scalars` are the learning rate and 1 - beta ** update for both betas, on a GPU in its memory.
        """
        norm = nn.utils.get_total_norm([p.grad for p in self._parameters if p.grad is not None])
        if self._limit and self._fused:
            # As clip_grads_with_norm_, but the kernel divides as it reads, which saves a pass over all gradients.
            self.torch.grad_scale = ((norm + 1e-6) / self._limit).clamp(min=1).float()  # type: ignore[attr-defined]
        elif self._limit:
            nn.utils.clip_grads_with_norm_(self._parameters, self._limit, norm)
        for group in self.torch.param_groups:
            group["lr"] = group["share"] * (scalars[0] if self._on_gpu else float(scalars[0]))
        self.torch.step()
        self.torch.zero_grad()
        return norm

    def state(self) -> dict[str, Tensor]:
        """Return what later updates depend on: `exp_avg.NAME`, `exp_avg_sq.NAME` and `step.NAME` by parameter."""
        held = {name: self.torch.state.get(parameter, {}) for name, parameter in self._trained.items()}
        return {f"{key}.{name}": value for name, values in held.items() for key, value in values.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from what `state` returned."""
        for name, parameter in self._trained.items():
            if f"step.{name}" in state:
                self.torch.state[parameter] = {key: state[f"{key}.{name}"].to(parameter.device) for key in _STATE}


class LoweredAdamW(TorchAdamW):
    """torch's AdamW on the float32 weights of a classifier that computes with bfloat16 copies of them.

    So an update casts all weights at once, and no activation: autocast's casts are a third of the kernels of an update.
    """

    def __init__(self, model: Classifier, settings: TrainerConfig) -> None:
        """Copy the weights of a model, which is on its device; errors as in `TorchAdamW`."""
        super().__init__(model, settings)
        self._model, weights = model, dict(model.named_parameters())
        copies = {name: weight.detach().to(torch.bfloat16, copy=True) for name, weight in weights.items()}
        self.low = {name: copy.requires_grad_(weights[name].requires_grad) for name, copy in copies.items()}

    def logits(self, batch: Any) -> Tensor:
        """Return the logits of B rows, (B, outputs) in bfloat16."""
        with torch.autocast(next(iter(self.low.values())).device.type, enabled=False):
            return torch.func.functional_call(self._model, self.low, (batch,))  # type: ignore[no-any-return]

    def zero(self, *, micro_batches: int = 1) -> None:  # noqa: ARG002
        """Copy the float32 weights too, which the update before, a snapshot or a selected epoch may have changed."""
        for weight in self.low.values():
            weight.grad = None
        with torch.no_grad():
            torch._foreach_copy_([self.low[name] for name in self._trained], self._parameters)

    def apply(self, scalars: Tensor) -> Tensor:
        found = {name: weight.grad for name, weight in self.low.items() if weight.grad is not None}
        exact = [torch.empty_like(self._trained[name]) for name in found]
        torch._foreach_copy_(exact, list(found.values()))
        for name, gradient in zip(found, exact, strict=True):
            self._trained[name].grad = gradient
        return super().apply(scalars)


def choose_way(
    model: Classifier, settings: TrainerConfig, *, packer: Packer, updates: int, placement: Placement, alone: bool
) -> tuple[Callable[[Any], Tensor], "TorchAdamW | FlatAdamW", str]:
    """Return what turns a batch of rows into logits in `updates` updates, their optimiser, and words for the record."""
    if (why := _why_torch(model, settings, placement=placement, alone=alone)) is None:
        from glue_bench.models.fused import FusedClassifier  # Triton may not be there
        from glue_bench.models.triton_adamw import FlatAdamW

        dtype = torch.bfloat16 if placement.precision == "bfloat16" else torch.float32
        fused = FusedClassifier(model, settings, dtype=dtype)
        others = [key for key in ("attention", "adamw", "embedding") if getattr(settings, f"{key}_kernel") == "torch"]
        words = f"ours, but torch for {others}" if others else "ours"
        return fused, FlatAdamW(fused, settings, updates=updates), words
    if placement.precision == "bfloat16" and model.flat and alone:
        lowered = LoweredAdamW(model, settings)
        try:
            with torch.no_grad():
                lowered.logits(packer.gather(np.arange(1)))
        except RuntimeError as error:  # some families only compute in bfloat16 under autocast
            why += f"; under autocast: {first_line(error)}"
        else:
            return lowered.logits, lowered, f"torch: {why}"
    return model, TorchAdamW(model, settings), f"torch: {why}"


def _why_torch(model: Classifier, settings: TrainerConfig, *, placement: Placement, alone: bool) -> str | None:
    """Return why our kernels cannot be used; None if they can."""
    config, head = model.config, getattr(model.config, HEAD_KEY, None)
    reasons: dict[str, Callable[[], bool]] = {  # in this order: a later one may need what an earlier one found
        "trainer.kernels=torch": lambda: settings.kernels == "torch",
        f"the device is {placement.device.type}": lambda: placement.device.type != "cuda",
        "the engine is padded": lambda: model.flat is None,
        "another family than BERT and RoBERTa": lambda: not family_of(config).kernels,
        "several processes": lambda: not alone,
        "Triton is not installed": lambda: importlib.util.find_spec("triton") is None,
        "the GPU is older than Ampere": lambda: torch.cuda.get_device_capability(placement.device) < (8, 0),
        "trainer.layer_decay": lambda: settings.layer_decay != 1,
        "trainer.decay_biases": lambda: settings.decay_biases,
        f"head={head}": lambda: head is not None,
        "this encoder has another activation": lambda: config.hidden_act != "gelu",
        "this encoder has another width": lambda: bool(config.hidden_size % 16 or config.intermediate_size % 16),
        "this encoder has more types": lambda: config.type_vocab_size > 2,
        "some parameters are frozen": lambda: not all(each.requires_grad for each in model.parameters()),
    }
    return next((why for why, holds in reasons.items() if holds()), None)


class Graphs:
    """The captured updates of a training, a CUDA graph for each shape of its batches.

    They share one memory pool: what one leaves there, no other needs.
    """

    def __init__(self, run: Callable[[Packed], None], *, placement: Placement) -> None:
        """Capture nothing yet; `run` makes an update with a batch on the device."""
        self._run, self._placement = run, placement
        self._pool: Any = None
        self._seen = Counter[tuple[int, int]]()
        self._held = dict[tuple[int, int], tuple[Tensor, Callable[[], None]]]()
        self._words = ""  # why updates are made kernel by kernel from now on

    def __str__(self) -> str:
        """Say what was captured, or why nothing is used, for the record."""
        return self._words or plural(len(self._held), "shape")

    def replay(self, packed: Packed, *, seed: int) -> bool:
        """Make the update of a batch, if its shape is captured or can be now; False: nothing was done."""
        if self._words:
            return False
        if packed.key not in self._held:
            self._seen[packed.key] += 1
            if self._seen[packed.key] <= _WARM_UPS:
                return False
            fixed, why = packed.to(self._placement.device, copy=True), ""
            try:  # this changes no weights
                self._held[packed.key] = fixed.buffer, self._capture(lambda: self._run(fixed))
            except Exception as error:  # whatever it is, the update can be made without a graph
                why = f"{type(error).__name__}: {first_line(error)}"
            if why:  # here nothing keeps the failed attempt's tensors alive
                self.give_up(why)
                return False
        buffer, replay = self._held[packed.key]
        buffer.copy_(packed.buffer, non_blocking=True)
        self._placement.seed(seed)
        replay()
        return True

    def give_up(self, why: str) -> None:
        """Free all graphs, and make no more."""
        if not self._words:
            self._held.clear()
            self._free()
            self._words = f"off: {why}"
            logger.warning("graphs of updates are not used from here on, which is slower: %s", why)

    def _capture(self, run: Callable[[], None]) -> Callable[[], None]:
        """Record the kernels that `run` starts on the device; return what starts them again."""
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self._placement.device)
        with torch.cuda.graph(graph, pool=self._pool, stream=stream, capture_error_mode="thread_local"):
            run()
        self._pool = graph.pool()
        return graph.replay

    def _free(self) -> None:
        # A capture that failed may leave the generator in a state in which it refuses to work outside of a graph.
        generator = torch.cuda.default_generators[self._placement.device.index]
        generator.graphsafe_set_state(generator.clone_state())
        torch.cuda.empty_cache()


def may_capture(model: Classifier, settings: TrainerConfig, *, placement: Placement, processes: Processes) -> bool:
    """Return whether updates are captured: where shapes are fixed, on a GPU, whole and in one process."""
    alone = processes.count == settings.accumulation == 1
    return placement.device.type == "cuda" and model.engine == "flat" and alone and settings.graph == "auto"
