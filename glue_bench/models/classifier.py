"""A classifier: an encoder with a head, saved in transformers' standard form. Knows no tasks, no training."""

import abc
import errno
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
from transformers import AutoModel, AutoModelForSequenceClassification, PretrainedConfig

from glue_bench.data.encoding import Encoded, load_tokenizer, serialise
from glue_bench.errors import InputError, UsageError
from glue_bench.models.families import BertHead, family_of, initialise, max_positions, why_refused
from glue_bench.models.flat import FlatEncoder, FlatRows
from glue_bench.models.padded import PaddedBatch, PaddedEncoder, PaddedRows, load_transformer, read_model_config
from glue_bench.models.placement import Placement
from glue_bench.models.pretrained import tokenizer_files
from glue_bench.text import first_line, reason_of

Rows = FlatRows | PaddedRows


class Classifier(nn.Module, abc.ABC):
    """Turns batches into logits. This base class is for the padded engine, which trains the whole embedding table."""

    engine = "padded"

    def __init__(self, config: PretrainedConfig) -> None:
        """Keep the configuration of the transformer."""
        super().__init__()
        self.config = config

    def attention(self, placement: Placement) -> str:
        """Name what computes attention, for the record."""
        way = str(getattr(self.config, "_attn_implementation", None) or "eager")
        return f"transformers' {way}{' without cuDNN' if placement.device.type == 'cuda' else ''}"

    def place(self, encoded: Encoded, device: torch.device) -> Rows:
        """Return a split whose `gather` makes the batches for `forward`; call it after `cut_vocabulary`."""
        return PaddedRows(encoded, config=self.config, device=device)

    def cut_vocabulary(self, tokens: NDArray[np.int32]) -> None:
        """Train only the embedding rows of `tokens`, if the engine can."""

    def restore_vocabulary(self, *, decay: float) -> None:
        """Restore the whole embedding table, with the rows that were left out multiplied by `decay`."""

    @abc.abstractmethod
    def standard_state(self) -> dict[str, Tensor]:
        """Return the weights under the names of AutoModelForSequenceClassification."""


class NativeClassifier(Classifier):
    """A padded classifier of any family, with the head that transformers gives it."""

    def __init__(self, whole: nn.Module, config: PretrainedConfig) -> None:
        """Wrap a model of AutoModelForSequenceClassification."""
        super().__init__(config)
        self.whole = whole

    def forward(self, batch: PaddedBatch) -> Tensor:
        """Return the logits of B rows, (B, outputs)."""
        logits: Tensor = self.whole(**batch).logits
        return logits

    def standard_state(self) -> dict[str, Tensor]:
        return self.whole.state_dict()


class SequenceClassifier(Classifier):
    """An encoder of the BERT or RoBERTa family with one of our heads."""

    def __init__(self, encoder: FlatEncoder | PaddedEncoder, *, head: nn.Module, config: PretrainedConfig) -> None:
        """Join an encoder and a head."""
        super().__init__(config)
        self.encoder, self.head = encoder, head

    def forward(self, batch: Any) -> Tensor:
        """Return the logits of B rows, (B, outputs)."""
        logits: Tensor = self.head(self.encoder(batch))
        return logits

    def standard_state(self) -> dict[str, Tensor]:
        family = self.encoder.transformer.base_model_prefix
        state = {f"{family}.{name}": value for name, value in self.encoder.transformer.state_dict().items()}
        return state | {_standard_head_name(name): value for name, value in self.head.state_dict().items()}


class FlatClassifier(SequenceClassifier):
    """The same without padding."""

    engine = "flat"
    encoder: FlatEncoder

    def attention(self, placement: Placement) -> str:
        if placement.device.type == "cpu" and placement.precision == "float32":
            return "blocks"
        return f"blocks by torch's sdpa{' without cuDNN' if placement.device.type == 'cuda' else ''}"

    def place(self, encoded: Encoded, device: torch.device) -> Rows:
        return self.encoder.place(encoded, device)

    def cut_vocabulary(self, tokens: NDArray[np.int32]) -> None:
        self.encoder.cut_vocabulary(tokens)

    def restore_vocabulary(self, *, decay: float) -> None:
        self.encoder.restore_vocabulary(decay=decay)


def load_classifier(folder: Path, *, outputs: int, head_seed: int, engine: str = "auto") -> Classifier:
    """Load a pretrained encoder with a new head, which is drawn from `head_seed` alone.

    BERT's pooler keeps its pretrained weights where the folder has them, as in transformers.

    Args:
        outputs: logits per row; 1 for regression.
        engine: flat, padded, or auto: flat for the families that have it.

    Raises:
        InputError: the folder's configuration or weights cannot be used.
        UsageError: the family has no flat engine.
    """
    return _build(read_model_config(folder), folder=folder, outputs=outputs, seed=head_seed, engine=engine)


