"""The names that `import glue_bench` exports."""

import ast
from pathlib import Path

import glue_bench


def test_the_exported_names_are_the_public_ones_of_the_module() -> None:
    """Compare with everything that the package's first file defines without an underscore, and the version."""
    assert glue_bench.__all__ == ["__version__", "load_results", "predict"]
    tree = ast.parse(Path(glue_bench.__file__).read_text(encoding="utf-8"))
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assert sorted(glue_bench.__all__) == sorted({"__version__", *(name for name in defined if name[:1] != "_")})
    assert all(hasattr(glue_bench, name) for name in glue_bench.__all__)


def test_the_package_is_typed() -> None:
    assert (Path(glue_bench.__file__).parent / "py.typed").is_file()
