"""Half of an encoder: every second layer, as DistilRoBERTa's student began. A second real encoder without a network.

    python benchmarks/halved_encoder.py FOLDER [--of FOLDER]

Writes config, weights and tokenizer to FOLDER, for `encoder=custom encoder.path=FOLDER`. Without `--of`, of the MiniLM
in the extra `sample`. The layers are used as they are: nothing was distilled.
"""

import argparse
from pathlib import Path

import torch
from material import minilm
from transformers import AutoModel, AutoTokenizer


def main() -> None:
    """Load, drop every second layer, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--of", type=Path, default=None)
    words = parser.parse_args()
    source = words.of or minilm()
    model = AutoModel.from_pretrained(source, local_files_only=True)
    model.encoder.layer = torch.nn.ModuleList(list(model.encoder.layer)[::2])
    model.config.num_hidden_layers = len(model.encoder.layer)
    model.save_pretrained(words.folder)
    AutoTokenizer.from_pretrained(source, local_files_only=True).save_pretrained(words.folder)
    print(f"{words.folder}: {model.config.num_hidden_layers} layers, {model.num_parameters():,} parameters")


if __name__ == "__main__":
    main()
