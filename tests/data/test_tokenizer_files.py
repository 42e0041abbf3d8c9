"""A tokenizer that is made from other files than tokenizer.json: its identity, its copy, and what is missing."""

import ast
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import transformers

from glue_bench.config.schema import EncoderConfig
from glue_bench.data.encoding import TextEncoder, load_tokenizer
from glue_bench.errors import InputError
from glue_bench.models.classifier import load_classifier, save_classifier
from glue_bench.models.pretrained import TOKENIZER_FILES, encoder_identity, resolve_pretrained
from tests.support.tiny import sentences
from tests.support.training import split_of

TEXTS = split_of(["The cat sees <new> the dog", *sentences(5, seed=1)])


def identity(folder: Path) -> dict[str, object]:
    encoder = EncoderConfig(path=str(folder))
    return encoder_identity(encoder, resolve_pretrained(encoder))


def words_of(folder: Path) -> list[str]:
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    return sorted(vocabulary, key=vocabulary.get)


def edit(path: Path, **changes: object) -> None:
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**known, **changes}))


def by_vocabulary(folder: Path, words: list[str]) -> None:
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    (folder / "tokenizer.json").unlink(missing_ok=True)


def by_version(folder: Path, words: list[str]) -> None:
    whole = json.loads((folder / "tokenizer.json").read_text())
    whole["model"]["vocab"] = {word: place for place, word in enumerate(words)}
    edit(folder / "tokenizer_config.json", fast_tokenizer_files=["tokenizer.json", "tokenizer.4.0.0.json"])
    (folder / "tokenizer.4.0.0.json").write_text(json.dumps(whole))


def by_words_and_merges(folder: Path, words: list[str]) -> None:
    edit(folder / "vocab.json", **{word: place for place, word in enumerate(words)})
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer.json").unlink(missing_ok=True)
    edit(folder / "tokenizer_config.json", tokenizer_class="RobertaTokenizer")


@pytest.mark.parametrize("make", [by_vocabulary, by_version, by_words_and_merges])
def test_tokens_are_part_of_the_identity_and_kept_with_the_model_whatever_files_they_come_from(
    make: Callable[[Path, list[str]], None], tiny_bert: Path, tmp_path: Path
) -> None:
    words, ids, tokens = words_of(tiny_bert), [], []
    for version, order in enumerate((words, [*words[:5], *words[:4:-1]])):  # the same words with other ids
        folder = Path(shutil.copytree(tiny_bert, tmp_path / f"encoder{version}"))
        make(folder, order)
        ids.append(identity(folder))
        tokens.append(TextEncoder(folder, max_length=64).encode(TEXTS).tokens.tolist())
        saved = tmp_path / f"saved{version}"
        saved.mkdir()
        model = load_classifier(folder, outputs=2, head_seed=5)
        save_classifier(model, saved, pretrained=folder, labels=["a", "b"])
        assert TextEncoder(saved, max_length=64).encode(TEXTS).tokens.tolist() == tokens[-1]
        assert (saved / "tokenizer.json").is_file()  # which needs no further packages
        assert str(tmp_path) not in (saved / "tokenizer_config.json").read_text()
    assert tokens[0] != tokens[1]
    assert ids[0] != ids[1]


def test_an_added_token_outside_of_tokenizer_json_is_kept_with_the_model(tiny_bert: Path, tmp_path: Path) -> None:
    folder, saved = Path(shutil.copytree(tiny_bert, tmp_path / "encoder")), tmp_path / "saved"
    saved.mkdir()
    plain = TextEncoder(folder, max_length=64).encode(TEXTS).tokens.tolist()
    edit(folder / "added_tokens.json", **{"<new>": len(words_of(folder))})
    tokens = TextEncoder(folder, max_length=64).encode(TEXTS).tokens.tolist()
    model = load_classifier(folder, outputs=2, head_seed=5)
    save_classifier(model, saved, pretrained=folder, labels=["a", "b"])
    assert TextEncoder(saved, max_length=64).encode(TEXTS).tokens.tolist() == tokens != plain


@pytest.mark.parametrize("name", ["dict.txt", "sentencepiece.model", "tokenizer.4.0.0.json", "README.md"])
def test_a_file_that_changes_no_token_changes_no_identity(name: str, tiny_bert: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "encoder"))
    before = identity(folder)
    (folder / name).write_text("of no use")
    assert identity(folder) == before == identity(tiny_bert)


def test_every_file_that_a_tokenizer_of_transformers_reads_is_known() -> None:
    named = set[str]()
    for path in Path(transformers.__file__).parent.glob("models/*/tokenization_*.py"):
        for found in re.findall(r"^VOCAB_FILES_NAMES\b.*?= (\{.*?\})", path.read_text("utf-8"), re.S | re.M):
            named.update(value for value in ast.literal_eval(found).values() if isinstance(value, str))
    assert len(named) > 15
    assert named <= {*TOKENIZER_FILES}


def test_a_link_among_the_rare_files_is_refused_too(tiny_bert: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "encoder"))
    by_version(folder, words_of(folder))
    (tmp_path / "elsewhere").mkdir()
    shutil.move(folder / "tokenizer.4.0.0.json", tmp_path / "elsewhere" / "t.json")
    (folder / "tokenizer.4.0.0.json").symlink_to(tmp_path / "elsewhere" / "t.json")
    with pytest.raises(InputError, match="a link to"):
        identity(folder)


def test_a_vocabulary_elsewhere_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "encoder"))
    by_vocabulary(folder, words_of(folder))
    edit(folder / "tokenizer_config.json", vocab=str(shutil.move(folder / "vocab.txt", tmp_path / "words.txt")))
    with pytest.raises(InputError, match=r"tokenizer_config\.json: vocab names a file"):
        identity(folder)


