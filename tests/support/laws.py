"""The laws of the house, read off the source by AST. Each finding is one line: where and what."""

import ast
from pathlib import Path

# Which rooms a room may import. A room is a folder or a file of the project's root.
LEAVES = {"errors", "inputs"}
_LOWER = {"memory", "vfi_models"} | LEAVES
_LOOP = {"vfi_utils", "engine"} | _LOWER
ROOMS = {
    "errors": set(),
    "inputs": {"errors"},
    "memory": LEAVES,
    "vfi_models": LEAVES,
    "weights": _LOWER,
    "engine": _LOWER,
    "vfi_utils": {"engine"} | _LOWER,
    "video": {"weights"} | _LOOP,
    "api": {"weights"} | _LOOP,
    "chunks": {"api", "weights", "video"} | _LOOP,
    "parity": {"api", "weights"} | _LOOP,
    "nodes": {"api", "weights", "video", "chunks"} | _LOOP,
    "training": {"api", "weights"} | _LOOP,
    "benchmarks": {"api", "weights", "video", "chunks"} | _LOOP,
    "demo": set(),
    "cli": {"api", "weights", "video", "chunks", "parity", "benchmarks", "demo"} | _LOOP,
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
NOT_THE_PACK = {"tests", "build", "dist", "demo_output", "node_modules"}
MOST_LINES, MOST_FUNCTION_LINES = 400, 60
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
PROGRAMS = {"benchmarks/profile.py", "training/train.py", "benchmarks/bench.py", "benchmarks/peak.py"}
# For threads of its own, and at once put back for all others.
MAY_SWITCH = {
    "engine/cpu_workers.py": {"set_num_threads"},
    "vfi_models/surroundings.py": {"set_flush_denormal"},
}
# Hosts call it, with more keywords from version to version. What it does not know, it has to log.
MAY_TAKE_ANY = {"nodes/_video_host.py": {"save_to"}}
# Contenders that are no packages: their modules find one another only from their own folder.
MAY_EDIT_PATH = {"benchmarks/peers/comfyui.py", "benchmarks/peers/peer.py"}
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


def pack_files(root):
    """Every Python file of the pack."""
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).parts
        if not any(
            part.startswith(".") or part in NOT_THE_PACK or part.endswith(".egg-info") for part in parts
        ):
            yield path


def findings(root):
    """Every breach of a law in the tree ``root``."""
    return [
        f"{path.relative_to(root).as_posix()}:{line}: {what}"
        for path in pack_files(root)
        for line, what in _of_file(path, root)
    ]


def _of_file(path, root):
    name = path.relative_to(root).as_posix()
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text, name)
    lines = len(text.splitlines())
    if lines > MOST_LINES:
        yield lines, f"the file has {lines} lines, at most {MOST_LINES}"
    for node in ast.walk(tree):
        for what in _imports(node, path, root):
            yield node.lineno, what
        for what in _manners(node, name):
            yield node.lineno, what
        for what in _factories(node):
            yield node.lineno, what
    for node in _run_at_import(tree):
        if isinstance(node, ast.Call) and _last_name(node.func) in _AT_IMPORT:
            yield node.lineno, f"{_last_name(node.func)}() at import"


def room_of(path, root):
    first = path.relative_to(root).parts[0]
    return first.removesuffix(".py")


def _imports(node, path, root):
    name, room = path.relative_to(root).as_posix(), room_of(path, root)
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield from _absolute(alias.name, name, room)
    elif isinstance(node, ast.ImportFrom) and node.level == 0:
        yield from _absolute(node.module, name, room)
    elif isinstance(node, ast.ImportFrom):
        depth = len(path.relative_to(root).parts) - 1
        if node.level > depth + 1:
            yield "imports from above the project"
        elif node.level == depth + 1:
            targets = [node.module] if node.module else [alias.name for alias in node.names]
            for target in {t.split(".")[0] for t in targets} - {room}:
                if target not in ROOMS.get(room, set()):
                    yield f"{room} may not import {target}"


def _absolute(module, name, room):
    top = module.split(".")[0]
    if top == "midframe":
        yield "imports the pack by name; its folder can have any name, import relatively"
    elif top in HOST_NAMES and name not in HOST_FILES:
        yield f"names the host ({module}); only {' and '.join(sorted(HOST_FILES))} may"
    elif room == "errors" and top == "torch":
        yield "errors imports no torch"


def _manners(node, name):
    if isinstance(node, ast.ExceptHandler) and node.type is None:
        yield "bare except"
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        lines = node.end_lineno - node.lineno + 1
        if lines > MOST_FUNCTION_LINES:
            yield f"{node.name} has {lines} lines, at most {MOST_FUNCTION_LINES}"
        if node.args.kwarg is not None and node.name not in MAY_TAKE_ANY.get(name, set()):
            yield f"{node.name} takes **{node.args.kwarg.arg}, which swallows misspelt options"
        if any(
            isinstance(d, (ast.List, ast.Dict, ast.Set))
            for d in (*node.args.defaults, *node.args.kw_defaults)
        ):
            yield f"{node.name} has a mutable default"
    if isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.path" and name not in MAY_EDIT_PATH:
        yield "sys.path"
    if isinstance(node, ast.Call):
        yield from _call(node, name)
    for target in _assigned(node):
        if "torch.backends" in ast.unparse(target):
            yield f"global switch {ast.unparse(target)}"


def _call(node, name):
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
    if ast.unparse(node.func) == "torch.load" and "weights_only" not in {k.arg for k in node.keywords}:
        yield "torch.load without weights_only=True"


def _factories(node):
    """Tensors whose dtype or device another pack or a script decides."""
    if isinstance(node, ast.ImportFrom) and node.module == "torch":
        for name in sorted(FACTORIES & {alias.name for alias in node.names} - {"Tensor"}):
            yield f"imports {name} by name; write torch.{name}"
    if isinstance(node, ast.Call) and _last_name(node.func) in FACTORIES:
        called = ast.unparse(node.func)
        missing = {"dtype", "device"} - {keyword.arg for keyword in node.keywords}
        if called.startswith("torch.") and missing:
            yield f"{called} without {' and '.join(sorted(missing, reverse=True))}"


def _assigned(node):
    if isinstance(node, ast.Assign):
        return node.targets
    return [node.target] if isinstance(node, (ast.AugAssign, ast.AnnAssign)) else []


def _last_name(node):
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _run_at_import(tree):
    """Nodes that are evaluated when the module is imported: not the bodies of functions."""
    waiting = [n for n in tree.body if not (isinstance(n, ast.If) and "__name__" in ast.unparse(n.test))]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            waiting.extend(getattr(node, "decorator_list", []))
        else:
            waiting.extend(ast.iter_child_nodes(node))


def error_classes(root):
    """Name of every class that is an exception, and of what it derives, over the whole pack."""
    classes = {}
    for path in pack_files(root):
        for node in ast.walk(ast.parse(Path(path).read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                classes[node.name] = {_last_name(base) for base in node.bases}
    return {
        n: bases
        for n, bases in classes.items()
        if n.endswith("Error") or bases & {"Exception", "BaseException"}
    }
