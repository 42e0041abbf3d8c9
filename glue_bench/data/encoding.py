"""Tokenise texts into one flat array of token ids with offsets, cached by content. Knows no labels."""

import contextlib
import hashlib
import io
import itertools
import logging
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from glue_bench.data.rows import Split
from glue_bench.errors import DiskError, InputError
from glue_bench.files import read_sealed, write_sealed
from glue_bench.reading import read_json
from glue_bench.text import plural, reason_of

ENCODING_VERSION = 1  # increase it when the arrays for the same texts change

_CHUNK = 5_000  # rows tokenised at once, to bound memory

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """n token sequences end to end; row i is tokens[offsets[i]:offsets[i + 1]]."""

    tokens: NDArray[np.int32]  # (T,) ids, special tokens included
    types: NDArray[np.uint8]  # (T,) 0 for the first text, 1 for the second, if the tokenizer has token types
    offsets: NDArray[np.int64]  # (n + 1,)
    truncated: int  # rows that were cut to the maximum length

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def lengths(self) -> NDArray[np.int64]:
        """Return the number of tokens of each row, (n,)."""
        return np.diff(self.offsets)

    def take(self, rows: NDArray[np.int64]) -> "Encoded":
        """Return some rows, in this order; `truncated` stays the whole split's."""
        lengths = self.lengths()[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        places = np.arange(offsets[-1]) + np.repeat(self.offsets[rows] - offsets[:-1], lengths)  # into the flat arrays
        return replace(self, tokens=self.tokens[places], types=self.types[places], offsets=offsets)


class TextEncoder:
    """An encoder's own tokenizer with a maximum length."""

    def __init__(self, folder: Path, *, max_length: int) -> None:
        """Load the tokenizer of a pretrained folder; errors as in `load_tokenizer`.

        Rows have at most `max_length` tokens, special ones included; the longer text is cut first.
        """
        loaded, self._folder, self._longest = load_tokenizer(folder), folder, max_length
        self.padding_id: int | None = loaded.pad_token_id
        with _explaining(folder, "be loaded"):
            self.tokenizer = Tokenizer.from_str(loaded.backend_tokenizer.to_str())  # that of `tokenizers`: it cuts rows
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(max_length, strategy="longest_first")
        self._identity = hashlib.sha256(f"{self.tokenizer.to_str()}\0{ENCODING_VERSION}".encode()).hexdigest()

    def encode(self, split: Split, *, cache: Path | None = None) -> Encoded:
        """Tokenise every row of a split, or read the result from the folder `cache`, if one is given."""
        if cache is None:
            return self.tokenise(split.texts)
        path = cache / hashlib.sha256(f"{self._identity}\0{split.text_digest}".encode()).hexdigest()[:32]
        try:
            with np.load(io.BytesIO(read_sealed(path)), allow_pickle=False) as kept:
                # By name: with earlier versions of NumPy an entry has an array for savez's `allow_pickle`, too.
                arrays = {name: kept[name] for name in Encoded.__slots__}
                return Encoded(**{**arrays, "truncated": int(arrays["truncated"])})
        except (FileNotFoundError, NotADirectoryError):
            pass
        except (OSError, ValueError) as error:
            logger.warning("%s: damaged cache entry, replaced (%s)", path, error)
        encoded, content = self.tokenise(split.texts), io.BytesIO()
        np.savez(content, **{name: getattr(encoded, name) for name in Encoded.__slots__})
        try:
            write_sealed(path, content.getvalue())
        except DiskError as error:
            logger.warning("the cache of encoded texts is not used: %s", error)
        return encoded

    def tokenise(self, texts: Sequence[Sequence[str]]) -> Encoded:
        """Tokenise one or two columns of n strings, n at least 1.

        An InputError if the tokenizer fails, or gives something that is not a token, or rows with none or too many.
        """
        tokens, types, lengths = list[NDArray[np.int32]](), list[NDArray[np.uint8]](), list[int]()
        truncated = 0
        rows: Sequence[Any] = texts[0] if len(texts) == 1 else list(zip(*texts, strict=True))
        encode = self.tokenizer.encode_batch_fast  # computes no positions in the text
        # The tokenizer needs no Python while it works, so the next rows are tokenised while these become arrays.
        with _explaining(self._folder, "encode these texts"), ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(encode, rows[:_CHUNK])
            for end in range(_CHUNK, len(rows) + _CHUNK, _CHUNK):
                found, ahead = ahead.result(), pool.submit(encode, rows[end : end + _CHUNK])
                tokens.append(np.fromiter(itertools.chain.from_iterable(each.ids for each in found), np.int32))
                types.append(np.fromiter(itertools.chain.from_iterable(each.type_ids for each in found), np.uint8))
                lengths += map(len, found)
                truncated += sum(bool(each.overflowing) for each in found)
        if (worst := max(lengths) if min(lengths) else 0) not in range(1, self._longest + 1):
            must = f"must have 1 to {self._longest}, which is trainer.max_length"
            raise InputError(f"{self._folder}: its tokenizer makes a row of {plural(worst, 'token')}; {must}")
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return Encoded(tokens=np.concatenate(tokens), types=np.concatenate(types), offsets=offsets, truncated=truncated)


def load_tokenizer(folder: Path) -> Any:
    """Load a folder's fast tokenizer; tokenizer_config.json overrides tokenizer.json. An InputError if it cannot be."""
    from transformers import AutoTokenizer

    with _explaining(folder, "be loaded"), _unprinted():
        loaded: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    kind = type(loaded).__name__
    if not hasattr(loaded, "backend_tokenizer"):
        raise InputError(f"{folder}: its {kind} is a slow tokenizer, in Python; only fast ones can be used")
    if set(loaded.get_vocab()) <= set(loaded.all_special_tokens):
        raise InputError(f"{folder}: its tokenizer, a {kind}, has an empty vocabulary: it reads no file there")
    return loaded


@contextlib.contextmanager
def _unprinted() -> Iterator[None]:
    """Drop what tokenizers prints to stdout, past Python: unknown keys of a file, control characters and all."""
    with contextlib.ExitStack() as afterwards:
        with contextlib.suppress(OSError):  # stdout is closed
            kept = os.dup(1)
            afterwards.callback(os.close, kept)
            afterwards.callback(os.dup2, kept, 1)
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), 1)
        yield


