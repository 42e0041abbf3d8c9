"""`python -m glue_bench` is the same as `glue-bench`."""

import sys

from glue_bench.cli import main

sys.exit(main())
