"""Video files, pictures and tensors in."""
