"""A classifier: an encoder with a head, saved in transformers' standard form. Knows no tasks, no training.

Shapes: B rows, L tokens of the longest of them, H the hidden size.
"""

import contextlib
import errno
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForSequenceClassification, PretrainedConfig, PreTrainedModel
from transformers.initialization import no_init_weights
from transformers.modeling_outputs import SequenceClassifierOutput

from glue_bench.config.schema import PeftConfig, RunConfig
from glue_bench.data.encoding import Encoded, TextEncoder, load_tokenizer
from glue_bench.errors import InputError, UsageError
from glue_bench.models.families import family_of, first_position, max_positions, why_refused
from glue_bench.models.flat import check
from glue_bench.models.packing import Packer
from glue_bench.models.padded import load_transformer, name_of, padded_logits, read_model_config
from glue_bench.models.placement import Placement
from glue_bench.models.pretrained import tokenizer_files
from glue_bench.models.trainable import Addition, freeze, in_head, tune
from glue_bench.text import quote, reason_of

HEAD_KEY = "glue_bench_head"  # in the config.json of a saved model, which transformers keeps and does not read
POOLINGS = ("first", "mean", "max")
_DROPOUTS = ("classifier_dropout", "seq_classif_dropout", "hidden_dropout_prob", "dropout")  # the first that is given
_README = """\
transformers has no class for the head of this model: `AutoModel` loads its encoder, and
`AutoModelForSequenceClassification` would add another head with random weights. `glue-bench predict` loads all of it:
logits = classifier(tanh(dense(x))), where x is the {pooling} (token or value) of the row's last states.
"""
_NEVER_IN_ROWS = re.compile(r"\W*(pad|unused\w*)\W*", re.IGNORECASE)  # as tokenizers name such tokens


class PooledModel(nn.Module):
    """An encoder with a head of ours, used as a model of AutoModelForSequenceClassification is.

    The states of a row are pooled into one vector, then come the two layers of RoBERTa's head on <s>.
    """

    def __init__(self, transformer: PreTrainedModel, *, pooling: str, outputs: int) -> None:
        """Draw the head's weights as transformers draws linear layers; a pooler of the encoder is left out."""
        super().__init__()
        self.config, self.base_model_prefix, self.pooling = transformer.config, transformer.base_model_prefix, pooling
        if getattr(transformer, "pooler", None) is not None:
            transformer.pooler = None  # type: ignore[assignment]
        setattr(self, self.base_model_prefix, transformer)
        given, hidden = (getattr(self.config, name, None) for name in _DROPOUTS), int(self.config.hidden_size)
        self.dropout = nn.Dropout(next((p for p in given if p is not None), 0.1))
        self.dense, self.classifier = nn.Linear(hidden, hidden), nn.Linear(hidden, outputs)
        for layer in (self.dense, self.classifier):
            nn.init.normal_(layer.weight, std=getattr(self.config, "initializer_range", 0.02))
            nn.init.zeros_(layer.bias)

    @property
    def base_model(self) -> PreTrainedModel:
        """The encoder."""
        found: PreTrainedModel = getattr(self, self.base_model_prefix)
        return found

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **more: Any) -> SequenceClassifierOutput:
        """Return the logits of (B, L) tokens: (B, outputs)."""
        states = self.base_model(input_ids=input_ids, attention_mask=attention_mask, **more)[0]  # (B, L, H)
        pooled = self.dropout(pool(states, attention_mask.bool(), pooling=self.pooling))
        return SequenceClassifierOutput(logits=self.classifier(self.dropout(torch.tanh(self.dense(pooled)))))


def pool(states: Tensor, inside: Tensor, *, pooling: str) -> Tensor:
    """Pool (B, L, H) states, of which those `inside`, (B, L), are a token's, into (B, H); a row without tokens is 0."""
    if pooling == "first":
        return states[:, 0]
    if pooling == "mean":
        return (states * inside[..., None]).sum(1) / inside.sum(1, keepdim=True).clamp(min=1)
    largest = states.masked_fill(~inside[..., None], torch.finfo(states.dtype).min).amax(1)
    return largest.masked_fill(~inside.any(1, keepdim=True), 0)


