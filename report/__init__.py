"""Which model suits a clip, and what is in it: measured on the clip itself, as a page and as JSON."""
