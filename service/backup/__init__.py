"""A home as one file, copied while it is in use, and put back whole or not at all."""
