"""Measures speed, memory and quality beside other implementations, in one process and one run."""
