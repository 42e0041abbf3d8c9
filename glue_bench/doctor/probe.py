"""Load torch and compute on a device: `python -m glue_bench.doctor.probe JSON`, the arguments of `probe`, prints JSON.

Runs in a separate process, because a torch that does not fit the machine may crash silently, or hang.
"""

import importlib
import json
import signal
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from glue_bench.config.schema import RunConfig, config_from_facts
from glue_bench.errors import GlueBenchError, UsageError
from glue_bench.models.pretrained import resolve_pretrained
from glue_bench.text import first_line

_TIMEOUT = 180.0  # seconds: from a cold network disk torch takes a minute to load


def ask_torch(**arguments: Any) -> dict[str, Any]:
    """Run `probe` with these arguments in another process; if that fails, return `error` with how it ended."""
    command = [sys.executable, "-m", "glue_bench.doctor.probe", json.dumps(arguments)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
        return dict(json.loads(done.stdout.strip().splitlines()[-1]))
    except subprocess.TimeoutExpired:
        return {"error": f"torch did not load within {_TIMEOUT:.0f} seconds"}
    except (IndexError, ValueError):
        code, message = done.returncode, (done.stderr.strip().splitlines() or ["no message"])[-1]
        ending = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return {"error": f"the process that loaded torch ended with {ending} ({message})"}


def probe(device: str, precision: str, *, products: str, configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Load what runs with these configurations load, and compute something on their device.

    Return `error`, one line; or `device`, `name`, `precision`, `gpus`, of a GPU `memory` and `free` in bytes, of a CPU
    `products`: whose matrix products are used, with their measured rates; and `encoders`: why each of them cannot be
    loaded, None if it can. `remarks` are torch's warnings about CUDA.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            facts = _compute(device, precision, multiply=products)
            facts["encoders"] = [_why_not_loaded(config_from_facts(config)) for config in configs]
        except UsageError as error:
            facts = {"error": str(error)}
        except Exception as error:  # a broken installation has many forms
            facts = {"error": f"{type(error).__name__}: {first_line(error)}"}
    remarks = [first_line(warning.message) for warning in caught if "cuda" in str(warning.message).lower()]
    return {**facts, "remarks": remarks}


def _compute(device: str, precision: str, *, multiply: str) -> dict[str, Any]:
    import torch

    from glue_bench.machine import processor_name
    from glue_bench.models.placement import choose_placement, count_gpus

    placement = choose_placement(device, precision, multiply=multiply)
    square = torch.eye(8, device=placement.device)
    with placement.autocast():
        if float((square @ square).float().sum()) != 8.0:
            raise RuntimeError(f"{placement.device} computes a wrong product of two matrices")
    facts: dict[str, Any] = {"torch": torch.__version__, "device": str(placement.device), "name": processor_name()}
    facts |= {"precision": placement.precision, "gpus": count_gpus()}
    facts |= {"products": f"{placement.products} ({placement.rates})"} if placement.rates else {}
    if placement.device.type == "cuda":
        free, memory = torch.cuda.mem_get_info(placement.device)
        facts |= {"name": torch.cuda.get_device_name(placement.device), "memory": memory, "free": free}
    importlib.import_module("glue_bench.runs.experiment")
    return facts


def _why_not_loaded(config: RunConfig) -> str | None:
    from glue_bench.models.classifier import load_texts, load_trainable

    try:
        folder = resolve_pretrained(config.encoder).folder
        load_texts(folder, config)
        load_trainable(folder, config, outputs=max(1, len(config.task.labels)), head_seed=0)
    except GlueBenchError as error:
        return str(error)
    return None


if __name__ == "__main__":
    sys.stdout.write(json.dumps(probe(**json.loads(sys.argv[1]))) + "\n")
