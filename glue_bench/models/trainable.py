"""Which parameters are trained, and how fast each learns: all, all but a frozen part, or what a method of peft adds.

Adapters and a prefix come from the library `peft`; then all else in the encoder is frozen. The head, to which the
encoder's pooler belongs, is trained too, unless the configuration says otherwise.
"""

import contextlib
import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from glue_bench.config.schema import PeftConfig
from glue_bench.errors import UsageError, list_names

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
_NAME = "default"  # of the adapters, as peft calls them
_PREFIX = "prefix.embedding.weight"  # in the encoder: (P, N x 2 x A x D)
# What the families call the linear layers that get adapters if `peft.targets` names none: query and value as in LoRA
# (Hu et al., arXiv:2106.09685); key, value and what leads out of the feed-forward layer as in (IA)3 (Liu et al.,
# arXiv:2205.05638). ModernBERT and DeBERTa have query, key and value in one.
_JOINED = ("Wqkv", "in_proj")
_USUAL = {
    "lora": ("query", "query_proj", "q_lin", "q_proj", "q", "value", "value_proj", "v_lin", "v_proj", "v", *_JOINED),
    "ia3": ("key", "key_proj", "k_lin", "k_proj", "k", "value", "value_proj", "v_lin", "v_proj", "v", *_JOINED),
}
_LAYER = re.compile(r"\b(?:layers?|block|h)\.(\d+)\.")
_FEED_FORWARD = ("output.dense", "lin2", "ffn_output", "mlp.Wo", "mlp.down_proj", "mlp.fc2")


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that are trained, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def freeze(whole: PreTrainedModel, part: str) -> None:
    """Freeze the embeddings, or the encoder: all but the head. A UsageError if there is nothing to freeze."""
    depths = _depths(whole)
    frozen = {name for name in depths if (depths[name] == 0 if part == "embeddings" else not in_head(whole, name))}
    if not frozen:
        raise UsageError(f"freeze={part}: no such part is known for {whole.config.model_type}; must be none")
    for name, parameter in whole.named_parameters():
        parameter.requires_grad_(name not in frozen)


def rate_shares(whole: PreTrainedModel, decay: float) -> dict[str, float]:
    """Return each parameter's share of the learning rate: 1 above the layers, and `decay` times that a layer below.

    As in BEiT (Bao et al., arXiv:2106.08254) and in Zhang et al., arXiv:2006.05987; ELECTRA's code gives the top layer
    two such factors. A UsageError if the layers share their weights, or have names that are not known here.
    """
    depths, above = _depths(whole), int(getattr(whole.config, "num_hidden_layers", 0)) + 1
    if decay != 1 and {*range(1, above)} - {*depths.values()}:
        why = f"{whole.config.model_type} has no layers with weights of their own"
        raise UsageError(f"trainer.layer_decay={decay}: {why}")
    return {name: decay ** (above - depth) for name, depth in depths.items()}


def _depths(whole: PreTrainedModel) -> dict[str, int]:
    """Return each parameter's depth: 0 for embeddings, 1 to n for the layers, n + 1 for what is above them."""
    base, above = f"{whole.base_model_prefix}.", int(getattr(whole.config, "num_hidden_layers", 0)) + 1
    found = dict[str, int]()
    for name, _ in whole.named_parameters():
        inside = name.startswith(base)
        layer = _LAYER.search(name) if inside else None
        found[name] = 1 + int(layer[1]) if layer else 0 if inside and "embed" in name else above
    return found


def in_head(whole: PreTrainedModel, name: str) -> bool:
    """Return whether a parameter belongs to the head."""
    return not name.startswith(f"{whole.base_model_prefix}.") or ".pooler." in name


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """What peft adds to a model: adapters, for which it has wrapped some linear layers, or a prefix."""

    whole: PreTrainedModel
    config: Any  # peft's
    tuner: Any = None  # peft's, of adapters; None for a prefix

    def save(self, folder: Path, *, base: str, revision: str | None) -> None:
        """Write peft's files, from which `PeftModel.from_pretrained` gets the addition and the head.

        The `folder` is empty, and `base` is the encoder's id on the hub, or its folder. An OSError if a file cannot be
        written.
        """
        from peft import get_peft_model_state_dict

        config, tuner = self.config, self.tuner
        head = {name: value for name, value in self.whole.named_parameters() if in_head(self.whole, name)}
        config.task_type, config.inference_mode = "SEQ_CLS", True
        config.base_model_name_or_path, config.revision = base, revision
        config.modules_to_save = sorted({"pooler" if ".pooler." in name else name.split(".")[0] for name in head})
        if tuner:
            config.target_modules = sorted(config.target_modules)
            own = get_peft_model_state_dict(tuner, adapter_name=_NAME, save_embedding_layers=False)
            state = {f"base_model.{name}": value for name, value in own.items()}
        else:
            state = {"prompt_embeddings": self.whole.base_model.get_parameter(_PREFIX)}
        state |= {f"base_model.{'model.' if tuner else ''}{name}": value for name, value in head.items()}
        config.save_pretrained(str(folder))
        state = {name: value.detach().cpu().contiguous() for name, value in state.items()}
        (folder / ADAPTER_FILES[1]).write_bytes(save(state))

    @contextlib.contextmanager
    def perturbed(self) -> Iterator[None]:
        """Change what is trained for a while: fresh adapters change no logit, so that no check could see them."""
        parameters = list[Tensor](filter(lambda each: each.requires_grad, self.whole.parameters()))
        before, random = [parameter.detach().clone() for parameter in parameters], torch.Generator().manual_seed(0)
        with torch.no_grad():
            torch._foreach_add_(parameters, [0.1 * torch.randn(each.shape, generator=random) for each in before])
            try:
                yield
            finally:
                torch._foreach_copy_(parameters, before)


