"""The flat engine: a transformers model on batches without padding.

All tokens of a batch go through the model's own modules as one row, (1, T, H). Only what mixes tokens is replaced:

- attention is computed within each row of the batch, in attention blocks, through transformers' attention interface;
- attention with relative positions of its own gets the attention blocks as batches, which have rows of nearly equal
  length, with the positions that transformers computes for this width: DeBERTa-v2, v3 and MPNet;
- the head gets the states of each row's first token, or of all its tokens if it needs them;
- where their modules are known, layers are computed by `kernels`, and the last one for first tokens only.

Dropout and embedding tables are computed by `kernels` too, and linear layers by `products`. The embedding table can be
cut to the tokens that occur, which saves the optimiser work. Modules keep their names, and outside of a flat pass they
work as before. At every load `check` compares a few random rows with the padded engine.

Shapes are written with the letters of the module `kernels`.
"""

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.modeling_outputs import BaseModelOutputWithPooling

from glue_bench.data.encoding import Encoded
from glue_bench.errors import InputError
from glue_bench.models import kernels, products
from glue_bench.models.families import family_of, max_positions, padding_id
from glue_bench.models.kernels import AttentionKind, FlatBatch, Noise, attend, drop, look_up, pick
from glue_bench.models.packing import Packer
from glue_bench.models.padded import name_of, padded_logits, rectangle
from glue_bench.text import first_line

_NAME = "glue_bench_flat"  # of our attention, in transformers' tables
FORMS = ("last", "first", "all")  # of a flat model, the fastest first
_LENGTHS = (3, 7, 1)  # tokens of the rows; the first has as many as the shortest of real rows
_TOLERANCE = 1e-5  # of float32 values about 1; engines that agree differ by less than a tenth of it
# Padding that is masked changes only the order of sums: by 2e-5 at most, by 4e-4 in a quantised I-BERT, in families of
# random weights; padding that is read changes states by 3e-3 or more.
_PADDING_TOLERANCE = 1e-3
_CPU = torch.device("cpu")


@dataclass(kw_only=True)
class Pass:
    """A forward pass on flat batches."""

    batch: FlatBatch | Tensor  # or the states of first tokens, (B, H), where they were computed elsewhere
    noise: Noise | None = None
    positions: dict[int, Any] = field(default_factory=dict)  # relative ones, by the width of a block


current_pass: ContextVar[Pass | None] = ContextVar("current_pass", default=None)


