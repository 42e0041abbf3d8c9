"""Runs of two encoders, and everything that is rendered from them."""

from collections.abc import Mapping

import pytest

from glue_bench.runs.store import RunStore
from tests.support.golden import render_all
from tests.support.scored_runs import results_with_two_encoders


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    return results_with_two_encoders(tmp_path_factory.mktemp("two"))


@pytest.fixture(scope="session")
def texts(store: RunStore) -> Mapping[str, str]:
    return render_all(store)
