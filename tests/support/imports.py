"""Read the imports of the pack off its source.

The laws, the figures and the picture of the rooms all ask here, so that they speak of the same imports.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

NOT_THE_PACK = {"tests", "docs", "build", "dist", "demo_output", "node_modules"}


@dataclass(frozen=True)
class Import:
    """One name that a file imports from the pack."""

    line: int
    module: tuple[str, ...]
    """Parts of the module's path from the project's root: ``("memory", "budget")``. Empty: the root itself."""
    only_for_types: bool
    """True: it stands under ``if TYPE_CHECKING``, and nothing is imported when the file runs."""


def pack_files(root: Path) -> Iterator[Path]:
    """Yield every Python file of the pack."""
    for entry in sorted(root.iterdir()):
        if _is_of_the_pack(entry.name):  # asked first: an environment in here has ten thousand files
            yield from [entry] if entry.suffix == ".py" else sorted(_files_in(entry))


def _files_in(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*.py"):
        if all(_is_of_the_pack(part) for part in path.relative_to(folder).parts):
            yield path


def _is_of_the_pack(name: str) -> bool:
    return not (name.startswith(".") or name in NOT_THE_PACK or name.endswith(".egg-info"))


@cache
def tree_of(path: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def room_of(path: Path, root: Path) -> str:
    """Return the room of a file: the folder or the file of the root that it is in."""
    return path.relative_to(root).parts[0].removesuffix(".py")


def package_of(path: Path, root: Path) -> tuple[str, ...]:
    """Return the parts of the folder that a file is in."""
    return path.relative_to(root).parts[:-1]


def module_of(path: Path, root: Path) -> tuple[str, ...]:
    """Return the parts of a file's module: those of its folder where it is an ``__init__.py``."""
    package = package_of(path, root)
    return package if path.stem == "__init__" else (*package, path.stem)


def file_of(module: tuple[str, ...], root: Path) -> Path | None:
    """Return the file of a module, or None where there is none."""
    places = (root.joinpath(*module, "__init__.py"), root.joinpath(*module).with_suffix(".py"))
    return next((place for place in places if place.is_file()), None)


@cache
def imports_of(path: Path, root: Path) -> tuple[Import, ...]:
    """Return what a file imports from the pack; nothing for an import that leaves the project."""
    package = package_of(path, root)
    nodes = list(ast.walk(tree_of(path)))
    unrun = {
        inner
        for node in nodes
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    return tuple(
        Import(node.lineno, module, node in unrun)
        for node in nodes
        if isinstance(node, ast.ImportFrom) and 0 < node.level <= len(package) + 1
        for module in sorted(reached(node, package, root))
    )


def reached(node: ast.ImportFrom, package: tuple[str, ...], root: Path) -> set[tuple[str, ...]]:
    """Return the modules that a relative import in ``package`` reaches."""
    base = package[: len(package) - (node.level - 1)] + tuple(
        (node.module or "").split(".") if node.module else ()
    )
    found = set()
    for alias in node.names:
        inner = (*base, alias.name)
        # ``from . import x`` reads a module, where ``x`` is one; else a name of the folder's __init__.
        found.add(inner if file_of(inner, root) or not node.module else base)
    return found


def graph(root: Path) -> dict[tuple[str, ...], set[tuple[str, ...]]]:
    """Return every module of the pack with the modules that it imports when it runs."""
    return {
        module_of(path, root): {found.module for found in imports_of(path, root) if not found.only_for_types}
        for path in pack_files(root)
    }


def circles(root: Path) -> list[set[tuple[str, ...]]]:
    """Return the groups of modules that import one another, directly or by way of others."""
    edges = graph(root)
    after = {module: _reachable(module, edges) for module in edges}
    groups = {
        frozenset(other for other in after[module] if module in after.get(other, ()))
        for module in edges
        if module in after[module]
    }
    return [set(group) for group in groups]


def _reachable(
    start: tuple[str, ...], edges: dict[tuple[str, ...], set[tuple[str, ...]]]
) -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()
    waiting = list(edges[start])
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting.extend(edges.get(module, ()))
    return found
