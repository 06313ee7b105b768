"""Facts from documents: by rules from tables, definitions and plain statements, and by a model from chunks."""
