"""The answering library: documents in, cited answers out. Knows nothing of HTTP servers, CLIs or training."""
