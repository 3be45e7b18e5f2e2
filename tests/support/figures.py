"""Measure the source of the pack: how much is annotated, documented, commented, and how large its parts are.

    python tests/support/figures.py          print the table
    python tests/support/figures.py PATH     of another checkout

``tests/test_figures.py`` holds the bounds. Lines are all lines of a file; the tests are not counted.
"""

import ast
import io
import json
import subprocess
import sys
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median, quantiles

from imports import circles, pack_files, tree_of
from laws import chosen_entries

Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = ast.Module | ast.ClassDef | Function


@dataclass(frozen=True)
class Figures:
    """The figures of a checkout; each is measured when it is asked for."""

    root: Path

    @cached_property
    def files(self) -> dict[str, int]:
        """Return the lines of every file, by its path."""
        return {
            path.relative_to(self.root).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
            for path in pack_files(self.root)
        }

    @cached_property
    def functions(self) -> list[tuple[str, Function]]:
        """Return every function and method, inner ones too, each with its file and line."""
        return [
            (f"{path.relative_to(self.root).as_posix()}:{node.lineno} {node.name}", node)
            for path in pack_files(self.root)
            for node in ast.walk(tree_of(path))
            if isinstance(node, Function)
        ]

    @property
    def unannotated(self) -> list[str]:
        """Return the functions that lack the type of a parameter or of what they return."""
        return [name for name, node in self.functions if not _is_annotated(node)]

    @property
    def annotated_percent(self) -> float:
        """Return how many of 100 functions are annotated in full."""
        return 100 - 100 * len(self.unannotated) / len(self.functions)

    @cached_property
    def public(self) -> dict[str, Documented]:
        """Return the modules, classes, functions and methods that others may use, by path and line."""
        return {
            f"{path.relative_to(self.root).as_posix()}:{getattr(node, 'lineno', 1)} {getattr(node, 'name', '')}": node
            for path in pack_files(self.root)
            for node in _public(tree_of(path))
        }

    @property
    def undocumented(self) -> list[str]:
        """Return what is public and has no docstring."""
        return [name for name, node in self.public.items() if ast.get_docstring(node) is None]

    @property
    def documented_percent(self) -> float:
        """Return how many of 100 public things have a docstring."""
        return 100 - 100 * len(self.undocumented) / len(self.public)

    @cached_property
    def function_lines(self) -> list[int]:
        """Return the lines of every function, ascending."""
        return sorted((node.end_lineno or 0) - node.lineno + 1 for _, node in self.functions)

    @property
    def p95_function_lines(self) -> float:
        """Return the lines that 95 of 100 functions do not exceed."""
        return quantiles(self.function_lines, n=20)[-1]

    @property
    def largest_file(self) -> tuple[int, str]:
        """Return the lines and the path of the largest file."""
        return max((lines, name) for name, lines in self.files.items())

    @property
    def circles(self) -> list[set[tuple[str, ...]]]:
        """Return the groups of modules that import one another."""
        return circles(self.root)

    @cached_property
    def comments(self) -> int:
        """Return the number of lines that end in a comment, directives to tools included."""
        return sum(_comments(path.read_text(encoding="utf-8")) for path in pack_files(self.root))

    @property
    def comments_per_100_lines(self) -> float:
        """Return the comments in 100 lines of source."""
        return 100 * self.comments / sum(self.files.values())

    @cached_property
    def not_imperative(self) -> list[str]:
        """Return where a docstring does not begin with a verb in the imperative (ruff's D401)."""
        rule = ["--select", "D401", "--config", 'lint.pydocstyle.convention="pep257"']
        command = [
            sys.executable,
            "-m",
            "ruff",
            "check",
            *rule,
            "--output-format",
            "json",
            "--exit-zero",
            ".",
        ]
        done = subprocess.run(command, cwd=self.root, capture_output=True, text=True, check=True)
        found = ((Path(row["filename"]), row["location"]["row"]) for row in json.loads(done.stdout))
        names = ((path.relative_to(self.root).as_posix(), line) for path, line in found)
        return [f"{name}:{line}" for name, line in names if name in self.files]

    @property
    def root_entries(self) -> list[str]:
        """Return the files and folders of the root that nobody but us asked for."""
        return chosen_entries(self.root)


TABLE: dict[str, Callable[[Figures], str]] = {
    "files, lines": lambda it: f"{len(it.files)}, {sum(it.files.values())}",
    "functions annotated": lambda it: f"{it.annotated_percent:.1f}% of {len(it.functions)}",
    "public docstrings": lambda it: f"{it.documented_percent:.1f}% of {len(it.public)}",
    "function lines: median, p95, max": lambda it: (
        f"{median(it.function_lines):.0f}, {it.p95_function_lines:.0f}, {it.function_lines[-1]}"
    ),
    "largest file": lambda it: f"{it.largest_file[0]} lines: {it.largest_file[1]}",
    "import circles": lambda it: str(len(it.circles)),
    "comments in 100 lines": lambda it: f"{it.comments_per_100_lines:.1f}",
    "docstrings not imperative (D401)": lambda it: str(len(it.not_imperative)),
    "root entries of our choice": lambda it: str(len(it.root_entries)),
}


def table(figures: Figures) -> str:
    """Return the figures as a table in Markdown."""
    rows = [f"| {name} | {value(figures)} |" for name, value in TABLE.items()]
    return "\n".join(["| | |", "|---|---|", *rows])


def _is_annotated(node: Function) -> bool:
    given = node.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    named = [parameter for parameter in named if parameter.arg not in {"self", "cls"}]
    named += [parameter for parameter in (given.vararg, given.kwarg) if parameter is not None]
    if any(ast.unparse(decorator).endswith("jit") for decorator in node.decorator_list):
        return True  # a kernel: Triton reads its annotations as its own
    return node.returns is not None and all(parameter.annotation is not None for parameter in named)


def _public(module: ast.Module) -> Iterator[Documented]:
    yield module
    waiting: list[ast.AST] = list(module.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.ClassDef | Function) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):  # functions in functions are nobody else's
                waiting.extend(node.body)
        elif isinstance(node, ast.If | ast.Try):
            waiting.extend(ast.iter_child_nodes(node))


def _comments(text: str) -> int:
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return sum(token.type == tokenize.COMMENT for token in tokens)


def main(*arguments: str) -> None:
    """Print the table of a checkout: of the one named, or of this one."""
    here = Path(__file__).resolve().parents[2]
    sys.stdout.write(table(Figures(Path(*arguments).resolve() if arguments else here)) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:2])
