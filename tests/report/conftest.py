"""Runs of two encoders, and everything that is rendered from them."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from glue_bench.report.page import Page, render_page
from glue_bench.runs.store import RunStore
from tests.support.golden import render_all
from tests.support.page_rows import fill
from tests.support.pages import page_of
from tests.support.scored_runs import RATES, rate_run, results_with_two_encoders


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    return results_with_two_encoders(tmp_path_factory.mktemp("two"))


@pytest.fixture(scope="session")
def texts(store: RunStore) -> Mapping[str, str]:
    return render_all(store)


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page") / "results"
    fill(folder)
    return folder


@pytest.fixture(scope="session")
def page(results: Path) -> Page:
    return page_of(results)


@pytest.fixture(scope="session")
def text(page: Page) -> str:
    return render_page(page)


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    """Four learning rates on RTE, two of them on MRPC, two seeds each."""
    store = RunStore(tmp_path_factory.mktemp("four") / "results")
    for seed in (1, 2):
        for place, rate in enumerate(RATES):
            rate_run(store, rate, seed=seed, share=0.72 + 0.05 * place)
        for place, rate in enumerate(("1e-5", "1e-4")):
            rate_run(store, rate, task="mrpc", seed=seed, share=0.78 + 0.1 * place)
    return store
