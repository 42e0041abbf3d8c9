"""What a run reads: the encoder's files and the rows."""

import gzip
import json
from collections.abc import Callable
from typing import Any

import pyarrow.parquet as pq

from tests.support.hostile.trial import SCALARS, SETTING, Trial, rewrite, spoil_file, spoil_tensors

_KEYS = """
    num_hidden_layers pad_token_id classifier_dropout hidden_size vocab_size attn_implementation _attn_implementation
    return_dict output_attentions quantization_config auto_map dtype
"""
_VALUES: list[Any] = [0, -1, -5, 7, 10**6, "eager", "org/kernel", "flash_attention_2", {"a": "b"}, None, 0.5, True, []]


def encoders(trial: Trial) -> None:
    rng, folder = trial.rng, trial.world / "encoder"
    way = rng.random()
    if way < 0.45:
        rewrite(folder / rng.choice(["config.json", "tokenizer.json", "tokenizer_config.json"]), trial)
    elif way < 0.55:
        spoil_tensors(folder / "model.safetensors", trial)
    elif way < 0.75:
        content = json.loads((folder / "config.json").read_text())
        key = rng.choice(_KEYS.split())
        content[key] = rng.choice(_VALUES)
        trial.about = f" {key}={content[key]!r}"
        (folder / "config.json").write_text(json.dumps(content))
    elif way < 0.9:
        name = rng.choice(["vocab.txt", "merges.txt", "spiece.model", "added_tokens.json", "special_tokens_map.json"])
        (folder / name).symlink_to(trial.world / "canary" / "notes.txt")
        trial.about = f" {name} is a link"
    else:
        spoil_file(rng.choice(sorted(folder.iterdir())), trial)
    trial.words, trial.trains = ["run", "task=rte", "seed=3", *SETTING], True


def rows(trial: Trial) -> None:
    """Spoil a data file."""
    rng, path = trial.rng, trial.find("glue/rte/*.parquet")
    columns: dict[str, Any] = pq.read_table(path).to_pydict()
    if rng.random() < 0.3:
        spoil_file(path, trial)
    else:
        name, row = rng.choice(list(columns)), rng.randrange(5)
        value = rng.choice([*SCALARS, "\x1b[31m", {"a": 1}, "label"])
        columns[name][row] = value
        path.unlink()
        kind = rng.choice(["jsonl", "csv", "tsv"])
        table = list(zip(*columns.values(), strict=True))
        if kind == "jsonl":
            text = "".join(json.dumps(dict(zip(columns, line, strict=True))) + "\n" for line in table)
        else:
            tab = "," if kind == "csv" else "\t"
            text = "".join(tab.join(map(str, line)) + "\n" for line in [tuple(columns), *table])
        way = rng.choice([*_FILES] * 2 + ["plain"] * len(_FILES))
        content = _FILES.get(way, bytes)(text.encode(errors="surrogatepass"))
        path.with_suffix(f".{kind}").write_bytes(content)
        trial.about = f" {kind} {name} = {value!r:.60}, {way}"
    trial.words, trial.trains = ["run", "task=rte", "seed=4", *SETTING], True


def _in_words(encoding: str) -> Callable[[bytes], bytes]:
    return lambda content: content.decode(errors="replace").encode(encoding, errors="replace")


_FILES: dict[str, Callable[[bytes], bytes]] = {
    **{encoding: _in_words(encoding) for encoding in ("utf-8-sig", "utf-16", "utf-32", "cp1251", "gbk")},
    "gzip": gzip.compress,
    "zip": lambda content: b"PK\x03\x04" + content,
    "pointer": lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
    "sep": lambda content: b"sep=,\n" + content,
    "wide": lambda content: b",".join(b"x%d" % at for at in range(60_000)) + b"," + content,
    "empty columns": lambda content: content.replace(b"\n", b",,\n"),
    "empty rows": lambda content: content + b",,,\n" * 5,
    "Windows": lambda content: content.replace(b"\n", b"\r\n"),
    "Macintosh": lambda content: content.replace(b"\n", b"\r"),
    "no end": lambda content: content.rstrip(b"\n"),
    "quote": lambda content: content.replace(b"\n", b'\n"', 1),
    "nul": lambda content: content[:50] + b"\0" + content[50:],
}
