"""The classifier that a run trains, as its configuration asks for it, and how fast each part of it learns."""

import re
from pathlib import Path

from torch import nn

from glue_bench.config.schema import RunConfig
from glue_bench.errors import UsageError
from glue_bench.models.classifier import Classifier, load_classifier

_LAYER = re.compile(r"\b(?:layers?|block|h)\.(\d+)\.")


def load_trainable(folder: Path, config: RunConfig, *, outputs: int, head_seed: int) -> Classifier:
    """Load the encoder in `folder` with a new head, ready for the training that a run's configuration describes.

    An InputError if the folder's configuration or weights cannot be used; a UsageError if the configuration asks for
    something that this encoder does not have.
    """
    known = {name: getattr(config.trainer, name) for name in ("engine", "dropout", "head_dropout")}
    known |= {"head": config.head, "peft": config.peft if config.peft.method != "none" else None}
    model = load_classifier(folder, outputs=outputs, head_seed=head_seed, **known)
    if config.freeze != "none":
        _freeze(model, config.freeze)
    return model


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that are trained, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def _freeze(model: Classifier, part: str) -> None:
    """Freeze the embeddings, or the encoder: all but the head, to which a pooler belongs."""
    base, depths = f"whole.{model.whole.base_model_prefix}.", parameter_depths(model)
    frozen = {name for name in depths if name.startswith(base) and ".pooler." not in name}
    if part == "embeddings":
        frozen = {name for name, depth in depths.items() if depth == 0}
    if not frozen:
        raise UsageError(f"freeze={part}: no such part is known of {model.config.model_type}; must be none")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in frozen)


def parameter_depths(model: Classifier) -> dict[str, int]:
    """Return each parameter's depth: 0 for embeddings, 1 to n for the layers, n + 1 for what is above them."""
    base, above = f"whole.{model.whole.base_model_prefix}.", int(getattr(model.config, "num_hidden_layers", 0)) + 1
    found = dict[str, int]()
    for name, _ in model.named_parameters():
        inside = name.startswith(base)
        layer = _LAYER.search(name) if inside else None
        found[name] = 1 + int(layer[1]) if layer else 0 if inside and "embed" in name else above
    return found


def rate_shares(model: Classifier, decay: float) -> dict[str, float]:
    """Return each parameter's share of the learning rate: 1 above the layers, and `decay` times that a layer below.

    As in BEiT (Bao et al., arXiv:2106.08254) and in Zhang et al., arXiv:2006.05987; ELECTRA's code gives the top layer
    two such factors. A UsageError if the layers share their weights, or have names that are not known here.
    """
    if decay == 1:
        return {name: 1.0 for name, _ in model.named_parameters()}
    depths, above = parameter_depths(model), int(model.config.num_hidden_layers) + 1
    if {*range(1, above)} - {*depths.values()}:
        raise UsageError(
            f"trainer.layer_decay={decay}: {model.config.model_type} has no layers with weights of their own"
        )
    return {name: decay ** (above - depth) for name, depth in depths.items()}
