"""The clip that comes with the project, and how it is made."""
