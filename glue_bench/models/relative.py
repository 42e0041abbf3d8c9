"""Flat batches for families whose attention modules add relative positions of their own: DeBERTa-v2, v3 and MPNet.

Such a module gets each attention block as a batch of rows, which are of nearly equal length, with the positions that
transformers computes for this width. Everything outside of it sees flat tokens.

Shapes are written with the letters of the module `kernels`.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from glue_bench.models.flat import in_pass, replace_in_a_pass

_ATTENTION = ("DisentangledSelfAttention", "MPNetSelfAttention")


def use_rectangles(base: nn.Module) -> None:
    """Replace the attention modules of a transformer, and what its encoder prepares for them, in flat passes."""
    encoder: Any = base.get_submodule("encoder")
    deberta = hasattr(encoder, "get_rel_pos")
    positions = encoder.get_rel_pos if deberta else encoder.compute_position_bias
    for name in ("get_rel_pos", "get_attention_mask") if deberta else ("compute_position_bias",):
        replace_in_a_pass(encoder, name, by=lambda *_, **__: None)  # else of T * T entries, over all rows

    def attend(original: Callable[..., Any], hidden: Tensor, *rest: Any, **given: Any) -> tuple[Tensor, None]:
        del rest
        now = in_pass()
        assert now.batch is not None  # noqa: S101 - a transformer runs on a batch
        blocks = now.batch.blocks(1)
        entries, contexts = hidden[0].index_select(0, blocks.entry_slices), []
        for block in blocks.whole:
            rows = entries[block.entries].view(-1, block.width, hidden.shape[-1])
            if block.width not in now.positions:
                now.positions[block.width] = positions(rows[:1])
            visible = torch.ones(1, 1, 1, block.width, dtype=torch.bool) if block.mask is None else block.mask
            visible = visible.to(hidden.device)
            if deberta:
                known = {"relative_pos": now.positions[block.width], "rel_embeddings": given["rel_embeddings"]}
                found = original(rows, visible, **known)
            else:
                lowest = torch.finfo(hidden.dtype).min
                mask = hidden.new_zeros(visible.shape).masked_fill(~visible, lowest)
                found = original(rows, mask, now.positions[block.width])
            contexts.append(found[0].flatten(0, 1))
        return torch.cat(contexts).index_select(0, blocks.slice_entries)[None], None

    for module in base.modules():
        if type(module).__name__ in _ATTENTION:
            replace_in_a_pass(module, "forward", by=attend)
