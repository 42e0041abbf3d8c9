"""The flat engine's training on a GPU: a BERT or RoBERTa classifier, forward and backward, in few kernels.

The arithmetic is that of `flat.FlatModel`. Products, activations and gradients have the precision of the products;
sums and layer norms are float32. The backward pass writes the gradients of all weights straight into `FlatWeights`.

Shapes are written with the letters of the module `kernels`; K tokens that a layer keeps: all T, or the B first ones.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import torch
import triton
from torch import Tensor, nn
from torch.nn import functional

from glue_bench.config.schema import TrainerConfig
from glue_bench.models import triton_kernels as ours
from glue_bench.models.classifier import Classifier
from glue_bench.models.kernels import AttentionKind, FlatBatch, Noise, attend, is_plain
from glue_bench.models.triton_kernels import Normed

_TABLES = ("word", "position", "token_type")
_CHUNK = 512  # columns of a program
_TOKENS = 8  # of a segment that are added up at once
_TILE = 64  # queries or keys, for all lengths: another size would be compiled too, which costs more than it gains
_TILE_BYTES = 8192  # of one head's states: with more, a program needs more fast memory than most GPUs have
_ALIGNMENT = 8  # elements of a buffer: 16 bytes in bfloat16


class FlatWeights:
    """The parameters of a model, as views of one float32 buffer, with a copy in the precision of its products.

    Matrices come first, since only they decay, and then vectors; each of the two in the order of the model, the head
    last. So query, key and value of a layer lie side by side, and count as one product.
    """

    def __init__(self, model: nn.Module, *, dtype: torch.dtype, body: tuple[str, ...]) -> None:
        """Move the parameters of a model into the buffer; `dtype` is that of the products and gradients.

        The names of all parameters outside the head begin with one of `body`.
        """
        named = dict(model.named_parameters())
        order = sorted(named, key=lambda name: (named[name].ndim == 1, not name.startswith(body)))  # stable
        self._places = dict[str, tuple[int, torch.Size]]()
        size = self.decaying = 0
        for name in order:
            self._places[name] = size, named[name].shape
            size += -(-named[name].numel() // _ALIGNMENT) * _ALIGNMENT
            if named[name].ndim > 1:
                self.decaying = size
        device = named[order[0]].device
        self.master = torch.zeros(size, device=device)
        self.exact = self.by_name(self.master)
        for name, parameter in named.items():
            self.exact[name].copy_(parameter.detach())
            parameter.data = self.exact[name]
        self.low = self.master if dtype == torch.float32 else self.master.to(dtype)
        self.gradient = torch.zeros_like(self.low)
        self.grads = self.by_name(self.gradient)
        self.overwrite = True  # whether the next backward pass overwrites the gradients; others add to them
        heads = [name for name in order if not name.startswith(body)]
        low = self.by_name(self.low)
        self.head = {name: low[name].detach().requires_grad_() for name in heads}
        for name, leaf in self.head.items():
            leaf.grad = self.grads[name]
        end = min((self._places[name][0] for name in heads if named[name].ndim == 1), default=size)
        self.encoder_vectors = end - self.decaying  # elements
        self.encoder_gradient = self.gradient[self.decaying : end]

    def column(self, name: str) -> int:
        """Return how many elements of vectors lie before a vector's."""
        return self._places[name][0] - self.decaying

    def joined(self, first: str, *, parts: int, gradient: bool = False) -> Tensor:
        """Return neighbours of equal shape as one: matrices (parts * out, in), vectors (parts * out)."""
        begin, shape = self._places[first]
        buffer = self.gradient if gradient else self.low
        return buffer[begin : begin + parts * shape.numel()].view(parts * shape[0], *shape[1:])

    def by_name(self, buffer: Tensor) -> dict[str, Tensor]:
        """Return the parts of a buffer like `master` under the names of their parameters."""
        places = self._places.items()
        return {name: buffer[begin : begin + shape.numel()].view(shape) for name, (begin, shape) in places}

    def refresh(self) -> None:
        """Copy the float32 weights into the precision of the products, after they were changed from outside."""
        if self.low is not self.master:
            self.low.copy_(self.master)


class _Layer(NamedTuple):
    """What a layer's backward pass needs."""

    products: list[tuple[str, Tensor, int]]  # of attention: first layer, what it was applied to, how many layers
    attended: tuple[Tensor, ...]  # as `_attend` returns it
    normed: Normed  # (K, H)
    inner: Tensor  # (K, I) before the activation
    activated: Tensor  # (K, I)
    finished: Normed  # (K, H)


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
        if not add:  # the encoder's gradients are overwritten
            torch._foreach_zero_([self.weights.grads[name] for name in self.weights.head])
        first = _Encode.apply(self._anchor, _Pass(self, batch, add=add))  # type: ignore[no-untyped-call]
        logits: Tensor = torch.func.functional_call(self.model, self.weights.head, (first,))
        return logits


