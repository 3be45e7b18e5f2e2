"""Files of weights: known ones, where they are, how they are fetched, read, checked and loaded."""
