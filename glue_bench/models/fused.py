"""The flat engine's training on a GPU: a BERT or RoBERTa classifier, forward and backward, in few kernels.

The arithmetic is that of `flat.FlatModel`. Products, activations and gradients have the precision of the products;
sums and layer norms are float32. The backward pass writes the gradients of all weights straight into `FlatWeights`.

Shapes are written with the letters of the module `kernels`; K tokens that a layer keeps: all T, or the B first ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from glue_bench.config.schema import TrainerConfig
from glue_bench.models.classifier import Classifier
from glue_bench.models.kernels import AttentionKind, FlatBatch, Noise, attend, is_plain
from glue_bench.models.triton_attention import Attention
from glue_bench.models.triton_kernels import PROGRAMS, Dropout, Normed, Slab, add_norm, embed, sum_segments
from glue_bench.models.weights import FlatWeights

_TABLES = ("word", "position", "token_type")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """What a layer's backward pass needs."""

    inputs: Tensor  # (T, H)
    kept: Tensor  # (K, H) those of the kept tokens
    attention: "Attention | BlockAttention"
    attended: tuple[Tensor, Any]  # as `Attention.forward` returns it
    normed: Normed  # (K, H)
    inner: Tensor  # (K, I) before the activation
    activated: Tensor  # (K, I)
    finished: Normed  # (K, H)
    dropouts: Sequence[Dropout]  # of the two branches


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockAttention:
    """What `triton_attention.Attention` does, by torch's kernels on padded blocks."""

    batch: FlatBatch
    kind: AttentionKind

    def forward(self, query: Tensor, *, key: Tensor, value: Tensor) -> tuple[Tensor, Any]:
        """Return the context, (K, H), and what `backward` needs."""
        with torch.enable_grad():
            q, k, v = leaves = [part.detach().requires_grad_() for part in (query, key, value)]
            noise = Noise() if is_plain(query) else None
            context = attend(q, key=k, value=v, batch=self.batch, kind=self.kind, noise=noise)
        return context.detach(), (leaves, context)

    def backward(self, grad: Tensor, saved: tuple[Tensor, Any], *, into: Sequence[Tensor]) -> None:
        """Write the gradients of query, key and value."""
        leaves, context = saved[1]
        for target, found in zip(into, torch.autograd.grad(context, leaves, grad), strict=True):
            target.copy_(found)


