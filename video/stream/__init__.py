"""From clip to clip in flat memory: decoding, the frame loop and encoding at the same time."""
