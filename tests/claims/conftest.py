"""The shipped card, and an encoder as it claims."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import RobertaConfig

from glue_bench.claims import Card, load_card


@pytest.fixture(scope="session")
def card() -> Card:
    return load_card("distilroberta")


@pytest.fixture
def claimed_config(card: Card, tmp_path: Path) -> Callable[..., Path]:
    """Make a folder that holds nothing but the config.json of the claimed architecture, with changes."""

    def make(**changes: Any) -> Path:
        folder = tmp_path / "claimed"
        RobertaConfig(**{**card.models["distilroberta"].architecture, **changes}).save_pretrained(folder)
        return folder

    return make
