"""Measure the package: files, lines, long files and functions, positional parameters, imports between packages.

python -m tests.support.house [REVISION ...]     prints a column for each revision, and one for the working tree
"""

import ast
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).parents[2]
MOST_LINES = 350  # of a file
LONGEST_FUNCTION = 60  # lines
MOST_POSITIONAL = 2  # parameters, self and cls not counted
_BOUND = ("self", "cls", "ctx")


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One function, and where it is."""

    place: str  # FILE:LINE NAME
    lines: int
    positional: int  # parameters that can be passed by position


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """The measurements of one state of the package."""

    files: dict[str, int]  # path from the repository's root to its number of lines
    functions: list[Function]
    classes: Counter[str]  # public name to the number of modules that define it
    packages: dict[str, int]  # `package/`, or module at the top, to its number of files
    edges: set[tuple[str, str]]  # importing and imported package

    def summary(self) -> dict[str, str]:
        """Return the rows of the printed table."""
        longest_file = max(self.files, key=lambda path: self.files[path])
        longest = max(self.functions, key=lambda function: function.lines)
        inside = {name: count for name, count in self.packages.items() if name.endswith("/")}
        return {
            "files": str(len(self.files)),
            "lines": f"{sum(self.files.values()):,}",
            "longest file": f"{self.files[longest_file]} ({longest_file})",
            f"files above {MOST_LINES} lines": str(len(self.long_files())),
            "longest function": f"{longest.lines} ({longest.place.split('/')[-1]})",
            f"functions above {LONGEST_FUNCTION} lines": str(len(self.long_functions())),
            f"functions with more than {MOST_POSITIONAL} positional parameters": str(len(self.loose_functions())),
            "most positional parameters": str(max(function.positional for function in self.functions)),
            "packages": str(len(inside)),
            "modules outside of a package": str(len(self.packages) - len(inside)),
            "files of the largest package": str(max(self.packages.values())),
            "imports between packages": str(len(self.edges)),
            "public class names of several modules": str(len(self.shared_names())),
        } | {f"files of {name}": str(count) for name, count in sorted(inside.items())}

    def long_files(self) -> list[str]:
        """List files above MOST_LINES."""
        return [f"{path} ({lines} lines)" for path, lines in self.files.items() if lines > MOST_LINES]

    def long_functions(self) -> list[str]:
        """List functions above LONGEST_FUNCTION."""
        return [f"{item.place} ({item.lines} lines)" for item in self.functions if item.lines > LONGEST_FUNCTION]

    def shared_names(self) -> list[str]:
        """List the public names that classes of several modules have."""
        return [name for name, count in self.classes.items() if count > 1]

    def loose_functions(self) -> list[str]:
        """List functions that take more than MOST_POSITIONAL parameters by position; kernels have no others."""
        return [f"{item.place} ({item.positional})" for item in self.functions if item.positional > MOST_POSITIONAL]


def measure(root: Path) -> House:
    """Measure `root/glue_bench`, where `root` is a checkout."""
    trees = {
        path.relative_to(root): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted((root / "glue_bench").rglob("*.py"))
    }
    imports = {(_room(path), target) for path, tree in trees.items() for target in _imported_rooms(tree, root)}
    return House(
        files={str(path): len((root / path).read_text(encoding="utf-8").splitlines()) for path in trees},
        functions=[function for path, tree in trees.items() for function in _functions(path, tree)],
        classes=Counter(name for tree in trees.values() for name in _public_classes(tree)),
        packages=dict(Counter(_room(path) + "/" * (len(path.parts) > 2) for path in trees)),
        edges={(room, target) for room, target in imports if room != target},
    )


def _room(path: Path) -> str:
    return path.parts[1].removesuffix(".py")


def _imported_rooms(tree: ast.AST, root: Path) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "glue_bench":
            names = [f"glue_bench.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            here = root / "glue_bench" / parts[1] if parts[0] == "glue_bench" and len(parts) > 1 else None
            if here is not None and (here.is_dir() or here.with_suffix(".py").is_file()):
                yield parts[1]


def _functions(path: Path, tree: ast.AST) -> Iterator[Function]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            kernel = any("triton.jit" in ast.unparse(decorator) for decorator in node.decorator_list)
            names = [] if kernel else [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
            bound = len(names) > 0 and names[0] in _BOUND
            yield Function(
                place=f"{path}:{node.lineno} {node.name}",
                lines=(node.end_lineno or node.lineno) - node.lineno + 1,
                positional=len(names) - bound,
            )


def _public_classes(tree: ast.Module) -> set[str]:
    return {node.name for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")}


def _measure_revision(revision: str) -> House:
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", revision, "glue_bench"], capture_output=True, check=True
    ).stdout
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
        return measure(Path(folder))


def main() -> None:
    """Print the table in Markdown."""
    revisions = sys.argv[1:]
    columns = [*(_measure_revision(revision).summary() for revision in revisions), measure(ROOT).summary()]
    print(f"| glue_bench/ | {' | '.join([*revisions, 'now'])} |")
    print(f"|---|{'--:|' * len(columns)}")
    for name in dict.fromkeys(name for column in columns for name in column):
        print(f"| {name} | {' | '.join(column.get(name, '') for column in columns)} |")


if __name__ == "__main__":
    main()