def tune(whole: PreTrainedModel, how: PeftConfig) -> Addition | None:
    """Freeze what a method does not train, and add its adapters, if it has any, drawn from torch's global seed stream.

    A UsageError if the encoder has no biases, or no such layers, or takes no prefix.
    """
    adapters: Addition | None = None
    if how.tokens:
        adapters = _add_prefix(whole, how.tokens)
    elif how.method != "bitfit":
        tuner = _add_adapters(whole, how)
        adapters = Addition(whole=whole, config=tuner.peft_config[_NAME], tuner=tuner)
    for name, parameter in whole.named_parameters():
        own = name.endswith("bias") if adapters is None else parameter.requires_grad
        parameter.requires_grad_(how.head if in_head(whole, name) else own)
    if not any(value.requires_grad for name, value in whole.named_parameters() if not in_head(whole, name)):
        raise UsageError(f"peft={how.method}: {whole.config.model_type} has no biases; must be none, lora or ia3")
    return adapters


def _add_prefix(whole: PreTrainedModel, tokens: int) -> Addition:
    """Give every layer keys and values that all tokens attend to before those of their row, from peft's table.

    It becomes a part of the encoder. A UsageError if that takes none. Shapes: P virtual tokens, N layers, A heads of
    size D, B rows.
    """
    from peft import PrefixEncoder, PrefixTuningConfig

    base, config = whole.base_model, whole.config
    if "past_key_values" not in inspect.signature(base.forward).parameters:
        why = f"transformers' {config.model_type} takes no keys and values from outside"
        raise UsageError(f"peft=prefix: {why}; must be none, lora, ia3 or bitfit")
    layers, heads = config.num_hidden_layers, config.num_attention_heads
    shape = {"token_dim": config.hidden_size, "num_layers": layers, "num_attention_heads": heads}
    how = PrefixTuningConfig(num_virtual_tokens=tokens, num_transformer_submodules=1, **shape)
    base.requires_grad_(False)
    base.add_module("prefix", PrefixEncoder(how))  # type: ignore[no-untyped-call]

    def prepend(*call: Any) -> tuple[Any, dict[str, Any]]:
        """Add the prefix to the encoder's arguments as peft does, so that the tokens' positions start after it."""
        _, given, named = call
        mask = named["attention_mask"]  # (B, L)
        states = base.get_parameter(_PREFIX).view(tokens, layers, 2, heads, -1)  # (P, N, 2, A, D)
        every = states.permute(1, 2, 3, 0, 4)[:, :, None].expand(-1, -1, len(mask), -1, -1, -1)  # (N, 2, B, A, P, D)
        mask = torch.cat([mask.new_ones(len(mask), tokens), mask], 1)
        return given, {**named, "attention_mask": mask, "past_key_values": DynamicCache([(*layer,) for layer in every])}

    base.register_forward_pre_hook(prepend, with_kwargs=True)
    return Addition(whole=whole, config=how)


def _add_adapters(whole: PreTrainedModel, how: PeftConfig) -> Any:
    """Wrap the layers that adapters are for; return peft's tuner."""
    from peft import IA3Config, IA3Model, LoraConfig, LoraModel

    every = [name for name, module in whole.named_modules() if isinstance(module, nn.Linear)]
    linear = [name for name in every if not in_head(whole, f"{name}.")]
    outer = [name for name in linear if _ends(name, _FEED_FORWARD) and "attention" not in name]
    layers = [name for name in linear if _ends(name, how.targets or _USUAL[how.method])]
    if how.method == "ia3" and not how.targets:
        layers += outer
    lacking = [target for target in how.targets or () if not any(_ends(name, [target]) for name in linear)]
    if lacking or not layers:
        known = dict.fromkeys(re.sub(r".*\.\d+\.", "", name) for name in linear)
        end = f"must name linear layers of {whole.config.model_type}: {list_names(known)}"
        raise UsageError(f"peft.targets={f'[{lacking[0]}]' if lacking else 'null'}: {end}")
    if how.method == "ia3":
        scaled = [name for name in layers if name in outer]
        return IA3Model(whole, IA3Config(target_modules=layers, feedforward_modules=scaled), _NAME)
    most = min(min(whole.get_submodule(name).weight.shape) for name in layers)  # type: ignore[arg-type]
    if how.rank and how.rank > most:
        why = f"must be at most {most}, the smallest side of the matrices that it adapts"
        raise UsageError(f"peft.rank={how.rank}: {why}")
    given: dict[str, Any] = {"r": how.rank, "lora_alpha": how.alpha, "lora_dropout": how.dropout}
    return LoraModel(whole, LoraConfig(**given, target_modules=layers), _NAME)


def _ends(name: str, endings: Sequence[str]) -> bool:
    return any(f".{name}".endswith(f".{ending}") for ending in endings)
