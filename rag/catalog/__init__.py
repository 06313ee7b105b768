"""The source of truth: documents, chunks and vectors of every collection. Indexes are caches of it."""

from rag.catalog.catalog import CATALOG_FILE, Catalog
from rag.catalog.listing import KnownSource
from rag.catalog.reading import IndexRows
from rag.catalog.schema import DEFAULT_TENANT
from rag.catalog.writing import NewVersion, text_hash

__all__ = ["CATALOG_FILE", "DEFAULT_TENANT", "Catalog", "IndexRows", "KnownSource", "NewVersion", "text_hash"]
