"""An encoder and a head joined, and the join exported in standard transformers form. Knows no tasks, no training."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForSequenceClassification, PretrainedConfig, PreTrainedModel

from glue_bench.data.encoding import Encoded
from glue_bench.errors import InputError, UsageError
from glue_bench.models.batches import PaddedBatch, PaddedRows
from glue_bench.models.flat import FlatEncoder
from glue_bench.models.flat_batches import FlatRows
from glue_bench.models.heads import BertHead, RobertaHead, initialise
from glue_bench.models.padded import (
    PaddedEncoder,
    first_line,
    load_transformer,
    max_positions,
    padding_id,
    read_model_config,
)
from glue_bench.models.pretrained import TOKENIZER_FILES

Rows = FlatRows | PaddedRows


class SequenceClassifier(nn.Module):
    """Batches to logits: an encoder with one of our heads, for the BERT and RoBERTa families."""

    def __init__(
        self, encoder: FlatEncoder | PaddedEncoder, head: RobertaHead | BertHead, config: PretrainedConfig
    ) -> None:
        """Join the two."""
        super().__init__()
        self.encoder, self.head, self.config = encoder, head, config
        self.engine = "flat" if isinstance(encoder, FlatEncoder) else "padded"

    def place(self, encoded: Encoded, device: torch.device) -> Rows:
        """A split whose `gather` makes the batches that `forward` takes; after `cut_vocabulary`, not before."""
        return self.encoder.place(encoded, device)

    def forward(self, batch: Any) -> Tensor:
        """B rows to (B, outputs) logits."""
        logits: Tensor = self.head(self.encoder(batch))
        return logits

    def cut_vocabulary(self, tokens: NDArray[np.int32]) -> None:
        """Train only the embedding rows of `tokens`, where the encoder can."""
        if isinstance(self.encoder, FlatEncoder):
            self.encoder.cut_vocabulary(tokens)

    def restore_vocabulary(self, *, decay: float) -> None:
        """Put the whole embedding table back; rows that were left out times `decay`."""
        if isinstance(self.encoder, FlatEncoder):
            self.encoder.restore_vocabulary(decay=decay)

    def standard_state(self) -> dict[str, Tensor]:
        """The weights under the names of AutoModelForSequenceClassification."""
        family = self.encoder.transformer.base_model_prefix
        state = {f"{family}.{name}": value for name, value in self.encoder.transformer.state_dict().items()}
        for name, value in self.head.state_dict().items():
            state[_standard_head_name(name)] = value
        return state


class NativeClassifier(nn.Module):
    """Batches to logits: any other family, padded, with the head that transformers gives it."""

    def __init__(self, whole: nn.Module, config: PretrainedConfig) -> None:
        """Wrap a model of AutoModelForSequenceClassification."""
        super().__init__()
        self.whole, self.config, self.engine = whole, config, "padded"
        self._with_types = int(getattr(config, "type_vocab_size", 0)) > 1

    def place(self, encoded: Encoded, device: torch.device) -> Rows:
        """A split whose `gather` makes the batches that `forward` takes."""
        return PaddedRows(encoded, pad_id=padding_id(self.config), device=device)

    def forward(self, batch: PaddedBatch) -> Tensor:
        """B rows to (B, outputs) logits."""
        types = {"token_type_ids": batch.token_type_ids} if self._with_types else {}
        logits: Tensor = self.whole(input_ids=batch.input_ids, attention_mask=batch.attention_mask, **types).logits
        return logits

    def cut_vocabulary(self, tokens: NDArray[np.int32]) -> None:
        """Nothing: the whole table is trained."""

    def restore_vocabulary(self, *, decay: float) -> None:
        """Nothing: the whole table was trained."""

    def standard_state(self) -> dict[str, Tensor]:
        """The weights under the names of AutoModelForSequenceClassification."""
        return self.whole.state_dict()


Classifier = SequenceClassifier | NativeClassifier

_HEADS: dict[str, type[RobertaHead | BertHead]] = {
    "roberta": RobertaHead,
    "xlm-roberta": RobertaHead,
    "camembert": RobertaHead,
    "bert": BertHead,
}
_HEAD_NAMES = {
    "pooler.weight": "bert.pooler.dense.weight",
    "pooler.bias": "bert.pooler.dense.bias",
    "classifier.weight": "classifier.weight",
    "classifier.bias": "classifier.bias",
}


def load_classifier(folder: Path, *, outputs: int, head_seed: int, engine: str = "auto") -> Classifier:
    """A pretrained encoder with a new head whose weights only `head_seed` determines.

    BERT's pooler keeps its pretrained weights where the folder has them, as in transformers.

    Args:
        outputs: logits of a row; 1 for regression.
        engine: flat, padded, or auto: flat for the families that have it.

    Raises:
        InputError: the folder's configuration or weights cannot be used.
        UsageError: the family has no flat engine.
    """
    config = read_model_config(folder)
    config.num_labels = outputs
    _check_engine(engine, config)
    # torch and transformers draw from the global stream while they build; the caller's stays as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(head_seed)
        if config.model_type not in _HEADS:
            return _load_native(folder, config)
        transformer, missing = load_transformer(folder, config)
        head = _HEADS[config.model_type](config, outputs)
    initialise(head, std=float(config.initializer_range), seed=head_seed)
    if isinstance(head, BertHead) and not any("pooler" in name for name in missing):
        head.pooler.load_state_dict(transformer.get_submodule("pooler.dense").state_dict())
    return _join(transformer, head, config, engine)


def make_classifier(config: PretrainedConfig, *, outputs: int, seed: int, engine: str = "auto") -> Classifier:
    """A classifier of random weights, all of them the seed's: nothing but speed and size can be measured on it.

    Args:
        config: of any family; it is copied.
        outputs: logits of a row; 1 for regression.
        engine: flat, padded, or auto: flat for the families that have it.

    Raises:
        InputError: no classifier can be made of the configuration.
        UsageError: the family has no flat engine.
    """
    config = type(config).from_dict(config.to_dict())
    config.num_labels = outputs
    _check_engine(engine, config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            if config.model_type not in _HEADS:
                return NativeClassifier(AutoModelForSequenceClassification.from_config(config), config)  # type: ignore[no-untyped-call]
            transformer = AutoModel.from_config(config)  # type: ignore[no-untyped-call]
        except (ValueError, RuntimeError, AttributeError) as error:
            raise InputError(f"no classifier can be made of {config.model_type} ({first_line(error)})") from error
        head = _HEADS[config.model_type](config, outputs)
    initialise(head, std=float(config.initializer_range), seed=seed)
    return _join(transformer, head, config, engine)


def load_saved_classifier(folder: Path, *, outputs: int, engine: str = "auto") -> Classifier:
    """The classifier that `save_classifier` wrote, encoder and head.

    Args:
        outputs: as when it was made.
        engine: as in `load_classifier`.

    Raises:
        InputError: the folder holds another architecture, or weights that do not fit.
        UsageError: the family has no flat engine.
    """
    model = load_classifier(folder, outputs=outputs, head_seed=0, engine=engine)
    try:
        state = load_file(folder / "model.safetensors")
        if isinstance(model, NativeClassifier):
            model.whole.load_state_dict(state)
        else:
            names = {name: _standard_head_name(name) for name in model.head.state_dict()}
            model.head.load_state_dict({name: state[standard] for name, standard in names.items()})
    except (KeyError, RuntimeError, SafetensorError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else first_line(error)
        raise InputError(f"{folder}: no classifier with {outputs} outputs was saved there ({reason})") from error
    return model


def check_max_length(folder: Path, max_length: int) -> None:
    """Refuse rows longer than the encoder's positions.

    Raises:
        InputError: naming the longest that is allowed.
    """
    longest = max_positions(read_model_config(folder))
    if max_length > longest:
        raise InputError(f"trainer.max_length={max_length}: this encoder has positions for at most {longest} tokens")


def check_tokens(model: Classifier, encoded: Encoded) -> None:
    """Refuse token ids that the model has no embedding for.

    Raises:
        InputError: the folder's tokenizer and weights do not belong together.
    """
    highest, rows = int(encoded.tokens.max()), int(model.config.vocab_size)
    if highest >= rows:
        raise InputError(f"the encoder's tokenizer gives token id {highest}, but its embedding table has {rows} rows")


def save_classifier(model: Classifier, folder: Path, *, pretrained: Path, labels: Sequence[str]) -> None:
    """Write config, safetensors and tokenizer files that AutoModelForSequenceClassification loads.

    Args:
        folder: an empty folder.
        pretrained: where the tokenizer files are copied from.
        labels: class names in the order of the codes; empty for regression.
    """
    config = type(model.config).from_dict(model.config.to_dict())
    config.problem_type = "single_label_classification" if labels else "regression"
    config.num_labels = len(labels) or 1
    if labels:
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: code for code, label in enumerate(labels)}
    with torch.device("meta"):
        whole = AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-untyped-call]
    state = {name: value.detach().cpu() for name, value in model.standard_state().items()}
    whole.load_state_dict(state, assign=True)
    whole.save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(file.stat().st_mode | 0o444)  # safetensors writes for the owner only
    for name in TOKENIZER_FILES:
        if (pretrained / name).is_file():
            shutil.copyfile(pretrained / name, folder / name)


def _standard_head_name(name: str) -> str:
    """What transformers calls a head's weight."""
    return _HEAD_NAMES.get(name, f"classifier.{name}")


