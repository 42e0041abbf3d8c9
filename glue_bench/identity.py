"""What makes two requests the same run: a hash of everything that can change the scores. Knows no torch.

Left out on purpose: the device and the evaluation batch size (they change rounding only), what is logged or kept, and
library versions (they are in the record).
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from glue_bench.config import RunConfig
from glue_bench.data.sources import hub_identity, resolve_source
from glue_bench.pretrained import encoder_identity, encoder_name, pinned_identity, resolve_pretrained

SCORES_VERSION = 1  # raised when the code gives other scores for the same request

_NOT_IN_SCORES = {
    "task": {"title", "test", "rows", "conventions", "hub_config"},
    "trainer": {"device", "eval_batch_size", "log_every"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """One run that somebody wants, and the names under which its results are kept."""

    config: RunConfig
    encoder: str
    setting_id: str  # 12 hex digits: everything but the seed
    run_id: str  # seed and 12 hex digits: a folder name

    @property
    def title(self) -> str:
        """As progress lines name it."""
        return f"{self.encoder} {self.config.task.name} seed {self.config.seed}"


def make_requests(config: RunConfig, seeds: list[int]) -> list[RunRequest]:
    """The requests for one encoder and task.

    Files are read or fetched only where a name alone does not identify them (a local folder, a branch on the hub).

    Raises:
        InputError: such a file is missing or unreachable.
    """
    encoder = pinned_identity(config.encoder) or encoder_identity(config.encoder, resolve_pretrained(config.encoder))
    data = hub_identity(config.data) or resolve_source(config.data, config.task).identity
    setting = {
        "scores_version": SCORES_VERSION,
        "task": _without(dataclasses.asdict(config.task), _NOT_IN_SCORES["task"]),
        "encoder": encoder,
        "data": {"source": config.data.source, **data},
        "trainer": _without(dataclasses.asdict(config.trainer), _NOT_IN_SCORES["trainer"]),
        "recipe": config.recipe,
    }
    return [
        RunRequest(
            config=dataclasses.replace(config, seed=seed),
            encoder=encoder_name(config.encoder),
            setting_id=_digest(setting),
            run_id=f"seed{seed}-{_digest({**setting, 'seed': seed})}",
        )
        for seed in seeds
    ]


def _without(content: Mapping[str, Any], keys: set[str]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key not in keys}


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
