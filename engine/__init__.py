"""The frame loop's parts: when frames are made, in which order, by which threads, for which host."""
