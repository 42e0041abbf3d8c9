"""What the tests of rows share."""

from pathlib import Path

import pytest

from tests.support.local_rows import write_rte


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a good rte folder, to be damaged."""
    write_rte(tmp_path)
    write_rte(tmp_path, name="validation.parquet")
    return tmp_path
