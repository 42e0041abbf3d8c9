"""`glue-bench compare A B`: two encoders, paired by seed and by dev row."""

import argparse

from glue_bench.cli.shared import TABLE_FORMATS, add_options, read_words, style, write_output
from glue_bench.config.schema import CONVENTIONS
from glue_bench.errors import UsageError
from glue_bench.tasks.published import load_published

EPILOG = """\
examples:
  glue-bench compare distilroberta roberta
  glue-bench compare minilm-3 minilm --convention paper --format markdown
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    about = "two encoders, by their names in the report's table; results_dir=FOLDER"
    add_options(parser, about, metavar="WORD", formats=TABLE_FORMATS, out=True)
    parser.add_argument("--convention", choices=CONVENTIONS, help="how a task's metrics become one number")


def execute(arguments: argparse.Namespace) -> int:
    """Print or write the comparison."""
    from glue_bench.report import build_report, compare_encoders, render_comparison

    names = [word for word in arguments.overrides if "=" not in word]
    if len(names) != 2:
        raise UsageError(f"compare {' '.join(names)}: name two encoders: glue-bench compare distilroberta roberta")
    _, _, store = read_words([word for word in arguments.overrides if "=" in word], "compare")
    published = load_published(store.root.parent / "published")
    (first, second), convention = names, arguments.convention
    report = build_report(list(store.load_all()), published)
    comparison = compare_encoders(report, published, store=store, first=first, second=second, convention=convention)
    width, color = style(arguments.out)
    write_output(render_comparison(comparison, arguments.format, width=width, color=color), arguments.out)
    return 0
