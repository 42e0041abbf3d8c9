"""The flat engine's training on a GPU: a BERT or RoBERTa classifier, forward and backward, in few kernels.

The arithmetic is that of `flat.FlatModel`. Products, activations and gradients have the precision of the products;
sums and layer norms are float32. The backward pass writes the gradients of all weights straight into `FlatWeights`.

Shapes are written with the letters of the module `kernels`; K tokens that a layer keeps: all T, or the B first ones.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from glue_bench.config.schema import TrainerConfig
from glue_bench.models import triton_kernels as ours
from glue_bench.models.classifier import Classifier
from glue_bench.models.kernels import AttentionKind, FlatBatch, Noise, attend, is_plain
from glue_bench.models.triton_attention import Attention
from glue_bench.models.triton_kernels import Dropout, Normed
from glue_bench.models.weights import FlatWeights

_TABLES = ("word", "position", "token_type")


class _Layer(NamedTuple):
    """What a layer's backward pass needs."""

    products: list[tuple[str, Tensor, int]]  # of attention: first layer, what it was applied to, how many layers
    attended: tuple[Tensor, Any]  # as `Attention.forward` returns it
    normed: Normed  # (K, H)
    inner: Tensor  # (K, I) before the activation
    activated: Tensor  # (K, I)
    finished: Normed  # (K, H)


class BlockAttention(NamedTuple):
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

    def backward(self, grad: Tensor, saved: Any, *, into: Sequence[Tensor]) -> None:
        """Write the gradients of query, key and value."""
        leaves, context = saved
        for target, found in zip(into, torch.autograd.grad(context, leaves, grad), strict=True):
            target.copy_(found)


class FusedClassifier:
    """A classifier in training on static batches."""

    def __init__(self, model: Classifier, settings: TrainerConfig, *, dtype: torch.dtype) -> None:
        """Move the parameters of a flat model into one buffer; `dtype` is that of the products."""
        self.model, self.settings, self.base = model, settings, f"whole.{model.whole.base_model_prefix}."
        body = tuple(f"{self.base}{part}." for part in ("embeddings", "encoder"))
        self.weights = FlatWeights(model, dtype=dtype, body=body)
        self.words = self.weights.grads[f"{self.base}embeddings.word_embeddings.weight"]
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
        first = _Encode.apply(self._anchor, _Pass(self, batch, add=add))  # type: ignore[no-untyped-call]
        logits: Tensor = torch.func.functional_call(self.model, self.weights.head, (first,))
        return logits


