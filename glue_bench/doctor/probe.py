"""What only torch can tell, as one line of JSON: `python -m glue_bench.doctor.probe DEVICE PRECISION`.

A process of its own: a torch that does not fit the machine may end it without a word, or hang.
"""

import importlib
import json
import sys
import warnings
from typing import Any

from glue_bench.errors import UsageError


def probe(device: str, precision: str) -> dict[str, Any]:
    """Load what a run loads, and compute something where it would.

    Returns:
        `error`: one line; or `device`, `name`, `precision`, `gpus`, and of a GPU `memory` and `free` in bytes.
        `remarks`: what torch warned of.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            facts = _look(device, precision)
        except UsageError as error:
            facts = {"error": str(error)}
        except Exception as error:  # a broken installation has many forms
            facts = {"error": f"{type(error).__name__}: {(str(error).strip() or 'no reason given').splitlines()[0]}"}
    remarks = [str(warning.message).splitlines()[0] for warning in caught if "cuda" in str(warning.message).lower()]
    return {**facts, "remarks": remarks}


def _look(device: str, precision: str) -> dict[str, Any]:
    import torch

    from glue_bench.models.placement import choose_placement, count_gpus
    from glue_bench.runs.provenance import processor_name

    placement = choose_placement(device, precision)
    square = torch.eye(8, device=placement.device)
    with placement.autocast():
        if float((square @ square).float().sum()) != 8.0:
            raise RuntimeError(f"{placement.device} computes a wrong product of two matrices")
    facts: dict[str, Any] = {
        "torch": torch.__version__,
        "device": str(placement.device),
        "name": processor_name(),
        "precision": placement.precision,
        "gpus": count_gpus(),
    }
    if placement.device.type == "cuda":
        free, memory = torch.cuda.mem_get_info(placement.device)
        facts |= {"name": torch.cuda.get_device_name(placement.device), "memory": memory, "free": free}
    importlib.import_module("glue_bench.runs.experiment")
    return facts


if __name__ == "__main__":
    found = probe(*sys.argv[1:3])
    sys.stdout.write(json.dumps(found) + "\n")