def half_of_a_pair(folder: Path) -> None:
    (folder / "tokenizer.json").rename(folder / "vocab.json")


def other_class(folder: Path) -> None:
    by_vocabulary(folder, words_of(folder))
    (folder / "vocab.txt").rename(folder / "tekken.json")
    edit(folder / "tokenizer_config.json", tokenizer_class="BertTokenizer")


def tiktoken(folder: Path) -> None:
    (folder / "tokenizer.json").rename(folder / "tiktoken.model")


def sentencepiece(folder: Path) -> None:
    (folder / "tokenizer.json").rename(folder / "spm_char.model")


def future(folder: Path) -> None:
    edit(folder / "tokenizer.json", normalizer={"type": "Tomorrow"})


def damaged(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{damaged")


def damaged_settings(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text("[]")


def slow(folder: Path) -> None:
    by_vocabulary(folder, words_of(folder))
    edit(folder / "tokenizer_config.json", tokenizer_class="BertJapaneseTokenizer", word_tokenizer_type="basic")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (half_of_a_pair, "no tokenizer.json, nor a vocabulary file (vocab.json needs merges.txt)"),
        (other_class, "(tekken.json is damaged: "),
        (tiktoken, "to read tiktoken.model, install packages: pip install tiktoken"),
        (sentencepiece, "to read spm_char.model, install packages: pip install sentencepiece protobuf"),
        (future, "tokenizer.json has a normalizer that tokenizers "),
        (damaged, "tokenizer.json is damaged: "),
        (damaged_settings, "tokenizer_config.json holds no tokenizer"),
        (slow, "BertJapaneseTokenizer is a slow tokenizer"),
    ],
)
def test_a_tokenizer_that_cannot_be_made_is_one_line_with_the_reason(
    spoil: Callable[[Path], None], reason: str, tiny_bert: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "encoder"))
    spoil(folder)
    with pytest.raises(InputError) as caught:
        load_tokenizer(resolve_pretrained(EncoderConfig(path=str(folder))).folder)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def test_a_damaged_vocabulary_of_sentencepiece_is_not_taken_for_another_librarys(
    tiny_bert: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "encoder"))
    (folder / "tokenizer.json").rename(folder / "spm.model")
    edit(folder / "tokenizer_config.json", tokenizer_class="DebertaV2Tokenizer")
    with pytest.raises(InputError, match=r"cannot be loaded \(its vocabulary file is damaged, download it again\)$"):
        load_tokenizer(folder)


def template(ids: list[int], type_id: int = 0) -> dict[str, object]:
    """Make a post-processor that puts tokens of these ids before the texts."""
    first = {"id": "[CLS]", "ids": ids, "tokens": ["[CLS]"] * len(ids)}
    one, two = ([{"Sequence": {"id": name, "type_id": type_id}} for name in names] for names in ("A", "AB"))
    begin = [{"SpecialToken": {"id": "[CLS]", "type_id": type_id}}]
    parts = {"single": begin + one, "pair": begin + two, "special_tokens": {"[CLS]": first}}
    return {"post_processor": {"type": "TemplateProcessing", **parts}}


NOTHING = {"post_processor": None, "normalizer": {"type": "Replace", "pattern": {"Regex": "."}, "content": ""}}


@pytest.mark.parametrize(
    ("family", "changes", "reason"),
    [
        ("tiny_roberta", {"the": 2**32 - 1}, r"its tokenizer cannot be loaded \(.*Token `.*` out of vocabulary"),
        ("tiny_bert", template([2**32 - 1]), "cannot encode these texts .*id must be below 2.31, .*: .*4294967295"),
        ("tiny_bert", template([2], 300), "cannot encode these texts .* its type below 256: .*300"),
        ("tiny_bert", NOTHING, "its tokenizer makes a row of 0 tokens; must have 1 to 64"),
        (
            "tiny_bert",
            template([2] * 150),
            r"makes a row of 1\d\d tokens; must have 1 to 64, which",
        ),
        ("tiny_bert", {"unk_token": "[nope]"}, r"cannot encode these texts \(.*Missing \[UNK\] token"),
    ],
)
def test_tokens_that_no_model_has_are_refused_before_anything_is_trained_on_them(
    family: str, changes: dict[str, object], reason: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder = Path(shutil.copytree(request.getfixturevalue(family), tmp_path / "encoder"))
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    if "the" in changes:
        changes = {"model": {**model, "vocab": {**model["vocab"], **changes}}}
    if "unk_token" in changes:
        changes = {"model": {**model, **changes}}
    edit(folder / "tokenizer.json", **changes)
    edit(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    with pytest.raises(InputError, match=reason) as caught:
        TextEncoder(folder, max_length=64).encode(TEXTS, cache=tmp_path / "cache")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "cache").exists()


def test_a_tokenizer_without_any_words_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "encoder"))
    by_words_and_merges(folder, words_of(folder))
    edit(folder / "tokenizer_config.json", tokenizer_class="BertTokenizer")  # which reads vocab.txt
    with pytest.raises(InputError, match="a BertTokenizer, has an empty vocabulary"):
        load_tokenizer(folder)


def test_what_the_tokenizers_library_prints_of_a_file_is_dropped(
    tiny_roberta: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(tiny_roberta, tmp_path / "encoder")
    path = folder / "tokenizer_config.json"
    content = json.loads(path.read_text())
    token = {"content": "<x>", "special": True, "\x1b[2J": 1}
    path.write_text(json.dumps({**content, "added_tokens_decoder": {"5": token}}))
    load_tokenizer(folder)
    print("after", flush=True)  # noqa: T201
    assert capfd.readouterr().out == "after\n"
