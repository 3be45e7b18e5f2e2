"""Training of the built-in model on motion that the project generates itself."""
