"""Whether a tokenizer tells upper from lower case. Knows no torch."""

import numpy as np

from glue_bench.claims.files import TOKENIZER, ModelFiles
from glue_bench.claims.rows import CONFIRMED, CONTRADICTED, NOT_CHECKABLE, ClaimRow, make_row
from glue_bench.claims.statements import CaseClaim
from glue_bench.data.encoding import TextEncoder
from glue_bench.data.rows import Split
from glue_bench.errors import InputError

_LONGEST = 64  # tokens of one of the claim's words, by far


def check_case(claim: CaseClaim, files: ModelFiles) -> ClaimRow:
    """Compare the ids of the claim's texts."""
    if files.folder is None or TOKENIZER in files.missing:
        return make_row(claim, NOT_CHECKABLE, why=files.missing[TOKENIZER])
    count = len(claim.texts)
    split = Split(texts=(list(claim.texts),), labels=np.zeros(count, dtype=np.int64), idx=np.arange(count))
    try:
        encoded = TextEncoder(files.folder, max_length=_LONGEST).encode(split)
    except InputError as error:
        return make_row(claim, NOT_CHECKABLE, why=str(error))
    ids = [
        encoded.tokens[start:end].tolist() for start, end in zip(encoded.offsets[:-1], encoded.offsets[1:], strict=True)
    ]
    differ = len({tuple(row) for row in ids}) == count
    return make_row(
        claim,
        CONFIRMED if differ else CONTRADICTED,
        found="; ".join(f"{text}: {' '.join(map(str, row))}" for text, row in zip(claim.texts, ids, strict=True)),
        why="" if differ else "the ids are the same",
        basis="the tokenizer",
        details={"ids": dict(zip(claim.texts, ids, strict=True))},
    )
