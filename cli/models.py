"""``midframe models``: list the models that are here or can be downloaded."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from ..weights.find import available
from .options import add_models_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``midframe models``."""
    add_models_folder(parser)


def run(arguments: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Print a line for each model: its name, its licence, and its file."""
    for choice in available(arguments.models_folder):
        where = str(choice.path) if choice.path else "can be downloaded"
        say(f"{choice.name:24} {choice.entry.licence or '' if choice.entry else '':14} {where}")
    return 0
