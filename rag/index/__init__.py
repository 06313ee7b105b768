"""Search structures of one collection: caches of the catalog, kept in generations on disk."""
