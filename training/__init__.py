"""Trains networks on motion that the project generates itself, and on real clips.

``python -m midframe.training.train --out ckpts/default.safetensors`` makes the shipped weights: every
default of :class:`~.plan.TrainingPlan` is the value they were made with, and the file's metadata repeats it.
A run that is stopped goes on with ``--resume``. Two processor cores need about an hour; the last bits depend
on the processor and on torch.

``--model compact-v2`` trains the second family of the built-in network; README.md here says on what and how.
``--model rife-4.25`` trains that network instead, from random weights: for measuring how networks do in 16
bits with weights that find motion, which synthetic ones do not. It does not replace the published weights.
"""
