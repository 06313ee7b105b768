"""The source of truth: documents, chunks and vectors of every collection. Indexes are caches of it."""

from rag.catalog.catalog import CATALOG_FILE, Catalog
from rag.catalog.keys import AccessKey, AccessKeys, Role
from rag.catalog.listing import KnownSource
from rag.catalog.reading import IndexRows
from rag.catalog.writing import NewVersion, text_hash
from rag.types import DEFAULT_TENANT

__all__ = [
    "CATALOG_FILE",
    "DEFAULT_TENANT",
    "AccessKey",
    "AccessKeys",
    "Catalog",
    "IndexRows",
    "KnownSource",
    "NewVersion",
    "Role",
    "text_hash",
]
