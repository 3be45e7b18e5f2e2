"""Tell which names in a pickle would run programs or reach the machine, were they imported.

What counts is what Python would find under the name: a module of its own *and* something that is in it.
Packages of trainers have the names of some of its modules, and are no danger.
"""

from __future__ import annotations

from collections.abc import Mapping

# Weights have no use for these, and whoever puts them beside weights means to run something. Every part of a
# dotted name counts: a harmless module hands out the modules that it imports (``collections._sys``).
_ANYWHERE = frozenset(
    (
        *("os", "posix", "nt", "sys", "_sys", "subprocess", "importlib", "socket", "shutil", "ctypes"),
        *("__import__", "__globals__", "__subclasses__", "__builtins__"),
    )
)
# Functions and types. Before the end of a name they are modules of people's own (``trainer.eval.Metrics``).
_AT_THE_END = frozenset(
    (
        *("eval", "exec", "execfile", "compile", "open", "system", "popen", "breakpoint"),
        *("CodeType", "FunctionType"),
    )
)
_MODULES = frozenset(
    (
        *("antigravity", "asyncio", "bdb", "cProfile", "codeop", "concurrent", "ftplib"),
        *("http", "imp", "io", "marshal", "multiprocessing", "pdb", "pickle", "_pickle", "pip", "pkgutil"),
        *("pty", "requests", "runpy", "signal", "smtplib", "socketserver", "ssl", "tempfile"),
        *("threading", "timeit", "urllib", "webbrowser", "xmlrpc"),
    )
)
# People call packages of their own by these names of modules, none of which has submodules: only what the
# module of Python itself holds is Python's. Of Python 3.10 to 3.13; ``commands`` is Python 2's.
_NAMES_IN: Mapping[str, frozenset[str]] = {
    "code": frozenset(
        (
            *("CommandCompiler", "InteractiveConsole", "InteractiveInterpreter", "Quitter", "builtins"),
            *("compile_command", "interact", "traceback"),
        )
    ),
    "commands": frozenset(("getoutput", "getstatus", "getstatusoutput", "mk2arg", "mkarg")),
    "profile": frozenset(("Profile", "_Utils", "io", "main", "marshal", "run", "runctx", "time")),
    "trace": frozenset(
        (
            *("CoverageResults", "PRAGMA_NOCOVER", "Trace", "_Ignore", "_find_executable_linenos"),
            *("_find_lines", "_find_lines_from_code", "_find_strings", "_fullmodname", "_modname", "_time"),
            *("dis", "gc", "inspect", "io", "linecache", "main", "pickle", "sysconfig", "threading"),
            *("token", "tokenize"),
        )
    ),
}


def runs_programs(name: str) -> bool:
    """Tell whether a dotted name means something of Python that runs programs or reaches the machine."""
    module, *inside = parts = name.split(".")
    if not _ANYWHERE.isdisjoint(parts) or module in _MODULES:
        return True
    if module in _NAMES_IN and inside and (inside[0] in _NAMES_IN[module] or _is_special(inside[0])):
        return True
    # A function is also called by what hangs on it: ``eval.__call__``.
    return next((part for part in reversed(parts) if not _is_special(part)), "") in _AT_THE_END


def _is_special(part: str) -> bool:
    return part.startswith("__")
