"""Files of weights: the table of known ones, and how they are found, fetched, read, checked and loaded."""