class FlatModel:
    """Flat batches for a model of AutoModelForSequenceClassification, whose modules it changes in place."""

    def __init__(self, whole: PreTrainedModel) -> None:
        """Replace what mixes tokens."""
        self._whole, self._base, config = whole, whole.base_model, whole.config
        family = family_of(config)
        names = family.layer
        self._accepted = inspect.signature(self._base.forward).parameters.keys()
        self.row_of: NDArray[np.int64] | None = None  # token id to row of a cut table
        self._uncut: tuple[Tensor, Tensor, int | None] | None = None  # table, its kept rows, and its padding row
        self.form = FORMS[0] if names else FORMS[1]
        self._base.set_attn_implementation(_NAME)  # type: ignore[operator]
        _replace_in_a_pass(self._base, "forward", by=self._encode_rows)
        for module in self._base.modules():
            if type(module) in _OURS:
                _replace_in_a_pass(module, "forward", by=functools.partial(_OURS[type(module)], module=module))
        layers = list(self._base.get_submodule(names["layers"]).children()) if names else []
        for layer in layers:
            parts = {part: layer.get_submodule(name) for part, name in (names or {}).items() if part != "layers"}
            known = SimpleNamespace(**parts, heads=config.num_attention_heads, last=layer is layers[-1])
            _replace_in_a_pass(layer, "forward", by=functools.partial(self._layer, parts=known))
        if family.relative:
            _use_rectangles(self._base, kind=family.relative)

    def __call__(self, batch: FlatBatch | Tensor) -> Tensor:
        """Return the logits of B rows, (B, outputs); or only the head's, from the states of first tokens, (B, H)."""
        if isinstance(batch, FlatBatch):
            plain = kernels.is_plain(next(self._base.parameters()))
            now = Pass(batch=batch, noise=Noise(batch) if self._whole.training and plain else None)
            ids = batch.input_ids.index_select(0, batch.first)[:, None].long()
            mask = rectangle(batch)[0] if self.form == "all" else torch.ones_like(ids)
        else:
            now, ids = Pass(batch=batch), torch.zeros(len(batch), 1, dtype=torch.long, device=batch.device)
            mask = torch.ones_like(ids)
        token = current_pass.set(now)
        try:
            logits: Tensor = self._whole(input_ids=ids.expand(mask.shape), attention_mask=mask).logits
        finally:
            current_pass.reset(token)
        return logits

    def cut_vocabulary(self, tokens: NDArray[np.int32]) -> None:
        """Keep only the embedding rows of `tokens`, as a new parameter; `restore_vocabulary` undoes it.

        The other rows get no gradient: training would only let them decay, by a known factor.
        """
        words: Any = self._base.get_input_embeddings()  # type: ignore[operator]
        kept, table, padding = np.flatnonzero(np.bincount(tokens)), words.weight.detach(), words.padding_idx
        self.row_of = np.full(len(table), -1)
        self.row_of[kept] = np.arange(len(kept))
        self._uncut = table, torch.from_numpy(kept).to(table.device), padding
        words.weight = nn.Parameter(table[self._uncut[1]], requires_grad=words.weight.requires_grad)
        # The padding token's row gets no gradient, as in transformers; it is rarely among the kept ones.
        words.padding_idx = None if padding is None or self.row_of[padding] < 0 else int(self.row_of[padding])

    def restore_vocabulary(self, *, decay: float) -> None:
        """Restore the whole table: trained rows as they are, the others multiplied by `decay`."""
        if self._uncut is None:
            return
        words: Any = self._base.get_input_embeddings()  # type: ignore[operator]
        (whole, rows, words.padding_idx), self._uncut, self.row_of = self._uncut, None, None
        table = whole.to(words.weight.device)
        if decay != 1:  # untouched, it stays mapped from its file
            table.mul_(decay)
        table[rows.to(table.device)] = words.weight.detach()
        words.weight = nn.Parameter(table, requires_grad=words.weight.requires_grad)

    def _encode_rows(self, now: Pass, original: Callable[..., Any], *_: Any, **__: Any) -> BaseModelOutputWithPooling:
        """Stand in for the transformer's forward pass: return states of (B, 1, H), or (B, L, H)."""
        if isinstance(batch := now.batch, FlatBatch):
            names = self._accepted & {"input_ids", "position_ids", "token_type_ids"}
            hidden: Tensor = original(**{name: getattr(batch, name)[None] for name in names})[0].squeeze(0)
            if self.form == "all":
                inside, places = rectangle(batch)
                states = hidden[places] * inside[:, :, None]
            else:
                states = (hidden if self.form == "last" else pick(hidden, batch.first))[:, None]
        else:
            states = batch[:, None]
        pooler, pooled = getattr(self._base, "pooler", None), None
        if pooler is not None:
            activation = getattr(self._base, "pooler_activation", None)  # of ALBERT, whose pooler is a plain layer
            pooled = pooler(states) if activation is None else activation(pooler(states[:, 0]))
        return BaseModelOutputWithPooling(last_hidden_state=states, pooler_output=pooled)

    def _layer(self, now: Pass, original: Callable[..., Any], *given: Any, parts: Any, **more: Any) -> Any:
        """Stand in for a layer's forward pass: (1, T, H) to (1, T, H), or for the first tokens alone to (1, B, H)."""
        if self.form != "last":
            return original(*given, **more)
        batch, noise = cast(FlatBatch, now.batch), now.noise  # only a transformer has layers, and runs on one
        states = given[0].squeeze(0)
        kept = pick(states, batch.first) if parts.last else states
        query, key, value = parts.query(kept), parts.key(states), parts.value(states)
        heads, dropout = parts.heads, parts.attention_dropout.p if parts.attention_dropout.training else 0.0
        kind = AttentionKind(heads=heads, scale=(query.shape[-1] // heads) ** -0.5, dropout=dropout, noise=noise)
        context = attend(query, key=key, value=value, batch=batch, kind=kind)
        mixed, dropped = parts.projection(context), getattr(parts, "projection_dropout", None)  # DistilBERT has none
        mixed = drop(mixed, dropped, noise=noise, residual=kept) if dropped else mixed + kept
        attended = parts.attention_norm(mixed)
        activated = parts.outer(parts.activation(parts.inner(attended)))
        return parts.outer_norm(drop(activated, parts.outer_dropout, noise=noise, residual=attended))[None]


def check(whole: PreTrainedModel, *, why_padded: str = "") -> tuple[FlatModel | None, str]:
    """Return what runs a model on flat batches, or None and why, if that would compute anything but the model.

    Nothing is tried if `why_padded` rules it out. An InputError if transformers cannot compute rows, or if the
    result for a row changes with the rows beside it.
    """
    config, training, states = whole.config, whole.training, list[Tensor]()  # of the first tokens, in every pass
    window = int(getattr(config, "sliding_window", None) or 0)  # which the first row is longer than
    lengths = [min(length, max_positions(config)) for length in (window + _LENGTHS[0], *_LENGTHS[1:])]
    tokens = np.random.default_rng(0).integers(0, int(config.vocab_size), sum(lengths), dtype=np.int32)
    tokens[tokens == padding_id(config)] = (padding_id(config) + 1) % int(config.vocab_size)
    types, offsets = np.zeros(len(tokens), dtype=np.uint8), np.concatenate([[0], np.cumsum(lengths)])
    encoded = Encoded(tokens=tokens, types=types, offsets=offsets, truncated=0)
    hook = whole.base_model.register_forward_hook(lambda _module, _given, found: states.append(found[0][:, 0]))
    whole.train(False)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            packer = Packer(encoded, _CPU, config=config)
            one = np.argsort(encoded.lengths())[1:2]  # neither the longest nor a single token
            logits, alone = (padded_logits(whole, packer.gather(each)) for each in (np.arange(len(encoded)), one))
            difference = max(_difference(alone, logits[one]), _difference(states[1], states[0][one]))
            if difference > _PADDING_TOLERANCE:
                why = f"a row's logits or states change by {difference:.0e} with the padding of its batch, so scores"
                raise InputError(f"{name_of(config)}: {why} would depend on the batch size; use another encoder")
            return (None, why_padded) if why_padded else _flatten(whole, encoded, logits=logits, states=states)
    finally:
        hook.remove()
        whole.train(training)


def _flatten(
    whole: PreTrainedModel, encoded: Encoded, *, logits: Tensor, states: list[Tensor]
) -> tuple[FlatModel | None, str]:
    usual, difference = whole.config._attn_implementation, float("inf")
    try:
        flat = FlatModel(whole)
        # With a cut table, so that a model that reads token ids elsewhere is found out too.
        flat.cut_vocabulary(encoded.tokens)
        try:
            packer = Packer(encoded, _CPU, config=whole.config, row_of=flat.row_of)
            batch = packer.gather(np.arange(len(encoded)))
            for form in FORMS[FORMS.index(flat.form) :]:
                flat.form = form
                found = flat(batch)
                difference = max(_difference(found, logits), _difference(states[-1], states[0]))
                if difference <= _TOLERANCE:
                    return flat, ""
        finally:
            flat.restore_vocabulary(decay=1.0)
        why = f"the flat engine's logits or states differ by {difference:.0e}"
    except (RuntimeError, ValueError, TypeError, AttributeError, IndexError, KeyError, AssertionError) as error:
        why = f"the flat engine cannot run it: {first_line(error)}"
    whole.base_model.set_attn_implementation(usual or "eager")  # type: ignore[operator]
    return None, why


def _difference(found: Tensor, expected: Tensor) -> float:
    scale = max(1.0, float(expected.abs().max()))
    return float((found - expected).abs().max()) / scale if found.shape == expected.shape else float("inf")


def _replace_in_a_pass(module: nn.Module, name: str, *, by: Callable[..., Any]) -> None:
    """In a flat pass, call `by` with the pass, a module's method and its arguments in place of the method."""
    original = getattr(module, name)

    def method(*args: Any, **kwargs: Any) -> Any:
        now = current_pass.get()
        return original(*args, **kwargs) if now is None else by(now, original, *args, **kwargs)

    setattr(module, name, method)


def _use_rectangles(base: nn.Module, *, kind: str) -> None:
    """Replace attention modules of a class that has relative positions, and what their encoder prepares for them."""
    encoder: Any = base.get_submodule("encoder")
    deberta = hasattr(encoder, "get_rel_pos")
    positions = encoder.get_rel_pos if deberta else encoder.compute_position_bias
    for name in ("get_rel_pos", "get_attention_mask") if deberta else ("compute_position_bias",):
        _replace_in_a_pass(encoder, name, by=lambda *_, **__: None)  # else of T * T entries, over all rows

    def attend(now: Pass, original: Callable[..., Any], *states: Tensor, **given: Any) -> tuple[Tensor, None]:
        hidden, blocks, contexts = states[0][0], cast(FlatBatch, now.batch).blocks(1), []
        entries = hidden.index_select(0, blocks.entry_slices)
        for block in blocks.whole:
            rows = entries[block.entries].view(-1, block.width, hidden.shape[-1])
            if block.width not in now.positions:
                now.positions[block.width] = positions(rows[:1])
            place, visible = now.positions[block.width], block.mask
            if visible is None:
                visible = hidden.new_ones(1, 1, 1, block.width, dtype=torch.bool)
            if deberta:
                found = original(rows, visible, relative_pos=place, rel_embeddings=given["rel_embeddings"])
            else:
                added = hidden.new_zeros(visible.shape).masked_fill(~visible, torch.finfo(hidden.dtype).min)
                found = original(rows, added, place)
            contexts.append(found[0].flatten(0, 1))
        return torch.cat(contexts).index_select(0, blocks.slice_entries)[None], None

    for module in base.modules():
        if type(module).__name__ == kind:
            _replace_in_a_pass(module, "forward", by=attend)


def _linear(_: Pass, original: Callable[..., Any], *states: Tensor, module: nn.Linear) -> Any:
    if products.used.get() != "onednn" or not kernels.is_plain(states[0]):
        return original(*states)
    return products.OneDNNLinear.apply(*states, module.weight, module.bias)  # type: ignore[no-untyped-call]


_OURS: dict[type[nn.Module], Callable[..., Any]] = {  # in place of a module's forward pass
    nn.Dropout: lambda now, _, hidden, module: drop(hidden, module, noise=now.noise),
    nn.Embedding: lambda _now, _, ids, module: look_up(ids.reshape(-1), module).view(*ids.shape, -1),
    nn.Linear: _linear,
}


def _attend(module: nn.Module, query: Tensor, *rest: Any, **settings: Any) -> Any:
    """Compute attention as transformers asks for it: (1, A, T, D) to (1, T, A, D)."""
    now = current_pass.get()
    if now is None:
        return sdpa_attention_forward(module, query, *rest, **settings)
    heads, size = query.shape[1], query.shape[-1]
    # Several query heads may share a head of keys and values.
    shared = [part.repeat_interleave(heads // part.shape[1], dim=1) for part in rest[:2]]
    flat = [part[0].transpose(0, 1).reshape(-1, heads * part.shape[-1]) for part in (query, *shared)]
    scale, window = settings.get("scaling") or size**-0.5, settings.get("sliding_window")
    dropout = settings.get("dropout", 0.0)
    kind = AttentionKind(heads=heads, scale=scale, dropout=dropout, window=window, noise=now.noise)
    batch = cast(FlatBatch, now.batch)  # only a transformer attends, and runs on one
    context = attend(flat[0], key=flat[1], value=flat[2], batch=batch, kind=kind)
    return context.view(1, len(context), heads, -1), None


AttentionInterface.register(_NAME, _attend)
AttentionMaskInterface.register(_NAME, lambda *call, **more: None if current_pass.get() else sdpa_mask(*call, **more))