@contextlib.contextmanager
def _explaining(folder: Path, what: str) -> Iterator[None]:
    """Raise an InputError for what the block cannot do: both libraries raise many kinds, bare Exception too."""
    try:
        yield
    except Exception as error:
        raise InputError(f"{folder}: its tokenizer cannot {what} ({_why(folder, error)})") from error


def _why(folder: Path, error: Exception) -> str:
    """Explain why a tokenizer cannot be loaded: what is wrong with its files, else what the library says."""
    for path in sorted(folder.glob("*.json"), reverse=True):
        try:
            if not isinstance(read_json(path), dict) and path.name.startswith("tokenizer"):
                return f"{path.name} holds no tokenizer"
        except (OSError, ValueError) as damage:
            return f"{path.name} is damaged: {reason_of(damage)}"
    if part := re.search(r"any variant of untagged enum (\w+?)(Untagged)?\b", str(error)):
        unknown = f"that tokenizers {version('tokenizers')} does not know: pip install --upgrade transformers"
        return f"tokenizer.json has a {part[1].lower()} {unknown}"
    if isinstance(error, OverflowError):
        return f"a token's id must be below 2^31, its type below 256: {error}"
    if "`tiktoken`" in str(error):  # tried last, for what sentencepiece cannot read
        return "its vocabulary file is damaged, download it again"
    return f"{'a file that it is made from is missing: ' if 'NoneType' in str(error) else ''}{reason_of(error)}"