class FusedClassifier:
    """A classifier in training on static batches."""

    def __init__(self, model: Classifier, settings: TrainerConfig, *, dtype: torch.dtype) -> None:
        """Move the parameters of a flat model into one buffer; `dtype` is that of the products."""
        config = model.config
        embeddings: Any = model.whole.base_model.get_submodule("embeddings")
        self._base = f"whole.{model.whole.base_model_prefix}."
        words, positions = embeddings.word_embeddings, embeddings.position_embeddings
        body = tuple(f"{self._base}{part}." for part in ("embeddings", "encoder"))
        self.weights = FlatWeights(model, dtype=dtype, body=body)
        self._model, self._layers, self._epsilon = model, int(config.num_hidden_layers), float(config.layer_norm_eps)
        self._attention_dropout = float(config.attention_probs_dropout_prob)
        self._dropout, self._heads = float(config.hidden_dropout_prob), int(config.num_attention_heads)
        self._padding_rows = tuple(
            -1 if table.padding_idx is None else int(table.padding_idx) for table in (words, positions)
        )
        self._types, self._settings = int(config.type_vocab_size), settings
        self.words = self.weights.grads[f"{self._base}embeddings.word_embeddings.weight"]
        # Brings the rows that a batch has up to date. Then only their gradients are written; else all must be zero.
        self.before: Callable[[FlatBatch], None] | None = None
        self._anchor = nn.Parameter(torch.zeros((), device=self.weights.master.device))  # lets autograd call `backward`

    def __call__(self, batch: FlatBatch) -> Tensor:
        """Return the logits of B rows, (B, outputs)."""
        if self.before is not None:
            self.before(batch)
        add, self.weights.overwrite = not self.weights.overwrite, False
        if not add:
            self.weights.zero_head()
        first = _Encode.apply(self._anchor, self, batch, add)  # type: ignore[no-untyped-call]
        logits: Tensor = torch.func.functional_call(self._model, self.weights.head, (first,))
        return logits

    def encode(self, batch: FlatBatch) -> tuple[Tensor, list[Any]]:
        """Return the last layer's state of each row's first token, (B, H), and what `backward` needs."""
        seed = cast(Tensor, batch.seed).view(torch.int64)
        embedded = embed(
            [self.weights.exact[f"{self._base}embeddings.{kind}_embeddings.weight"] for kind in _TABLES],
            (batch.input_ids, batch.position_ids, batch.token_type_ids),
            norm=self._norm(f"{self._base}embeddings"),
            epsilon=self._epsilon,
            dropout=(dropout := self._drop(seed, 0)),
            dtype=self.weights.low.dtype,
        )
        hidden, saved = embedded.out, list[Any]([dropout, embedded])
        for number in range(self._layers):
            saved.append(self._layer(number, hidden, batch=batch, seed=seed))
            hidden = saved[-1].finished.out
        return hidden, saved

    def backward(self, grad: Tensor, batch: FlatBatch, *, saved: list[Any], add: bool) -> None:
        """Write the gradients of all weights of the encoder, from that of `encode`'s first result."""
        weights, (dropout, embedded) = self.weights, saved[:2]
        vectors, hidden = weights.encoder_vectors, grad.shape[1]
        slab = Slab(sums=torch.empty(PROGRAMS, vectors + self._types * hidden, device=grad.device))
        grads: Sequence[Tensor] = (grad.contiguous(),)
        for number in reversed(range(self._layers)):
            grads = self._layer_backward(number, grads, saved=saved.pop(), slab=slab, first=batch.first, add=add)
        name, own = f"{self._base}embeddings", {"dropout": dropout, "kinds": batch.token_type_ids, "types": self._types}
        summed, _ = self._norm_backward(name, grads, normed=embedded, slab=slab, column=vectors, **own)
        positions, types = (weights.grads[f"{name}.{kind}_embeddings.weight"] for kind in _TABLES[1:])
        sums = slab.sums.sum(0)
        for target, found in ((weights.encoder_gradient, sums[:vectors]), (types, sums[vectors:].view_as(types))):
            target.add_(found) if add else target.copy_(found)
        if not add:
            positions.zero_()
        sort, lazily = self._settings.embedding_kernel == "auto", self.before is not None
        for table, ids, order, segments, padding_row, add_rows in (
            (self.words, batch.input_ids, batch.word_order, batch.word_segments, self._padding_rows[0], not lazily),
            (positions, batch.position_ids, batch.position_order, batch.position_segments, self._padding_rows[1], add),
        ):
            if sort and order is not None and segments is not None:
                sum_segments(
                    summed, table, ids=ids, order=order, segments=segments, padding_row=padding_row, add=add_rows
                )
            else:
                kept = summed.float() * (ids != padding_row)[:, None]
                table += torch.zeros(table.shape, device=table.device).index_add_(0, ids, kept)

    def _layer(self, number: int, hidden: Tensor, *, batch: FlatBatch, seed: Tensor) -> _Layer:
        """Apply a layer to (T, H) states; the last one only for the first tokens."""
        name = f"{self._base}encoder.layer.{number}."
        if number < self._layers - 1:
            kept = hidden
            query, key, value = self._project(hidden, f"{name}attention.self.query", parts=3)
        else:
            kept = hidden.index_select(0, batch.first)
            key, value = self._project(hidden, f"{name}attention.self.key", parts=2)
            (query,) = self._project(kept, f"{name}attention.self.query", parts=1)
        attention = self._attention(number, batch=batch, seed=seed)
        attended = attention.forward(query, key=key, value=value)
        dropouts = [self._drop(seed, 2 * number + site) for site in (1, 2)]
        normed = self._add_norm(f"{name}attention.output", attended[0], residual=kept, dropout=dropouts[0])
        (inner,) = self._project(normed.out, f"{name}intermediate.dense", parts=1)
        activated = functional.gelu(inner)
        return _Layer(
            inputs=hidden,
            kept=kept,
            attention=attention,
            attended=attended,
            normed=normed,
            inner=inner,
            activated=activated,
            finished=self._add_norm(f"{name}output", activated, residual=normed.out, dropout=dropouts[1]),
            dropouts=dropouts,
        )

    def _layer_backward(
        self, number: int, grads: Sequence[Tensor], *, saved: _Layer, slab: Slab, first: Tensor, add: bool
    ) -> Sequence[Tensor]:
        """Write a layer's gradients; return one or two parts of that of its inputs, (T, H)."""
        weights, name = self.weights, f"{self._base}encoder.layer.{number}."
        residual, branch = self._norm_backward(
            f"{name}output", grads, normed=saved.finished, slab=slab, dropout=saved.dropouts[1]
        )
        lower = self._product_backward(f"{name}output.dense", branch, inputs=saved.activated, add=add)
        lower = slab.gelu_backward(lower, saved.inner, column=weights.column(f"{name}intermediate.dense.bias"))
        lower = self._product_backward(f"{name}intermediate.dense", lower, inputs=saved.normed.out, add=add)
        residual, branch = self._norm_backward(
            f"{name}attention.output", (lower, residual), normed=saved.normed, slab=slab, dropout=saved.dropouts[0]
        )
        lower = self._product_backward(f"{name}attention.output.dense", branch, inputs=saved.attended[0], add=add)
        (kept_rows, hidden), backward = saved.kept.shape, saved.attention.backward
        query, key = f"{name}attention.self.query", f"{name}attention.self.key"
        if number < self._layers - 1:
            joined = lower.new_empty(kept_rows, 3 * hidden)
            backward(lower, saved.attended, into=joined.chunk(3, dim=1))
            slab.column_sums(joined, column=weights.column(f"{query}.bias"))
            return self._product_backward(query, joined, inputs=saved.inputs, parts=3, add=add), residual
        to_query, joined = lower.new_empty(kept_rows, hidden), lower.new_empty(len(saved.inputs), 2 * hidden)
        backward(lower, saved.attended, into=(to_query, *joined.chunk(2, dim=1)))
        slab.column_sums(joined, column=weights.column(f"{key}.bias"))
        slab.column_sums(to_query, column=weights.column(f"{query}.bias"))
        below = self._product_backward(key, joined, inputs=saved.inputs, parts=2, add=add)
        kept = self._product_backward(query, to_query, inputs=saved.kept, add=add) + residual
        return (below.index_add_(0, first, kept),)

    def _attention(self, number: int, *, batch: FlatBatch, seed: Tensor) -> Attention | BlockAttention:
        p = self._attention_dropout if self._model.training else 0.0
        dropout = Dropout(seed=seed, site=2 * self._layers + 1 + number, p=p)
        if self._settings.attention_kernel == "torch":
            scale = (self._model.config.hidden_size // self._heads) ** -0.5
            return BlockAttention(batch=batch, kind=AttentionKind(heads=self._heads, scale=scale, dropout=p))
        return Attention(heads=self._heads, starts=batch.starts, longest=batch.longest, dropout=dropout)

    def _drop(self, seed: Tensor, site: int) -> Dropout:
        return Dropout(seed=seed, site=site, p=self._dropout if self._model.training else 0.0)

    def _norm(self, name: str) -> tuple[Tensor, Tensor]:
        return self.weights.exact[f"{name}.LayerNorm.weight"], self.weights.exact[f"{name}.LayerNorm.bias"]

    def _project(self, hidden: Tensor, name: str, *, parts: int) -> tuple[Tensor, ...]:
        """Return the products with `parts` neighbouring layers of equal shape."""
        weight, bias = (self.weights.joined(f"{name}.{kind}", parts=parts) for kind in ("weight", "bias"))
        return functional.linear(hidden, weight, bias).chunk(parts, dim=1)

    def _add_norm(self, name: str, branch: Tensor, *, residual: Tensor, dropout: Dropout) -> Normed:
        (branch,) = self._project(branch, f"{name}.dense", parts=1)
        return add_norm(branch, residual, norm=self._norm(name), epsilon=self._epsilon, dropout=dropout)

    def _norm_backward(
        self, name: str, grads: Sequence[Tensor], *, normed: Normed, slab: Slab, column: int | None = None, **more: Any
    ) -> tuple[Tensor, Tensor]:
        """Write the gradients of a layer norm, and at `column` of what is added before it: by default a bias."""
        weight, bias = (self.weights.column(f"{name}.LayerNorm.{kind}") for kind in ("weight", "bias"))
        columns = weight, bias, self.weights.column(f"{name}.dense.bias") if column is None else column
        return slab.norm_backward(grads, normed, weight=self._norm(name)[0], columns=columns, **more)

    def _product_backward(self, name: str, grad: Tensor, *, inputs: Tensor, add: bool, parts: int = 1) -> Tensor:
        """Write the gradient of a weight, (out, in); return that of the inputs."""
        into = self.weights.joined(f"{name}.weight", parts=parts, gradient=True)
        if add:
            into.addmm_(grad.t(), inputs)
        else:
            torch.mm(grad.t(), inputs, out=into)
        return grad @ self.weights.joined(f"{name}.weight", parts=parts)


class _Encode(torch.autograd.Function):
    """The encoder as one function; the gradients of its weights do not go through autograd."""

    @staticmethod
    def forward(ctx: Any, _anchor: Tensor, fused: FusedClassifier, batch: FlatBatch, add: bool) -> Tensor:
        first, ctx.saved = fused.encode(batch)
        ctx.fused, ctx.batch, ctx.add = fused, batch, add
        return first

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[None, ...]:
        ctx.fused.backward(grad_outputs[0], ctx.batch, saved=ctx.saved, add=ctx.add)
        del ctx.saved
        return None, None, None, None
