"""GLUE's original distribution: its folders, files and columns. Facts only; `splits.py` and `tables.py` use them.

Source: the readers of TensorFlow Datasets (text/glue.py) and of the hub's first glue.py, which agree.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

NO_GOLD_LABEL = "-"  # where the annotators of MultiNLI and SNLI did not agree; GLUE drops these rows
GOLD_LABEL = "gold_label"
# MRPC comes from elsewhere: one text file for both splits, and the ids of the pairs that are GLUE's dev set.
PARAPHRASES = {"train": "train", "dev": "train", "test": "test"}  # split to the middle of msr_paraphrase_*.txt
DEV_IDS = ("dev_ids.tsv", "mrpc_dev_ids.tsv")
PAIR = ("#1 ID", "#2 ID")


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """One folder of the distribution. Its .tsv files have no quotation marks of their own."""

    folder: str
    columns: Mapping[str, str] = field(default_factory=dict)  # the task's name to GLUE's, where they differ
    header: tuple[str, ...] = ()  # the columns of files without a first line of names

    def lacks_header(self, fields: Sequence[str]) -> bool:
        """Return whether a file with these fields in its first line has no line of names."""
        return bool(self.header) and len(fields) == len(self.header) and fields[1] in ("0", "1")

    def wrote(self, fields: Sequence[str]) -> bool:
        """Return whether a .tsv whose first line has these fields is GLUE's, rather than some other program's."""
        return fields[0] in ("index", "id") or PAIR[0] in fields or self.lacks_header(fields)


ORIGINALS = {
    "cola": Original(folder="CoLA", header=("source", "label", "mark", "sentence")),
    "sst2": Original(folder="SST-2"),
    "mrpc": Original(folder="MRPC", columns={"sentence1": "#1 String", "sentence2": "#2 String", "label": "Quality"}),
    "stsb": Original(folder="STS-B", columns={"label": "score"}),
    "qqp": Original(folder="QQP", columns={"label": "is_duplicate"}),
    "mnli": Original(folder="MNLI", columns={"premise": "sentence1", "hypothesis": "sentence2", "label": GOLD_LABEL}),
    "qnli": Original(folder="QNLI"),
    "rte": Original(folder="RTE"),
    "wnli": Original(folder="WNLI"),
    "ax": Original(folder="diagnostic"),  # its rows are MNLI's, in diagnostic.tsv
}
