"""Chat models: transformers in this process, or any OpenAI-compatible server over HTTP."""
