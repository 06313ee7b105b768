"""The HTTP API: OpenAI's chat protocol over the answer flow, search, documents, health and the page."""