class Classifier(nn.Module):
    """Turns batches into logits: a model of AutoModelForSequenceClassification, on padded or on flat batches."""

    def __init__(self, whole: PreTrainedModel, *, engine: str, adapters: Addition | None = None) -> None:
        """Wrap a model, and try it on flat batches, unless they are ruled out.

        An InputError if its result for a row changes with the rows beside it; a UsageError if the flat `engine` is
        asked for, and computes something else.
        """
        super().__init__()
        self.whole, self.config, self.adapters = whole, whole.config, adapters
        self.usual_dropout = dict[str, float]()  # what config.json says, where the training has another
        why = "trainer.engine=padded" if engine == "padded" else ""
        if adapters and not adapters.tuner:
            why = "peft=prefix adds keys and values that the flat engine has no place for"
        with adapters.perturbed() if adapters else contextlib.nullcontext():
            self.flat, self.why_padded = check(whole, why_padded=why)
        self.engine = "flat" if self.flat else "padded"
        if engine == "flat" and self.flat is None:
            raise UsageError(f"trainer.engine=flat: not for this encoder ({self.why_padded}); must be auto or padded")

    def forward(self, batch: Any) -> Tensor:
        """Return the logits of B rows, (B, outputs), from a batch of `place`, or the states of first tokens, (B, H)."""
        logits: Tensor = self.flat(batch) if self.flat else padded_logits(self.whole, batch)
        return logits

    def execution(self, placement: Placement) -> dict[str, str]:
        """Say what computes the logits, for the record."""
        without = " without cuDNN" if placement.device.type == "cuda" else ""
        if self.flat is None:
            usual = getattr(self.config, "_attn_implementation", None) or "eager"
            return {"attention": f"transformers' {usual}{without}", "padded": self.why_padded}
        plain = placement.device.type == "cpu" and placement.precision == "float32"
        attention = "blocks" if plain else f"blocks by torch's sdpa{without}"
        relative = family_of(self.config).relative
        found = {"attention": "blocks by transformers' own modules" if relative else attention}
        if plain:
            found |= {"products": placement.products} | ({"rates": placement.rates} if placement.rates else {})
        return found

    def place(self, encoded: Encoded, device: torch.device) -> Packer:
        """Return what makes the batches of a split for `forward`; call it after `cut_vocabulary`."""
        row_of = self.flat.row_of if self.flat else None
        return Packer(encoded, device, config=self.config, row_of=row_of)

    def cut_vocabulary(self, tokens: NDArray[np.int32]) -> None:
        """Train only the embedding rows of `tokens`, if the engine can."""
        if self.flat:
            self.flat.cut_vocabulary(tokens)

    def restore_vocabulary(self, *, decay: float) -> None:
        """Restore the whole embedding table, with the rows that were left out multiplied by `decay`."""
        if self.flat:
            self.flat.restore_vocabulary(decay=decay)

    def standard_state(self) -> dict[str, Tensor]:
        """Return the weights under the names of AutoModelForSequenceClassification, and merge adapters."""
        if self.adapters and self.adapters.tuner:
            self.adapters.tuner.merge_and_unload()
            self.adapters = None
        return self.whole.state_dict()


def load_trainable(folder: Path, config: RunConfig, *, outputs: int, head_seed: int) -> Classifier:
    """Load the encoder in `folder` as `load_classifier` does, ready for the training that a configuration describes.

    Also a UsageError if it lacks the part to be frozen.
    """
    known: dict[str, Any] = {name: getattr(config.trainer, name) for name in ("engine", "dropout", "head_dropout")}
    model = load_classifier(folder, outputs=outputs, head_seed=head_seed, head=config.head, peft=config.peft, **known)
    if config.freeze != "none":
        freeze(model.whole, config.freeze)
    return model


