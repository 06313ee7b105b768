"""What an archive says of itself: its last member, written when all others are.

An archive is a tar file, compressed or not: ``home/...`` with the files of the home, then ``manifest.json``.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

NAME = "manifest.json"
PREFIX = "home/"


class Member(BaseModel):
    """A file of the home by its path below it. ``mode`` has its permissions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    size: int
    sha256: str
    mode: int


class Manifest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    domainqa: str
    """The version that wrote it."""
    created_at: str
    indexes: bool
    """Whether the index snapshots are in it; else they are built again."""
    members: tuple[Member, ...]
