"""From domain documents and general data to an adapter that may be served."""
