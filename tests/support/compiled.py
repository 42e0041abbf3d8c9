"""Our kernels, compiled for NVIDIA's GPUs on a machine without one: `python -m tests.support.compiled bfloat16:90 ...`.

90 is ten times the compute capability, here an H100's. Prints a line of JSON for each kernel of an update at
DistilRoBERTa's widths, with what it takes. Triton must not interpret them: TRITON_INTERPRET must not be set.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import RobertaConfig

from tests.support.launches import SIX_LAYERS, count_launches
from tests.support.training import settings

DISTILROBERTA = {"hidden_size": 768, "intermediate_size": 3072}  # its widths
TWO_LAYERS = {"num_hidden_layers": 2}  # enough: only the last layer differs from the others


class NoGpu:
    """In place of Triton's driver: says what to compile for, and runs nothing."""

    def __init__(self, capability: int) -> None:
        """Take the GPU's compute capability, times 10."""
        self._capability = capability

    def get_current_device(self) -> int:
        """Return a number for the device: what is compiled for one is kept for others with its number."""
        return self._capability

    def get_current_stream(self, _: int) -> int:
        """Return the only stream."""
        return 0

    def get_active_torch_device(self) -> torch.device:
        """Return where the tensors are."""
        return torch.device("cpu")

    def get_current_target(self) -> Any:
        """Return the GPU."""
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self._capability, 32)


def compile_kernels(precision: str, capability: int, *, heads: int = 12) -> dict[str, dict[str, int]]:
    """Compile the kernels of an update; return by name what each takes at most: registers, and bytes of two memories.

    The stack holds what registers have no room for; shared is a program's part of its multiprocessor's fast memory.
    """
    from triton import knobs
    from triton.runtime import driver

    driver.set_active(NoGpu(capability))
    lengths = [3 + row % 60 for row in range(32)]
    config = RobertaConfig(**SIX_LAYERS.to_dict() | DISTILROBERTA | TWO_LAYERS | {"num_attention_heads": heads})
    trained = settings(batch_size=32, kernels="auto")
    launches = count_launches(trained, lengths=lengths, config=config, precision=precision)
    found = dict[str, dict[str, int]]()
    for kernel, arguments, constants in launches.ours:
        compiled = kernel.warmup(*arguments, grid=(1,), **constants)
        with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
            Path(file.name).write_bytes(compiled.asm["cubin"])
            tool = [knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name]
            printed = subprocess.run(tool, capture_output=True, text=True, check=True).stdout
        used = {key.lower(): int(value) for key, value in re.findall(r"\b(REG|STACK):(\d+)", printed)}
        used["shared"] = compiled.metadata.shared
        known = found.setdefault(kernel.fn.__name__, used)
        known |= {key: max(known[key], value) for key, value in used.items()}
    return found


if __name__ == "__main__":
    for target in sys.argv[1:]:
        precision, capability, *heads = target.split(":")
        kernels = compile_kernels(precision, int(capability), heads=int(heads[0]) if heads else 12)
        for name, used in sorted(kernels.items()):
            print(json.dumps({"target": target, "kernel": name, **used}))  # noqa: T201
