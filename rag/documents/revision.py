"""What the parser's results depend on, told without loading it."""

from importlib.metadata import version

_REVISION = 3
"""Raised whenever the same bytes could give another document: what was parsed before is then parsed again."""


def parser_fingerprint() -> str:
    """Changes whenever the same file could give another document."""
    return f"documents {_REVISION}, kreuzberg {version('kreuzberg')}"