def make_classifier(config: PretrainedConfig, *, outputs: int, seed: int, engine: str = "auto") -> Classifier:
    """Make a classifier of random weights, all drawn from the seed: only for measuring speed and size.

    The configuration is copied; the other arguments are those of `load_classifier`.

    Raises:
        InputError: no classifier can be made from the configuration.
        UsageError: the family has no flat engine.
    """
    config = type(config).from_dict(config.to_dict())
    return _build(config, folder=None, outputs=outputs, seed=seed, engine=engine)


def load_saved_classifier(folder: Path, *, outputs: int, engine: str = "auto") -> Classifier:
    """Load the encoder and head that `save_classifier` wrote; `outputs` as when they were made.

    Raises:
        InputError: the folder holds another architecture, or weights that do not fit.
        UsageError: the family has no flat engine.
    """
    model = load_classifier(folder, outputs=outputs, head_seed=0, engine=engine)
    try:
        state = load_file(folder / "model.safetensors")
        if isinstance(model, NativeClassifier):
            model.whole.load_state_dict(state)
        elif isinstance(model, SequenceClassifier):
            model.head.load_state_dict({name: state[_standard_head_name(name)] for name in model.head.state_dict()})
    except (KeyError, RuntimeError, SafetensorError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else first_line(error)
        raise InputError(f"{folder}: no classifier with {outputs} outputs was saved there ({reason})") from error
    return model


def check_max_length(folder: Path, max_length: int) -> None:
    """Refuse rows longer than the encoder's positions.

    Raises:
        UsageError: naming the longest length that is allowed.
        InputError: the folder's configuration cannot be used.
    """
    longest = max_positions(read_model_config(folder))
    if max_length > longest:
        raise UsageError(f"trainer.max_length={max_length}: this encoder has positions for at most {longest} tokens")


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
        pretrained: the folder of the tokenizer.
        labels: class names in the order of the codes; empty for regression.

    Raises:
        InputError: the tokenizer cannot be loaded.
        OSError: a file cannot be written.
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
    try:
        whole.save_pretrained(folder)
    except SafetensorError as error:  # what it raises for a full disk
        raise OSError(errno.EIO, str(error)) from error
    _save_tokenizer(pretrained, folder)


def _save_tokenizer(source: Path, folder: Path) -> None:
    """Copy the files of a tokenizer, so that earlier versions of transformers load them too; or write it as it was
    loaded, if the files alone would give other tokens, or need packages that a tokenizer.json does not."""
    for path in tokenizer_files(source):
        shutil.copyfile(path, folder / path.name)
    loaded = load_tokenizer(source)
    wanted = loaded.backend_tokenizer.to_str()
    if (folder / "tokenizer.json").is_file() and serialise(folder) == wanted:
        return
    loaded.init_kwargs.pop("fast_tokenizer_files", None)  # names of files that are not written
    loaded.save_pretrained(folder)
    if serialise(folder) != wanted:
        raise InputError(f"{source}: its tokenizer would give other tokens once it is saved, so no model can be kept")


def _standard_head_name(name: str) -> str:
    """Return the name that transformers gives a head's weight."""
    module, _, weight = name.partition(".")
    return {"pooler": f"bert.pooler.dense.{weight}", "classifier": name}.get(module, f"classifier.{name}")


def _build(config: PretrainedConfig, *, folder: Path | None, outputs: int, seed: int, engine: str) -> Classifier:
    where = f"encoder folder {folder}" if folder else config.model_type
    make_head = family_of(config).head
    if reason := why_refused(config):
        raise InputError(f"{where}: {reason}")
    if engine == "flat" and make_head is None:
        raise UsageError(f"trainer.engine=flat: not for {config.model_type}; must be auto or padded")
    config.num_labels = outputs
    # torch and transformers draw from the global seed stream while they build; the caller's is restored.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            if folder is None:
                transformer, missing = AutoModel.from_config(config), {"pooler"}  # type: ignore[no-untyped-call]
            else:
                transformer, missing = load_transformer(folder, config)
            if make_head is None:
                whole = AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-untyped-call]
                missing = set(whole.base_model.load_state_dict(transformer.state_dict(), strict=False).missing_keys)
        except (ValueError, RuntimeError, AttributeError) as error:
            raise InputError(f"{where}: no classifier can be made from it ({reason_of(error)})") from error
        head = make_head(config, outputs) if make_head else None
    if head is None:
        if needed := sorted(name for name in missing if "pooler" not in name):
            raise InputError(f"{where}: its weights lack {needed[0]}")
        return NativeClassifier(whole, config)
    initialise(head, std=float(config.initializer_range), seed=seed)
    if isinstance(head, BertHead) and not any("pooler" in name for name in missing):
        head.pooler.load_state_dict(transformer.get_submodule("pooler.dense").state_dict())
    transformer.register_module("pooler", None)
    if engine == "padded":
        return SequenceClassifier(PaddedEncoder(transformer), head=head, config=config)
    return FlatClassifier(FlatEncoder(transformer, config), head=head, config=config)
