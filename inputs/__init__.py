"""Understand input from users, scripts and other nodes: numbers, frame rates, frames, objects.

The one place where it is understood. Everything else gets values of one known type, or one of our errors.
"""
