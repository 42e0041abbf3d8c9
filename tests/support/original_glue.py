"""Writes rows in the form of GLUE's original distribution, as its unpacked folders hold them."""

from pathlib import Path

from glue_bench.config.compose import compose_task
from glue_bench.data.sources import ORIGINALS

Columns = dict[str, list[object]]
# The columns of train.tsv and dev.tsv, in order; those that no reader uses are filled with x.
COLUMNS = {
    "cola": "source label mark sentence",
    "sst2": "sentence label",
    "mrpc": "Quality #1_ID #2_ID #1_String #2_String",
    "stsb": "index genre filename year old_index source1 source2 sentence1 sentence2 score",
    "qqp": "id qid1 qid2 question1 question2 is_duplicate",
    "mnli": "index promptID pairID genre sentence1_binary_parse sentence2_binary_parse sentence1_parse "
    "sentence2_parse sentence1 sentence2 label1 gold_label",
    "qnli": "index question sentence label",
    "rte": "index sentence1 sentence2 label",
    "wnli": "index sentence1 sentence2 label",
}


def write_original(root: Path, name: str, splits: dict[str, Columns], *, line_end: str = "\n") -> Path:
    """Write the hub's columns of a task's splits as GLUE's own files, with rows that GLUE's readers drop."""
    task, original = compose_task(name), ORIGINALS[name]
    folder = root / original.folder
    folder.mkdir(parents=True)
    lines = {split: _lines(name, columns, names=task.labels) for split, columns in splits.items()}
    header = [] if name == "cola" else ["\t".join(_columns(name))]
    if name == "mrpc":
        _write_paraphrases(folder, header[0], lines, splits=splits)
        return folder
    for split, rows in lines.items():
        text = line_end.join([*header, *rows, ""])
        (folder / f"{split.replace('validation', 'dev')}.tsv").write_bytes(text.encode())
    return folder


def _columns(name: str) -> list[str]:
    words = COLUMNS[name].split()
    return [word.replace("_", " ") for word in words] if name == "mrpc" else words


def _lines(name: str, columns: Columns, *, names: list[str]) -> list[str]:
    original = ORIGINALS[name]
    known: Columns = {original.columns.get(column, column): values for column, values in columns.items()}
    label = original.columns.get("label", "label")
    if name in ("mnli", "qnli", "rte"):  # in these files labels are names
        known[label] = [names[int(str(code))] for code in columns["label"]]
    filled = [known.get(column, ["" if column == "mark" else "x"] * len(known[label])) for column in _columns(name)]
    lines = ["\t".join(map(str, row)) for row in zip(*filled, strict=True)]
    if name == "mnli":
        lines.insert(1, "\t".join(["x"] * (len(_columns(name)) - 1) + ["-"]))
    elif name == "qqp":
        lines[1:1] = ["7\t1\t2\ta question with", "a line end\tanother question\t0"]
    return lines


def _write_paraphrases(folder: Path, header: str, lines: dict[str, list[str]], *, splits: dict[str, Columns]) -> None:
    """Write MRPC's two files: every pair in one, in the order of idx, and the ids of the dev set's pairs."""
    place = [(int(str(idx)), split, row) for split in lines for row, idx in enumerate(splits[split]["idx"])]
    ids, text = list[str](), [header]
    for number, (_, split, row) in enumerate(sorted(place)):
        quality, _, _, *strings = lines[split][row].split("\t")
        text.append("\t".join([quality, f"{number}", f"{number + 1}", *strings]))
        if split == "validation":
            ids.append(f"{number}\t{number + 1}")
    (folder / "msr_paraphrase_train.txt").write_bytes("\r\n".join(["\ufeff" + text[0], *text[1:], ""]).encode())
    (folder / "dev_ids.tsv").write_text("\n".join([*ids, ""]))