class _Pass:
    """The encoder's passes on one batch; with `add` its gradients are added to those of earlier ones."""

    def __init__(self, fused: FusedClassifier, batch: FlatBatch, *, add: bool) -> None:
        config, training = fused.model.config, fused.model.training
        self._fused, self._batch, self._add = fused, batch, add
        self._weights, self._base, self._config = fused.weights, fused.base, config
        self._seed = cast(Tensor, batch.seed).view(torch.int64)
        self._saved = list[_Layer]()  # of those layers that the backward pass has not reached
        self._last = int(config.num_hidden_layers) - 1
        self._heads, self._depth = config.num_attention_heads, config.hidden_size // config.num_attention_heads
        self._padded_depth = max(16, triton.next_power_of_2(self._depth))
        self._tile = max(16, min(_TILE, _TILE_BYTES // (self._padded_depth * self._weights.low.element_size())))
        probabilities = config.hidden_dropout_prob, config.attention_probs_dropout_prob
        self._p, self._attention_p = (float(p) if training else 0.0 for p in probabilities)

    def forward(self) -> Tensor:
        """Return the last layer's state of each row's first token, (B, H)."""
        name, exact, batch = f"{self._base}embeddings", self._weights.exact, self._batch
        tables = [exact[f"{name}.{kind}_embeddings.weight"] for kind in _TABLES]
        inputs = *tables, batch.input_ids, batch.position_ids, batch.token_type_ids
        like = self._weights.low.new_empty(len(batch.input_ids), tables[0].shape[1])
        self._embedded = self._normed(ours.embed, name, inputs, like=like, site=0)
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
        summed, _ = self._norm_backward(name, grads, normed=self._embedded, site=0)
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
                ours.launch(
                    ours.sum_segments, (len(summed),), summed, *places, table, summed.shape[1], padding_row,
                    ADD=add_rows, TOKENS=_TOKENS, BLOCK=triton.next_power_of_2(summed.shape[1]),
                )  # fmt: skip
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
        attended = self._attend(q, k, value=v, number=number)
        normed = self._add_norm(f"{name}attention.output", attended[-1], residual=kept, site=2 * number + 1)
        (inner,) = self._project(normed.out, f"{name}intermediate.dense")
        activated = functional.gelu(inner)
        finished = self._add_norm(f"{name}output", activated, residual=normed.out, site=2 * number + 2)
        self._saved.append(_Layer(products, attended, normed, inner, activated, finished))
        return finished.out

    def _layer_backward(self, number: int, grads: Sequence[Tensor]) -> Sequence[Tensor]:
        """Write a layer's gradients; return one or two parts of that of its inputs, (T, H)."""
        name, saved = f"{self._base}encoder.layer.{number}.", self._saved.pop()
        residual, branch = self._norm_backward(f"{name}output", grads, normed=saved.finished, site=2 * number + 2)
        lower = self._product_backward(f"{name}output.dense", branch, inputs=saved.activated)
        lower = self._column_sums(lower, f"{name}intermediate.dense", gelu_of=saved.inner)
        lower = self._product_backward(f"{name}intermediate.dense", lower, inputs=saved.normed.out)
        residual, branch = self._norm_backward(
            f"{name}attention.output", (lower, residual), normed=saved.normed, site=2 * number + 1
        )
        lower = self._product_backward(f"{name}attention.output.dense", branch, inputs=saved.attended[-1])
        joined, into = list[Tensor](), list[Tensor]()
        for _, states, parts in saved.products:
            joined.append(lower.new_empty(len(states), parts * lower.shape[1]))
            into += joined[-1].chunk(parts, dim=1)
        self._attend_backward(lower, saved.attended, into=into, number=number)
        below = []
        for (first, states, parts), grad in zip(saved.products, joined, strict=True):
            self._column_sums(grad, first)
            below.append(self._product_backward(first, grad, inputs=states, parts=parts))
        if number < self._last:
            return *below, residual
        return (below[1].index_add_(0, self._batch.first, below[0] + residual),)

    def _attend(self, query: Tensor, key: Tensor, *, value: Tensor, number: int) -> tuple[Tensor, ...]:
        """Return what `_attend_backward` needs, and the context, (K, H), of (K, H) queries and (T, H) others."""
        if self._fused.settings.attention_kernel == "torch":  # on padded blocks
            noise = Noise() if is_plain(query) else None
            kind = AttentionKind(heads=self._heads, scale=self._depth**-0.5, dropout=self._attention_p, noise=noise)
            with torch.enable_grad():
                q, k, v = leaves = [part.detach().requires_grad_() for part in (query, key, value)]
                context = attend(q, key=k, value=v, batch=self._batch, kind=kind)
            return *leaves, context, context.detach()
        logsumexp = torch.empty(self._heads, len(query), device=query.device)
        saved = query, key, value, torch.empty_like(query), logsumexp
        rows, tiles = len(self._batch.starts) - 1, triton.cdiv(self._batch.longest, self._tile)
        grid = (len(query), self._heads, 1) if len(query) < len(key) else (rows, self._heads, tiles)
        self._launch_attention(ours.attend, saved, grid=grid, number=number)
        return *saved, saved[3]

    def _attend_backward(self, grad: Tensor, saved: Sequence[Tensor], *, into: Sequence[Tensor], number: int) -> None:
        """Write the gradients of query, key and value, from that of the context, (K, H)."""
        if self._fused.settings.attention_kernel == "torch":
            for target, found in zip(into, torch.autograd.grad(saved[3], saved[:3], grad), strict=True):
                target.copy_(found)
            return
        tiles = triton.cdiv(self._batch.longest, self._tile)
        grid = len(self._batch.starts) - 1, self._heads, tiles + (1 if len(saved[0]) < len(saved[1]) else tiles)
        more = grad, *into, into[0].stride(0), into[1].stride(0), tiles
        self._launch_attention(ours.attend_backward, saved[:-1], *more, grid=grid, number=number)

    def _launch_attention(self, kernel: Any, saved: Sequence[Tensor], *more: Any, grid: Any, number: int) -> None:
        query, key = saved[:2]
        ours.launch(
            kernel, grid, *saved, self._batch.starts, self._seed, 2 * self._last + 3 + number, self._attention_p,
            self._depth**-0.5, query.stride(0), key.stride(0), self._depth, len(query), int(len(query) < len(key)),
            *more, TILE=self._tile, D=self._padded_depth,
        )  # fmt: skip

    def _project(self, hidden: Tensor, name: str, *, parts: int = 1) -> tuple[Tensor, ...]:
        """Return the products with `parts` neighbouring layers of equal shape."""
        weight, bias = (self._weights.joined(f"{name}.{kind}", parts=parts) for kind in ("weight", "bias"))
        return functional.linear(hidden, weight, bias).chunk(parts, dim=1)

    def _normed(self, kernel: Any, name: str, inputs: Sequence[Tensor], *, like: Tensor, site: int) -> Normed:
        """Apply `embed` or `add_norm`, which make rows like those of `like`, (T, H)."""
        (rows, hidden), (mean, rstd) = like.shape, torch.empty(2, len(like), device=like.device)
        made = Normed(torch.empty_like(like), torch.empty_like(like), mean, rstd)
        norm = (self._weights.exact[f"{name}.LayerNorm.{kind}"] for kind in ("weight", "bias"))
        numbers = self._seed, site, self._p, float(self._config.layer_norm_eps), hidden
        ours.launch(kernel, (rows,), *inputs, *norm, *made, *numbers, BLOCK=triton.next_power_of_2(hidden))
        return made

    def _add_norm(self, name: str, branch: Tensor, *, residual: Tensor, site: int) -> Normed:
        (branch,) = self._project(branch, f"{name}.dense")
        return self._normed(ours.add_norm, name, (branch, residual), like=branch, site=site)

    def _norm_backward(self, name: str, grads: Sequence[Tensor], *, normed: Normed, site: int) -> tuple[Tensor, Tensor]:
        """Return the gradients of a layer norm's input and of the branch that was dropped into it, if one was.

        The slab gets those of its parameters, and of the bias before it; for the embeddings those of the types, last.
        """
        weights, slab, outer = self._weights, self._slab, normed is self._embedded
        third = weights.encoder_vectors if outer else weights.column(f"{name}.dense.bias")
        scales = f"{name}.LayerNorm.weight"
        columns = weights.column(scales), weights.column(f"{name}.LayerNorm.bias"), third
        grad_z = torch.empty_like(normed.z)
        grad_branch = grad_z if outer else torch.empty_like(normed.z)
        ours.launch(
            ours.norm_backward, (len(slab),), grads[0], grads[-1], *normed[1:], weights.exact[scales],
            self._batch.token_type_ids, grad_z, grad_branch, slab, self._seed, site, self._p, *grad_z.shape,
            slab.shape[1], *columns, OUTER=outer, SECOND=len(grads) > 1,
            KINDS=int(self._config.type_vocab_size) if outer else 1, BLOCK=triton.next_power_of_2(grad_z.shape[1]),
        )  # fmt: skip
        return grad_z, grad_branch

    def _column_sums(self, grad: Tensor, name: str, *, gelu_of: Tensor | None = None) -> Tensor:
        """Add up and return gradients of sums with a bias, (T, C), from those of their GELU if `gelu_of` has them."""
        inputs, out = (grad, grad) if gelu_of is None else (gelu_of, torch.empty_like(gelu_of))
        slab, column = self._slab, self._weights.column(f"{name}.bias")
        ours.launch(
            ours.column_sums, (len(slab), triton.cdiv(grad.shape[1], _CHUNK)), grad, inputs, out, slab, *grad.shape,
            slab.shape[1], column, GELU=gelu_of is not None, BLOCK=_CHUNK,
        )  # fmt: skip
        return out

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
        return own.forward().detach()  # what `own` keeps must not lead to `ctx`: such a cycle outlives a failed attempt

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[None, ...]:
        ctx.own.backward(grad_outputs[0])
        del ctx.own
        return None, None
