"""`glue-bench compare`: two encoders, settings or results folders, paired by seed and by dev row.

A and B are two encoders, by their names in the report's table, two setting_ids, or two results folders.

examples:
  glue-bench compare distilroberta roberta
  glue-bench compare minilm-3 minilm --convention paper --format markdown
  glue-bench compare minilm --by trainer.learning_rate            both values that its runs have
  glue-bench compare minilm --by trainer.epochs=3,10 tasks=[rte]  two of several
  glue-bench compare old_results results encoder=minilm

exit code: 1 if damaged records were left out, 0 if not; other codes as for every verb
"""

import argparse

from glue_bench.cli.shared import TABLE_FORMATS, add_options, read_filters, style, write_output
from glue_bench.config.schema import CONVENTIONS
from glue_bench.errors import EXIT_LACKING, UsageError, close_match
from glue_bench.runs.listing import KEYS
from glue_bench.tasks.published import load_published

_FILTERS = {*KEYS, "results_dir"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_options(parser, "A and B, and which runs", filters=True, metavar="WORD", formats=TABLE_FORMATS, out=True)
    parser.add_argument("--by", metavar="KEY[=A,B]", help="compare two values of a key, as in trainer.learning_rate")
    parser.add_argument("--convention", choices=CONVENTIONS, help="how a task's metrics become one number")


def execute(arguments: argparse.Namespace) -> int:
    """Print or write the comparison."""
    from glue_bench.report.comparison import compare
    from glue_bench.report.formats import render_comparison
    from glue_bench.report.table import choose_sides, left_out_note

    names, least = [word for word in arguments.overrides if "=" not in word], 1 if arguments.by is not None else 2
    if len(names) < least:  # the name of an encoder or a folder may contain an equals sign
        keys = {word: word.partition("=")[0].removesuffix("!") for word in arguments.overrides}
        names = [word for word, key in keys.items() if word in names or not close_match(key, _FILTERS)]
    filters, store = read_filters([word for word in arguments.overrides if word not in names])
    names = names * 2 if least == 1 and len(names) == 1 else names
    if len(names) != 2:
        raise UsageError(f"compare {' '.join(names)}: name two encoders: glue-bench compare distilroberta roberta")
    published = load_published(store.root.parent / "published")
    sides = choose_sides(names, store, published=published, filters=filters, by=arguments.by)
    comparison = compare(sides, published, convention=arguments.convention)
    stores = {side.store.root: side.store for side in (sides.first, sides.second)}
    notes = left_out_note(*(each.left_out for each in stores.values()))
    text = render_comparison(comparison, arguments.format, notes=notes, **style(arguments.out))
    write_output(text, arguments.out)
    return EXIT_LACKING if notes else 0
