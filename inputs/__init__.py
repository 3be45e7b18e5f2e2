"""Understand input from users, scripts and other nodes: numbers, frame rates, frames, objects.

Everything else gets values of one type, or one of our errors.
"""