class _Pass:
    """The encoder's passes on one batch; with `add` its gradients are added to those of earlier ones."""

    def __init__(self, fused: FusedClassifier, batch: FlatBatch, *, add: bool) -> None:
        self._fused, self._weights, self._base, self._batch, self._add = fused, fused.weights, fused.base, batch, add
        self._config, self._training = fused.model.config, fused.model.training
        self._last, self._saved = int(self._config.num_hidden_layers) - 1, list[_Layer]()

    def forward(self) -> Tensor:
        """Return the last layer's state of each row's first token, (B, H)."""
        name, exact, batch = f"{self._base}embeddings", self._weights.exact, self._batch
        tables = [exact[f"{name}.{kind}_embeddings.weight"] for kind in _TABLES]
        inputs = *tables, batch.input_ids, batch.position_ids, batch.token_type_ids
        like = self._weights.low.new_empty(len(batch.input_ids), tables[0].shape[1])
        self._embedded = self._normed(ours.embed, name, inputs, like=like, dropout=self._dropout(0))
        hidden = self._embedded.out
        for number in range(self._last + 1):
            hidden = self._layer(number, hidden)
        return hidden

    def backward(self, grad: Tensor) -> None:
        """Write the gradients of all weights of the encoder, from that of what `forward` returned."""
        weights, batch, add, name = self._weights, self._batch, self._add, f"{self._base}embeddings"
        words, positions, types = (weights.grads[f"{name}.{kind}_embeddings.weight"] for kind in _TABLES)
        vectors = weights.encoder_vectors
        self._slab = torch.empty(ours.PROGRAMS, vectors + types.numel(), device=grad.device)
        grads: Sequence[Tensor] = (grad.contiguous(),)
        for number in reversed(range(self._last + 1)):
            grads = self._layer_backward(number, grads)
        own = {"dropout": self._dropout(0), "kinds": batch.token_type_ids, "types": len(types)}
        summed, _ = self._norm_backward(name, grads, normed=self._embedded, column=vectors, **own)
        sums = self._slab.sum(0)
        for target, found in ((weights.encoder_gradient, sums[:vectors]), (types, sums[vectors:].view_as(types))):
            target.add_(found) if add else target.copy_(found)
        if not add:
            positions.zero_()
        embeddings: Any = self._fused.model.whole.base_model.get_submodule("embeddings")
        lazily = self._fused.before is not None
        for kind, table, places, add_rows in (
            ("word", words, (batch.input_ids, batch.word_order, batch.word_segments), not lazily),
            ("position", positions, (batch.position_ids, batch.position_order, batch.position_segments), add),
        ):
            padding = getattr(embeddings, f"{kind}_embeddings").padding_idx
            padding_row = -1 if padding is None else int(padding)
            if self._fused.settings.embedding_kernel == "auto":
                ours.sum_segments(summed, table, places=places, padding_row=padding_row, add=add_rows)
            else:
                kept = summed.float() * (places[0] != padding_row)[:, None]
                table += torch.zeros(table.shape, device=table.device).index_add_(0, places[0], kept)

    def _layer(self, number: int, hidden: Tensor) -> Tensor:
        """Apply a layer to (T, H) states; the last one only for the first tokens."""
        name = f"{self._base}encoder.layer.{number}."
        query, key = f"{name}attention.self.query", f"{name}attention.self.key"
        kept, products = hidden, [(query, hidden, 3)]
        if number == self._last:
            kept = hidden.index_select(0, self._batch.first)
            products = [(query, kept, 1), (key, hidden, 2)]
        q, k, v = (part for first, states, parts in products for part in self._project(states, first, parts=parts))
        attended = self._attention(number).forward(q, key=k, value=v)
        normed = self._add_norm(f"{name}attention.output", attended[0], residual=kept, site=2 * number + 1)
        (inner,) = self._project(normed.out, f"{name}intermediate.dense")
        activated = functional.gelu(inner)
        finished = self._add_norm(f"{name}output", activated, residual=normed.out, site=2 * number + 2)
        self._saved.append(_Layer(products, attended, normed, inner, activated, finished))
        return finished.out

    def _layer_backward(self, number: int, grads: Sequence[Tensor]) -> Sequence[Tensor]:
        """Write a layer's gradients; return one or two parts of that of its inputs, (T, H)."""
        name, saved = f"{self._base}encoder.layer.{number}.", self._saved.pop()
        slab, column = self._slab, self._weights.column
        dropouts = [self._dropout(2 * number + site) for site in (1, 2)]
        residual, branch = self._norm_backward(f"{name}output", grads, normed=saved.finished, dropout=dropouts[1])
        lower = self._product_backward(f"{name}output.dense", branch, inputs=saved.activated)
        lower = ours.column_sums(lower, slab, column=column(f"{name}intermediate.dense.bias"), gelu_of=saved.inner)
        lower = self._product_backward(f"{name}intermediate.dense", lower, inputs=saved.normed.out)
        residual, branch = self._norm_backward(
            f"{name}attention.output", (lower, residual), normed=saved.normed, dropout=dropouts[0]
        )
        lower = self._product_backward(f"{name}attention.output.dense", branch, inputs=saved.attended[0])
        joined = [lower.new_empty(len(states), parts * lower.shape[1]) for _, states, parts in saved.products]
        into = [
            each for (_, _, parts), grad in zip(saved.products, joined, strict=True) for each in grad.chunk(parts, 1)
        ]
        self._attention(number).backward(lower, saved.attended[1], into=into)
        below = []
        for (first, states, parts), grad in zip(saved.products, joined, strict=True):
            ours.column_sums(grad, slab, column=column(f"{first}.bias"))
            below.append(self._product_backward(first, grad, inputs=states, parts=parts))
        if number < self._last:
            return *below, residual
        return (below[1].index_add_(0, self._batch.first, below[0] + residual),)

    def _attention(self, number: int) -> Attention | BlockAttention:
        heads, p = int(self._config.num_attention_heads), float(self._config.attention_probs_dropout_prob)
        dropout = self._dropout(2 * self._last + 3 + number, p=p)
        if self._fused.settings.attention_kernel == "torch":
            scale = (self._config.hidden_size // heads) ** -0.5
            return BlockAttention(self._batch, AttentionKind(heads=heads, scale=scale, dropout=dropout.p))
        return Attention(heads=heads, starts=self._batch.starts, longest=self._batch.longest, dropout=dropout)

    def _dropout(self, site: int, *, p: float | None = None) -> Dropout:
        p = float(self._config.hidden_dropout_prob) if p is None else p
        return Dropout(cast(Tensor, self._batch.seed).view(torch.int64), site, p if self._training else 0.0)

    def _project(self, hidden: Tensor, name: str, *, parts: int = 1) -> tuple[Tensor, ...]:
        """Return the products with `parts` neighbouring layers of equal shape."""
        weight, bias = (self._weights.joined(f"{name}.{kind}", parts=parts) for kind in ("weight", "bias"))
        return functional.linear(hidden, weight, bias).chunk(parts, dim=1)

    def _normed(self, kernel: Any, name: str, inputs: Sequence[Tensor], *, like: Tensor, dropout: Dropout) -> Normed:
        norm = [self._weights.exact[f"{name}.LayerNorm.{kind}"] for kind in ("weight", "bias")]
        return ours.normed(
            kernel, inputs, like=like, norm=norm, epsilon=float(self._config.layer_norm_eps), dropout=dropout
        )

    def _add_norm(self, name: str, branch: Tensor, *, residual: Tensor, site: int) -> Normed:
        (branch,) = self._project(branch, f"{name}.dense")
        return self._normed(ours.add_norm, name, (branch, residual), like=branch, dropout=self._dropout(site))

    def _norm_backward(
        self, name: str, grads: Sequence[Tensor], *, normed: Normed, column: int | None = None, **more: Any
    ) -> tuple[Tensor, Tensor]:
        """Write the gradients of a layer norm, and at `column` of what is added before it: by default a bias."""
        weight, bias = (self._weights.column(f"{name}.LayerNorm.{kind}") for kind in ("weight", "bias"))
        columns = weight, bias, self._weights.column(f"{name}.dense.bias") if column is None else column
        scales = self._weights.exact[f"{name}.LayerNorm.weight"]
        return ours.norm_backward(grads, normed, weight=scales, slab=self._slab, columns=columns, **more)

    def _product_backward(self, name: str, grad: Tensor, *, inputs: Tensor, parts: int = 1) -> Tensor:
        """Write the gradient of a weight, (out, in); return that of the inputs."""
        into = self._weights.joined(f"{name}.weight", parts=parts, gradient=True)
        if self._add:
            into.addmm_(grad.t(), inputs)
        else:
            torch.mm(grad.t(), inputs, out=into)
        return grad @ self._weights.joined(f"{name}.weight", parts=parts)


class _Encode(torch.autograd.Function):
    """The encoder as one function; the gradients of its weights do not go through autograd."""

    @staticmethod
    def forward(ctx: Any, _anchor: Tensor, own: _Pass) -> Tensor:
        ctx.own = own
        return own.forward()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[None, ...]:
        ctx.own.backward(grad_outputs[0])
        del ctx.own
        return None, None
