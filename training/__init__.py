"""Trains networks on motion that the project generates itself, and on real clips.

``python -m midframe.training.train --out FILE`` trains the built-in network; README.md here says on what and
with which settings the shipped weights were made, and the file's metadata repeats them. A run that is stopped
goes on with ``--resume``; the last bits depend on the processor and on torch.

``--model rife-4.25`` trains that network instead, from random weights: for measuring how networks do in 16
bits with weights that find motion, which synthetic ones do not. It does not replace the published weights.

:class:`~.model.Model` is the RIFE paper's own, for code that was written for that.
"""

from __future__ import annotations

from .model import Model

__all__ = ["Model"]