def load_classifier(
    source: Path | PretrainedConfig,
    *,
    outputs: int,
    head_seed: int,
    engine: str = "auto",
    dropout: float | None = None,
    head_dropout: float | None = None,
    head: str = "default",
    peft: PeftConfig | None = None,
) -> Classifier:
    """Load a pretrained encoder with a new head, which is drawn from `head_seed` alone.

    BERT's pooler keeps its pretrained weights where the folder has them, as in transformers. `engine`, `dropout`,
    `head_dropout` (None: the encoder's own), `head` and `peft` are as in a run's configuration.

    Args:
        source: the encoder's folder; or its configuration, for one of random weights, drawn from the seed too.
        outputs: logits per row; 1 for regression.

    Raises:
        InputError: the configuration or the weights cannot be used.
        UsageError: the flat engine does not serve this encoder, or it lacks the dropout, layers or biases asked for.
    """
    folder = source if isinstance(source, Path) else None
    config = read_model_config(source) if isinstance(source, Path) else type(source).from_dict(source.to_dict())
    usual = {name: p for name, p in config.to_dict().items() if "dropout" in name and isinstance(p, int | float)}
    if dropout is not None:
        if not usual:
            raise UsageError(f"trainer.dropout={dropout}: {config.model_type} has no dropout; must be null")
        config.update(dict.fromkeys(usual, dropout))
    if head != "default":
        config.update({HEAD_KEY: head})
    elif hasattr(config, HEAD_KEY):  # of the run that this one starts from
        delattr(config, HEAD_KEY)
    if reason := why_refused(config):
        raise InputError(f"{name_of(config)}: {reason}")
    config.problem_type = None  # an earlier head's, which may not go with this one's outputs
    config.num_labels = outputs
    # torch and transformers draw from the global seed stream while they build; the caller's is restored.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(head_seed)
        try:
            whole = _join(config, folder)
        except (ValueError, RuntimeError, AttributeError) as error:
            raise InputError(f"{name_of(config)}: no classifier can be made from it ({reason_of(error)})") from error
        adapters = tune(whole, peft) if peft and peft.method != "none" else None
    model = Classifier(whole, engine=engine, adapters=adapters)
    model.usual_dropout = usual
    inside = {*whole.base_model.modules()}
    own = [each for each in model.modules() if isinstance(each, nn.Dropout) and each not in inside]
    if head_dropout is not None and not own:
        raise UsageError(f"trainer.head_dropout={head_dropout}: this head has no dropout; must be null")
    if (wanted := dropout if head_dropout is None else head_dropout) is not None:
        for module in own:  # a configuration may lack the dropout of our heads
            module.p = wanted
    return model


