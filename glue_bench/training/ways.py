"""How a model is trained here: by our own kernels on a GPU, or by torch's."""

import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from glue_bench.config.schema import TrainerConfig
from glue_bench.models.classifier import Classifier, Rows
from glue_bench.models.families import family_of
from glue_bench.models.heads import HEAD_KEY
from glue_bench.models.placement import Placement
from glue_bench.text import first_line
from glue_bench.training.distributed import Processes
from glue_bench.training.optimizer import LoweredAdamW, TorchAdamW

if TYPE_CHECKING:
    from glue_bench.models.triton_adamw import FlatAdamW


def choose_way(
    model: Classifier, settings: TrainerConfig, *, rows: Rows, updates: int, placement: Placement, processes: Processes
) -> tuple[Callable[[Any], Tensor], "TorchAdamW | FlatAdamW", str]:
    """Return what turns a batch of rows into logits in `updates` updates, their optimiser, and words for the record."""
    if (why := _why_torch(model, settings, placement=placement, processes=processes)) is None:
        from glue_bench.models.fused import FusedClassifier  # Triton may not be there
        from glue_bench.models.triton_adamw import FlatAdamW

        dtype = torch.bfloat16 if placement.precision == "bfloat16" else torch.float32
        fused = FusedClassifier(model, settings, dtype=dtype)
        others = [key for key in ("attention", "adamw", "embedding") if getattr(settings, f"{key}_kernel") == "torch"]
        words = f"ours, but torch for {others}" if others else "ours"
        return fused, FlatAdamW(fused, settings, updates=updates), words
    if placement.precision == "bfloat16" and model.flat and processes.count == 1:
        lowered = LoweredAdamW(model, settings)
        try:
            with torch.no_grad():
                lowered.logits(rows.gather(np.arange(1)))
        except RuntimeError as error:  # some families only compute in bfloat16 under autocast
            why += f"; under autocast: {first_line(error)}"
        else:
            return lowered.logits, lowered, f"torch: {why}"
    return model, TorchAdamW(model, settings), f"torch: {why}"


def _why_torch(model: Classifier, settings: TrainerConfig, *, placement: Placement, processes: Processes) -> str | None:
    """Return why our kernels cannot be used; None if they can."""
    if settings.kernels == "torch":
        return "trainer.kernels=torch"
    if placement.device.type != "cuda":
        return f"the device is {placement.device.type}"
    if model.flat is None:
        return "the engine is padded"
    if not family_of(model.config).kernels:
        return "another family than BERT and RoBERTa"
    if processes.count > 1:
        return "several processes"
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    if torch.cuda.get_device_capability(placement.device) < (8, 0):
        return "the GPU is older than Ampere"
    if settings.layer_decay != 1 or settings.decay_biases:
        return f"trainer.{'layer_decay' if settings.layer_decay != 1 else 'decay_biases'}"
    config = model.config
    if head := getattr(config, HEAD_KEY, None):
        return f"head={head}"
    widths = int(config.hidden_size), int(config.intermediate_size)
    if config.hidden_act != "gelu" or any(width % 16 for width in widths) or int(config.type_vocab_size) > 2:
        return "this encoder has another activation, width or number of types"
    if not all(parameter.requires_grad for parameter in model.parameters()):
        return "some parameters are frozen"
    return None
