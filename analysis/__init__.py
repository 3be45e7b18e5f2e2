"""Looks at a clip: cuts, dissolves, flashes, held frames, still regions, brightness steps, motion."""