def load_saved_classifier(folder: Path, *, outputs: int, engine: str = "auto") -> Classifier:
    """Load the encoder and head that `save_classifier` wrote; `outputs` as when they were made.

    An InputError if the folder holds another architecture, or weights that do not fit; a UsageError if the flat engine
    does not serve this encoder.
    """
    config = read_model_config(folder)
    config.num_labels = outputs
    try:
        if getattr(config, HEAD_KEY, None) in POOLINGS:
            whole = _join(config, folder)
            whole.load_state_dict(load_file(folder / "model.safetensors"))
        else:
            whole, _ = load_transformer(folder, config, kind=AutoModelForSequenceClassification)
    except (InputError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{folder}: no classifier with {outputs} outputs was saved there ({error})") from error
    return Classifier(whole, engine=engine)


def load_texts(folder: Path, config: RunConfig) -> TextEncoder:
    """Load the tokenizer of a run.

    A UsageError for rows longer than the encoder's positions, of which a prefix takes the first. An InputError for a
    tokenizer that gives the model's padding id to a token that rows can hold, which then has no position.
    """
    model, prefix, asked = read_model_config(folder), config.peft.tokens or 0, config.trainer.max_length
    if (room := max_positions(model) - prefix) <= 0:
        raise UsageError(f"peft.tokens={prefix}: must be below {room + prefix}, the positions of this encoder")
    if asked > room:
        words = f"{room} tokens" + (f" beside the {prefix} of peft.tokens" if prefix else "")
        raise UsageError(f"trainer.max_length={asked}: this encoder has positions for at most {words}")
    texts = TextEncoder(folder, max_length=asked)
    ours, its = model.pad_token_id, texts.padding_id
    differ = first_position(model) and None not in (ours, its) and ours != its
    token = texts.tokenizer.id_to_token(ours) if differ else None
    if token and not _NEVER_IN_ROWS.fullmatch(token):
        words = f"pad_token_id is {ours} in its config.json, but its tokenizer pads with {its}, and {ours} is"
        way_out = "take config.json and tokenizer from one model"
        raise InputError(f"encoder folder {folder}: {words} {quote(token)}; {way_out}")
    return texts


def check_tokens(model: Classifier, encoded: Encoded) -> None:
    """Refuse, by an InputError, token ids, token types and positions that the model has no embedding for."""
    config, first = model.config, first_position(model.config)
    types = int(getattr(config, "type_vocab_size", 0) or 0)
    for what, found, rows in (
        ("token id", int(encoded.tokens.max()), config.vocab_size),
        ("position", first + int(encoded.lengths().max()) - 1, first + max_positions(config)),
        ("token type", int(encoded.types.max()) if types > 1 else -1, types),  # a model with fewer ignores them
    ):
        if found >= rows:
            raise InputError(f"the encoder's tokenizer gives {what} {found}, but its embedding table has {rows} rows")


def save_classifier(model: Classifier, folder: Path, *, pretrained: Path, labels: Sequence[str]) -> None:
    """Write config, safetensors and tokenizer files that AutoModelForSequenceClassification loads, if it has the head.

    The `folder` is empty, `pretrained` has the tokenizer, and `labels` are class names in the order of the codes, none
    for regression. An InputError if the tokenizer cannot be loaded; an OSError if a file cannot be written.
    """
    config = type(model.config).from_dict({**model.config.to_dict(), **model.usual_dropout})
    config.problem_type = "single_label_classification" if labels else "regression"
    config.num_labels = len(labels) or 1
    if labels:
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: code for code, label in enumerate(labels)}
    state = {name: value.detach().cpu() for name, value in model.standard_state().items()}
    try:
        pooling = getattr(config, HEAD_KEY, None)
        with torch.device("meta"):  # of a head of ours, transformers makes the encoder alone
            whole = (AutoModel if pooling else AutoModelForSequenceClassification).from_config(config)  # type: ignore[no-untyped-call]
        whole.save_pretrained(folder, state_dict=state)
        if pooling:
            (folder / "README.md").write_text(_README.format(pooling=pooling), encoding="utf-8")
    except SafetensorError as error:  # what it raises for a full disk
        raise OSError(errno.EIO, str(error)) from error
    for path in tokenizer_files(pretrained):  # so that earlier versions of transformers load them too
        shutil.copyfile(path, folder / path.name)
    loaded = load_tokenizer(pretrained)
    wanted = loaded.backend_tokenizer.to_str()
    if not (folder / "tokenizer.json").is_file() or load_tokenizer(folder).backend_tokenizer.to_str() != wanted:
        # The files alone would give other tokens, or need packages that a tokenizer.json does not.
        loaded.init_kwargs.pop("fast_tokenizer_files", None)  # names of files that are not written
        loaded.save_pretrained(folder)
        if load_tokenizer(folder).backend_tokenizer.to_str() != wanted:
            why = "its tokenizer would give other tokens once it is saved, so no model can be kept"
            raise InputError(f"{pretrained}: {why}")


def _join(config: PretrainedConfig, folder: Path | None) -> PreTrainedModel:
    """Join the pretrained transformer, or one of random weights, with a head: ours, or what transformers gives it."""
    transformer, missing = load_transformer(folder, config) if folder else (None, set[str]())
    if transformer is not None and (pooling := getattr(config, HEAD_KEY, None)):
        own = PooledModel(transformer, pooling=pooling, outputs=config.num_labels or 1)
        return cast(PreTrainedModel, own)  # it has all that is used of one
    # Heads of BERT's and RoBERTa's families are drawn by themselves, others after a whole model: scores depend on it.
    alone = family_of(config).kernels and transformer is not None
    with no_init_weights() if alone else contextlib.nullcontext():
        whole: PreTrainedModel = AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-untyped-call]
    if transformer is None:
        return whole
    for name, module in whole.named_modules() if alone else ():
        if name and in_head(whole, f"{name}."):
            whole._init_weights(module)  # type: ignore[no-untyped-call]
    new = ("pooler.",) if alone and any("pooler" in name for name in missing) else ()
    known = {name: value for name, value in transformer.state_dict().items() if not name.startswith(new)}
    lacking = whole.base_model.load_state_dict(known, strict=False, assign=True).missing_keys
    if needed := sorted(name for name in lacking if "pooler" not in name):
        raise ValueError(f"its weights lack {needed[0]}")
    return whole
