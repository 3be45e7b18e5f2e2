"""Side by side with other implementations, in one process and one run."""
