"""`glue-bench compare A B`: two encoders, paired by seed and by dev row."""

import argparse
import sys

from glue_bench.cli.output import PIPE_WIDTH, write_output
from glue_bench.cli.results import open_results, results_of
from glue_bench.errors import UsageError
from glue_bench.report import build_report, compare_encoders, render_comparison
from glue_bench.tasks.published import load_published


def execute(arguments: argparse.Namespace) -> int:
    """Print or write the comparison."""
    names = [word for word in arguments.overrides if "=" not in word]
    if len(names) != 2:
        raise UsageError(f"compare {' '.join(names)}: name two encoders: glue-bench compare distilroberta roberta")
    results_dir = results_of([word for word in arguments.overrides if "=" in word], verb="compare")
    store, records = open_results(results_dir)
    published = load_published(results_dir / "published")
    report = build_report(records, published)
    comparison = compare_encoders(
        report,
        published,
        store=store,
        first=names[0],
        second=names[1],
        convention=arguments.convention,
    )
    terminal = arguments.out is None and sys.stdout.isatty()
    text = render_comparison(comparison, arguments.format, width=None if terminal else PIPE_WIDTH, color=terminal)
    write_output(text, arguments.out)
    return 0
