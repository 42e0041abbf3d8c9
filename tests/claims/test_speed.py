"""Claims on speed: how a ratio is judged, and what is timed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray
from transformers import RobertaConfig

from glue_bench.claims import Card, Claim, ClaimRow
from glue_bench.claims.models import Model
from glue_bench.claims.speed import Bench, measure_speed, median_interval
from glue_bench.config.compose import compose_run
from glue_bench.config.schema import EncoderConfig
from glue_bench.models.placement import choose_placement
from tests.support.claims import check

SPEED = Claim(
    kind="speed", id="speed", title="speed", says="twice as fast", model="a", source="", check="", against="b",
    phase="training", value=2.0, at_least=1.75, below=2.5,
)  # fmt: skip


@pytest.fixture
def measured(card: Card, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ClaimRow]:
    """Judge these seconds of (pairs, models) in place of measured ones."""

    def judge(seconds: NDArray[np.float64], *, on_progress: Callable[[str], None]) -> ClaimRow:
        monkeypatch.setattr(Bench, "measure", lambda *_, **__: iter(seconds))
        models = {name: Model(card.models["distilroberta"], EncoderConfig(path="nowhere")) for name in ("a", "b")}
        trainer = compose_run(["task=rte", "trainer.device=cpu"]).trainer
        return measure_speed(SPEED, models, settings=trainer, repeats=len(seconds), on_progress=on_progress)[0]

    return judge


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ([2.0, 2.1, 1.9, 2.0, 2.2], "confirmed"),
        ([1.75, 2.0, 2.0, 2.0, 2.4], "confirmed"),
        ([1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 9.0], "confirmed"),  # one outlier at each end of eight is left out
        ([1.0, 1.2, 1.1, 1.3, 1.74], "contradicted"),
        ([2.5, 3.0, 3.1, 2.9, 3.3], "contradicted"),
        ([1.7, 2.0, 2.0, 2.0, 2.0], "undecided"),
        ([2.0, 2.0, 2.0, 2.0, 2.5], "undecided"),
    ],
)
def test_the_speed_is_judged_by_the_interval_of_the_median_ratio(
    ratios: list[float], verdict: str, measured: Callable[..., ClaimRow]
) -> None:
    row = measured(np.array([[1.0, ratio] for ratio in ratios]), on_progress=lambda _: None)
    assert row.verdict == verdict
    assert row.details["ratios"] == ratios
    assert "1.75 to 2.5" in row.why


@pytest.mark.parametrize(("count", "ends"), [(5, (0, 4)), (7, (0, 6)), (8, (1, 6)), (12, (2, 9)), (30, (10, 19))])
def test_the_interval_of_the_median_has_the_certainty_that_it_says(count: int, ends: tuple[int, int]) -> None:
    (low, high), certainty = median_interval(list(range(count))[::-1], certainty=0.9)
    assert (low, high) == ends
    # It misses the median if at most `low` values are on one side of the median.
    assert certainty == pytest.approx(1 - 2 * scipy.stats.binom.cdf(low, count, 0.5))
    assert certainty >= 0.9


def test_a_deeper_model_is_measured_to_be_slower_in_training_and_inference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glue_bench.claims.speed.LEAST_SECONDS", 0.05)
    shape = RobertaConfig(
        vocab_size=300, hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, pad_token_id=1
    )
    shallow, deep = shape, RobertaConfig.from_dict({**shape.to_dict(), "num_hidden_layers": 12})
    trainer = compose_run(["task=rte", "trainer.device=cpu"]).trainer
    bench = Bench(shallow, deep, settings=trainer)
    for phase in ("training", "inference"):
        seconds = np.stack([*bench.measure(phase, repeats=5)])
        assert seconds.shape == (5, 2)
        assert np.median(seconds[:, 1] / seconds[:, 0]) > 1.5
        assert bench.engine == "flat"
    assert bench.machine["device"] == choose_placement("cpu", "auto").device.type


def test_progress_tells_the_number_and_the_ratio_of_every_pair(measured: Callable[..., ClaimRow]) -> None:
    ratios, lines = (2.0, 2.1, 1.9, 2.0, 2.2), list[str]()
    measured(np.array([[1.0, ratio] for ratio in ratios]), on_progress=lines.append)
    expected = [f"speed: pair {number} of 5: {ratio:.2f} times as fast" for number, ratio in enumerate(ratios, start=1)]
    assert lines == ["speed: warming up", *expected]


def test_a_model_too_short_for_the_rows_is_not_timed(card: Card, claimed_config: Callable[..., Path]) -> None:
    row = check(card, repeats=5, distilroberta=claimed_config(max_position_embeddings=66))["speed.training"]
    assert row.verdict == "not checkable here"
    assert row.why == "a model has positions for 64 tokens, but the rows have 74"
