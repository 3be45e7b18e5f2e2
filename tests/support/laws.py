"""The laws of the house, read off the source by AST. Each finding is one line: where and what."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from imports import imports_of, pack_files, package_of, room_of, tree_of

# Which rooms a room may import. A room is a folder or a file of the project's root.
LEAVES = {"errors", "inputs"}
_LOWER = {"memory", "vfi_models"} | LEAVES
_LOOP = {"vfi_utils", "engine", "analysis"} | _LOWER
ROOMS = {
    "errors": set(),
    "inputs": {"errors"},
    "memory": LEAVES,
    "analysis": {"engine"} | _LOWER,
    "vfi_models": LEAVES,
    "weights": _LOWER,
    "engine": _LOWER,
    "vfi_utils": {"engine"} | _LOWER,
    "video": {"weights"} | _LOOP,
    "api": {"weights"} | _LOOP,
    "chunks": {"api", "weights", "video"} | _LOOP,
    "parity": {"api", "weights", "training"} | _LOOP,
    "report": {"api", "video"} | _LOOP,
    "nodes": {"api", "weights", "video", "chunks", "report"} | _LOOP,
    "training": {"api", "weights", "video"} | _LOOP,
    "benchmarks": {"api", "weights", "video", "chunks", "report"} | _LOOP,
    "demo": set(),
    "cli": {"api", "weights", "video", "chunks", "report", "parity", "benchmarks", "demo"} | _LOOP,
    "__main__": {"cli"},
    "__init__": {"api", "nodes", "errors"},
    "dev": set(),
}
HOST_NAMES = {
    "comfy",
    "comfy_api",
    "comfy_extras",
    "comfy_execution",
    "folder_paths",
    "server",
    "execution",
    "nodes",
}
HOST_FILES = {"nodes/_host.py", "nodes/_video_host.py"}
MAY_PRINT = {"cli/__init__.py", "dev.py", "__main__.py"}
MOST_LINES, MOST_FUNCTION_LINES = 400, 60
# Entries of the root that users of the pack rely on.
FIXED_ENTRIES = {
    "__init__.py",
    "nodes",
    "vfi_models",
    "vfi_utils.py",
    "memory",
    "ckpts",
    "tests",
    "pyproject.toml",
    "README.md",
}
# Entries that a tool looks for by this name: Python, pip, make, GitHub, ComfyUI. Those that begin with a dot
# are such too.
NAMED_BY_TOOLS = {
    "__main__.py",
    "py.typed",
    "requirements.txt",
    "Makefile",
    "LICENSE",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "example_workflows",
    "subgraphs",
}
# What a working copy has besides, and no commit.
NOT_COMMITTED = {"build", "dist", "demo_output", "node_modules", "__pycache__"}
MOST_ROOT_ENTRIES = 18
GLOBAL_SWITCHES = {
    "set_default_dtype",
    "set_default_tensor_type",
    "set_default_device",
    "set_float32_matmul_precision",
    "set_grad_enabled",
    "use_deterministic_algorithms",
    "set_num_threads",
    "set_flush_denormal",
}
# Of torch: each makes a tensor of the default dtype, or on the default device, where it is not told both.
FACTORIES = {
    "Tensor",
    "arange",
    "as_tensor",
    "asarray",
    "bartlett_window",
    "blackman_window",
    "empty",
    "empty_permuted",
    "empty_strided",
    "eye",
    "fftfreq",
    "from_file",
    "full",
    "hamming_window",
    "hann_window",
    "kaiser_window",
    "linspace",
    "logspace",
    "normal",
    "ones",
    "rand",
    "randint",
    "randn",
    "randperm",
    "range",
    "rfftfreq",
    "scalar_tensor",
    "sparse_coo_tensor",
    "tensor",
    "tril_indices",
    "triu_indices",
    "zeros",
}
# These run as programs of their own, whose process is theirs.
PROGRAMS = {
    "benchmarks/cuts.py",
    "benchmarks/profile.py",
    "training/train.py",
    "training/command.py",
    "benchmarks/bench.py",
    "benchmarks/peak.py",
}
# For threads of its own, and at once put back for all others.
MAY_SWITCH = {
    "engine/cpu_workers.py": {"set_num_threads"},
    "vfi_models/surroundings.py": {"set_flush_denormal"},
}
# Hosts call it, with more keywords from version to version. What it does not know, it has to log.
MAY_TAKE_ANY = {
    "nodes/_video_host.py": {"save_to"},
    # Hands all of them on to the node's function, which knows its own.
    "nodes/_interpolation.py": {"check_lazy_status"},
    # Asked with all inputs of the node.
    "nodes/long_video.py": {"IS_CHANGED"},
    # Nodes of older packs, whose inputs are rows of a table.
    "nodes/_stand_ins.py": {"VALIDATE_INPUTS", "check_lazy_status", "run"},
}
# Contenders that are no packages: their modules find one another only from their own folder.
MAY_EDIT_PATH = {"benchmarks/peers/comfyui.py", "benchmarks/peers/peer.py"}
# They run the tests, as a person does: one in the project's environment, one on a machine with a GPU.
MAY_RUN_TESTS = {"dev.py", "benchmarks/gpu.py"}
Finding = tuple[int, str]
"""Line, and what is wrong there."""
_AT_IMPORT = {
    "open",
    "urlopen",
    "read_text",
    "read_bytes",
    "write_text",
    "is_available",
    "device_count",
    "load",
    "load_file",
}


def findings(root: Path) -> list[str]:
    """Return every breach of a law in the tree ``root``."""
    found = [
        f"{path.relative_to(root).as_posix()}:{line}: {what}"
        for path in pack_files(root)
        for line, what in _of_file(path, root)
    ]
    entries = chosen_entries(root)
    if len(entries) > MOST_ROOT_ENTRIES:
        found.append(f".: {len(entries)} entries of the root are our choice, at most {MOST_ROOT_ENTRIES}")
    return found


def chosen_entries(root: Path) -> list[str]:
    """Return the files and folders of the root that nobody but us asked for."""
    others = FIXED_ENTRIES | NAMED_BY_TOOLS | NOT_COMMITTED
    names = (entry.name for entry in root.iterdir() if entry.name not in others)
    return sorted(name for name in names if not name.startswith(".") and not name.endswith(".egg-info"))


def _of_file(path: Path, root: Path) -> Iterator[Finding]:
    name = path.relative_to(root).as_posix()
    tree = tree_of(path)
    lines = len(path.read_text(encoding="utf-8").splitlines())
    if lines > MOST_LINES:
        yield lines, f"the file has {lines} lines, at most {MOST_LINES}"
    yield from _rooms(path, root)
    documentation = _documentation(tree)
    for node in ast.walk(tree):
        whats = [*_names(node, path, root), *_manners(node, name), *_factories(node)]
        if node not in documentation:
            whats += _reads_tests(node, name)
        for what in whats:
            yield node.lineno, what
    for node in _run_at_import(tree):
        if isinstance(node, ast.Call) and _last_name(node.func) in _AT_IMPORT:
            yield node.lineno, f"{_last_name(node.func)}() at import"


def _rooms(path: Path, root: Path) -> Iterator[Finding]:
    """Yield imports of rooms that this room may not know, and of private rooms of others."""
    room, package = room_of(path, root), package_of(path, root)
    for found in imports_of(path, root):
        target = found.module[0] if found.module else "__init__"
        if target != room and target not in ROOMS.get(room, set()):
            yield found.line, f"{room} may not import {target}"
        for depth, part in enumerate(found.module):
            if _is_private(part) and package[:depth] != found.module[:depth]:
                owner = ".".join(found.module[:depth])
                yield found.line, f"{part} is private to {owner or 'the root'}"


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _documentation(tree: ast.Module) -> set[ast.AST]:
    """Return the strings that are written for people: docstrings, and those under an attribute."""
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


def _reads_tests(node: ast.AST, name: str) -> Iterator[str]:
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or name in MAY_RUN_TESTS:
        return
    if re.match(r"(\.{1,2}/)*tests(/|$)", node.value):
        yield f"reads {node.value!r}; what the product needs lies in the product"


def _names(node: ast.AST, path: Path, root: Path) -> Iterator[str]:
    """Yield imports of the pack by its name, of the host, and from above the project."""
    if not isinstance(node, (ast.Import, ast.ImportFrom)):
        return
    name, room = path.relative_to(root).as_posix(), room_of(path, root)
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield from _absolute(alias.name, name, room)
    elif node.level == 0:
        yield from _absolute(node.module or "", name, room)
    elif node.level > len(package_of(path, root)) + 1:
        yield "imports from above the project"


def _absolute(module: str, name: str, room: str) -> Iterator[str]:
    top = module.partition(".")[0]
    if top == "midframe":
        yield "imports the pack by name; its folder can have any name, import relatively"
    elif top in HOST_NAMES and name not in HOST_FILES:
        yield f"names the host ({module}); only {' and '.join(sorted(HOST_FILES))} may"
    elif room == "errors" and top == "torch":
        yield "errors imports no torch"


def _manners(node: ast.AST, name: str) -> Iterator[str]:
    if isinstance(node, ast.ExceptHandler) and node.type is None:
        yield "bare except"
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        yield from _function(node, name)
    if isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.path" and name not in MAY_EDIT_PATH:
        yield "sys.path"
    if isinstance(node, ast.Call):
        yield from _call(node, name)
    for target in _assigned(node):
        if isinstance(target, ast.Attribute) and "torch.backends" in ast.unparse(target):
            yield f"global switch {ast.unparse(target)}"


def _function(node: ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> Iterator[str]:
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    if lines > MOST_FUNCTION_LINES:
        yield f"{node.name} has {lines} lines, at most {MOST_FUNCTION_LINES}"
    if node.args.kwarg is not None and node.name not in MAY_TAKE_ANY.get(name, set()):
        yield f"{node.name} takes **{node.args.kwarg.arg}, which swallows misspelt options"
    if any(
        isinstance(default, (ast.List, ast.Dict, ast.Set))
        for default in (*node.args.defaults, *node.args.kw_defaults)
    ):
        yield f"{node.name} has a mutable default"


def _call(node: ast.Call, name: str) -> Iterator[str]:
    called = _last_name(node.func)
    if called == "print" and name not in MAY_PRINT:
        yield "print"
    if called in GLOBAL_SWITCHES - MAY_SWITCH.get(name, set()) and name not in PROGRAMS:
        yield f"global switch {called}"
    if called in {"eval", "exec"} and isinstance(node.func, ast.Name):
        yield called
    for keyword in node.keywords:
        if keyword.arg == "weights_only" and ast.unparse(keyword.value) != "True":
            yield "weights_only is not True"
    if (
        called == "load"
        and ast.unparse(node.func) == "torch.load"
        and "weights_only" not in {k.arg for k in node.keywords}
    ):
        yield "torch.load without weights_only=True"


def _factories(node: ast.AST) -> Iterator[str]:
    """Yield tensors whose dtype or device another pack or a script decides."""
    if isinstance(node, ast.ImportFrom) and node.module == "torch":
        for name in sorted(FACTORIES & {alias.name for alias in node.names} - {"Tensor"}):
            yield f"imports {name} by name; write torch.{name}"
    if isinstance(node, ast.Call) and _last_name(node.func) in FACTORIES:
        called = ast.unparse(node.func)
        missing = {"dtype", "device"} - {keyword.arg for keyword in node.keywords}
        if called.startswith("torch.") and missing:
            yield f"{called} without {' and '.join(sorted(missing, reverse=True))}"


def _assigned(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.Assign):
        return node.targets
    return [node.target] if isinstance(node, (ast.AugAssign, ast.AnnAssign)) else []


def _last_name(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _run_at_import(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield the nodes that are evaluated when the module is imported: not the bodies of functions."""
    waiting: list[ast.AST] = [
        n for n in tree.body if not (isinstance(n, ast.If) and "__name__" in ast.unparse(n.test))
    ]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            waiting.extend(getattr(node, "decorator_list", []))
        else:
            waiting.extend(ast.iter_child_nodes(node))


def error_classes(root: Path) -> dict[str, set[str]]:
    """Return the name of every class that is an exception, and of what it derives, over the whole pack."""
    classes = {}
    for path in pack_files(root):
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ClassDef):
                classes[node.name] = {_last_name(base) for base in node.bases}
    return {
        n: bases
        for n, bases in classes.items()
        if n.endswith("Error") or bases & {"Exception", "BaseException"}
    }
