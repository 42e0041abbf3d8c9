"""The weights of a finished run, loaded for predicting, and their logits for any texts. Knows no files of texts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glue_bench.data.encoding import TextEncoder
from glue_bench.models.classifier import Classifier, check_tokens, load_saved_classifier
from glue_bench.models.placement import Placement, choose_placement
from glue_bench.runs.finished import FinishedRun, check_weights
from glue_bench.training.trainer import predict


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuned:
    """A run's model, with everything that its logits depend on as it was in the run."""

    model: Classifier
    encoder: TextEncoder  # cuts texts at the run's max_length
    placement: Placement
    batch_size: int  # rows at a time; no logit depends on it


def load_fine_tuned(run: FinishedRun, *, device: str = "auto") -> FineTuned:
    """The model that the run kept, once its weights are known to be the record's.

    Args:
        device: auto, cpu, cuda, cuda:N or mps; the precision is the run's setting on that device.

    Raises:
        InputError: the run kept no weights, they are not the record's, or they cannot be loaded.
        UsageError: the device is not there.
    """
    folder, trainer = check_weights(run), run.record.config["trainer"]
    placement = choose_placement(device, trainer["precision"], deterministic=trainer["deterministic"])
    return FineTuned(
        model=load_saved_classifier(folder, outputs=run.task.outputs, engine=trainer["engine"]),
        encoder=TextEncoder(folder, max_length=trainer["max_length"]),
        placement=placement,
        batch_size=trainer["eval_batch_size"],
    )


def predict_texts(fine_tuned: FineTuned, texts: Sequence[Sequence[str]]) -> NDArray[np.float32]:
    """(n, outputs) logits, in the rows' order: one of each class in the order of the codes, or the score.

    Args:
        texts: the task's one or two text columns, each of n strings; n is 1 or more.

    Raises:
        InputError: the tokenizer gives ids that the model has no embedding for.
        DivergedError: a logit is NaN or infinite.
    """
    encoded = fine_tuned.encoder.tokenise(texts)
    check_tokens(fine_tuned.model, encoded)
    return predict(fine_tuned.model, encoded, batch_size=fine_tuned.batch_size, placement=fine_tuned.placement)