def _check_engine(engine: str, config: PretrainedConfig) -> None:
    if engine == "flat" and config.model_type not in _HEADS:
        raise UsageError(f"trainer.engine=flat: not for {config.model_type}; allowed is auto or padded")


def _join(
    transformer: PreTrainedModel, head: RobertaHead | BertHead, config: PretrainedConfig, engine: str
) -> SequenceClassifier:
    transformer.register_module("pooler", None)
    encoder = PaddedEncoder(transformer, config) if engine == "padded" else FlatEncoder(transformer, config)
    return SequenceClassifier(encoder, head, config)


def _load_native(folder: Path, config: PretrainedConfig) -> NativeClassifier:
    """A new classifier whose encoder, and nothing else, has the folder's weights."""
    transformer, _ = load_transformer(folder, config)
    try:
        whole = AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-untyped-call]
        found = whole.base_model.load_state_dict(transformer.state_dict(), strict=False)
    except (ValueError, RuntimeError, AttributeError) as error:
        raise InputError(f"encoder folder {folder}: no classifier can be made of it ({first_line(error)})") from error
    lacking = [name for name in found.missing_keys if "pooler" not in name]
    if lacking:
        raise InputError(f"encoder folder {folder}: its weights lack {lacking[0]}")
    return NativeClassifier(whole, config)
