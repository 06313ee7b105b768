"""The vLLM server of a home: its command line, its process, its supervision, and the memory it needs."""
