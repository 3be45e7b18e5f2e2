"""Cross references in docstrings, such as :class:`ast.Module`: do they name anything?

A reference is read as an import would be: ``~`` says how it is shown and is dropped; one leading dot is the
folder of the file that it stands in, two the folder above. Without a dot it is a name of the same file, an
attribute of the class around it, or a module that can be imported.
"""

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from imports import file_of, package_of, tree_of

_ROLE = re.compile(r":(?:class|func|meth|data|attr|mod|exc|const|obj):`~?([^`]+)`")


def unresolved(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of every reference of a file that names nothing."""
    for owner, node in _documentation(tree_of(path)):
        for match in _ROLE.finditer(node.value):
            target = match[1]
            if not _resolves(target, owner, path, root):
                line = node.lineno + node.value[: match.start()].count("\n")
                yield line, f"{match[0]} names nothing"


def _documentation(tree: ast.AST, owner: str = "") -> Iterator[tuple[str, ast.Constant]]:
    """Yield the docstrings of a file, each with the name of the class around it."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            if isinstance(node.value.value, str):
                yield owner, node.value
        else:
            yield from _documentation(node, node.name if isinstance(node, ast.ClassDef) else owner)


def _resolves(target: str, owner: str, path: Path, root: Path) -> bool:
    level = len(target) - len(target.lstrip("."))
    names = target.lstrip(".").split(".")
    package = package_of(path, root)
    if level > len(package) + 1:
        return False
    if level:
        return _in_module(package[: len(package) - (level - 1)], names, root)
    here = names_of(path)
    if owner and names[0] in members(path, owner, root):
        return True
    if names[0] in here:
        return _in_file(path, names, root)
    return _elsewhere(names)


def _in_module(module: tuple[str, ...], names: list[str], root: Path) -> bool:
    """Tell whether a module has a module, or a name of a module, of these names."""
    if not names:
        return file_of(module, root) is not None
    if file_of((*module, names[0]), root) and _in_module((*module, names[0]), names[1:], root):
        return True
    file = file_of(module, root)
    return file is not None and _in_file(file, names, root)


def _in_file(path: Path, names: list[str], root: Path) -> bool:
    """Tell whether a file has a name at its top level, and that, if it is a class of ours, an attribute."""
    if names[0] not in names_of(path):
        return False
    if len(names) == 1:
        return True
    place = _origin(path, names[0], root)
    return place is None or names[1] in members(*place, root)


def _elsewhere(names: list[str]) -> bool:
    """Tell whether another package has a module or an attribute of these names."""
    for end in range(len(names), 0, -1):
        try:
            thing = importlib.import_module(".".join(names[:end]))
        except ImportError:
            continue
        for name in names[end:]:
            thing = getattr(thing, name, None)
        return thing is not None
    return False


@cache
def names_of(path: Path) -> dict[str, ast.AST]:
    """Return the names of a file's top level, each with what makes it."""
    found: dict[str, ast.AST] = {}
    waiting = list(tree_of(path).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found[node.name] = node
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found.update({(alias.asname or alias.name).split(".")[0]: node for alias in node.names})
        elif isinstance(node, (ast.If, ast.Try)):
            waiting.extend(child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt))
        else:
            found.update(dict.fromkeys(_targets(node), node))
    return found


def _targets(node: ast.AST) -> Iterator[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    for target in targets:
        for name in ast.walk(target) if target is not None else ():
            if isinstance(name, ast.Name):
                yield name.id


def members(path: Path, name: str, root: Path) -> set[str]:
    """Return the attributes of a class: its own, those that its methods set, and its bases'."""
    node = names_of(path).get(name)
    if not isinstance(node, ast.ClassDef):
        return set()
    found = {child.name for child in node.body if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef))}
    found |= {name for child in node.body for name in _targets(child)}
    for child in ast.walk(node):
        if isinstance(child, ast.Attribute) and isinstance(child.ctx, ast.Store):
            found.add(child.attr)
    for base in node.bases:
        text = ast.unparse(base).partition("[")[0]
        place = _origin(path, text, root) if "." not in text else None
        if place is not None:
            found |= members(*place, root)
    return found


def _origin(path: Path, name: str, root: Path) -> tuple[Path, str] | None:
    """Return the file of ours that a class comes from and its name there, or None."""
    node = names_of(path).get(name)
    if isinstance(node, ast.ClassDef):
        return path, name
    if not isinstance(node, ast.ImportFrom) or not node.level:
        return None
    package = package_of(path, root)
    base = package[: len(package) - (node.level - 1)]
    module = (*base, *node.module.split(".")) if node.module else base
    file = file_of(module, root)
    original = next((alias.name for alias in node.names if (alias.asname or alias.name) == name), name)
    return _origin(file, original, root) if file is not None else None
