"""Tokens: the same as transformers' own tokenizer, flat, cached, counted when truncated."""

import io
import json
import pwd
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from glue_bench.data.encoding import TextEncoder
from glue_bench.errors import InputError
from glue_bench.files import cache_folder, read_sealed, write_sealed
from tests.support.damage import SEALED
from tests.support.tiny import sentences
from tests.support.training import split_of

TEXTS = ["a cat", "", "The dog's 'toy' - naïve café 日本 🙂", "x " * 300, *sentences(20, seed=3)]
PAIR = split_of(TEXTS, TEXTS[::-1])


@pytest.mark.parametrize("family", ["tiny_roberta", "tiny_bert"])
@pytest.mark.parametrize("max_length", [16, 120])
def test_tokens_equal_those_of_transformers(family: str, max_length: int, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(family)
    encoded = TextEncoder(folder, max_length=max_length).encode(PAIR)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    expected = tokenizer(*PAIR.texts, truncation="longest_first", max_length=max_length)["input_ids"]
    rows = [encoded.tokens[a:b].tolist() for a, b in zip(encoded.offsets, encoded.offsets[1:], strict=False)]
    assert rows == expected
    whole = tokenizer(*PAIR.texts)["input_ids"]
    assert encoded.truncated == sum(len(ids) > max_length for ids in whole) > 0


def test_a_setting_of_tokenizer_config_is_obeyed_as_transformers_obeys_it(tiny_bert: Path, tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((tiny_bert / name).read_bytes())
    config = json.loads((tiny_bert / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**config, "do_lower_case": False}))
    texts = split_of(["The Cat sees THE dog"])
    expected = AutoTokenizer.from_pretrained(tmp_path)(texts.texts[0])["input_ids"]
    assert TextEncoder(tmp_path, max_length=64).encode(texts).tokens.tolist() == expected[0]


def test_types_mark_the_second_text_for_bert(tiny_bert: Path) -> None:
    encoded = TextEncoder(tiny_bert, max_length=64).encode(split_of(["a cat"], ["a dog"]))
    ids = encoded.tokens.tolist()
    assert encoded.types.tolist() == [0] * (ids.index(3) + 1) + [1] * (len(ids) - ids.index(3) - 1)


def test_encoded_splits_are_read_from_the_cache_and_damaged_entries_are_replaced(
    tiny_roberta: Path, tmp_path: Path
) -> None:
    encoder = TextEncoder(tiny_roberta, max_length=64)
    first = encoder.encode(PAIR, cache=tmp_path)
    (entry,) = tmp_path.iterdir()
    written = entry.stat().st_mtime_ns
    again = encoder.encode(PAIR, cache=tmp_path)
    assert entry.stat().st_mtime_ns == written
    assert np.array_equal(first.tokens, again.tokens)
    assert np.array_equal(first.offsets, again.offsets)
    entry.write_bytes(entry.read_bytes()[:100])
    assert np.array_equal(encoder.encode(PAIR, cache=tmp_path).tokens, first.tokens)
    assert entry.stat().st_size > 100


def test_a_cache_entry_with_a_further_array_is_read(tiny_roberta: Path, tmp_path: Path) -> None:
    encoder = TextEncoder(tiny_roberta, max_length=64)
    first = encoder.encode(PAIR, cache=tmp_path)
    (entry,) = tmp_path.iterdir()
    with np.load(io.BytesIO(read_sealed(entry))) as arrays:
        content = io.BytesIO()
        np.savez(content, **arrays, further=np.array(False))
    write_sealed(entry, content.getvalue())
    written = entry.stat().st_mtime_ns
    again = encoder.encode(PAIR, cache=tmp_path)
    assert entry.stat().st_mtime_ns == written
    assert (again.tokens.tolist(), again.truncated) == (first.tokens.tolist(), first.truncated)


@pytest.mark.parametrize("damage", SEALED)
def test_a_cache_entry_that_is_not_as_it_was_written_is_replaced(
    damage: str, tiny_roberta: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = TextEncoder(tiny_roberta, max_length=64)
    first = encoder.encode(PAIR, cache=tmp_path)
    (entry,) = tmp_path.iterdir()
    content = entry.read_bytes()
    SEALED[damage](entry)
    again = encoder.encode(PAIR, cache=tmp_path)
    assert "replaced" in caplog.text
    assert again.tokens.dtype == np.int32
    assert again.tokens.tolist() == first.tokens.tolist()
    assert again.offsets.tolist() == first.offsets.tolist()
    assert entry.is_dir() or entry.read_bytes() == content


def test_the_cache_distinguishes_texts_lengths_and_tokenizers(
    tiny_roberta: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    for folder, length in ((tiny_roberta, 64), (tiny_roberta, 32), (tiny_bert, 64)):
        TextEncoder(folder, max_length=length).encode(PAIR, cache=tmp_path)
    TextEncoder(tiny_roberta, max_length=64).encode(split_of(TEXTS), cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


def test_a_cache_that_cannot_be_written_is_not_needed(tiny_roberta: Path, tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    encoded = TextEncoder(tiny_roberta, max_length=64).encode(PAIR, cache=in_the_way / "cache")
    assert len(encoded) == len(PAIR)


def test_a_tokenizer_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="its tokenizer cannot be loaded"):
        TextEncoder(tmp_path, max_length=64)


def test_a_user_without_a_home_has_no_cache_and_needs_none(
    tiny_roberta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("HOME", "XDG_CACHE_HOME", "GLUE_BENCH_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)  # as in a container that runs under any user id
    with pytest.raises(RuntimeError):
        Path.home()
    encoded = TextEncoder(tiny_roberta, max_length=64).encode(PAIR, cache=cache_folder("encoded"))
    assert len(encoded) == len(PAIR)
    assert "the cache of encoded texts is not used" in caplog.text
    assert "damaged" not in caplog.text
    assert list(tmp_path.iterdir()) == []
