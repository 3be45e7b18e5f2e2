"""Video files and pictures out."""
